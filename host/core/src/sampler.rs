//! Samplers as plans: pure state machines that say, for each UNet call, at which noise level to call it and
//! which linear combination of known latents comes next. A backend only applies the coefficients.
//!
//! This file is the list of samplers and what web UIs publish of each. [`Plan`] makes the calls of a [`Pass`].

use crate::schedule::Scheduler;

mod call;
mod ddim;
mod dpmpp_2m;
mod euler;
mod euler_ancestral;
mod heun;
mod pass;
mod plan;
#[cfg(test)]
mod reference;
mod start;
mod timesteps;

pub use call::{Assign, Call, Draw, Guidance, Measure, Register, Start};
pub use pass::{Churn, Denoise, Pass, SamplerOptions, UniPc, UniPcSkip, UniPcVariant};
pub use plan::{Plan, PlanError};

/// The samplers there are, in the order web UIs list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampler {
    Dpmpp2m,
    EulerA,
    Euler,
    Heun,
    Ddim,
}

impl Sampler {
    pub const ALL: [Self; 5] = [Self::Dpmpp2m, Self::EulerA, Self::Euler, Self::Heun, Self::Ddim];

    /// The name people read, and the one in requests and infotext.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dpmpp2m => "DPM++ 2M",
            Self::EulerA => "Euler a",
            Self::Euler => "Euler",
            Self::Heun => "Heun",
            Self::Ddim => "DDIM",
        }
    }

    /// Other names it answers to.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Dpmpp2m => &["k_dpmpp_2m"],
            Self::EulerA => &["k_euler_a", "k_euler_ancestral"],
            Self::Euler => &["k_euler"],
            Self::Heun => &["k_heun"],
            Self::Ddim => &["ddim"],
        }
    }

    /// The options that web UIs publish for it, as text.
    pub fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Dpmpp2m => &[("scheduler", "karras")],
            Self::EulerA => &[("uses_ensd", "True")],
            Self::Heun => &[("second_order", "True")],
            Self::Euler | Self::Ddim => &[],
        }
    }

    /// What [`Scheduler::Automatic`] means with this sampler. DDIM steps by timesteps and looks at no scheduler.
    pub fn default_scheduler(self) -> Scheduler {
        match self {
            Self::Dpmpp2m => Scheduler::Karras,
            Self::EulerA | Self::Euler | Self::Heun | Self::Ddim => Scheduler::Uniform,
        }
    }

    /// Whether the eta noise seed delta is recorded for this sampler.
    pub fn uses_ensd(self) -> bool {
        self == Self::EulerA
    }

    /// Two UNet calls in most steps.
    pub fn is_second_order(self) -> bool {
        self == Self::Heun
    }

    /// Steps by timesteps, in alpha space, and looks at no scheduler.
    pub fn is_timestep_sampler(self) -> bool {
        self == Self::Ddim
    }

    /// Always leaves out the level before the last.
    pub fn discards_penultimate(self) -> bool {
        false
    }

    /// Fewest steps that draw anything from noise alone. Timestep samplers have a call less than timesteps.
    pub fn least_steps(self) -> u32 {
        if self.is_timestep_sampler() { 2 } else { 1 }
    }

    /// Ancestral noise amount when a request names none.
    pub fn default_eta(self) -> f64 {
        match self {
            Self::Ddim => 0.0,
            Self::Dpmpp2m | Self::EulerA | Self::Euler | Self::Heun => 1.0,
        }
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
            ("k_heun sgm_uniform", (Sampler::Heun, Scheduler::SgmUniform)),
        ] {
            assert_eq!(Sampler::parse(text), Some((want.0, Some(want.1))), "{text}");
        }
    }

    #[test]
    fn knows_no_other_names() {
        for text in ["", " ", "Karras", "Euler b", "DPM++ 2M SDE", "DPM++ 2M Karras Karras", "Euler Karras x"]
        {
            assert_eq!(Sampler::parse(text), None, "{text:?}");
        }
    }
}
