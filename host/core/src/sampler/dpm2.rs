//! DPM2: a step by the slope half way in log sigma, after DPM-Solver-2 (Lu et al. 2022, "DPM-Solver") and with the
//! churn of Karras et al. 2022 (k-diffusion's `sample_dpm_2`); and its ancestral form (`sample_dpm_2_ancestral`).

use super::Register::{Denoised, Noise, Saved, X};
use super::ancestral::{keep_x, split, straight};
use super::{Assign, Call, Churn, euler};
use crate::schedule::NoiseSchedule;

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64], churn: &Churn) -> Vec<Call> {
    let steps = sigmas.len().saturating_sub(1);
    let mut calls = Vec::with_capacity(2 * steps);
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (sigma, before) = euler::churned(pair[0], steps, churn);
        let first = churn.drawing(Call { before, ..Call::at_sigma(table, sigma, i) });
        push_step(&mut calls, table, first, sigma, pair[1], None);
    }
    calls
}

pub(super) fn ancestral_calls(table: &NoiseSchedule, sigmas: &[f64], eta: f64, noise: f64) -> Vec<Call> {
    let mut calls = Vec::with_capacity(2 * sigmas.len());
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (down, up) = split(pair[0], pair[1], eta);
        push_step(&mut calls, table, Call::at_sigma(table, pair[0], i), pair[0], down, Some(noise * up));
    }
    calls
}

/// `added` is there for the ancestral form, which draws in every step of two calls, also where it adds nothing.
fn push_step(
    calls: &mut Vec<Call>,
    table: &NoiseSchedule,
    first: Call,
    sigma: f64,
    next: f64,
    added: Option<f64>,
) {
    let step = first.step as usize;
    if next == 0.0 {
        calls.push(Call { after: vec![straight(sigma, 0.0, 0.0)], ..first });
        return;
    }
    let middle = (sigma * next).sqrt();
    calls.push(Call { after: vec![keep_x(Saved(0)), straight(sigma, middle, 0.0)], ..first });
    let slope = (next - sigma) / middle;
    let terms = [(1.0, Saved(0)), (slope, X), (-slope, Denoised), (added.unwrap_or(0.0), Noise)];
    let second = Call { after: vec![Assign::new(X, terms)], ..Call::at_sigma(table, middle, step) };
    calls.push(if added.is_some() { second.drawing_always() } else { second });
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::{agrees, run};
    use crate::sampler::{Churn, Pass, Sampler, SamplerOptions};
    use crate::schedule::Scheduler;

    fn pass(sampler: Sampler, options: SamplerOptions) -> Pass {
        Pass { options, ..Pass::new(sampler, Scheduler::Karras, 6) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`. The level before the last is left out.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(
            &pass(Sampler::Dpm2, SamplerOptions::default()),
            [1.18673591185, 1.31450597043, 1.04551288365, 0.506268303364],
        );
        let churn = Churn { amount: 3.0, min_sigma: 0.4, noise: 1.01, ..Churn::default() };
        let options = SamplerOptions { churn, ..SamplerOptions::default() };
        agrees(
            &pass(Sampler::Dpm2, options),
            [0.489792064784, 0.562522252692, 0.600002722046, 0.584605822461],
        );
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn the_ancestral_form_agrees_with_k_diffusion() {
        agrees(
            &pass(Sampler::Dpm2A, SamplerOptions::default()),
            [0.660401304732, 0.669244949506, 0.595609970051, 0.474128047782],
        );
        let churn = Churn { noise: 1.01, ..Churn::default() };
        let options = SamplerOptions { eta: Some(0.4), churn, ..SamplerOptions::default() };
        agrees(
            &pass(Sampler::Dpm2A, options),
            [1.00639924923, 1.05595384835, 0.832611659632, 0.441414004255],
        );
    }

    #[test]
    fn without_eta_both_forms_are_one() {
        let options = SamplerOptions { eta: Some(0.0), ..SamplerOptions::default() };
        let (plain, ancestral) = (pass(Sampler::Dpm2, options.clone()), pass(Sampler::Dpm2A, options));
        for (a, b) in run(&plain, |x, _| x.tanh()).iter().zip(run(&ancestral, |x, _| x.tanh())) {
            assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        }
    }
}
