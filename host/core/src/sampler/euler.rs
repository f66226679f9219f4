//! Euler: algorithm 2 of Karras et al. 2022 without its correction (k-diffusion's `sample_euler`). Its churn is
//! shared with Heun.

use super::Register::{Denoised, Noise, X};
use super::{Assign, Call, Churn};
use crate::schedule::NoiseSchedule;

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64], churn: &Churn) -> Vec<Call> {
    let steps = sigmas.len().saturating_sub(1);
    let step = |(i, pair): (usize, &[f64])| {
        let (sigma, before) = churned(pair[0], steps, churn);
        // x + (x - denoised) / sigma * (next - sigma), with the terms gathered.
        let keep = pair[1] / sigma;
        let after = vec![Assign::new(X, [(keep, X), (1.0 - keep, Denoised)])];
        churn.drawing(Call { before, after, ..Call::at_sigma(table, sigma, i) })
    };
    sigmas.windows(2).enumerate().map(step).collect()
}

/// The level a step starts from once noise has been added back, and how to add it.
pub(super) fn churned(sigma: f64, steps: usize, churn: &Churn) -> (f64, Vec<Assign>) {
    let gamma = (churn.amount / steps as f64).min(std::f64::consts::SQRT_2 - 1.0);
    if gamma <= 0.0 || !(churn.min_sigma..=churn.max_sigma).contains(&sigma) {
        return (sigma, Vec::new());
    }
    let raised = sigma * (gamma + 1.0);
    let added = churn.noise * (raised * raised - sigma * sigma).sqrt();
    (raised, vec![Assign::new(X, [(1.0, X), (added, Noise)])])
}

impl Churn {
    /// The call that begins a step, with its draw. Where there is any churn k-diffusion draws in every step, also
    /// outside the limits: later draws follow.
    pub(super) fn drawing(&self, call: Call) -> Call {
        if self.amount > 0.0 { call.drawing_always() } else { call }
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Noise};
    use crate::sampler::reference::agrees;
    use crate::sampler::{Churn, Pass, Plan, Sampler, SamplerOptions};
    use crate::schedule::{NoiseSchedule, Scheduler};

    fn pass(scheduler: Scheduler, churn: Churn) -> Pass {
        let options = SamplerOptions { churn, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::Euler, scheduler, 6) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        let pass = pass(Scheduler::Uniform, Churn::default());
        agrees(&pass, [0.977349436462, 1.06616227471, 0.879185452661, 0.504357091317]);
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`. The first raised level is above the table.
    #[test]
    fn agrees_with_k_diffusion_when_churned() {
        let churn = Churn { amount: 3.0, min_sigma: 0.4, noise: 1.01, ..Churn::default() };
        let pass = pass(Scheduler::Karras, churn);
        agrees(&pass, [0.521589498224, 0.413408557104, 0.345912990307, 0.350847017545]);
    }

    #[test]
    fn adds_noise_only_between_the_two_limits_and_draws_in_every_step() {
        let churn = Churn { amount: 3.0, min_sigma: 0.4, max_sigma: 3.0, noise: 1.0 };
        let calls = |churn| {
            let mut plan = Plan::new(&pass(Scheduler::Karras, churn), &NoiseSchedule::sd1()).unwrap();
            std::iter::from_fn(move || plan.next_call(None)).collect::<Vec<_>>()
        };
        let churned = calls(churn);
        let added: Vec<bool> = churned.iter().map(|call| call.reads(Noise)).collect();
        assert_eq!(added, [false, false, true, true, false, false]);
        assert!(churned.iter().all(Call::needs_noise));
        assert!(!calls(Churn::default()).iter().any(Call::needs_noise));
    }
}
