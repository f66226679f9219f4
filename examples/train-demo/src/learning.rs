//! How fast is learned when: a short rise, a long plateau and a cosine down to nothing at the end. A run that is
//! prolonged goes on from its plateau, which a cosine over the whole length would not allow (Hu et al. 2024,
//! "MiniCPM", section 4).

const RISE: u32 = 100;
/// Part of all steps over which the rate falls.
const FALL: f64 = 0.35;

/// The rate of step `step` of `steps`, as a part of the highest; both count from 0.
pub(crate) fn rate(step: u32, steps: u32, highest: f64) -> f64 {
    let rise = (f64::from(step + 1) / f64::from(RISE)).min(1.0);
    let begin = f64::from(steps) * (1.0 - FALL);
    let through = ((f64::from(step) - begin) / (f64::from(steps) - begin)).clamp(0.0, 1.0);
    highest * rise * 0.5 * (1.0 + (std::f64::consts::PI * through).cos())
}

/// The part of the moving average that is kept: little at first, so that the beginning is forgotten.
pub(crate) fn kept(step: u32, highest: f64) -> f64 {
    let step = f64::from(step);
    ((1.0 + step) / (10.0 + step)).min(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_stays_and_falls_to_nothing() {
        assert!(rate(0, 1000, 1.0) < 0.02);
        assert_eq!(rate(300, 1000, 1.0), 1.0);
        assert!((rate(825, 1000, 1.0) - 0.5).abs() < 1e-9);
        assert!(rate(999, 1000, 1.0) < 0.001);
    }

    #[test]
    fn a_young_average_forgets_more() {
        assert_eq!(kept(0, 0.999), 0.1);
        assert_eq!(kept(1_000_000, 0.999), 0.999);
    }
}
