//! Levels evenly spaced in the 1/rho-th power: Karras et al. 2022, equation 5.

use super::{NoiseSchedule, Spacing, linspace};

/// The exponent the paper recommends.
pub(super) const RHO: f64 = 7.0;

pub(super) fn sigmas(table: &NoiseSchedule, n: usize, spacing: &Spacing) -> Vec<f64> {
    let (low, high) = spacing.ends(table);
    spaced(low, high, n, spacing.rho.unwrap_or(RHO))
}

/// `n` levels from `high` to `low` with the paper's exponent.
pub(crate) fn between(low: f64, high: f64, n: usize) -> Vec<f64> {
    spaced(low, high, n, RHO)
}

fn spaced(low: f64, high: f64, n: usize, rho: f64) -> Vec<f64> {
    let root = |sigma: f64| sigma.powf(1.0 / rho);
    linspace(root(high), root(low), n).map(|r| r.powf(rho)).collect()
}

#[cfg(test)]
mod tests {
    use crate::schedule::Scheduler;
    use crate::schedule::tests::check;

    /// Values: k-diffusion in f32, printed by `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_k_diffusion() {
        let want = [
            14.6146430969,
            6.0821595192,
            2.23216104507,
            0.692573904991,
            0.169757962227,
            0.0291675385088,
            0.0,
        ];
        check(Scheduler::Karras, 6, &want, 1e-6);
    }

    #[test]
    fn is_the_published_table_of_twenty_steps() {
        let want = [
            14.61464, 11.72536, 9.34020, 7.38362, 5.78941, 4.49984, 3.46475, 2.64084, 1.99092, 1.48321,
            1.09079, 0.79095, 0.56472, 0.39639, 0.27304, 0.18417, 0.12134, 0.07786, 0.04848, 0.02917, 0.0,
        ];
        check(Scheduler::Karras, 20, &want, 1.2e-4);
    }
}
