//! A pass's UNet calls, worked out in full before the first one runs: every coefficient is known from the noise
//! levels alone, but for DPM adaptive. The engine takes one call at a time and never looks inside.

use super::dpm_adaptive::Solver;
use super::dpmpp_2m_sde::Rule;
use super::start::{Course, Levels, UNTOUCHED};
use super::{
    Call, Pass, Sampler, SkipReason, Start, ddim, ddim_cfgpp, dpm_fast, dpm2, dpmpp_2m, dpmpp_2m_sde,
    dpmpp_2s_ancestral, dpmpp_3m_sde, dpmpp_sde, euler, euler_ancestral, heun, lcm, lms, plms, restart,
    unipc,
};
use crate::schedule::NoiseSchedule;

/// The calls of one picture in one pass, in order, and how many of them have been handed out.
#[derive(Debug, Clone)]
pub struct Plan {
    start: Start,
    source: Source,
    skips: Skips,
    timestep_sampler: bool,
}

/// Where calls come from.
#[derive(Debug, Clone)]
enum Source {
    Fixed { calls: Vec<Call>, done: usize },
    Adaptive(Box<Solver>),
}

impl Source {
    fn total_calls(&self) -> u32 {
        match self {
            Self::Fixed { calls, .. } => calls.len() as u32,
            Self::Adaptive(solver) => solver.total_calls(),
        }
    }
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
    #[error(
        "sigma_min {low} is not below sigma_max {high}; the model's own are {least} to {most}: ask for levels within them"
    )]
    Ends { low: f64, high: f64, least: f64, most: f64 },
}

impl PlanError {
    /// The field that is wrong, by its wire name.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Steps { .. } => "steps",
            Self::NotUsable { field, .. } | Self::NotPositive { field, .. } => field,
            // The lower end is the model's own, so that the upper one was asked for.
            Self::Ends { low, least, .. } if low == least => "sigma_max",
            Self::Ends { .. } => "sigma_min",
        }
    }
}

impl Plan {
    /// Works out every call. `table` is the noise table of the request's model.
    pub fn new(pass: &Pass, table: &NoiseSchedule) -> Result<Self, PlanError> {
        pass.check()?;
        let (low, high) = pass.spacing().ends(table);
        if low >= high {
            return Err(PlanError::Ends { low, high, least: table.sigma_min(), most: table.sigma_max() });
        }
        let (course, levels) = Course::new(pass, table);
        let source = if pass.sampler == Sampler::DpmAdaptive {
            Source::Adaptive(Box::new(Solver::new(table, levels.ends().0, pass.eta())))
        } else {
            Source::Fixed { calls: fixed_calls(pass, table, &levels), done: 0 }
        };
        // What no call takes away again would be the picture.
        let is_idle = pass.denoise.is_some() && source.total_calls() == 0;
        let doubled = |steps: u32| if pass.sampler.is_second_order() { 2 * steps } else { steps };
        Ok(Self {
            start: if is_idle { UNTOUCHED } else { course.start },
            source,
            skips: Skips::new(pass, doubled(course.steps)),
            timestep_sampler: pass.sampler.is_timestep_sampler(),
        })
    }

    /// How the first latent is made.
    pub fn start(&self) -> Start {
        self.start
    }

    /// The next call, or `None` when the pass is done. `measured` is the answer to the last call's
    /// [`Call::measure`].
    pub fn next_call(&mut self, measured: Option<f64>) -> Option<Call> {
        let number = self.calls_done();
        let mut call = match &mut self.source {
            Source::Fixed { calls, done } => {
                let call = calls.get(*done)?.clone();
                *done += 1;
                call
            }
            Source::Adaptive(solver) => solver.next_call(measured)?,
        };
        call.guidance.skip_unconditional = self.skips.skip(number, call.sigma);
        Some(call)
    }

    /// UNet calls in all; for DPM adaptive an estimate that is never below [`Plan::calls_done`]. 0 when a denoising
    /// strength and the steps leave none: the latent is then finished as it came.
    pub fn total_calls(&self) -> u32 {
        self.source.total_calls()
    }

