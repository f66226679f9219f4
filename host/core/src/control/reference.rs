//! Drawing after a picture without a network of its own ("reference only"): the checkpoint's self-attentions read that
//! picture beside their own. How many of them do, and how much the negative prompt's rows do. Knows no tensor.

use super::{ControlMode, ControlUnit};
use crate::sampler::Start;

/// The module that asks for it.
pub const REFERENCE: &str = "reference_only";
/// How much the negative prompt's rows keep to their own picture where a unit does not say.
pub const STYLE_FIDELITY: f64 = 0.5;

/// Whether a module's name, in any case, is [`REFERENCE`].
pub fn names_reference(module: &str) -> bool {
    module.trim().eq_ignore_ascii_case(REFERENCE)
}

/// How much of the picture and of noise a UNet reads at a noise level, with every sampler: together of unit variance.
pub fn noised(sigma: f64) -> Start {
    let latent = (1.0 + sigma * sigma).sqrt().recip();
    Start { latent, noise: (1.0 - latent * latent).sqrt() }
}

impl ControlUnit {
    /// Whether the unit's picture is read by the checkpoint itself, so that it has no model.
    pub fn is_reference(&self) -> bool {
        names_reference(&self.module)
    }

    /// How much the negative prompt's rows keep to their own picture, 0..=1: what they do without guidance then multiplies.
    /// The first threshold says it while prompt and picture are in balance.
    pub fn style_fidelity(&self) -> f64 {
        let asked = || self.threshold_a.filter(|asked| (0.0..=1.0).contains(asked)).unwrap_or(STYLE_FIDELITY);
        match self.mode {
            ControlMode::Balanced => asked(),
            ControlMode::Prompt => 0.0,
            ControlMode::Control => 1.0,
        }
    }

    /// Which self-attentions of a UNet read the picture, from their channels in the order of a call: as many as the weight
    /// is their share, the widest first, which see the whole, then the earlier ones. All do from 1 on.
    pub fn reading(&self, channels: &[i64]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..channels.len()).collect();
        order.sort_by_key(|place| std::cmp::Reverse(channels[*place]));
        let mut reading = vec![false; channels.len()];
        for (rank, place) in order.into_iter().enumerate() {
            reading[place] = self.weight > rank as f64 / channels.len() as f64;
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> ControlUnit {
        ControlUnit { module: " Reference_Only ".into(), ..ControlUnit::default() }
    }

    #[test]
    fn picture_and_noise_have_unit_variance_at_every_level() {
        assert_eq!(noised(0.0), Start { latent: 1.0, noise: 0.0 });
        assert_eq!(noised(f64::INFINITY), Start { latent: 0.0, noise: 1.0 });
        let Start { latent, noise } = noised(0.75);
        assert!((latent - 0.8).abs() < 1e-12 && (noise - 0.6).abs() < 1e-12);
    }

    #[test]
    fn it_is_named_by_its_module_and_needs_no_model() {
        assert!(unit().is_reference() && unit().problems().is_empty());
        let other = ControlUnit::default();
        assert!(!other.is_reference());
        assert_eq!(other.problems()[0].field, "model");
        assert_eq!(ControlUnit { weight: 3.0, ..unit() }.problems()[0].field, "weight");
    }

    #[test]
    fn a_fidelity_is_the_slider_in_balance_and_the_modes_else() {
        let of = |mode, threshold_a| ControlUnit { mode, threshold_a, ..unit() }.style_fidelity();
        assert_eq!(
            [None, Some(0.25), Some(64.0)].map(|asked| of(ControlMode::Balanced, asked)),
            [0.5, 0.25, 0.5]
        );
        assert_eq!((of(ControlMode::Prompt, Some(0.25)), of(ControlMode::Control, Some(0.25))), (0.0, 1.0));
    }

    #[test]
    fn the_widest_attentions_read_first() {
        let of = |weight| ControlUnit { weight, ..unit() }.reading(&[320, 640, 1280, 640]);
        for (weight, reading) in [
            (0.0, [false; 4]),
            (0.1, [false, false, true, false]),
            (0.25, [false, false, true, false]),
            (0.5, [false, true, true, false]),
            (0.75, [false, true, true, true]),
            (1.0, [true; 4]),
            (2.0, [true; 4]),
        ] {
            assert_eq!(of(weight), reading, "{weight}");
        }
        assert!(unit().reading(&[]).is_empty());
    }
}
