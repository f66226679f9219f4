//! PLMS: the pseudo linear multistep method of Liu et al. 2022, "Pseudo numerical methods for diffusion models on
//! manifolds", as the first Stable Diffusion release runs it: timesteps and steps are DDIM's, the noise is
//! extrapolated from up to four calls, and the first step calls twice.

use super::Register::{Denoised, Saved, X};
use super::{Assign, Call, ddim};
use crate::schedule::NoiseSchedule;

/// Adams-Bashforth weights by how many calls there are to look at, the latest first.
const WEIGHTS: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

/// Holds the first latent between its two calls; a later call's noise takes its place.
const FIRST_X: u8 = 1;

pub(super) fn calls(table: &NoiseSchedule, timesteps: &[usize]) -> Vec<Call> {
    let mut calls = Vec::with_capacity(timesteps.len());
    for (i, pair) in timesteps.windows(2).rev().enumerate() {
        let (from, to) = (pair[1], pair[0]);
        let weights = WEIGHTS[i.min(WEIGHTS.len() - 1)];
        let slot = |at: usize| Saved((at % WEIGHTS.len()) as u8);
        let noises: Vec<_> = weights.iter().enumerate().map(|(j, weight)| (*weight, slot(i - j))).collect();
        let mut after = vec![noise_seen(table, from, slot(i))];
        if i == 0 {
            after.push(Assign::new(Saved(FIRST_X), [(1.0, X)]));
        }
        after.push(step(table, from, to, X, &noises));
        calls.push(Call { after, ..Call::at_timestep(table, from, i) });
        if i == 0 {
            // The mean of the noise seen at both ends of the first step.
            let there = noise_seen(table, to, X);
            let mean = step(table, from, to, Saved(FIRST_X), &[(0.5, slot(0)), (0.5, X)]);
            calls.push(Call { after: vec![there, mean], ..Call::at_timestep(table, to, i) });
        }
    }
    calls
}

/// `target` becomes the noise this call, at `timestep`, sees in the latent.
fn noise_seen(table: &NoiseSchedule, timestep: usize, target: super::Register) -> Assign {
    let alpha = table.alpha_cumprod(timestep);
    let noise = (1.0 - alpha).sqrt();
    Assign::new(target, [(1.0 / noise, X), (-alpha.sqrt() / noise, Denoised)])
}

/// A step of DDIM from `start` with the given noise.
fn step(
    table: &NoiseSchedule,
    from: usize,
    to: usize,
    start: super::Register,
    noises: &[(f64, super::Register)],
) -> Assign {
    let ddim::Step { signal, next_signal, .. } = ddim::Step::new(table, from, to, 0.0);
    let (noise, next_noise) =
        ((1.0 - table.alpha_cumprod(from)).sqrt(), (1.0 - table.alpha_cumprod(to)).sqrt());
    let keep = next_signal / signal;
    let gain = next_noise - keep * noise;
    let mut terms = vec![(keep, start)];
    terms.extend(noises.iter().map(|(weight, register)| (gain * weight, *register)));
    Assign { target: X, terms }
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Plan, Sampler};
    use crate::schedule::{NoiseSchedule, Scheduler};

    /// Values: `python host/core/tests/reference_tables.py samplers`; the tables of weights are diffusers'.
    #[test]
    fn agrees_with_diffusers_multistep_weights() {
        agrees(
            &Pass::new(Sampler::Plms, Scheduler::Automatic, 8),
            [1.10835148296, 1.22644429193, 0.977824626533, 0.479422200189],
        );
    }

    #[test]
    fn calls_twice_in_the_first_step_only() {
        let pass = Pass::new(Sampler::Plms, Scheduler::Automatic, 5);
        let mut plan = Plan::new(&pass, &NoiseSchedule::sd1()).unwrap();
        let told: Vec<_> =
            std::iter::from_fn(|| plan.next_call(None)).map(|call| (call.timestep, call.step)).collect();
        assert_eq!(told, [(801.0, 0), (601.0, 0), (601.0, 1), (401.0, 2), (201.0, 3)]);
    }
}
