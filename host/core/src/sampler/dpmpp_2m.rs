//! DPM-Solver++(2M): Lu et al. 2022, "DPM-Solver++", algorithm 2, in k-diffusion's form (`sample_dpmpp_2m`). Each
//! step extrapolates from the two last predictions; the first step and the one to level 0 use only one.

use super::Register::{Denoised, Saved, X};
use super::{Assign, Call};
use crate::schedule::NoiseSchedule;

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64]) -> Vec<Call> {
    let second_order = |i: usize| i > 0 && sigmas[i + 1] > 0.0;
    let step = |(i, pair): (usize, &[f64])| {
        let (sigma, next) = (pair[0], pair[1]);
        // With t = -ln sigma and h the step in t: x = next / sigma * x - expm1(-h) * prediction.
        let gain = -((next / sigma).ln()).exp_m1();
        let previous_share = if second_order(i) {
            let ratio = (sigmas[i - 1] / sigma).ln() / (sigma / next).ln();
            1.0 / (2.0 * ratio)
        } else {
            0.0
        };
        let mut after = vec![Assign::new(
            X,
            [
                (next / sigma, X),
                (gain * (1.0 + previous_share), Denoised),
                (-gain * previous_share, Saved(0)),
            ],
        )];
        if i + 2 < sigmas.len() && second_order(i + 1) {
            after.push(Assign::new(Saved(0), [(1.0, Denoised)]));
        }
        Call { after, ..Call::at_sigma(table, sigma, i) }
    };
    sigmas.windows(2).enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Plan, Register, Sampler};
    use crate::schedule::{NoiseSchedule, Scheduler};

    fn pass(scheduler: Scheduler) -> Pass {
        Pass::new(Sampler::Dpmpp2m, scheduler, 6)
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(&pass(Scheduler::Karras), [1.195862943, 1.3253311235, 1.05276299682, 0.506351611954]);
        agrees(&pass(Scheduler::SgmUniform), [1.03579525713, 1.1354821822, 0.925612248784, 0.504890565871]);
    }

    #[test]
    fn keeps_no_prediction_that_is_never_read() {
        let mut plan = Plan::new(&pass(Scheduler::Karras), &NoiseSchedule::sd1()).unwrap();
        let saves: Vec<bool> = std::iter::from_fn(|| plan.next_call(None))
            .map(|call| call.after.iter().any(|assign| assign.target == Register::Saved(0)))
            .collect();
        assert_eq!(saves, [true, true, true, true, false, false]);
    }
}
