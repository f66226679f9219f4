//! Evenly spaced timesteps from the last to the first: k-diffusion's `DiscreteSchedule.get_sigmas`.

use super::{NoiseSchedule, linspace};

pub(super) fn sigmas(table: &NoiseSchedule, n: usize) -> Vec<f64> {
    let last = (table.sigmas().len() - 1) as f64;
    linspace(last, 0.0, n).map(|t| table.sigma_at(t)).collect()
}

#[cfg(test)]
mod tests {
    use crate::schedule::Scheduler;
    use crate::schedule::tests::check;

    /// Values: k-diffusion in f32, printed by `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_k_diffusion() {
        let want =
            [14.6146402359, 5.09240818024, 2.2797305584, 1.16286456585, 0.571188926697, 0.0291675366461, 0.0];
        check(Scheduler::Uniform, 6, &want, 1e-6);
    }

    #[test]
    fn begins_as_the_published_twenty_steps_do() {
        let table = crate::schedule::NoiseSchedule::sd1();
        let got = super::sigmas(&table, 20);
        let want =
            [14.61464, 10.7468, 8.08152, 6.20493, 4.85565, 3.86538, 3.12376, 2.55717, 2.11566, 1.76482];
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 6e-6, "{got} is not {want}");
        }
    }
}
