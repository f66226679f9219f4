//! DPM fast: DPM-Solver-fast of Lu et al. 2022, "DPM-Solver" (k-diffusion's `sample_dpm_fast`). Spends exactly `n`
//! calls in steps of order 3 that are even in log sigma, with a step or two of lower order at the end.

use super::Register::{Noise, X};
use super::dpm_solver::{Step, down_and_up};
use super::{Assign, Call};
use crate::schedule::NoiseSchedule;

/// `noise` scales what is added; `low` and `high` are the levels to run between.
pub(super) fn calls(
    table: &NoiseSchedule,
    (low, high): (f64, f64),
    n: usize,
    eta: f64,
    noise: f64,
) -> Vec<Call> {
    if n == 0 || high <= low {
        return Vec::new();
    }
    let orders = orders(n);
    let levels: Vec<f64> =
        (0..=orders.len()).map(|i| high * (low / high).powf(i as f64 / orders.len() as f64)).collect();
    let mut calls = Vec::with_capacity(n);
    for (number, (pair, order)) in levels.windows(2).zip(orders).enumerate() {
        let (down, up) = down_and_up(pair[0], pair[1], low, eta);
        let step = Step { sigma: pair[0], next: down, number };
        match order {
            1 => calls.extend(step.first_order(table)),
            2 => calls.extend(step.second_order(table)),
            _ => calls.extend(step.third_order(table, None)),
        }
        if let Some(last) = calls.last_mut() {
            last.after.push(Assign::new(X, [(1.0, X), (noise * up, Noise)]));
            // A draw is taken in every step, also where it adds nothing: later draws follow.
            *last = last.clone().drawing_always();
        }
    }
    calls
}

/// The orders of the steps; they sum to `n`.
fn orders(n: usize) -> Vec<u8> {
    let mut orders = vec![3; if n.is_multiple_of(3) { n / 3 - 1 } else { n / 3 }];
    match n % 3 {
        0 => orders.extend([2, 1]),
        rest => orders.push(rest as u8),
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Sampler, SamplerOptions};
    use crate::schedule::Scheduler;

    fn pass(steps: u32, eta: Option<f64>) -> Pass {
        let options = SamplerOptions { eta, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::DpmFast, Scheduler::Automatic, steps) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(&pass(9, None), [0.390841206312, 0.299896713083, 0.298257960123, 0.386695678556]);
        agrees(&pass(8, Some(0.0)), [1.17888565366, 1.30519513922, 1.03927698291, 0.506196648746]);
        agrees(&pass(7, Some(0.4)), [1.00332224069, 0.997158260367, 0.745149120404, 0.365818657073]);
    }

    #[test]
    fn spends_as_many_calls_as_steps_are_asked_for() {
        for n in 1..=30 {
            assert_eq!(orders(n).iter().map(|order| usize::from(*order)).sum::<usize>(), n);
            let calls = calls(&NoiseSchedule::sd1(), (0.03, 14.0), n, 1.0, 1.0);
            assert_eq!(calls.len(), n);
        }
    }
}
