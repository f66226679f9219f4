//! DPM++ 2S a: DPM-Solver++(2S) of Lu et al. 2022 to below the next level, then fresh noise up to it (k-diffusion's
//! `sample_dpmpp_2s_ancestral`). Two calls a step: the second is half way in log sigma and gives the step its slope.

use super::Call;
use super::Register::Saved;
use super::ancestral::{from, keep_x, split, straight};
use crate::schedule::NoiseSchedule;

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64], eta: f64, noise: f64) -> Vec<Call> {
    let mut calls = Vec::with_capacity(2 * sigmas.len());
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (sigma, next) = (pair[0], pair[1]);
        let (down, up) = split(sigma, next, eta);
        let first = Call::at_sigma(table, sigma, i);
        let last = if down == 0.0 {
            Call { after: vec![straight(sigma, 0.0, noise * up)], ..first }
        } else {
            let middle = (sigma * down).sqrt();
            calls.push(Call { after: vec![keep_x(Saved(0)), straight(sigma, middle, 0.0)], ..first });
            let after = vec![from(Saved(0), sigma, down, noise * up)];
            Call { after, ..Call::at_sigma(table, middle, i) }
        };
        calls.push(if next > 0.0 { last.drawing_always() } else { last });
    }
    calls
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::agrees;
    use crate::sampler::{Churn, Pass, Sampler, SamplerOptions};
    use crate::schedule::Scheduler;

    fn pass(eta: Option<f64>, noise: f64) -> Pass {
        let churn = Churn { noise, ..Churn::default() };
        let options = SamplerOptions { eta, churn, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::Dpmpp2sA, Scheduler::Karras, 6) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(&pass(None, 1.0), [0.600678491298, 0.621986860007, 0.58453833427, 0.505945540891]);
        agrees(&pass(Some(0.4), 1.01), [0.943921296261, 0.992842987237, 0.800097452929, 0.456335929853]);
    }
}
