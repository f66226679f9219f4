//! The words a plan speaks to a backend: one UNet evaluation, the linear combinations around it, and what else it
//! needs (a draw, a guidance other than the request's, a number measured back).
//!
//! Latents live in registers. A backend only applies the coefficients; it never learns which sampler made them.

use crate::schedule::{NoiseSchedule, Prediction};

/// A latent a plan can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Register {
    /// The latent under way.
    X,
    /// The prediction of this call; only valid in [`Call::after`].
    Denoised,
    /// What the negative prompt alone predicts, as a denoised latent; only valid in [`Call::after`]. Equal to
    /// [`Register::Denoised`] where the call skips the negative prompt.
    Unconditional,
    /// A standard normal draw; at most one assignment list of a call names it, and it means one draw.
    Noise,
    /// Registers a plan keeps between calls, counted from 0.
    Saved(u8),
}

/// The draw a call needs, asked of the picture's own noise in the order of calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    None,
    /// The next standard normal draw.
    Next,
    /// The increment of the picture's Brownian motion between two noise levels, divided by the root of their
    /// distance: standard normal. The motion runs over the levels `lowest..=highest`, equal for all calls of a plan.
    Brownian {
        from: f64,
        to: f64,
        lowest: f64,
        highest: f64,
    },
}

/// How the two prompts' predictions are joined in one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// Factor on the request's CFG scale.
    pub scale: f64,
    /// Why the denoised latent is the positive prompt's prediction alone; the negative prompt need not be evaluated.
    pub skip_unconditional: Option<SkipReason>,
}

impl Default for Guidance {
    fn default() -> Self {
        Self { scale: 1.0, skip_unconditional: None }
    }
}

/// Why a negative prompt is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The pass has only begun.
    Early,
    /// NGMS: little noise is left. It is evaluated nonetheless where a picture guides too.
    LowNoise,
}

/// A number the plan needs back from the tensors after [`Call::after`]: the root mean square over all elements of
/// `(low - high) / max(absolute, relative * max(|low|, |previous|))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measure {
    pub low: Register,
    pub high: Register,
    pub previous: Register,
    pub absolute: f64,
    pub relative: f64,
}

/// `target = sum(coefficient * register)`; the right side is read before the target is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Assign {
    pub target: Register,
    pub terms: Vec<(f64, Register)>,
}

impl Assign {
    /// Terms whose coefficient is exactly zero are left out, so that they ask for no draw and no register.
    pub(super) fn new<const N: usize>(target: Register, terms: [(f64, Register); N]) -> Self {
        Self { target, terms: terms.into_iter().filter(|(coefficient, _)| *coefficient != 0.0).collect() }
    }

    pub(super) fn names(&self, register: Register) -> bool {
        self.terms.iter().any(|(_, named)| *named == register)
    }
}

/// One evaluation of the UNet, with the assignments around it.
///
/// The backend does, in order: `draw`; every assignment of `before`; `out = unet(X * c_in, timestep)` for both
/// prompts; guidance; `Denoised = c_skip * X + c_out * out`; every assignment of `after`; `measure`.
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
    pub guidance: Guidance,
    pub after: Vec<Assign>,
    pub draw: Draw,
    pub measure: Option<Measure>,
    /// The sampler step this call belongs to, from 0; second-order samplers have two calls in one step.
    pub step: u32,
}

impl Call {
    /// A call on a latent in sigma space: `x = signal + sigma * noise`.
    pub(super) fn at_sigma(table: &NoiseSchedule, sigma: f64, step: usize) -> Self {
        let variance = sigma * sigma + 1.0;
        let (c_skip, c_out) = match table.prediction() {
            Prediction::Epsilon => (1.0, -sigma),
            Prediction::V => (1.0 / variance, -sigma / variance.sqrt()),
        };
        Self::new(sigma, table.timestep_of(sigma), (1.0 / variance.sqrt(), c_skip, c_out), step)
    }

    /// A call on a latent in alpha space: `x = sqrt(a) * signal + sqrt(1 - a) * noise`, with the `a` of a timestep
    /// of the table. That is what the UNet takes as it is.
    pub(super) fn at_timestep(table: &NoiseSchedule, timestep: usize, step: usize) -> Self {
        Self::at_alpha(table, table.alpha_cumprod(timestep), timestep as f64, step)
    }

