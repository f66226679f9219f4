//! Evenly spaced timesteps that stop one stride short of the first, as in Stability's generative-models. Made for
//! distilled models (Turbo, Lightning, LCM).

use super::{NoiseSchedule, Spacing, linspace};

pub(super) fn sigmas(table: &NoiseSchedule, n: usize, spacing: &Spacing) -> Vec<f64> {
    let (low, high) = spacing.ends(table);
    let (start, end) = (table.timestep_of(high), table.timestep_of(low));
    linspace(start, end, n + 1).take(n).map(|t| table.sigma_at(t)).collect()
}

#[cfg(test)]
mod tests {
    use crate::schedule::Scheduler;
    use crate::schedule::tests::check;

    /// Values: `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_the_closed_form() {
        let want =
            [14.6146414897, 5.94889917281, 2.91830707893, 1.61558029942, 0.932358004052, 0.493551705576, 0.0];
        check(Scheduler::SgmUniform, 6, &want, 1e-10);
    }
}
