//! What one pass of sampling is asked for: a sampler, a schedule, steps, how much to redraw, and the options of all
//! samplers together. A request has one pass, or two with hires fix. Knows nothing of prompts or pictures.

use super::{PlanError, Sampler};
use crate::schedule::{Scheduler, Spacing};

/// One run of a sampler from noise, or from a noised latent, to a latent.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    pub sampler: Sampler,
    pub scheduler: Scheduler,
    pub steps: u32,
    /// `None` draws from noise alone.
    pub denoise: Option<Denoise>,
    pub options: SamplerOptions,
}

/// How much of a latent is redrawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Denoise {
    /// 0 keeps the latent, 1 redraws it from noise.
    pub strength: f64,
    /// Lengthen the schedule so that `steps` of it are run, instead of running the strength's share of `steps`.
    /// Hires fix always does; image-to-image by option.
    pub exact_steps: bool,
}

/// What samplers and schedules can be told beyond their steps. Each looks only at its own.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Ancestral noise amount, whatever the sampler; `None` leaves it to the two below.
    pub eta: Option<f64>,
    /// The same for the samplers in sigma space and for those in timesteps, which web UIs keep apart; `None` is the
    /// sampler's own default.
    pub eta_ancestral: Option<f64>,
    pub eta_ddim: Option<f64>,
    pub churn: Churn,
    /// NGMS: below this noise level every second call leaves the negative prompt out; 0 never does.
    pub ngms_sigma: f64,
    /// NGMS on every call below its level.
    pub ngms_all_steps: bool,
    /// The negative prompt is left out while this share of the calls is not over; 0 is off.
    pub skip_early_cond: f64,
    /// Lowest and highest level of the schedule; `None` is the model's.
    pub sigma_min: Option<f64>,
    pub sigma_max: Option<f64>,
    /// Exponent of the schedules that have one; `None` is their own.
    pub rho: Option<f64>,
    /// Shape of the beta schedule.
    pub beta_alpha: f64,
    pub beta_beta: f64,
    /// Drop the level before the last with every sampler, not only those that always do.
    pub discard_penultimate: bool,
    /// Start at `sqrt(1 + sigma^2)` instead of `sigma`, as Stability's generative-models do.
    pub sgm_noise_multiplier: bool,
    /// Adds this much of the first noise once more, with [`Pass::denoise`] only.
    pub extra_noise: f64,
    /// Scales the first noise, with [`Pass::denoise`] only. Hires fix leaves it at 1.
    pub initial_noise_multiplier: f64,
    pub unipc: UniPc,
}

/// The stochastic part of Karras et al. 2022, algorithm 2 (Euler, Heun, DPM2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    pub amount: f64,
    /// Lowest and highest sigma at which noise is added; `max` is infinite for "no limit".
    pub min_sigma: f64,
    pub max_sigma: f64,
    pub noise: f64,
}

/// What UniPC can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniPc {
    pub variant: UniPcVariant,
    pub skip_type: UniPcSkip,
    /// Predictions a step looks at, 1 or more; never more than there are steps before it.
    pub order: u32,
    /// Lower the order towards the last steps.
    pub lower_order_final: bool,
}

/// How UniPC weighs earlier predictions: the two choices of B(h) in Zhao et al. 2023, or coefficients that vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UniPcVariant {
    #[default]
    Bh1,
    Bh2,
    VaryCoeff,
}

/// How UniPC spaces its levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UniPcSkip {
    /// Evenly in time.
    #[default]
    TimeUniform,
    /// Evenly in the square root of time.
    TimeQuadratic,
    /// Evenly in half the logarithm of the signal-to-noise ratio.
    LogSnr,
}

impl Pass {
    /// Steps beyond the timesteps of the table would repeat levels.
    pub const MAX_STEPS: u32 = 1000;

    /// A pass from noise with everything else as it comes.
    pub fn new(sampler: Sampler, scheduler: Scheduler, steps: u32) -> Self {
        Self { sampler, scheduler, steps, denoise: None, options: SamplerOptions::default() }
    }

    /// The scheduler that is meant: [`Scheduler::Automatic`] is the sampler's own.
    pub fn resolved_scheduler(&self) -> Scheduler {
        match self.scheduler {
            Scheduler::Automatic => self.sampler.default_scheduler(),
            named => named,
        }
    }

    /// What the place of a prompt's change is counted in: the steps asked for, doubled where each has two calls.
    pub fn prompt_clock(&self) -> u32 {
        if self.sampler.is_second_order() { 2 * self.steps } else { self.steps }
    }

    /// Steps that are run: of a redrawn latent the strength's share, unless all were asked for.
    pub fn steps_run(&self) -> u32 {
        match self.denoise {
            Some(denoise) if !denoise.exact_steps => super::start::steps_of(denoise, self.steps),
            _ => self.steps,
        }
    }

