//! Samplers as plans: pure state machines that say, for each UNet call, at which noise level to call it and
//! which linear combination of known latents comes next. A backend only applies the coefficients.
//!
//! This file is the list of samplers and what web UIs publish of each. [`Plan`] makes the calls of a [`Pass`].

use crate::schedule::Scheduler;

mod ancestral;
mod call;
mod ddim;
mod ddim_cfgpp;
mod dpm2;
mod dpm_adaptive;
mod dpm_fast;
mod dpm_solver;
mod dpmpp_2m;
mod dpmpp_2m_sde;
mod dpmpp_2s_ancestral;
mod dpmpp_3m_sde;
mod dpmpp_sde;
mod euler;
mod euler_ancestral;
mod heun;
mod lcm;
mod lms;
mod pass;
mod plan;
mod plms;
#[cfg(test)]
mod reference;
mod restart;
mod start;
mod timesteps;
mod unipc;

pub use call::{Assign, Call, Draw, Guidance, Measure, Register, SkipReason, Start};
pub use pass::{Churn, Denoise, Pass, SamplerOptions, UniPc, UniPcSkip, UniPcVariant};
pub use plan::{Plan, PlanError};

/// The samplers there are, in the order web UIs list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampler {
    Dpmpp2m,
    DpmppSde,
    Dpmpp2mSde,
    Dpmpp2mSdeHeun,
    Dpmpp2sA,
    Dpmpp3mSde,
    EulerA,
    Euler,
    Lms,
    Heun,
    Dpm2,
    Dpm2A,
    DpmFast,
    DpmAdaptive,
    Restart,
    Ddim,
    DdimCfgpp,
    Plms,
    UniPc,
    Lcm,
}

impl Sampler {
    pub const ALL: [Self; 20] = [
        Self::Dpmpp2m,
        Self::DpmppSde,
        Self::Dpmpp2mSde,
        Self::Dpmpp2mSdeHeun,
        Self::Dpmpp2sA,
        Self::Dpmpp3mSde,
        Self::EulerA,
        Self::Euler,
        Self::Lms,
        Self::Heun,
        Self::Dpm2,
        Self::Dpm2A,
        Self::DpmFast,
        Self::DpmAdaptive,
        Self::Restart,
        Self::Ddim,
        Self::DdimCfgpp,
        Self::Plms,
        Self::UniPc,
        Self::Lcm,
    ];

