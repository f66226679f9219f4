//! What holds for the plans of every sampler.

use proptest::prelude::*;

use super::*;
use crate::sampler::{Churn, Denoise, Draw, Register, SamplerOptions, reference};
use crate::schedule::{NoiseTable, Prediction, Scheduler};

fn of(sampler: Sampler, steps: u32) -> Result<Plan, PlanError> {
    Plan::new(&Pass::new(sampler, Scheduler::Automatic, steps), &NoiseSchedule::sd1())
}

/// Every call, with the same answer to every measure.
fn calls(plan: &mut Plan) -> Vec<Call> {
    std::iter::from_fn(|| plan.next_call(Some(0.5))).collect()
}

#[test]
fn counts_calls_as_published() {
    for (sampler, steps, calls) in [
        (Sampler::Dpmpp2m, 20, 20),
        (Sampler::DpmppSde, 20, 39),
        (Sampler::Dpmpp2mSde, 20, 20),
        (Sampler::Dpmpp2mSdeHeun, 20, 20),
        (Sampler::Dpmpp2sA, 20, 39),
        (Sampler::Dpmpp3mSde, 20, 20),
        (Sampler::EulerA, 20, 20),
        (Sampler::Euler, 20, 20),
        (Sampler::Lms, 20, 20),
        (Sampler::Heun, 20, 39),
        (Sampler::Dpm2, 20, 39),
        (Sampler::Dpm2A, 20, 39),
        (Sampler::DpmFast, 20, 20),
        (Sampler::Restart, 20, 39),
        (Sampler::Ddim, 20, 19),
        (Sampler::Ddim, 30, 30),
        (Sampler::DdimCfgpp, 20, 19),
        (Sampler::Plms, 20, 20),
        (Sampler::UniPc, 20, 20),
        (Sampler::Lcm, 20, 20),
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
fn what_is_said_of_a_samplers_noise_is_what_its_calls_do() {
    let churn = Churn { amount: 3.0, ..Churn::default() };
    let louder = Churn { noise: 1.5, ..churn };
    let plan = |sampler, options: SamplerOptions| {
        let pass = Pass { options, ..Pass::new(sampler, Scheduler::Automatic, 40) };
        (calls(&mut Plan::new(&pass, &NoiseSchedule::sd1()).unwrap()), pass.draws_again())
    };
    let adds = |call: &Call| {
        call.draw == Draw::Next && call.before.iter().chain(&call.after).any(|a| a.names(Register::Noise))
    };
    for sampler in Sampler::ALL {
        for (eta, churn) in [(Some(0.0), Churn::default()), (Some(0.5), Churn::default()), (None, churn)] {
            let (calls, said) = plan(sampler, SamplerOptions { eta, churn, ..SamplerOptions::default() });
            assert_eq!(calls.iter().any(adds), said, "{sampler:?} {eta:?} {churn:?}");
        }
        let [quiet, loud] = [churn, louder]
            .map(|churn| plan(sampler, SamplerOptions { churn, ..SamplerOptions::default() }).0);
        assert_eq!(quiet != loud, sampler.scales_noise(), "{sampler:?}");
    }
}

#[test]
fn each_kind_of_sampler_has_an_amount_of_ancestral_noise_of_its_own() {
    let options =
        SamplerOptions { eta_ancestral: Some(0.25), eta_ddim: Some(0.75), ..SamplerOptions::default() };
    let eta = |sampler, options: &SamplerOptions| {
        Pass { options: options.clone(), ..Pass::new(sampler, Scheduler::Automatic, 20) }.eta()
    };
    assert_eq!((eta(Sampler::EulerA, &options), eta(Sampler::Ddim, &options)), (0.25, 0.75));
    let both = SamplerOptions { eta: Some(0.5), ..options };
    assert_eq!((eta(Sampler::EulerA, &both), eta(Sampler::Ddim, &both)), (0.5, 0.5));
    let none = SamplerOptions::default();
    assert_eq!((eta(Sampler::EulerA, &none), eta(Sampler::Ddim, &none)), (1.0, 0.0));
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
    let mut named = Plan::new(&named, &NoiseSchedule::sd1()).unwrap();
    assert_eq!(calls(&mut of(Sampler::Dpmpp2m, 20).unwrap()), calls(&mut named));
}

fn skipped(options: SamplerOptions) -> Vec<bool> {
    reasons(8, options).iter().map(Option::is_some).collect()
}

fn reasons(steps: u32, options: SamplerOptions) -> Vec<Option<SkipReason>> {
    let pass = Pass { options, ..Pass::new(Sampler::Euler, Scheduler::Karras, steps) };
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
    // 0.58 of 50 calls are 28.999… in floating point; call 29 is 29/50 = 0.58 through, and left out with its place.
    let options = SamplerOptions { skip_early_cond: 0.58, ..SamplerOptions::default() };
    assert_eq!(reasons(50, options).iter().filter(|reason| reason.is_some()).count(), 30);
}

#[test]
fn what_is_left_out_early_is_told_from_what_is_left_out_at_low_noise() {
    let options = SamplerOptions {
        ngms_sigma: 8.0,
        ngms_all_steps: true,
        skip_early_cond: 0.25,
        ..SamplerOptions::default()
    };
    // From the second call on both would.
    let (early, low) = (Some(SkipReason::Early), Some(SkipReason::LowNoise));
    assert_eq!(reasons(8, options), [early, early, early, low, low, low, low, low]);
}

#[test]
fn ends_that_cross_are_refused_with_the_models_own() {
    let options = SamplerOptions { sigma_max: Some(0.01), ..SamplerOptions::default() };
    let pass = Pass { options, ..Pass::new(Sampler::Euler, Scheduler::Karras, 20) };
    let error = Plan::new(&pass, &NoiseSchedule::sd1()).unwrap_err();
    assert!(error.to_string().contains("is not below sigma_max 0.01"), "{error}");
    assert_eq!(error.field(), "sigma_max");
    let options = SamplerOptions { sigma_min: Some(20.0), ..SamplerOptions::default() };
    let pass = Pass { options, ..pass };
    assert_eq!(Plan::new(&pass, &NoiseSchedule::sd1()).unwrap_err().field(), "sigma_min");
}

#[test]
fn a_beta_distribution_that_is_all_at_its_ends_divides_by_nothing() {
    for (sampler, shape) in Sampler::ALL.into_iter().flat_map(|sampler| [0.01, 0.05].map(|s| (sampler, s))) {
        let options = SamplerOptions { beta_alpha: shape, beta_beta: shape, ..SamplerOptions::default() };
        let pass = Pass { options, ..Pass::new(sampler, Scheduler::Beta, 20) };
        for call in calls(&mut Plan::new(&pass, &NoiseSchedule::sd1()).unwrap()) {
            let mut terms = call.before.iter().chain(&call.after).flat_map(|assign| &assign.terms);
            assert!(terms.all(|(coefficient, _)| coefficient.is_finite()), "{sampler:?} {shape}: {call:?}");
        }
    }
}

#[test]
fn no_plan_keeps_more_than_a_handful_of_latents() {
    for sampler in Sampler::ALL {
        let all = calls(&mut of(sampler, 40).unwrap());
        let targets = all.iter().flat_map(|call| call.before.iter().chain(&call.after));
        let saved = targets.filter_map(|assign| match assign.target {
            Register::Saved(index) => Some(index),
            _ => None,
        });
        assert!(saved.max().is_none_or(|most| most <= 3), "{sampler:?}");
    }
}

/// Runs to a level above 0 keep the noise they saw: with a sure model and no eta, all of it.
#[test]
fn a_constant_prediction_keeps_its_noise_down_to_the_last_level() {
    let table = NoiseSchedule::sd1();
    let (low, high) = ((1.0, table.sigma_min()), (1.0, table.sigma_max()));
    let at = |timestep: usize| {
        let alpha = table.alpha_cumprod(timestep);
        (alpha.sqrt(), (1.0 - alpha).sqrt())
    };
    for (sampler, from, to) in [
        (Sampler::DpmFast, high, low),
        (Sampler::DpmAdaptive, high, low),
        (Sampler::Ddim, at(951), at(1)),
        (Sampler::Plms, at(951), at(1)),
        (Sampler::UniPc, at(999), at(0)),
    ] {
        let options = SamplerOptions { eta: Some(0.0), ..SamplerOptions::default() };
        let pass = Pass { options, ..Pass::new(sampler, Scheduler::Automatic, 20) };
        let start = of(sampler, 20).unwrap().start().noise;
        let got = reference::run(&pass, |_, _| 0.25);
        for (got, first) in got.iter().zip(reference::draw(0)) {
            let noise = (start * first - 0.25 * from.0) / from.1;
            let want = 0.25 * to.0 + noise * to.1;
            // UniPC calls between timesteps, where the test's network knows its level only so well.
            assert!((got - want).abs() < 1e-5, "{sampler:?}: {got} is not {want}");
        }
    }
}

fn ends_in_zero() -> Vec<Sampler> {
    let not = |sampler: &Sampler| {
        sampler.is_timestep_sampler() || sampler.makes_its_own_levels() || *sampler == Sampler::Lcm
    };
    Sampler::ALL.into_iter().filter(|sampler| !not(sampler)).collect()
}

proptest! {
    /// Whatever a sampler does on the way, a model that is sure of the picture gets that picture.
    #[test]
    fn a_constant_prediction_is_where_every_run_to_level_zero_ends(
        sampler in prop::sample::select(ends_in_zero()),
        scheduler in prop::sample::select(Scheduler::ALL.to_vec()),
        steps in 1u32..200,
        eta in 0.0f64..=1.0,
        amount in 0.0f64..100.0,
    ) {
        prop_assume!(scheduler.ends_in_zero());
        let table = NoiseSchedule::sd1();
        let churn = Churn { amount, max_sigma: table.sigma_max() / std::f64::consts::SQRT_2, ..Churn::default() };
        let options = SamplerOptions { eta: Some(eta), churn, ..SamplerOptions::default() };
        let pass = Pass { options, ..Pass::new(sampler, scheduler, steps) };
        // A level outside the table is one the network cannot be told, so its answer is off there: the first of
        // AlignYourSteps, and the last but one where Restart begins anew from level zero.
        let known = table.sigma_min() * (1.0 - 1e-9)..=table.sigma_max() * (1.0 + 1e-9);
        prop_assume!(calls(&mut Plan::new(&pass, &table).unwrap()).iter().all(|call| known.contains(&call.sigma)));
        let got = reference::run(&pass, |_, _| 0.25);
        prop_assert!(got.iter().all(|x| (x - 0.25).abs() < 1e-9), "{got:?}");
    }

    /// No pass with numbers in range makes a plan that divides by nothing.
    #[test]
    fn coefficients_are_finite_and_timesteps_in_range(
        sampler in prop::sample::select(Sampler::ALL.to_vec()),
        scheduler in prop::sample::select(Scheduler::ALL.to_vec()),
        steps in prop_oneof![1u32..=150, 1u32..=1000],
        eta in 0.0f64..10.0,
        amount in 0.0f64..1000.0,
        discard_penultimate: bool,
        zero_terminal_snr: bool,
        denoise in prop::option::of((0.0f64..=1.0, any::<bool>())),
    ) {
        let churn = Churn { amount, ..Churn::default() };
        let options = SamplerOptions { eta: Some(eta), churn, discard_penultimate, ..SamplerOptions::default() };
        let denoise = denoise.map(|(strength, exact_steps)| Denoise { strength, exact_steps });
        let noises = if zero_terminal_snr { NoiseTable::ZeroTerminalSnr } else { NoiseTable::ScaledLinear };
        let table = NoiseSchedule::new(Prediction::V, noises);
        let steps = steps.max(sampler.least_steps());
        let pass = Pass { options, denoise, ..Pass::new(sampler, scheduler, steps) };
        let mut plan = Plan::new(&pass, &table).unwrap();
        prop_assert!(plan.start.noise.is_finite() && plan.start.latent.is_finite());
        let all = calls(&mut plan);
        prop_assert!(denoise.is_some() || !all.is_empty());
        for call in &all {
            let assigns = call.before.iter().chain(&call.after);
            let terms = assigns.flat_map(|assign| assign.terms.iter().map(|(coefficient, _)| *coefficient));
            let mut numbers = terms.chain([call.sigma, call.c_in, call.c_skip, call.c_out]);
            prop_assert!(numbers.all(f64::is_finite), "{call:?}");
            prop_assert!((0.0..=999.0).contains(&call.timestep));
            if let Draw::Brownian { from, to, lowest, highest } = call.draw {
                prop_assert!(from > to && lowest < highest * (1.0 + 1e-6), "{call:?}");
            }
        }
    }
}

#[test]
fn of_a_quantized_table_every_sampler_tells_whole_timesteps() {
    let quantized = NoiseSchedule::sd1().quantized(true);
    // UniPC spaces its levels between timesteps, whatever the table.
    for sampler in Sampler::ALL.into_iter().filter(|sampler| *sampler != Sampler::UniPc) {
        let pass = Pass::new(sampler, Scheduler::Karras, 20);
        let all = calls(&mut Plan::new(&pass, &quantized).unwrap());
        assert!(all.iter().all(|call| call.timestep.fract() == 0.0), "{sampler:?}");
    }
    let told = |table: &NoiseSchedule| {
        let pass = Pass::new(Sampler::Euler, Scheduler::Karras, 20);
        calls(&mut Plan::new(&pass, table).unwrap()).iter().map(|call| call.timestep).collect::<Vec<_>>()
    };
    let (whole, between) = (told(&quantized), told(&NoiseSchedule::sd1()));
    assert!(whole.iter().zip(&between).all(|(whole, between)| (whole - between).abs() <= 0.5));
    assert_ne!(whole, between);
}

#[test]
fn the_prompt_clock_is_doubled_where_steps_have_two_calls() {
    let clock = |sampler| Pass::new(sampler, Scheduler::Automatic, 20).prompt_clock();
    assert_eq!([Sampler::Euler, Sampler::Heun, Sampler::Ddim].map(clock), [20, 40, 20]);
}

#[test]
fn of_a_redrawn_latent_the_strengths_share_of_the_steps_is_run() {
    let run = |strength, exact_steps| {
        let denoise = Some(Denoise { strength, exact_steps });
        Pass { denoise, ..Pass::new(Sampler::Euler, Scheduler::Automatic, 20) }.steps_run()
    };
    assert_eq!((run(0.75, false), run(0.75, true), run(1.0, false)), (16, 20, 20));
}
