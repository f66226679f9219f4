//! Euler a: an Euler step to below the next level, then fresh noise up to it (k-diffusion's
//! `sample_euler_ancestral`). Noise is not scaled by `s_noise`, as in web UIs.

use super::Call;
use super::ancestral::{split, straight};
use crate::schedule::NoiseSchedule;

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64], eta: f64) -> Vec<Call> {
    let step = |(i, pair): (usize, &[f64])| {
        let (down, up) = split(pair[0], pair[1], eta);
        let after = vec![straight(pair[0], down, up)];
        let call = Call { after, ..Call::at_sigma(table, pair[0], i) };
        // A draw is taken wherever noise could be added, also at eta 0: later draws follow.
        if pair[1] > 0.0 { call.drawing_always() } else { call }
    };
    sigmas.windows(2).enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Plan, Sampler, SamplerOptions};
    use crate::schedule::{NoiseSchedule, Scheduler};

    fn pass(scheduler: Scheduler, eta: Option<f64>) -> Pass {
        let options = SamplerOptions { eta, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::EulerA, scheduler, 6) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        let pass = pass(Scheduler::Uniform, None);
        agrees(&pass, [0.464419228201, 0.383711195419, 0.356993076446, 0.396830820117]);
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion_at_a_smaller_eta() {
        let pass = pass(Scheduler::Karras, Some(0.4));
        agrees(&pass, [0.853783973056, 0.886080345288, 0.729165166852, 0.456838098034]);
    }

    #[test]
    fn draws_on_every_step_but_the_last() {
        let mut plan = Plan::new(&pass(Scheduler::Karras, None), &NoiseSchedule::sd1()).unwrap();
        let draws: Vec<bool> =
            std::iter::from_fn(|| plan.next_call(None)).map(|call| call.needs_noise()).collect();
        assert_eq!(draws, [true, true, true, true, true, false]);
    }

    #[test]
    fn without_eta_is_euler() {
        let ancestral = pass(Scheduler::Karras, Some(0.0));
        let plain = Pass { sampler: Sampler::Euler, ..ancestral.clone() };
        let run = |pass| crate::sampler::reference::run(pass, |x, _| x.tanh());
        for (a, b) in run(&ancestral).iter().zip(run(&plain)) {
            assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        }
    }
}
