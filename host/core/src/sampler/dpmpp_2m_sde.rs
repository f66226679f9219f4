//! DPM-Solver++(2M) as a stochastic equation: Lu et al. 2022, "DPM-Solver++", in k-diffusion's form
//! (`sample_dpmpp_2m_sde`). One call a step; the step looks at the last prediction by the midpoint rule or by Heun's.

use super::Register::{Denoised, Noise, Saved, X};
use super::{Assign, Call};
use crate::schedule::NoiseSchedule;

/// How a step weighs the change since the last prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Midpoint,
    Heun,
}

/// `span` is the lowest and the highest level of the whole schedule, of which `sigmas` may be the end.
pub(super) fn calls(
    table: &NoiseSchedule,
    sigmas: &[f64],
    span: (f64, f64),
    eta: f64,
    noise: f64,
    rule: Rule,
) -> Vec<Call> {
    let step = |(i, pair): (usize, &[f64])| {
        let (sigma, next) = (pair[0], pair[1]);
        let call = Call::at_sigma(table, sigma, i);
        if next == 0.0 {
            return Call { after: vec![Assign::new(X, [(1.0, Denoised)])], ..call };
        }
        let length = (sigma / next).ln();
        let gain = -(-length * (1.0 + eta)).exp_m1();
        let change = match rule {
            Rule::Midpoint => 0.5 * gain,
            Rule::Heun => 1.0 - gain / (length * (1.0 + eta)),
        };
        // The change since the last call, were that one as far away as the next.
        let share = if i > 0 { change * length / (sigmas[i - 1] / sigma).ln() } else { 0.0 };
        let added = noise * next * (-(-2.0 * eta * length).exp_m1()).sqrt();
        let terms = [
            (next / sigma * (-eta * length).exp(), X),
            (gain + share, Denoised),
            (-share, Saved(0)),
            (added, Noise),
        ];
        let after = vec![Assign::new(X, terms), Assign::new(Saved(0), [(1.0, Denoised)])];
        Call { after, ..call }.drawing_brownian(sigma, next, span)
    };
    sigmas.windows(2).enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::{agrees, run};
    use crate::sampler::{Pass, Sampler, SamplerOptions};
    use crate::schedule::Scheduler;

    fn pass(sampler: Sampler, eta: Option<f64>) -> Pass {
        let options = SamplerOptions { eta, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(sampler, Scheduler::Exponential, 6) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(
            &pass(Sampler::Dpmpp2mSde, None),
            [0.511784495064, 0.642279432992, 0.705155602358, 0.670841358243],
        );
        agrees(
            &pass(Sampler::Dpmpp2mSde, Some(0.4)),
            [0.604987273418, 0.671739662121, 0.653539536191, 0.558946699237],
        );
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion_by_heuns_rule() {
        agrees(
            &pass(Sampler::Dpmpp2mSdeHeun, None),
            [0.501365320226, 0.68416779027, 0.779650742801, 0.742907053281],
        );
    }

    #[test]
    fn without_eta_the_midpoint_rule_is_the_plain_solver() {
        let noisy = pass(Sampler::Dpmpp2mSde, Some(0.0));
        let plain = Pass { sampler: Sampler::Dpmpp2m, ..noisy.clone() };
        for (a, b) in run(&noisy, |x, _| x.tanh()).iter().zip(run(&plain, |x, _| x.tanh())) {
            assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        }
    }
}
