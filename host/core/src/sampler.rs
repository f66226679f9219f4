//! Samplers as plans: pure state machines that say, for each UNet call, at which noise level to call it and
//! which linear combination of known latents comes next. A backend only applies the coefficients.
//!
//! Latents live in registers. `X` is the latent under way; `Denoised` is what the call just predicted; `Noise` is
//! a fresh draw from the picture's own generator; `Saved(n)` are registers a plan keeps between calls.

use crate::schedule::Scheduler;

mod ddim;
mod dpmpp_2m;
mod euler;
mod euler_ancestral;
mod heun;
mod plan;
#[cfg(test)]
mod reference;

pub use plan::{Plan, PlanError};

/// A latent a plan can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Register {
    X,
    /// The prediction of this call; only valid in [`Call::after`].
    Denoised,
    /// A standard normal draw; at most one assignment list of a call names it, and it means one draw.
    Noise,
    Saved(u8),
}

/// `target = sum(coefficient * register)`; the right side is read before the target is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Assign {
    pub target: Register,
    pub terms: Vec<(f64, Register)>,
}

/// One evaluation of the UNet, with the assignments around it.
///
/// The backend does, in order: every assignment of `before`; `out = unet(X * c_in, timestep)` for both prompts;
/// guidance; `Denoised = c_skip * X + c_out * out`; every assignment of `after`.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub before: Vec<Assign>,
    /// Noise level, for the record and for plugins.
    pub sigma: f64,
    /// What the UNet is told, fractional, in 0..=999.
    pub timestep: f64,
    pub c_in: f64,
    pub c_skip: f64,
    pub c_out: f64,
    pub after: Vec<Assign>,
    /// The sampler step this call belongs to, from 0; second-order samplers have two calls in one step.
    pub step: u32,
}

impl Call {
    /// Whether the backend must be given a fresh draw for this call.
    pub fn needs_noise(&self) -> bool {
        let mut lists = self.before.iter().chain(&self.after);
        lists.any(|assign| assign.terms.iter().any(|(_, register)| *register == Register::Noise))
    }
}

impl Assign {
    /// Terms whose coefficient is exactly zero are left out, so that they ask for no draw and no register.
    fn new<const N: usize>(target: Register, terms: [(f64, Register); N]) -> Self {
        Self { target, terms: terms.into_iter().filter(|(coefficient, _)| *coefficient != 0.0).collect() }
    }
}

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

    #[test]
    fn a_zero_coefficient_asks_for_no_draw() {
        let quiet = Assign::new(Register::X, [(1.0, Register::X), (0.0, Register::Noise)]);
        assert_eq!(quiet.terms, [(1.0, Register::X)]);
    }
}
