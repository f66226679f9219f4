//! DDIM: Song et al. 2021, equation 12, as web UIs run it. It steps by timesteps and never asks a scheduler; the
//! latent is in alpha space (`x = sqrt(a) * signal + sqrt(1 - a) * noise`), which is what the UNet takes as it is.

use super::Register::{Denoised, Noise, X};
use super::{Assign, Call, Draw};
use crate::schedule::NoiseSchedule;

/// `timesteps` rise. Their list has an entry more than there are calls: the last level is the first entry's, not
/// level 0.
pub(super) fn calls(table: &NoiseSchedule, timesteps: &[usize], eta: f64) -> Vec<Call> {
    let pairs = timesteps.windows(2).rev().enumerate();
    pairs.map(|(i, pair)| call(table, pair[1], pair[0], eta, i)).collect()
}

/// Noise is drawn in every call, also where eta takes none of it: later draws follow.
fn call(table: &NoiseSchedule, from: usize, to: usize, eta: f64, step: usize) -> Call {
    let Step { signal, next_signal, direction, added } = Step::new(table, from, to, eta);
    let terms = [(direction, X), (next_signal - direction * signal, Denoised), (added, Noise)];
    let after = vec![Assign::new(X, terms)];
    Call { after, draw: Draw::Next, ..Call::at_timestep(table, from, step) }
}

/// The numbers of one step: `x' = next_signal * denoised + direction * (x - signal * denoised) + added * noise`.
pub(super) struct Step {
    pub(super) signal: f64,
    pub(super) next_signal: f64,
    pub(super) direction: f64,
    pub(super) added: f64,
}

impl Step {
    pub(super) fn new(table: &NoiseSchedule, from: usize, to: usize, eta: f64) -> Self {
        let (alpha, next) = (table.alpha_cumprod(from), table.alpha_cumprod(to));
        let added = eta * ((1.0 - next) / (1.0 - alpha) * (1.0 - alpha / next)).max(0.0).sqrt();
        // eps = (x - sqrt(a) * denoised) / sqrt(1 - a), and what is left of it points to the next level. An eta
        // above 1 may ask for more noise than that level holds.
        let direction = ((1.0 - next - added * added).max(0.0) / (1.0 - alpha)).sqrt();
        Self { signal: alpha.sqrt(), next_signal: next.sqrt(), direction, added }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Sampler, SamplerOptions};
    use crate::schedule::Scheduler;

    fn pass(steps: u32, eta: Option<f64>) -> Pass {
        let options = SamplerOptions { eta, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::Ddim, Scheduler::Automatic, steps) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_diffusers() {
        agrees(&pass(5, None), [0.950887934627, 1.04176597801, 0.850441299267, 0.466896884332]);
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_diffusers_when_noisy() {
        agrees(&pass(8, Some(0.7)), [0.731888398798, 0.71109565286, 0.5811326685, 0.40312306799]);
    }

    #[test]
    fn has_a_call_less_than_timesteps_and_draws_in_each() {
        let calls = calls(&NoiseSchedule::sd1(), &[1, 251, 501, 751], 0.0);
        let told: Vec<f64> = calls.iter().map(|call| call.timestep).collect();
        assert_eq!(told, [751.0, 501.0, 251.0]);
        assert!(calls.iter().all(|call| call.needs_noise() && !call.reads(Noise)));
    }
}
