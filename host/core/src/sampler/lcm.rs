//! LCM: Luo et al. 2023, "Latent consistency models". Each call predicts the end of the path at once; fresh noise
//! takes the latent to the next level. Distilled models know 50 of the 1000 levels, and their estimate blends into
//! the latent as the level goes to 0.

use super::Register::{Denoised, Noise, X};
use super::{Assign, Call};
use crate::schedule::NoiseSchedule;

/// The levels distilled models know: one in this many, counted from the last.
const STRIDE: usize = 20;
/// Standard deviation of the data, and what the timestep is multiplied by, in the boundary condition.
const SIGMA_DATA: f64 = 0.5;
const TIMESTEP_SCALE: f64 = 10.0;

/// The 50 levels, as a table whose timestep `i` is the model's `20 i + 19`.
pub(super) fn table(table: &NoiseSchedule) -> NoiseSchedule {
    table.every(STRIDE)
}

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64]) -> Vec<Call> {
    let known = self::table(table);
    let step = |(i, pair): (usize, &[f64])| {
        let after = vec![Assign::new(X, [(1.0, Denoised), (pair[1], Noise)])];
        Call { after, ..call(table, &known, pair[0], i) }.drawing()
    };
    sigmas.windows(2).enumerate().map(step).collect()
}

fn call(table: &NoiseSchedule, known: &NoiseSchedule, sigma: f64, step: usize) -> Call {
    let timestep = (known.nearest_timestep(sigma) * STRIDE + STRIDE - 1) as f64;
    let plain = Call::at_sigma(table, sigma, step);
    let scaled = timestep * TIMESTEP_SCALE;
    let norm = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
    let (keep, take) = (SIGMA_DATA * SIGMA_DATA / norm, scaled / norm.sqrt());
    Call { timestep, c_skip: keep + take * plain.c_skip, c_out: take * plain.c_out, ..plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Plan, Sampler};
    use crate::schedule::Scheduler;

    fn pass(scheduler: Scheduler, steps: u32) -> Pass {
        Pass::new(Sampler::Lcm, scheduler, steps)
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`; the boundary condition is diffusers'.
    #[test]
    fn agrees_with_diffusers_boundary_condition() {
        agrees(
            &pass(Scheduler::Automatic, 4),
            [0.374761808611, 0.543283074855, 0.690895001579, 0.748173393146],
        );
        agrees(&pass(Scheduler::Karras, 6), [0.48434500709, 0.42764523041, 0.40098331655, 0.416898780202]);
    }

    #[test]
    fn tells_the_model_only_timesteps_it_knows() {
        let mut plan = Plan::new(&pass(Scheduler::Karras, 13), &NoiseSchedule::sd1()).unwrap();
        let told: Vec<f64> = std::iter::from_fn(|| plan.next_call(None)).map(|call| call.timestep).collect();
        assert_eq!((told.first(), told.last()), (Some(&999.0), Some(&19.0)));
        assert!(told.iter().all(|t| (*t as usize) % STRIDE == STRIDE - 1), "{told:?}");
    }

    #[test]
    fn draws_between_calls_only() {
        let mut plan = Plan::new(&pass(Scheduler::Automatic, 4), &NoiseSchedule::sd1()).unwrap();
        let draws: Vec<bool> =
            std::iter::from_fn(|| plan.next_call(None)).map(|call| call.needs_noise()).collect();
        assert_eq!(draws, [true, true, true, false]);
    }
}
