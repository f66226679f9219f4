//! Levels polynomially spaced in their logarithm: k-diffusion's `get_sigmas_polyexponential`.

use super::{NoiseSchedule, Spacing, linspace};

/// Even spacing: that of `exponential`.
pub(super) const RHO: f64 = 1.0;

pub(super) fn sigmas(table: &NoiseSchedule, n: usize, spacing: &Spacing) -> Vec<f64> {
    let (low, high) = spacing.ends(table);
    let rho = spacing.rho.unwrap_or(RHO);
    linspace(1.0, 0.0, n).map(|share| (share.powf(rho) * (high / low).ln() + low.ln()).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Scheduler;
    use crate::schedule::tests::{check, check_spaced};

    /// Values: k-diffusion in f32, printed by `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_k_diffusion() {
        check(
            Scheduler::Polyexponential,
            6,
            &[
                14.6146430969,
                4.21512699127,
                1.21571803093,
                0.350634932518,
                0.101129420102,
                0.0291675366461,
                0.0,
            ],
            1e-6,
        );
        let spacing =
            Spacing { sigma_min: Some(0.1), sigma_max: Some(10.0), rho: Some(2.0), ..Spacing::default() };
        check_spaced(
            Scheduler::Polyexponential,
            6,
            &spacing,
            &[10.0, 1.90546131134, 0.52480751276, 0.208929643035, 0.120226427913, 0.0999999940395, 0.0],
            1e-6,
        );
    }
}
