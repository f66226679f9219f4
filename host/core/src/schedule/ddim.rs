//! The levels of DDIM's timesteps (1, 1 + s, 1 + 2s ... with s = 1000 / n rounded down) for sigma samplers.
//! Because s is whole, the run may be longer than n steps.

use super::NoiseSchedule;

pub(super) fn sigmas(table: &NoiseSchedule, n: usize) -> Vec<f64> {
    let levels = table.sigmas();
    let mut strided: Vec<f64> = levels.iter().skip(1).step_by((levels.len() / n).max(1)).copied().collect();
    strided.reverse();
    strided
}

#[cfg(test)]
mod tests {
    use crate::schedule::Scheduler;
    use crate::schedule::tests::check;

    /// Values: `python host/core/tests/reference_tables.py schedules`. Six steps give seven levels.
    #[test]
    fn agrees_with_the_closed_form() {
        let want = [
            14.4385685326,
            5.90644907894,
            2.90712142466,
            1.6128862428,
            0.932358004052,
            0.494696850233,
            0.0413144778553,
            0.0,
        ];
        check(Scheduler::Ddim, 6, &want, 1e-10);
    }
}
