//! Levels evenly spaced in their logarithm: k-diffusion's `get_sigmas_exponential`.

use super::{NoiseSchedule, Spacing, linspace};

pub(super) fn sigmas(table: &NoiseSchedule, n: usize, spacing: &Spacing) -> Vec<f64> {
    let (low, high) = spacing.ends(table);
    linspace(high.ln(), low.ln(), n).map(f64::exp).collect()
}

#[cfg(test)]
mod tests {
    use crate::schedule::Scheduler;
    use crate::schedule::tests::check;

    /// Values: k-diffusion in f32, printed by `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_k_diffusion() {
        let want = [
            14.6146402359,
            4.21512508392,
            1.21571779251,
            0.350634872913,
            0.10112939775,
            0.0291675366461,
            0.0,
        ];
        check(Scheduler::Exponential, 6, &want, 1e-6);
    }
}