    /// The name people read, and the one in requests and infotext.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dpmpp2m => "DPM++ 2M",
            Self::DpmppSde => "DPM++ SDE",
            Self::Dpmpp2mSde => "DPM++ 2M SDE",
            Self::Dpmpp2mSdeHeun => "DPM++ 2M SDE Heun",
            Self::Dpmpp2sA => "DPM++ 2S a",
            Self::Dpmpp3mSde => "DPM++ 3M SDE",
            Self::EulerA => "Euler a",
            Self::Euler => "Euler",
            Self::Lms => "LMS",
            Self::Heun => "Heun",
            Self::Dpm2 => "DPM2",
            Self::Dpm2A => "DPM2 a",
            Self::DpmFast => "DPM fast",
            Self::DpmAdaptive => "DPM adaptive",
            Self::Restart => "Restart",
            Self::Ddim => "DDIM",
            Self::DdimCfgpp => "DDIM CFG++",
            Self::Plms => "PLMS",
            Self::UniPc => "UniPC",
            Self::Lcm => "LCM",
        }
    }

    /// Other names it answers to.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Dpmpp2m => &["k_dpmpp_2m"],
            Self::DpmppSde => &["k_dpmpp_sde"],
            Self::Dpmpp2mSde => &["k_dpmpp_2m_sde"],
            Self::Dpmpp2mSdeHeun => &["k_dpmpp_2m_sde_heun"],
            Self::Dpmpp2sA => &["k_dpmpp_2s_a"],
            Self::Dpmpp3mSde => &["k_dpmpp_3m_sde"],
            Self::EulerA => &["k_euler_a", "k_euler_ancestral"],
            Self::Euler => &["k_euler"],
            Self::Lms => &["k_lms"],
            Self::Heun => &["k_heun"],
            Self::Dpm2 => &["k_dpm_2"],
            Self::Dpm2A => &["k_dpm_2_a"],
            Self::DpmFast => &["k_dpm_fast"],
            Self::DpmAdaptive => &["k_dpm_ad"],
            Self::Restart => &["restart"],
            Self::Ddim => &["ddim"],
            Self::DdimCfgpp => &["ddim_cfgpp"],
            Self::Plms => &["plms"],
            Self::UniPc => &["unipc"],
            Self::Lcm => &["k_lcm"],
        }
    }

    /// The options that web UIs publish for it, as text.
    pub fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Dpmpp2m => &[("scheduler", "karras")],
            Self::DpmppSde => {
                &[("scheduler", "karras"), ("second_order", "True"), ("brownian_noise", "True")]
            }
            Self::Dpmpp2mSde => &[("scheduler", "exponential"), ("brownian_noise", "True")],
            Self::Dpmpp2mSdeHeun => {
                &[("scheduler", "exponential"), ("brownian_noise", "True"), ("solver_type", "heun")]
            }
            Self::Dpmpp2sA => &[("scheduler", "karras"), ("uses_ensd", "True"), ("second_order", "True")],
            Self::Dpmpp3mSde => &[
                ("scheduler", "exponential"),
                ("discard_next_to_last_sigma", "True"),
                ("brownian_noise", "True"),
            ],
            Self::EulerA | Self::DpmFast | Self::DpmAdaptive => &[("uses_ensd", "True")],
            Self::Heun => &[("second_order", "True")],
            Self::Dpm2 => {
                &[("scheduler", "karras"), ("discard_next_to_last_sigma", "True"), ("second_order", "True")]
            }
            Self::Dpm2A => &[
                ("scheduler", "karras"),
                ("discard_next_to_last_sigma", "True"),
                ("uses_ensd", "True"),
                ("second_order", "True"),
            ],
            Self::Restart => &[("scheduler", "karras"), ("second_order", "True")],
            Self::Euler | Self::Lms | Self::Ddim | Self::DdimCfgpp | Self::Plms | Self::UniPc | Self::Lcm => {
                &[]
            }
        }
    }

    /// What [`Scheduler::Automatic`] means with this sampler: the published default, else even timesteps. Timestep
    /// samplers look at no scheduler.
    pub fn default_scheduler(self) -> Scheduler {
        match self.option("scheduler") {
            Some("karras") => Scheduler::Karras,
            Some("exponential") => Scheduler::Exponential,
            _ => Scheduler::Uniform,
        }
    }

    /// Whether the eta noise seed delta is recorded for this sampler.
    pub fn uses_ensd(self) -> bool {
        self.option("uses_ensd").is_some()
    }

    /// Two UNet calls in most steps.
    pub fn is_second_order(self) -> bool {
        self.option("second_order").is_some()
    }

    /// Always leaves out the level before the last.
    pub fn discards_penultimate(self) -> bool {
        self.option("discard_next_to_last_sigma").is_some()
    }

    fn option(self, name: &str) -> Option<&'static str> {
        self.options().iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// Steps by timesteps, in alpha space, and looks at no scheduler.
    pub fn is_timestep_sampler(self) -> bool {
        matches!(self, Self::Ddim | Self::DdimCfgpp | Self::Plms | Self::UniPc)
    }

    /// Runs between two levels in steps of its own making.
    pub fn makes_its_own_levels(self) -> bool {
        matches!(self, Self::DpmFast | Self::DpmAdaptive)
    }

    /// Adds noise back before its steps, as [`Churn`] says.
    pub fn churns(self) -> bool {
        matches!(self, Self::Euler | Self::Heun | Self::Dpm2)
    }

    /// Multiplies the noise it adds by [`Churn::noise`].
    pub fn scales_noise(self) -> bool {
        matches!(
            self,
            Self::DpmppSde
                | Self::Dpmpp2mSde
                | Self::Dpmpp2mSdeHeun
                | Self::Dpmpp2sA
                | Self::Dpmpp3mSde
                | Self::Dpm2A
                | Self::DpmFast
        ) || self.churns()
    }

    /// Fewest steps that draw anything from noise alone. DDIM and PLMS have a step less than timesteps.
    pub fn least_steps(self) -> u32 {
        if self.is_timestep_sampler() { 2 } else { 1 }
    }

    /// Ancestral noise amount when a request names none.
    pub fn default_eta(self) -> f64 {
        if self.is_timestep_sampler() { 0.0 } else { 1.0 }
    }

    /// By label or alias, in any case. Names of old, such as "DPM++ 2M Karras", carry the scheduler behind a blank
    /// and give it back.
    pub fn parse(text: &str) -> Option<(Self, Option<Scheduler>)> {
        let text = text.trim();
        if let Some(sampler) = Self::named(text) {
            return Some((sampler, None));
        }
        // A scheduler's name may itself have a blank ("SGM Uniform"), so every blank is tried.
        text.match_indices(' ').find_map(|(at, _)| {
            let sampler = Self::named(text[..at].trim_end())?;
            Some((sampler, Some(Scheduler::parse(&text[at..])?)))
        })
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sampler| {
            let mut names = [sampler.label()].into_iter().chain(sampler.aliases().iter().copied());
            names.any(|name| name.eq_ignore_ascii_case(text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_labels_and_aliases_in_any_case() {
        for sampler in Sampler::ALL {
            for name in [sampler.label()].iter().chain(sampler.aliases()) {
                assert_eq!(Sampler::parse(&name.to_uppercase()), Some((sampler, None)));
                assert_eq!(Sampler::parse(&name.to_lowercase()), Some((sampler, None)));
            }
        }
    }

    #[test]
    fn splits_old_names_that_carry_their_scheduler() {
        for (text, want) in [
            ("DPM++ 2M Karras", (Sampler::Dpmpp2m, Scheduler::Karras)),
            ("euler a exponential", (Sampler::EulerA, Scheduler::Exponential)),
            ("Euler SGM Uniform", (Sampler::Euler, Scheduler::SgmUniform)),
            ("Heun SGMUniform", (Sampler::Heun, Scheduler::SgmUniform)),
            ("DPM++ 2M SDE Heun Karras", (Sampler::Dpmpp2mSdeHeun, Scheduler::Karras)),
            ("DPM++ 2M SDE Align Your Steps", (Sampler::Dpmpp2mSde, Scheduler::AlignYourSteps)),
            ("k_heun sgm_uniform", (Sampler::Heun, Scheduler::SgmUniform)),
        ] {
            assert_eq!(Sampler::parse(text), Some((want.0, Some(want.1))), "{text}");
        }
    }

    #[test]
    fn knows_no_other_names() {
        for text in
            ["", " ", "Karras", "Euler b", "DPM++ 2M SDEX", "DPM++ 2M Karras Karras", "Euler Karras x"]
        {
            assert_eq!(Sampler::parse(text), None, "{text:?}");
        }
    }
}
