//! DPM-Solver++(3M) as a stochastic equation, by Crowson in k-diffusion (`sample_dpmpp_3m_sde`), after Lu et al. 2022.
//! One call a step; from the third step on it looks at the two last predictions.

use super::Register::{Denoised, Noise, Saved, X};
use super::{Assign, Call};
use crate::schedule::NoiseSchedule;

/// `span` is the lowest and the highest level of the whole schedule, of which `sigmas` may be the end.
pub(super) fn calls(
    table: &NoiseSchedule,
    sigmas: &[f64],
    span: (f64, f64),
    eta: f64,
    noise: f64,
) -> Vec<Call> {
    let length = |i: usize| (sigmas[i] / sigmas[i + 1]).ln();
    let step = |(i, pair): (usize, &[f64])| {
        let (sigma, next) = (pair[0], pair[1]);
        let call = Call::at_sigma(table, sigma, i);
        if next == 0.0 {
            return Call { after: vec![Assign::new(X, [(1.0, Denoised)])], ..call };
        }
        let whole = length(i) * (1.0 + eta);
        let gain = -(-whole).exp_m1();
        let [now, last, before] = match i {
            0 => [0.0; 3],
            1 => first_difference(gain, whole, length(0) / length(1)),
            _ => second_difference(gain, whole, length(i - 1) / length(i), length(i - 2) / length(i)),
        };
        let added = noise * next * (-(-2.0 * eta * length(i)).exp_m1()).sqrt();
        let terms = [
            ((-whole).exp(), X),
            (gain + now, Denoised),
            (last, Saved(0)),
            (before, Saved(1)),
            (added, Noise),
        ];
        let mut after = vec![Assign::new(X, terms)];
        if i > 0 {
            after.push(Assign::new(Saved(1), [(1.0, Saved(0))]));
        }
        after.push(Assign::new(Saved(0), [(1.0, Denoised)]));
        Call { after, ..call }.drawing_brownian(sigma, next, span)
    };
    sigmas.windows(2).enumerate().map(step).collect()
}

/// Weights of this, the last and the last but one prediction. `r` is the length of the last step by this one's.
fn first_difference(gain: f64, whole: f64, r: f64) -> [f64; 3] {
    let phi = 1.0 - gain / whole;
    [phi / r, -phi / r, 0.0]
}

fn second_difference(gain: f64, whole: f64, r0: f64, r1: f64) -> [f64; 3] {
    let phi_2 = 1.0 - gain / whole;
    let phi_3 = phi_2 / whole - 0.5;
    // First differences over the last two steps, each as weights of the three predictions.
    let near = [1.0 / r0, -1.0 / r0, 0.0];
    let far = [0.0, 1.0 / r1, -1.0 / r1];
    std::array::from_fn(|k| {
        let bend = (near[k] - far[k]) / (r0 + r1);
        phi_2 * (near[k] + bend * r0) - phi_3 * bend
    })
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Sampler, SamplerOptions};
    use crate::schedule::Scheduler;

    fn pass(eta: Option<f64>) -> Pass {
        let options = SamplerOptions { eta, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::Dpmpp3mSde, Scheduler::Exponential, 6) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`. The level before the last is left out.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(&pass(None), [0.827053779935, 0.793678414288, 0.621478973501, 0.391443545268]);
        agrees(&pass(Some(0.4)), [0.771394637117, 0.755708224149, 0.615291839004, 0.416185501682]);
    }
}
