//! DDIM: Song et al. 2021, equation 12, as web UIs run it. It steps by timesteps and never asks a scheduler; the
//! latent is in alpha space (`x = sqrt(a) * signal + sqrt(1 - a) * noise`), which is what the UNet takes as it is.

use super::Register::{Denoised, Noise, X};
use super::{Assign, Call};
use crate::schedule::NoiseSchedule;

/// The list has a timestep more than there are calls: the last level is the first entry's, not level 0.
pub(super) fn calls(table: &NoiseSchedule, steps: u32, eta: f64) -> Vec<Call> {
    let timesteps = timesteps(table, steps);
    let pairs = timesteps.windows(2).rev().enumerate();
    pairs.map(|(i, pair)| call(table, pair[1], pair[0], eta, i)).collect()
}

/// Rising, with a stride of 1000 / steps rounded down, shifted by one and kept in the table.
fn timesteps(table: &NoiseSchedule, steps: u32) -> Vec<usize> {
    let len = table.sigmas().len();
    let stride = (len / steps as usize).max(1);
    (0..len).step_by(stride).map(|t| (t + 1).min(len - 1)).collect()
}

fn call(table: &NoiseSchedule, from: usize, to: usize, eta: f64, step: usize) -> Call {
    let (alpha, next) = (table.alpha_cumprod(from), table.alpha_cumprod(to));
    let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
    let added = eta * ((1.0 - next) / (1.0 - alpha) * (1.0 - alpha / next)).sqrt();
    // eps = (x - sqrt(a) * denoised) / sqrt(1 - a), and what is left of it points to the next level. An eta above
    // 1 may ask for more noise than that level holds.
    let direction = (1.0 - next - added * added).max(0.0).sqrt() / noise;
    let terms = [(direction, X), (next.sqrt() - direction * signal, Denoised), (added, Noise)];
    Call {
        before: Vec::new(),
        sigma: noise / signal,
        timestep: from as f64,
        c_in: 1.0,
        c_skip: 1.0 / signal,
        c_out: -noise / signal,
        after: vec![Assign::new(X, terms)],
        step: step as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::request::GenerateRequest;
    use crate::sampler::Sampler;
    use crate::sampler::reference::agrees;

    fn request(steps: u32, eta: Option<f64>) -> GenerateRequest {
        GenerateRequest { sampler: Sampler::Ddim, steps, eta, ..fixture::request() }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_diffusers() {
        agrees(&request(5, None), [0.950887934627, 1.04176597801, 0.850441299267, 0.466896884332]);
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_diffusers_when_noisy() {
        agrees(&request(8, Some(0.7)), [0.731888398798, 0.71109565286, 0.5811326685, 0.40312306799]);
    }

    #[test]
    fn has_a_call_less_than_timesteps() {
        let table = NoiseSchedule::sd1();
        assert_eq!(timesteps(&table, 4), [1, 251, 501, 751]);
        let told: Vec<f64> = calls(&table, 4, 0.0).iter().map(|call| call.timestep).collect();
        assert_eq!(told, [751.0, 501.0, 251.0]);
    }

    #[test]
    fn timesteps_past_the_table_are_its_last() {
        let all = timesteps(&NoiseSchedule::sd1(), 1000);
        assert_eq!((all.len(), all[998], all[999]), (1000, 999, 999));
    }
}