    /// Calls handed out so far.
    pub fn calls_done(&self) -> u32 {
        match &self.source {
            Source::Fixed { done, .. } => *done as u32,
            Source::Adaptive(solver) => solver.calls_done(),
        }
    }

    /// The share of the pass's calls that are over when the one that was handed out last begins. Web UIs reckon with the
    /// steps that they count for it, twice as many where each has two calls, and not with the calls there are.
    pub fn share_of_calls(&self) -> f64 {
        f64::from(self.calls_done().saturating_sub(1)) / f64::from(self.skips.total.max(1))
    }

    /// The share of the training's timesteps that lie above `call`, one of this plan's, which was made with `table`. A pass
    /// that begins from a picture begins with some of them behind it.
    pub fn share_of_noise(&self, call: &Call, table: &NoiseSchedule) -> f64 {
        let count = table.sigmas().len();
        let timestep =
            if self.timestep_sampler { call.timestep as usize } else { table.closest_timestep(call.sigma) };
        (count - 1).saturating_sub(timestep) as f64 / count as f64
    }

    /// Masked areas are put back before each call rather than after it: so do timestep samplers.
    pub fn blends_before_call(&self) -> bool {
        self.timestep_sampler
    }
}

fn fixed_calls(pass: &Pass, table: &NoiseSchedule, levels: &Levels) -> Vec<Call> {
    let (eta, churn) = (pass.eta(), &pass.options.churn);
    let (sigmas, timesteps) = (levels.sigmas(), levels.timesteps());
    match pass.sampler {
        Sampler::Dpmpp2m => dpmpp_2m::calls(table, sigmas),
        Sampler::DpmppSde => dpmpp_sde::calls(table, sigmas, levels.span(), eta, churn.noise),
        Sampler::Dpmpp2mSde => {
            dpmpp_2m_sde::calls(table, sigmas, levels.span(), eta, churn.noise, Rule::Midpoint)
        }
        Sampler::Dpmpp2mSdeHeun => {
            dpmpp_2m_sde::calls(table, sigmas, levels.span(), eta, churn.noise, Rule::Heun)
        }
        Sampler::Dpmpp2sA => dpmpp_2s_ancestral::calls(table, sigmas, eta, churn.noise),
        Sampler::Dpmpp3mSde => dpmpp_3m_sde::calls(table, sigmas, levels.span(), eta, churn.noise),
        Sampler::EulerA => euler_ancestral::calls(table, sigmas, eta),
        Sampler::Euler => euler::calls(table, sigmas, churn),
        Sampler::Lms => lms::calls(table, sigmas),
        Sampler::Heun => heun::calls(table, sigmas, churn),
        Sampler::Dpm2 => dpm2::calls(table, sigmas, churn),
        Sampler::Dpm2A => dpm2::ancestral_calls(table, sigmas, eta, churn.noise),
        Sampler::DpmFast => {
            let (ends, steps) = levels.ends();
            dpm_fast::calls(table, ends, steps, eta, churn.noise)
        }
        // It makes its calls as it goes.
        Sampler::DpmAdaptive => Vec::new(),
        Sampler::Restart => restart::calls(table, sigmas),
        Sampler::Ddim => ddim::calls(table, timesteps, eta),
        Sampler::DdimCfgpp => ddim_cfgpp::calls(table, timesteps, eta),
        Sampler::Plms => plms::calls(table, timesteps),
        Sampler::UniPc => {
            // From noise alone it starts at the table's end; else where the latent was noised to, nearly.
            let end = table.sigmas().len() - 1;
            let from = if pass.denoise.is_some() { timesteps.last().copied().unwrap_or(0) } else { end };
            unipc::calls(table, from as f64, timesteps.len(), &pass.options.unipc)
        }
        Sampler::Lcm => lcm::calls(table, sigmas),
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
    fn skip(&self, number: u32, sigma: f64) -> Option<SkipReason> {
        let share = f64::from(number) / f64::from(self.total.max(1));
        let early = self.early_share != 0.0 && share <= self.early_share;
        let low = sigma < self.below_sigma && (self.all_steps || number % 2 == 1);
        early.then_some(SkipReason::Early).or(low.then_some(SkipReason::LowNoise))
    }
}

#[cfg(test)]
mod tests;
