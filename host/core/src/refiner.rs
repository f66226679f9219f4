//! Another checkpoint that goes on with a picture's latents from a share of its pass on: when it takes over, and in which
//! passes. The rules are the web UIs'. Knows neither the file behind the checkpoint's name nor any tensor.

use crate::sampler::{Call, Plan};
use crate::schedule::NoiseSchedule;

/// A refiner as the client asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refiner {
    /// The checkpoint as the client named it.
    pub model: String,
    /// The share of a pass from which on it draws, between 0 and 1, both excluded.
    pub switch_at: f64,
    /// Reckon the share by calls, as web UIs before 1.8 did, and not by noise.
    pub by_steps: bool,
    pub passes: RefinedPasses,
}

/// Which passes of a two-pass picture are refined. A picture drawn in one pass is refined in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RefinedPasses {
    First,
    #[default]
    Second,
    Both,
}

impl RefinedPasses {
    pub const ALL: [Self; 3] = [Self::First, Self::Second, Self::Both];

    /// The name in options and infotext.
    pub fn label(self) -> &'static str {
        match self {
            Self::First => "first pass",
            Self::Second => "second pass",
            Self::Both => "both passes",
        }
    }
}

/// A pass of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassPlace {
    Only,
    FirstOfTwo,
    SecondOfTwo,
}

impl Refiner {
    /// Whether it acts in a pass at all.
    pub fn acts_in(&self, pass: PassPlace) -> bool {
        match pass {
            PassPlace::Only => true,
            PassPlace::FirstOfTwo => self.passes != RefinedPasses::Second,
            PassPlace::SecondOfTwo => self.passes != RefinedPasses::First,
        }
    }

    /// Whether it draws from `call` on, the one that `plan` handed out last. `table` is the noise table that the plan was
    /// made with.
    pub fn takes_over(&self, plan: &Plan, call: &Call, table: &NoiseSchedule) -> bool {
        let done = if self.by_steps { plan.share_of_calls() } else { plan.share_of_noise(call, table) };
        done >= self.switch_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Denoise, Pass, Sampler};
    use crate::schedule::Scheduler;

    fn refiner(switch_at: f64, by_steps: bool) -> Refiner {
        Refiner { model: "other".into(), switch_at, by_steps, passes: RefinedPasses::default() }
    }

    /// Calls before the refiner's first one; `None` when it has none.
    fn calls_before(pass: &Pass, refiner: &Refiner) -> Option<u32> {
        let table = NoiseSchedule::sd1();
        let mut plan = Plan::new(pass, &table).unwrap();
        while let Some(call) = plan.next_call(Some(0.01)) {
            if refiner.takes_over(&plan, &call, &table) {
                return Some(plan.calls_done() - 1);
            }
        }
        None
    }

    #[test]
    fn by_steps_the_share_is_that_of_the_calls() {
        for (sampler, steps, switch_at, before) in [
            (Sampler::Euler, 10, 0.8, Some(8)),
            (Sampler::Euler, 10, 0.75, Some(8)),
            (Sampler::Euler, 10, 0.95, None),
            (Sampler::Euler, 1, 0.5, None),
            // Ten steps of two calls each, the last of which has one.
            (Sampler::Heun, 10, 0.5, Some(10)),
            (Sampler::Ddim, 10, 0.5, Some(5)),
        ] {
            let pass = Pass::new(sampler, Scheduler::Automatic, steps);
            assert_eq!(calls_before(&pass, &refiner(switch_at, true)), before, "{sampler:?} {switch_at}");
        }
        // Of image to image it is the steps that are run.
        let denoise = Some(Denoise { strength: 0.5, exact_steps: false });
        let pass = Pass { denoise, ..Pass::new(Sampler::Euler, Scheduler::Automatic, 19) };
        assert_eq!(calls_before(&pass, &refiner(0.5, true)), Some(5));
    }

    #[test]
    fn by_noise_the_share_is_that_of_the_trainings_timesteps() {
        // Even timesteps 999, 888, …, 111, 0: (999 - t) / 1000.
        let even = Pass::new(Sampler::Euler, Scheduler::Uniform, 10);
        for (switch_at, before) in
            [(0.111, Some(1)), (0.112, Some(2)), (0.8, Some(8)), (0.999, Some(9)), (0.9995, None)]
        {
            assert_eq!(calls_before(&even, &refiner(switch_at, false)), before, "{switch_at}");
        }
        // Most of Karras's levels are low ones, and so are reached late by timesteps.
        let karras = Pass::new(Sampler::Euler, Scheduler::Karras, 10);
        assert!(calls_before(&karras, &refiner(0.8, false)) < calls_before(&even, &refiner(0.8, false)));
        // Timestep samplers say theirs: 901, 801, …, 1.
        let ddim = Pass::new(Sampler::Ddim, Scheduler::Automatic, 10);
        assert_eq!(calls_before(&ddim, &refiner(0.098, false)), Some(0));
        assert_eq!(calls_before(&ddim, &refiner(0.099, false)), Some(1));
    }

    #[test]
    fn an_adaptive_sampler_is_taken_over_by_its_noise() {
        let pass = Pass::new(Sampler::DpmAdaptive, Scheduler::Karras, 20);
        assert!(calls_before(&pass, &refiner(0.5, false)).is_some_and(|calls| calls > 0));
    }

    #[test]
    fn a_picture_of_one_pass_is_refined_in_any_case() {
        for passes in RefinedPasses::ALL {
            let refiner = Refiner { passes, ..refiner(0.5, false) };
            let acts = [PassPlace::Only, PassPlace::FirstOfTwo, PassPlace::SecondOfTwo]
                .map(|place| refiner.acts_in(place));
            let want = match passes {
                RefinedPasses::First => [true, true, false],
                RefinedPasses::Second => [true, false, true],
                RefinedPasses::Both => [true; 3],
            };
            assert_eq!(acts, want, "{passes:?}");
        }
    }
}
