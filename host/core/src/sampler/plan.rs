//! A pass's UNet calls, worked out in full before the first one runs: every coefficient is known from the noise
//! levels alone. The engine takes one call at a time and never looks inside.

use super::start::Course;
use super::{Call, Pass, Sampler, Start, ddim, dpmpp_2m, euler, euler_ancestral, heun};
use crate::schedule::NoiseSchedule;

/// The calls of one picture in one pass, in order, and how many of them have been handed out.
#[derive(Debug, Clone)]
pub struct Plan {
    start: Start,
    calls: Vec<Call>,
    done: usize,
    skips: Skips,
    timestep_sampler: bool,
    clock_total: u32,
}

/// Why there is no plan for a pass. Limits refuse the same earlier; a plan does not rely on them.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PlanError {
    #[error("{sampler} cannot run {steps} steps; ask for {least} to {most}")]
    Steps { sampler: &'static str, steps: u32, least: u32, most: u32 },
    #[error("{field} is {value}; send a finite number that is not negative")]
    NotUsable { field: &'static str, value: f64 },
    #[error("{field} is {value}; send a finite number above 0, or leave it out")]
    NotPositive { field: &'static str, value: f64 },
}

impl Plan {
    /// Works out every call. `table` is the noise table of the request's model.
    pub fn new(pass: &Pass, table: &NoiseSchedule) -> Result<Self, PlanError> {
        pass.check()?;
        let (course, levels) = Course::new(pass, table);
        let (eta, churn) = (pass.eta(), &pass.options.churn);
        let calls = match pass.sampler {
            Sampler::Dpmpp2m => dpmpp_2m::calls(table, levels.sigmas()),
            Sampler::EulerA => euler_ancestral::calls(table, levels.sigmas(), eta),
            Sampler::Euler => euler::calls(table, levels.sigmas(), churn),
            Sampler::Heun => heun::calls(table, levels.sigmas(), churn),
            Sampler::Ddim => ddim::calls(table, levels.timesteps(), eta),
        };
        let doubled = |steps: u32| if pass.sampler.is_second_order() { 2 * steps } else { steps };
        Ok(Self {
            start: course.start,
            calls,
            done: 0,
            skips: Skips::new(pass, doubled(course.steps)),
            timestep_sampler: pass.sampler.is_timestep_sampler(),
            clock_total: doubled(pass.steps),
        })
    }

    /// How the first latent is made.
    pub fn start(&self) -> Start {
        self.start
    }

    /// The next call, or `None` when the pass is done. `measured` is the answer to the last call's
    /// [`Call::measure`].
    pub fn next_call(&mut self, measured: Option<f64>) -> Option<Call> {
        let _ = measured;
        let mut call = self.calls.get(self.done)?.clone();
        call.guidance.skip_unconditional = self.skips.skip(self.done as u32, call.sigma);
        self.done += 1;
        Some(call)
    }

    /// UNet calls in all. 0 when a denoising strength asks for none: the latent is then finished as it starts.
    pub fn total_calls(&self) -> u32 {
        self.calls.len() as u32
    }

    /// Calls handed out so far.
    pub fn calls_done(&self) -> u32 {
        self.done as u32
    }

    /// Masked areas are put back before each call rather than after it: so do timestep samplers.
    pub fn blends_before_call(&self) -> bool {
        self.timestep_sampler
    }

    /// What the place of a prompt's change is counted in: steps, doubled where each has two calls. The clock itself
    /// is [`Plan::calls_done`].
    pub fn prompt_clock_total(&self) -> u32 {
        self.clock_total
    }
}

/// When the negative prompt is left out.
#[derive(Debug, Clone, Copy)]
struct Skips {
    below_sigma: f64,
    all_steps: bool,
    early_share: f64,
    total: u32,
}

impl Skips {
    fn new(pass: &Pass, total: u32) -> Self {
        let options = &pass.options;
        let (below_sigma, all_steps) = (options.ngms_sigma, options.ngms_all_steps);
        Self { below_sigma, all_steps, early_share: options.skip_early_cond, total }
    }

    /// `number` counts calls from 0.
    fn skip(&self, number: u32, sigma: f64) -> bool {
        let early =
            self.early_share != 0.0 && f64::from(number) <= self.early_share * f64::from(self.total.max(1));
        let low = sigma < self.below_sigma && (self.all_steps || number % 2 == 1);
        early || low
    }
}

#[cfg(test)]
mod tests;
