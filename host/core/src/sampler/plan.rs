//! A request's UNet calls, worked out in full before the first one runs: every coefficient is known from the noise
//! levels alone. The engine takes one call at a time and never looks inside.

use super::{Call, Sampler, ddim, dpmpp_2m, euler, euler_ancestral, heun};
use crate::request::{Churn, GenerateRequest};
use crate::schedule::{self, NoiseSchedule, Scheduler};

/// The calls of one picture, in order, and how many of them have been handed out.
#[derive(Debug, Clone)]
pub struct Plan {
    initial_scale: f64,
    calls: Vec<Call>,
    done: usize,
}

/// Why there is no plan for a request. Limits refuse the same earlier; a plan does not rely on them.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PlanError {
    #[error("{sampler} cannot run {steps} steps; ask for {least} to {most}")]
    Steps { sampler: &'static str, steps: u32, least: u32, most: u32 },
    #[error("{field} is {value}; send a finite number that is not negative")]
    NotUsable { field: &'static str, value: f64 },
}

impl Plan {
    /// Steps beyond the timesteps of the table would repeat levels.
    pub const MAX_STEPS: u32 = 1000;

    /// Works out every call. `table` is the noise table of the request's model.
    pub fn new(request: &GenerateRequest, table: &NoiseSchedule) -> Result<Self, PlanError> {
        check(request)?;
        let sampler = request.sampler;
        let eta = request.eta.unwrap_or(sampler.default_eta());
        if sampler == Sampler::Ddim {
            return Ok(Self { initial_scale: 1.0, calls: ddim::calls(table, request.steps, eta), done: 0 });
        }
        let scheduler = match request.scheduler {
            Scheduler::Automatic => sampler.default_scheduler(),
            named => named,
        };
        let sigmas = schedule::sigmas(scheduler, table, request.steps);
        let calls = match sampler {
            Sampler::Dpmpp2m => dpmpp_2m::calls(table, &sigmas),
            Sampler::EulerA => euler_ancestral::calls(table, &sigmas, eta),
            Sampler::Heun => heun::calls(table, &sigmas, &request.churn),
            Sampler::Euler | Sampler::Ddim => euler::calls(table, &sigmas, &request.churn),
        };
        Ok(Self { initial_scale: sigmas[0], calls, done: 0 })
    }

    /// The first latent is standard normal noise times this.
    pub fn initial_scale(&self) -> f64 {
        self.initial_scale
    }

    /// The next call, or `None` when the picture is done.
    pub fn next_call(&mut self) -> Option<Call> {
        let call = self.calls.get(self.done)?.clone();
        self.done += 1;
        Some(call)
    }

    /// UNet calls in all, at least 1.
    pub fn total_calls(&self) -> u32 {
        self.calls.len() as u32
    }

    /// Calls handed out so far.
    pub fn calls_done(&self) -> u32 {
        self.done as u32
    }
}

fn check(request: &GenerateRequest) -> Result<(), PlanError> {
    // DDIM calls the UNet once less than it has timesteps, so one step would be a picture of noise.
    let (sampler, steps) = (request.sampler.label(), request.steps);
    let (least, most) = (if request.sampler == Sampler::Ddim { 2 } else { 1 }, Plan::MAX_STEPS);
    if !(least..=most).contains(&steps) {
        return Err(PlanError::Steps { sampler, steps, least, most });
    }
    let Churn { amount, min_sigma, max_sigma, noise } = request.churn;
    let fields = [
        ("eta", request.eta.unwrap_or(0.0)),
        ("s_churn", amount),
        ("s_tmin", min_sigma),
        ("s_noise", noise),
        // "No limit" is infinite and fine.
        ("s_tmax", if max_sigma == f64::INFINITY { 0.0 } else { max_sigma }),
    ];
    match fields.into_iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
        Some((field, value)) => Err(PlanError::NotUsable { field, value }),
        None => Ok(()),
    }
}

impl Call {
    /// A call on a latent in sigma space (`x = signal + sigma * noise`) of a model that predicts the noise.
    pub(super) fn at_sigma(table: &NoiseSchedule, sigma: f64, step: usize) -> Self {
        Self {
            before: Vec::new(),
            sigma,
            timestep: table.timestep_of(sigma),
            c_in: 1.0 / (sigma * sigma + 1.0).sqrt(),
            c_skip: 1.0,
            c_out: -sigma,
            after: Vec::new(),
            step: step as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;
    use crate::sampler::reference;

    fn of(sampler: Sampler, steps: u32) -> Result<Plan, PlanError> {
        Plan::new(&GenerateRequest { sampler, steps, ..fixture::request() }, &NoiseSchedule::sd1())
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
                assert!(plan.next_call().is_some());
            }
            assert_eq!((plan.next_call(), plan.calls_done()), (None, calls));
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
        let table = NoiseSchedule::sd1();
        for (churn, field) in [
            (Churn { amount: f64::NAN, ..Churn::default() }, "s_churn"),
            (Churn { min_sigma: -1.0, ..Churn::default() }, "s_tmin"),
            (Churn { max_sigma: f64::NAN, ..Churn::default() }, "s_tmax"),
            (Churn { noise: f64::INFINITY, ..Churn::default() }, "s_noise"),
        ] {
            let error = Plan::new(&GenerateRequest { churn, ..fixture::request() }, &table).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
        let eta = Some(f64::INFINITY);
        assert!(Plan::new(&GenerateRequest { eta, ..fixture::request() }, &table).is_err());
    }

    #[test]
    fn automatic_is_the_samplers_default_scheduler() {
        let table = NoiseSchedule::sd1();
        let scheduler = Scheduler::Karras;
        let sampler = Sampler::Dpmpp2m;
        let named = Plan::new(&GenerateRequest { sampler, scheduler, ..fixture::request() }, &table).unwrap();
        assert_eq!(of(sampler, 20).unwrap().calls, named.calls);
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
            let request =
                GenerateRequest { sampler, scheduler, steps, eta: Some(eta), churn, ..fixture::request() };
            let got = reference::run(&request, |_, _| 0.25);
            prop_assert!(got.iter().all(|x| (x - 0.25).abs() < 1e-9), "{got:?}");
        }

        /// No request with numbers in range makes a plan that divides by nothing.
        #[test]
        fn coefficients_are_finite_and_timesteps_in_range(
            sampler in prop::sample::select(Sampler::ALL.to_vec()),
            scheduler in prop::sample::select(Scheduler::ALL.to_vec()),
            steps in 2u32..=1000,
            eta in 0.0f64..10.0,
            amount in 0.0f64..1000.0,
        ) {
            let churn = Churn { amount, ..Churn::default() };
            let request =
                GenerateRequest { sampler, scheduler, steps, eta: Some(eta), churn, ..fixture::request() };
            let plan = Plan::new(&request, &NoiseSchedule::sd1()).unwrap();
            prop_assert!(plan.initial_scale.is_finite() && !plan.calls.is_empty());
            for call in &plan.calls {
                let assigns = call.before.iter().chain(&call.after);
                let terms = assigns.flat_map(|assign| assign.terms.iter().map(|(coefficient, _)| *coefficient));
                let mut numbers = terms.chain([call.sigma, call.c_in, call.c_skip, call.c_out]);
                prop_assert!(numbers.all(f64::is_finite), "{call:?}");
                prop_assert!((0.0..=999.0).contains(&call.timestep));
            }
        }
    }
}
