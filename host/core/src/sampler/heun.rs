//! Heun: algorithm 2 of Karras et al. 2022 (k-diffusion's `sample_heun`). Two calls a step: one at its start, one
//! where an Euler step would end, and the mean of both slopes; the step to level 0 has only the first.

use super::Register::{Denoised, Saved, X};
use super::ancestral::straight;
use super::{Assign, Call, Churn, euler};
use crate::schedule::NoiseSchedule;

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64], churn: &Churn) -> Vec<Call> {
    let steps = sigmas.len().saturating_sub(1);
    let mut calls = Vec::with_capacity(2 * steps);
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (sigma, before) = euler::churned(pair[0], steps, churn);
        let first = churn.drawing(Call { before, ..Call::at_sigma(table, sigma, i) });
        push_step(&mut calls, table, first, sigma, pair[1]);
    }
    calls
}

/// One step, which begins with the call at `sigma`.
pub(super) fn push_step(calls: &mut Vec<Call>, table: &NoiseSchedule, first: Call, sigma: f64, next: f64) {
    let (step, euler_step) = (first.step as usize, straight(sigma, next, 0.0));
    if next == 0.0 {
        calls.push(Call { after: vec![euler_step], ..first });
        return;
    }
    // Half of the step goes by each slope: the first half is kept aside, the second call adds its own.
    let half = (next - sigma) / (2.0 * sigma);
    let half_step = Assign::new(Saved(0), [(1.0 + half, X), (-half, Denoised)]);
    calls.push(Call { after: vec![half_step, euler_step], ..first });
    let half = (next - sigma) / (2.0 * next);
    let other_half = Assign::new(X, [(1.0, Saved(0)), (half, X), (-half, Denoised)]);
    calls.push(Call { after: vec![other_half], ..Call::at_sigma(table, next, step) });
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::agrees;
    use crate::sampler::{Churn, Pass, Plan, Sampler, SamplerOptions};
    use crate::schedule::{NoiseSchedule, Scheduler};

    fn pass(scheduler: Scheduler, churn: Churn) -> Pass {
        let options = SamplerOptions { churn, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::Heun, scheduler, 6) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        let pass = pass(Scheduler::Karras, Churn::default());
        agrees(&pass, [1.28491181077, 1.43094790166, 1.12349951112, 0.507164421227]);
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion_when_churned() {
        let churn = Churn { amount: 3.0, min_sigma: 0.4, noise: 1.01, ..Churn::default() };
        agrees(
            &pass(Scheduler::Uniform, churn),
            [0.504289903276, 0.629205302599, 0.68404081977, 0.643006454236],
        );
    }

    #[test]
    fn numbers_both_calls_of_a_step_alike() {
        let mut plan = Plan::new(&pass(Scheduler::Karras, Churn::default()), &NoiseSchedule::sd1()).unwrap();
        let steps: Vec<u32> = std::iter::from_fn(|| plan.next_call(None)).map(|call| call.step).collect();
        assert_eq!(steps, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
    }
}
