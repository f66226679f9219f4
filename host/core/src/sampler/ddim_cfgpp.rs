//! DDIM CFG++: Chung et al. 2024, "CFG++: manifold-constrained classifier free guidance". A DDIM step whose estimate
//! is guided (on a scale 12.5 times smaller than requests name) and whose way back to noise is not.

use super::Register::{Denoised, Noise, Unconditional, X};
use super::{Assign, Call, Draw, Guidance, ddim};
use crate::schedule::NoiseSchedule;

/// What a request's CFG scale is divided by: CFG++ works on 0 to 1.
const SCALE: f64 = 12.5;

pub(super) fn calls(table: &NoiseSchedule, timesteps: &[usize], eta: f64) -> Vec<Call> {
    let pairs = timesteps.windows(2).rev().enumerate();
    pairs.map(|(i, pair)| call(table, pair[1], pair[0], eta, i)).collect()
}

fn call(table: &NoiseSchedule, from: usize, to: usize, eta: f64, step: usize) -> Call {
    let ddim::Step { signal, next_signal, direction, added } = ddim::Step::new(table, from, to, eta);
    let terms =
        [(direction, X), (-direction * signal, Unconditional), (next_signal, Denoised), (added, Noise)];
    Call {
        after: vec![Assign::new(X, terms)],
        draw: Draw::Next,
        guidance: Guidance { scale: 1.0 / SCALE, ..Guidance::default() },
        ..Call::at_timestep(table, from, step)
    }
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::agrees_guided;
    use crate::sampler::{Pass, Sampler, SamplerOptions};
    use crate::schedule::Scheduler;

    /// Values: `python host/core/tests/reference_tables.py samplers`, at a CFG scale of 7.
    #[test]
    fn agrees_with_diffusers_step_for_a_guided_estimate() {
        agrees_guided(
            &Pass::new(Sampler::DdimCfgpp, Scheduler::Automatic, 5),
            7.0,
            [0.937580659795, 1.03156160373, 0.833704418024, 0.437064428707],
        );
        let options = SamplerOptions { eta: Some(0.7), ..SamplerOptions::default() };
        let noisy = Pass { options, ..Pass::new(Sampler::DdimCfgpp, Scheduler::Automatic, 8) };
        agrees_guided(&noisy, 7.0, [0.782865386253, 0.761712207387, 0.63221743146, 0.455284475004]);
    }
}