    /// The same between the timesteps of the table.
    pub(super) fn at_alpha(table: &NoiseSchedule, alpha: f64, timestep: f64, step: usize) -> Self {
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let (c_skip, c_out) = match table.prediction() {
            Prediction::Epsilon => (1.0 / signal, -noise / signal),
            Prediction::V => (signal, -noise),
        };
        Self::new(noise / signal, timestep, (1.0, c_skip, c_out), step)
    }

    fn new(sigma: f64, timestep: f64, (c_in, c_skip, c_out): (f64, f64, f64), step: usize) -> Self {
        Self {
            before: Vec::new(),
            sigma,
            timestep,
            c_in,
            c_skip,
            c_out,
            guidance: Guidance::default(),
            after: Vec::new(),
            draw: Draw::None,
            measure: None,
            step: step as u32,
        }
    }

    /// The same call with the next draw asked for, if any assignment names it.
    pub(super) fn drawing(self) -> Self {
        let draw = if self.reads(Register::Noise) { Draw::Next } else { Draw::None };
        Self { draw, ..self }
    }

    /// The same call with the next draw asked for, whether it is used or not.
    pub(super) fn drawing_always(self) -> Self {
        Self { draw: Draw::Next, ..self }
    }

    /// The same call with the Brownian motion's increment from `from` to `to`, if any assignment names it. The motion
    /// runs over `span`.
    pub(super) fn drawing_brownian(self, from: f64, to: f64, span: (f64, f64)) -> Self {
        if !self.reads(Register::Noise) {
            return self;
        }
        let (lowest, highest) = span;
        Self { draw: Draw::Brownian { from, to, lowest, highest }, ..self }
    }

    /// The factor of signal and noise together: `X = scale * (signal + sigma * noise)`. 1 in sigma space.
    pub fn scale(&self) -> f64 {
        (self.c_in * (1.0 + self.sigma * self.sigma).sqrt()).recip()
    }

    /// Whether the backend must be given a draw for this call.
    pub fn needs_noise(&self) -> bool {
        self.draw != Draw::None
    }

    /// Whether any assignment of the call names the register on its right side.
    pub fn reads(&self, register: Register) -> bool {
        self.before.iter().chain(&self.after).any(|assign| assign.names(register))
    }
}

/// How the first latent is made: `x = latent * this + noise * that`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Start {
    /// Factor of the latent a pass begins from; 0 for text-to-image.
    pub latent: f64,
    /// Factor of the picture's first draw.
    pub noise: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_coefficient_asks_for_no_draw() {
        let quiet = Assign::new(Register::X, [(1.0, Register::X), (0.0, Register::Noise)]);
        assert_eq!(quiet.terms, [(1.0, Register::X)]);
        let call = Call { after: vec![quiet], ..Call::at_sigma(&NoiseSchedule::sd1(), 1.0, 0) };
        assert!(!call.drawing().needs_noise());
    }

    /// With v = sqrt(a) * noise - sqrt(1 - a) * signal, both spaces must find the signal again.
    #[test]
    fn both_predictions_find_the_signal_in_both_spaces() {
        let (signal, noise) = (0.3, -1.7);
        for prediction in [Prediction::Epsilon, Prediction::V] {
            let table = NoiseSchedule::new(prediction, crate::schedule::NoiseTable::ScaledLinear);
            let alpha = table.alpha_cumprod(400);
            let output = match prediction {
                Prediction::Epsilon => noise,
                Prediction::V => alpha.sqrt() * noise - (1.0 - alpha).sqrt() * signal,
            };
            let sigma = table.sigmas()[400];
            for (call, x) in [
                (Call::at_sigma(&table, sigma, 0), signal + sigma * noise),
                (Call::at_timestep(&table, 400, 0), alpha.sqrt() * signal + (1.0 - alpha).sqrt() * noise),
            ] {
                assert!((call.c_skip * x + call.c_out * output - signal).abs() < 1e-12, "{prediction:?}");
                assert!((call.scale() * (signal + call.sigma * noise) - x).abs() < 1e-12, "{prediction:?}");
                assert!(
                    (call.c_in * x - (alpha.sqrt() * signal + (1.0 - alpha).sqrt() * noise)).abs() < 1e-12
                );
            }
        }
    }
}
