//! What holds for the plans of every sampler.

use proptest::prelude::*;

use super::*;
use crate::sampler::{Churn, SamplerOptions, reference};
use crate::schedule::Scheduler;

fn of(sampler: Sampler, steps: u32) -> Result<Plan, PlanError> {
    Plan::new(&Pass::new(sampler, Scheduler::Automatic, steps), &NoiseSchedule::sd1())
}

#[test]
fn counts_calls_as_published() {
    for (sampler, steps, calls) in [
        (Sampler::Dpmpp2m, 20, 20),
        (Sampler::EulerA, 20, 20),
        (Sampler::Euler, 20, 20),
        (Sampler::Heun, 20, 39),
        (Sampler::Ddim, 20, 19),
        (Sampler::Ddim, 30, 30),
    ] {
        let mut plan = of(sampler, steps).unwrap();
        assert_eq!(plan.total_calls(), calls, "{sampler:?}");
        for done in 0..calls {
            assert_eq!(plan.calls_done(), done);
            assert!(plan.next_call(None).is_some());
        }
        assert_eq!((plan.next_call(None), plan.calls_done()), (None, calls));
    }
}

#[test]
fn refuses_steps_it_cannot_run() {
    for (sampler, steps) in [(Sampler::Euler, 0), (Sampler::Ddim, 1), (Sampler::Heun, 1001)] {
        assert!(matches!(of(sampler, steps), Err(PlanError::Steps { .. })), "{sampler:?} {steps}");
    }
    let message = of(Sampler::Ddim, 1).unwrap_err().to_string();
    assert_eq!(message, "DDIM cannot run 1 steps; ask for 2 to 1000");
}

#[test]
fn refuses_numbers_that_would_end_in_nan() {
    let plain = SamplerOptions::default();
    let churn = Churn::default();
    for (options, field) in [
        (SamplerOptions { churn: Churn { amount: f64::NAN, ..churn }, ..plain.clone() }, "s_churn"),
        (SamplerOptions { churn: Churn { min_sigma: -1.0, ..churn }, ..plain.clone() }, "s_tmin"),
        (SamplerOptions { churn: Churn { max_sigma: f64::NAN, ..churn }, ..plain.clone() }, "s_tmax"),
        (SamplerOptions { churn: Churn { noise: f64::INFINITY, ..churn }, ..plain.clone() }, "s_noise"),
        (SamplerOptions { eta: Some(f64::INFINITY), ..plain.clone() }, "eta"),
        (SamplerOptions { sigma_min: Some(0.0), ..plain.clone() }, "sigma_min"),
        (SamplerOptions { beta_alpha: f64::NAN, ..plain.clone() }, "beta_dist_alpha"),
    ] {
        let pass = Pass { options, ..Pass::new(Sampler::Euler, Scheduler::Automatic, 20) };
        let error = Plan::new(&pass, &NoiseSchedule::sd1()).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[test]
fn automatic_is_the_samplers_default_scheduler() {
    let named = Pass::new(Sampler::Dpmpp2m, Scheduler::Karras, 20);
    let named = Plan::new(&named, &NoiseSchedule::sd1()).unwrap();
    assert_eq!(of(Sampler::Dpmpp2m, 20).unwrap().calls, named.calls);
}

#[test]
fn the_prompt_clock_is_doubled_where_steps_have_two_calls() {
    let totals =
        [Sampler::Euler, Sampler::Heun, Sampler::Ddim].map(|s| of(s, 20).unwrap().prompt_clock_total());
    assert_eq!(totals, [20, 40, 20]);
}

fn skipped(options: SamplerOptions) -> Vec<bool> {
    let pass = Pass { options, ..Pass::new(Sampler::Euler, Scheduler::Karras, 8) };
    let mut plan = Plan::new(&pass, &NoiseSchedule::sd1()).unwrap();
    std::iter::from_fn(|| plan.next_call(None)).map(|call| call.guidance.skip_unconditional).collect()
}

#[test]
fn the_negative_prompt_is_left_out_on_every_second_call_at_low_noise() {
    let options = SamplerOptions { ngms_sigma: 3.0, ..SamplerOptions::default() };
    // Levels: 14.6, 7.8, 3.9, 1.8, 0.75, 0.28, 0.10, 0.03.
    assert_eq!(skipped(options.clone()), [false, false, false, true, false, true, false, true]);
    let all = SamplerOptions { ngms_all_steps: true, ..options };
    assert_eq!(skipped(all), [false, false, false, true, true, true, true, true]);
}

#[test]
fn the_negative_prompt_is_left_out_early_up_to_the_share() {
    let options = SamplerOptions { skip_early_cond: 0.25, ..SamplerOptions::default() };
    assert_eq!(skipped(options), [true, true, true, false, false, false, false, false]);
    assert_eq!(skipped(SamplerOptions::default()), [false; 8]);
}

proptest! {
    /// Whatever a sampler does on the way, a model that is sure of the picture gets that picture.
    #[test]
    fn a_constant_prediction_is_where_every_sigma_sampler_ends(
        sampler in prop::sample::select(vec![Sampler::Dpmpp2m, Sampler::EulerA, Sampler::Euler, Sampler::Heun]),
        scheduler in prop::sample::select(Scheduler::ALL.to_vec()),
        steps in 1u32..200,
        eta in 0.0f64..=1.0,
        amount in 0.0f64..100.0,
    ) {
        // A level raised above the table is one the network cannot be told, so its answer is off there.
        let max_sigma = NoiseSchedule::sd1().sigma_max() / std::f64::consts::SQRT_2;
        let churn = Churn { amount, max_sigma, ..Churn::default() };
        let options = SamplerOptions { eta: Some(eta), churn, ..SamplerOptions::default() };
        let got = reference::run(&Pass { options, ..Pass::new(sampler, scheduler, steps) }, |_, _| 0.25);
        prop_assert!(got.iter().all(|x| (x - 0.25).abs() < 1e-9), "{got:?}");
    }

    /// No pass with numbers in range makes a plan that divides by nothing.
    #[test]
    fn coefficients_are_finite_and_timesteps_in_range(
        sampler in prop::sample::select(Sampler::ALL.to_vec()),
        scheduler in prop::sample::select(Scheduler::ALL.to_vec()),
        steps in 2u32..=1000,
        eta in 0.0f64..10.0,
        amount in 0.0f64..1000.0,
    ) {
        let churn = Churn { amount, ..Churn::default() };
        let options = SamplerOptions { eta: Some(eta), churn, ..SamplerOptions::default() };
        let pass = Pass { options, ..Pass::new(sampler, scheduler, steps) };
        let plan = Plan::new(&pass, &NoiseSchedule::sd1()).unwrap();
        prop_assert!(plan.start.noise.is_finite() && !plan.calls.is_empty());
        for call in &plan.calls {
            let assigns = call.before.iter().chain(&call.after);
            let terms = assigns.flat_map(|assign| assign.terms.iter().map(|(coefficient, _)| *coefficient));
            let mut numbers = terms.chain([call.sigma, call.c_in, call.c_skip, call.c_out]);
            prop_assert!(numbers.all(f64::is_finite), "{call:?}");
            prop_assert!((0.0..=999.0).contains(&call.timestep));
        }
    }
}