    pub fn eta(&self) -> f64 {
        let SamplerOptions { eta, eta_ancestral, eta_ddim, .. } = self.options;
        let of_kind = if self.sampler.is_timestep_sampler() { eta_ddim } else { eta_ancestral };
        eta.or(of_kind).unwrap_or(self.sampler.default_eta())
    }

    /// Whether its steps draw from the picture's generator once more after the first noise. What the SDE samplers
    /// add comes from the picture's Brownian motion instead.
    pub fn draws_again(&self) -> bool {
        match self.sampler {
            Sampler::EulerA
            | Sampler::Dpmpp2sA
            | Sampler::Dpm2A
            | Sampler::DpmFast
            | Sampler::DpmAdaptive
            | Sampler::Ddim
            | Sampler::DdimCfgpp => self.eta() != 0.0,
            Sampler::Euler | Sampler::Heun | Sampler::Dpm2 => self.options.churn.amount != 0.0,
            Sampler::Restart | Sampler::Lcm => true,
            Sampler::Dpmpp2m
            | Sampler::DpmppSde
            | Sampler::Dpmpp2mSde
            | Sampler::Dpmpp2mSdeHeun
            | Sampler::Dpmpp3mSde
            | Sampler::Lms
            | Sampler::Plms
            | Sampler::UniPc => false,
        }
    }

    /// What the schedule is told.
    pub(super) fn spacing(&self) -> Spacing {
        let SamplerOptions { sigma_min, sigma_max, rho, beta_alpha, beta_beta, .. } = self.options;
        Spacing { sigma_min, sigma_max, rho, beta: (beta_alpha, beta_beta) }
    }

    /// The first thing that no plan can be made from.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let (sampler, steps) = (self.sampler.label(), self.steps);
        let least = if self.denoise.is_some() { 1 } else { self.sampler.least_steps() };
        let most = Self::MAX_STEPS;
        if !(least..=most).contains(&steps) {
            return Err(PlanError::Steps { sampler, steps, least, most });
        }
        self.options.check(self.denoise)
    }
}

impl SamplerOptions {
    fn check(&self, denoise: Option<Denoise>) -> Result<(), PlanError> {
        let Churn { amount, min_sigma, max_sigma, noise } = self.churn;
        let from_zero = [
            ("eta", self.eta.unwrap_or(0.0)),
            ("eta_ancestral", self.eta_ancestral.unwrap_or(0.0)),
            ("eta_ddim", self.eta_ddim.unwrap_or(0.0)),
            ("s_churn", amount),
            ("s_tmin", min_sigma),
            ("s_noise", noise),
            // "No limit" is infinite and fine.
            ("s_tmax", if max_sigma == f64::INFINITY { 0.0 } else { max_sigma }),
            ("s_min_uncond", self.ngms_sigma),
            ("skip_early_cond", self.skip_early_cond),
            ("img2img_extra_noise", self.extra_noise),
            ("initial_noise_multiplier", self.initial_noise_multiplier),
            ("denoising_strength", denoise.map_or(0.0, |denoise| denoise.strength)),
        ];
        let above_zero = [
            ("sigma_min", self.sigma_min.unwrap_or(1.0)),
            ("sigma_max", self.sigma_max.unwrap_or(1.0)),
            ("rho", self.rho.unwrap_or(1.0)),
            ("beta_dist_alpha", self.beta_alpha),
            ("beta_dist_beta", self.beta_beta),
        ];
        let bad = |(_, value): &(&str, f64)| !value.is_finite() || *value < 0.0;
        if let Some((field, value)) = from_zero.into_iter().find(bad) {
            return Err(PlanError::NotUsable { field, value });
        }
        match above_zero.into_iter().find(|entry| bad(entry) || entry.1 == 0.0) {
            Some((field, value)) => Err(PlanError::NotPositive { field, value }),
            None => Ok(()),
        }
    }
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            eta: None,
            eta_ancestral: None,
            eta_ddim: None,
            churn: Churn::default(),
            ngms_sigma: 0.0,
            ngms_all_steps: false,
            skip_early_cond: 0.0,
            sigma_min: None,
            sigma_max: None,
            rho: None,
            beta_alpha: 0.6,
            beta_beta: 0.6,
            discard_penultimate: false,
            sgm_noise_multiplier: false,
            extra_noise: 0.0,
            initial_noise_multiplier: 1.0,
            unipc: UniPc::default(),
        }
    }
}

impl Default for Churn {
    fn default() -> Self {
        Self { amount: 0.0, min_sigma: 0.0, max_sigma: f64::INFINITY, noise: 1.0 }
    }
}

impl Default for UniPc {
    fn default() -> Self {
        Self {
            variant: UniPcVariant::default(),
            skip_type: UniPcSkip::default(),
            order: 3,
            lower_order_final: true,
        }
    }
}
