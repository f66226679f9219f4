//! Levels evenly spaced in the angle whose tangent they are: Sabour et al. 2024, "Align your steps", theorem 3.1.
//! The one schedule that ends at the lowest level and not at 0.

use super::{NoiseSchedule, Spacing, linspace};

/// `n + 1` levels: there is no 0 to come.
pub(super) fn sigmas(table: &NoiseSchedule, n: usize, spacing: &Spacing) -> Vec<f64> {
    let (low, high) = spacing.ends(table);
    linspace(high.atan(), low.atan(), n + 1).map(f64::tan).collect()
}

#[cfg(test)]
mod tests {
    use crate::schedule::Scheduler;
    use crate::schedule::tests::check;

    /// Values: `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_the_closed_form() {
        check(
            Scheduler::KlOptimal,
            6,
            &[
                14.6146414897,
                3.08070272633,
                1.59706662943,
                0.961588388677,
                0.57291456101,
                0.281838183553,
                0.0291675331656,
            ],
            1e-9,
        );
    }
}
