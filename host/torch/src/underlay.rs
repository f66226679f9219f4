//! A picture under the noise that drawing begins from: what the model's training would have made of it at its last timestep, where
//! little of it is left. It stands for the noise, so that a sampler begins from it as from any.

use gesso_core::pixels::Pixels;
use gesso_core::schedule::NoiseSchedule;
use tch::{TchError, Tensor};

use crate::compute::send;
use crate::convert;
use crate::encoder::Encoder;

/// A pass's picture, encoded once for all of its pictures.
pub(crate) struct Underlay {
    /// `[1, 4, rows, columns]`, as much of it as is left.
    latent: Tensor,
    /// What noise is multiplied by.
    noise: f64,
}

impl Underlay {
    /// Encodes a picture of the pass's size.
    pub(crate) fn new(
        encoder: &mut Encoder<'_>,
        picture: &Pixels,
        schedule: &NoiseSchedule,
    ) -> Result<Self, TchError> {
        let picture = send(&convert::to_tensor(picture)?, encoder.networks().device())?;
        Self::of(&encoder.latent(&picture)?, schedule)
    }

    fn of(latent: &Tensor, schedule: &NoiseSchedule) -> Result<Self, TchError> {
        let alpha = schedule.alpha_cumprod(usize::MAX);
        Ok(Self { latent: latent.f_mul_scalar(alpha.sqrt())?, noise: (1.0 - alpha).sqrt() })
    }

    /// What stands for a draw of noise.
    pub(crate) fn under(&self, noise: &Tensor) -> Result<Tensor, TchError> {
        noise.f_mul_scalar(self.noise)?.f_add(&self.latent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_left_as_at_the_last_timestep_of_training() {
        let tensor = |values: [f32; 4]| Tensor::from_slice(&values).reshape([1, 4, 1, 1]);
        let underlay = Underlay::of(&tensor([0.0, 1.0, -2.0, 10.0]), &NoiseSchedule::sd1()).unwrap();
        let begun = underlay.under(&tensor([1.0, 0.0, 1.0, -1.0])).unwrap();
        let begun: Vec<f32> = Vec::try_from(&begun.flatten(0, -1)).unwrap();
        // The product of 1 - beta of a thousand steps is 0.00466.
        let want = [0.997_667, 0.068_265, 0.861_137, -0.315_017];
        assert!(
            begun.iter().zip(want).all(|(got, want): (&f32, f32)| (got - want).abs() < 1e-4),
            "{begun:?}"
        );
    }
}
