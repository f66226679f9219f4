//! Evenly spaced timesteps between those of the table's two ends. Equal to `uniform` on a table whose ends are its
//! extremes; kept apart because clients ask for either by name.

use super::{NoiseSchedule, Spacing, linspace};

pub(super) fn sigmas(table: &NoiseSchedule, n: usize, spacing: &Spacing) -> Vec<f64> {
    let (low, high) = spacing.ends(table);
    let (start, end) = (table.timestep_of(high), table.timestep_of(low));
    linspace(start, end, n).map(|t| table.sigma_at(t)).collect()
}

#[cfg(test)]
mod tests {
    use crate::schedule::Scheduler;
    use crate::schedule::tests::check;

    /// Values: `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_the_closed_form() {
        let want =
            [14.6146414897, 5.09240755145, 2.27973024281, 1.16286452164, 0.57118888634, 0.0291675331656, 0.0];
        check(Scheduler::Normal, 6, &want, 1e-10);
    }
}
