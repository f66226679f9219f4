//! DPM-Solver++ (stochastic): Lu et al. 2022, "DPM-Solver++", in k-diffusion's form (`sample_dpmpp_sde`, r = 1/2).
//! Two calls a step: one at its start, one half way in log sigma, from where the whole step is taken.

use super::Call;
use super::Register::Saved;
use super::ancestral::{from, keep_x, split, straight};
use crate::schedule::NoiseSchedule;

/// `span` is the lowest and the highest level of the whole schedule, of which `sigmas` may be the end.
pub(super) fn calls(
    table: &NoiseSchedule,
    sigmas: &[f64],
    span: (f64, f64),
    eta: f64,
    noise: f64,
) -> Vec<Call> {
    let mut calls = Vec::with_capacity(2 * sigmas.len());
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (sigma, next) = (pair[0], pair[1]);
        let first = Call::at_sigma(table, sigma, i);
        if next == 0.0 {
            calls.push(Call { after: vec![straight(sigma, 0.0, 0.0)], ..first });
            continue;
        }
        let middle = (sigma * next).sqrt();
        let (down, up) = split(sigma, middle, eta);
        let after = vec![keep_x(Saved(0)), straight(sigma, down, noise * up)];
        calls.push(Call { after, ..first }.drawing_brownian(
            there_and_back(sigma),
            there_and_back(middle),
            span,
        ));
        let (down, up) = split(sigma, next, eta);
        let after = vec![from(Saved(0), sigma, down, noise * up)];
        let second = Call { after, ..Call::at_sigma(table, middle, i) };
        calls.push(second.drawing_brownian(there_and_back(sigma), there_and_back(next), span));
    }
    calls
}

/// k-diffusion asks its Brownian motion at levels that went to -ln and back in f32. The motion is resolved to 1e-6,
/// so the rounding decides its last digits.
fn there_and_back(sigma: f64) -> f64 {
    f64::from((sigma as f32).ln().exp())
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::{agrees, run};
    use crate::sampler::{Draw, Pass, Plan, Sampler, SamplerOptions};
    use crate::schedule::{NoiseSchedule, Scheduler};

    fn pass(eta: Option<f64>) -> Pass {
        let options = SamplerOptions { eta, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::DpmppSde, Scheduler::Karras, 6) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(&pass(None), [0.460931172403, 0.403932258972, 0.391412977199, 0.429261340919]);
        agrees(&pass(Some(0.4)), [0.771325991931, 0.892462186376, 0.819528689479, 0.586827264447]);
    }

    #[test]
    fn without_eta_it_is_the_single_step_solver() {
        let noisy = pass(Some(0.0));
        let single = Pass { sampler: Sampler::Dpmpp2sA, ..noisy.clone() };
        for (a, b) in run(&noisy, |x, _| x.tanh()).iter().zip(run(&single, |x, _| x.tanh())) {
            assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        }
    }

    #[test]
    fn draws_from_the_start_of_a_step_to_its_middle_and_to_its_end() {
        let mut plan = Plan::new(&pass(None), &NoiseSchedule::sd1()).unwrap();
        let mut asked = Vec::new();
        while let Some(call) = plan.next_call(None) {
            if let Draw::Brownian { from, to, lowest, highest } = call.draw {
                assert!((lowest - 0.02917).abs() < 1e-4 && (highest - 14.6146).abs() < 1e-4);
                asked.push((from, to));
            }
        }
        assert_eq!(asked.len(), 10);
        for pair in asked.chunks(2) {
            assert_eq!(pair[0].0, pair[1].0);
            assert!((pair[0].1 - (pair[1].0 * pair[1].1).sqrt()).abs() < 1e-5);
        }
    }
}
