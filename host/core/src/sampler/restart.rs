//! Restart: Xu et al. 2023, "Restart sampling for improving generative processes". Heun's steps down a Karras
//! schedule; near the end the picture is noised up again and that stretch is run anew, so that errors made on the
//! way are forgotten. How often, and between which levels, is as web UIs fix it.

use super::Register::{Noise, X};
use super::{Assign, Call, heun};
use crate::schedule::{NoiseSchedule, karras_between};

/// From this many steps on there is one restart, and from `TWO_FROM` on there are two.
const ONE_FROM: usize = 20;
const TWO_FROM: usize = 36;
const SHORT_RESTART: usize = 9;
/// The stretch that is run anew begins and ends at the levels nearest to these.
const HIGH: f64 = 2.0;
const LOW: f64 = 0.1;

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64]) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut reached = None;
    for (i, (sigma, next)) in steps(sigmas).into_iter().enumerate() {
        let mut first = Call::at_sigma(table, sigma, i);
        if let Some(low) = reached.filter(|low| *low < sigma) {
            let raised: f64 = sigma * sigma - low * low;
            first.before = vec![Assign::new(X, [(1.0, X), (raised.sqrt(), Noise)])];
            first = first.drawing();
        }
        heun::push_step(&mut calls, table, first, sigma, next);
        reached = Some(next);
    }
    calls
}

/// Pairs of levels in the order they are run; where one begins above the end of the one before, noise is added.
fn steps(sigmas: &[f64]) -> Vec<(f64, f64)> {
    let count = sigmas.len().saturating_sub(1);
    let (inner, times) = match count {
        TWO_FROM.. => (count / 4, 2),
        ONE_FROM.. => (SHORT_RESTART, 1),
        _ => return sigmas.windows(2).map(|pair| (pair[0], pair[1])).collect(),
    };
    let mut base = karras_between(sigmas[count - 1], sigmas[0], count - inner * times);
    base.push(0.0);
    let (high, low) = (nearest(&base, HIGH), nearest(&base, LOW));
    // One level more than steps.
    let again = karras_between(base[low], base[high], inner + 1);
    let mut steps = Vec::with_capacity(count);
    for (i, pair) in base.windows(2).enumerate() {
        steps.push((pair[0], pair[1]));
        if i + 1 == low && high < low {
            for _ in 0..times {
                steps.extend(again.windows(2).map(|pair| (pair[0], pair[1])));
            }
        }
    }
    steps
}

/// The first of the levels with the least distance.
fn nearest(sigmas: &[f64], level: f64) -> usize {
    let distance = |i: usize| (sigmas[i] - level).abs();
    (0..sigmas.len()).fold(0, |best, i| if distance(i) < distance(best) { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::reference::{agrees, run};
    use crate::sampler::{Pass, Plan, Sampler};
    use crate::schedule::Scheduler;

    fn pass(steps: u32) -> Pass {
        Pass::new(Sampler::Restart, Scheduler::Automatic, steps)
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`, made of k-diffusion's `sample_heun`.
    #[test]
    fn agrees_with_k_diffusions_heun_between_restarts() {
        agrees(&pass(20), [0.611582445745, 0.198745454574, -0.0770239609058, -0.0860271355778]);
        agrees(&pass(40), [0.0789753854381, 0.40998067084, 0.781449839684, 1.0186751375]);
    }

    #[test]
    fn few_steps_are_heuns() {
        let plain = Pass { sampler: Sampler::Heun, scheduler: Scheduler::Karras, ..pass(19) };
        assert_eq!(run(&pass(19), |x, _| x.tanh()), run(&plain, |x, _| x.tanh()));
    }

    #[test]
    fn a_run_has_as_many_steps_as_asked_for_and_draws_at_each_restart() {
        for (steps, restarts) in [(19, 0), (20, 1), (35, 1), (36, 2), (150, 2)] {
            let mut plan = Plan::new(&pass(steps), &NoiseSchedule::sd1()).unwrap();
            let calls: Vec<Call> = std::iter::from_fn(|| plan.next_call(None)).collect();
            assert_eq!(calls.last().map(|call| call.step + 1), Some(steps));
            assert_eq!(calls.iter().filter(|call| call.needs_noise()).count(), restarts, "{steps}");
        }
    }
}
