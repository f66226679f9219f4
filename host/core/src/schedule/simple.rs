//! Every 1000/n-th entry of the table, counted from its end and rounded down: no interpolation.

use super::NoiseSchedule;

pub(super) fn sigmas(table: &NoiseSchedule, n: usize) -> Vec<f64> {
    let levels = table.sigmas();
    // The last entry is the floor of at most `len * (1 - 1/n)`; `min` covers more steps than there are levels.
    let stride = levels.len() as f64 / n as f64;
    (0..n).map(|i| levels[levels.len() - 1 - ((i as f64 * stride) as usize).min(levels.len() - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use crate::schedule::Scheduler;
    use crate::schedule::tests::check;

    /// Values: `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_the_closed_form() {
        let want =
            [14.6146414897, 5.96313041766, 2.91830707893, 1.6128862428, 0.932358004052, 0.492409211747, 0.0];
        check(Scheduler::Simple, 6, &want, 1e-10);
    }
}
