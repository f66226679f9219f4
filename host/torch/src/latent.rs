//! The latents of one picture under way, and the linear combinations a sampler's plan asks for. f32 throughout.
//! Knows neither networks nor prompts.

use gesso_core::sampler::{Assign, Measure, Register, Start};
use tch::{Kind, TchError, Tensor};

/// Registers of one picture; each is `[1, 4, rows, columns]`.
pub(crate) struct Latents {
    pub(crate) x: Tensor,
    /// What the finished latent will be by the latest call; before the first, what is drawn over.
    pub(crate) denoised: Option<Tensor>,
    /// What the negative prompt alone predicts; kept only for calls that read it.
    pub(crate) unconditional: Option<Tensor>,
    saved: Vec<Option<Tensor>>,
}

impl Latents {
    /// `latent * start.latent + noise * start.noise`; no latent counts as zero.
    pub(crate) fn new(latent: Option<&Tensor>, noise: &Tensor, start: Start) -> Result<Self, TchError> {
        let noise = noise.f_mul_scalar(start.noise)?;
        let x = match latent {
            Some(latent) => latent.f_mul_scalar(start.latent)?.f_add(&noise)?,
            None => noise,
        };
        Ok(Self { x, denoised: latent.map(Tensor::shallow_clone), unconditional: None, saved: Vec::new() })
    }

    /// A draw as a latent of `size` (rows, columns).
    pub(crate) fn draw(noise: &[f32], (rows, columns): (i64, i64)) -> Result<Tensor, TchError> {
        // `f_reshape` refuses a length that is not the shape's.
        Tensor::f_from_slice(noise)?.f_reshape([1, 4, rows, columns])
    }

    /// Carries out assignments in order.
    ///
    /// # Errors
    /// [`TchError::Shape`] when one names a register that holds nothing.
    pub(crate) fn assign(&mut self, list: &[Assign], noise: Option<&Tensor>) -> Result<(), TchError> {
        for Assign { target, terms } in list {
            let mut sum: Option<Tensor> = None;
            for (coefficient, register) in terms {
                let term = self.read(*register, noise)?.f_mul_scalar(*coefficient)?;
                sum = Some(match sum {
                    None => term,
                    Some(sum) => sum.f_add(&term)?,
                });
            }
            let value = sum.map_or_else(|| self.x.f_zeros_like(), Ok)?;
            match target {
                Register::X => self.x = value,
                Register::Denoised => self.denoised = Some(value),
                Register::Noise | Register::Unconditional => {
                    return Err(TchError::Shape(format!("a plan may not write {target:?}")));
                }
                Register::Saved(index) => {
                    let index = usize::from(*index);
                    if self.saved.len() <= index {
                        self.saved.resize_with(index + 1, || None);
                    }
                    self.saved[index] = Some(value);
                }
            }
        }
        Ok(())
    }

    /// The number a plan asks back, as [`Measure`] defines it.
    ///
    /// # Errors
    /// [`TchError::Shape`] when it names a register that holds nothing.
    pub(crate) fn measure(&self, measure: &Measure) -> Result<f64, TchError> {
        let read = |register| self.read(register, None);
        let (low, high, previous) = (read(measure.low)?, read(measure.high)?, read(measure.previous)?);
        let scale = low.f_abs()?.f_maximum(&previous.f_abs()?)?.f_mul_scalar(measure.relative)?;
        let scale = scale.f_clamp_min(measure.absolute)?;
        let error = low.f_sub(high)?.f_div(&scale)?;
        f64::try_from(error.f_square()?.f_mean(Kind::Float)?.f_sqrt()?)
    }

    /// Whether the latent holds numbers only.
    pub(crate) fn is_finite(&self) -> Result<bool, TchError> {
        bool::try_from(self.x.f_isfinite()?.f_all()?)
    }

    fn read<'a>(&'a self, register: Register, noise: Option<&'a Tensor>) -> Result<&'a Tensor, TchError> {
        let found = match register {
            Register::X => Some(&self.x),
            Register::Denoised => self.denoised.as_ref(),
            Register::Unconditional => self.unconditional.as_ref(),
            Register::Noise => noise,
            Register::Saved(index) => self.saved.get(usize::from(index)).and_then(Option::as_ref),
        };
        found.ok_or_else(|| TchError::Shape(format!("the plan reads {register:?} before it holds anything")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.flatten(0, -1)).unwrap()
    }

    /// A latent of one place that is `noise` times `scale`.
    fn latents(noise: &[f32], scale: f64) -> Latents {
        let noise = Latents::draw(noise, (1, 1)).unwrap();
        Latents::new(None, &noise, Start { latent: 0.0, noise: scale }).unwrap()
    }

    #[test]
    fn reads_the_right_side_before_it_writes_the_target() {
        let mut latents = latents(&[1.0, 2.0, 3.0, 4.0], 2.0);
        let noise = Latents::draw(&[1.0; 4], (1, 1)).unwrap();
        let list = [
            Assign { target: Register::Saved(3), terms: vec![(1.0, Register::X)] },
            Assign { target: Register::X, terms: vec![(0.5, Register::X), (-1.0, Register::Noise)] },
            Assign { target: Register::X, terms: vec![(1.0, Register::X), (1.0, Register::Saved(3))] },
        ];
        latents.assign(&list, Some(&noise)).unwrap();
        assert_eq!(values(&latents.x), [2.0, 5.0, 8.0, 11.0]);
    }

    #[test]
    fn begins_from_a_latent_and_noise_in_the_plans_shares() {
        let (latent, noise) = ([1.0, 2.0, 3.0, 4.0], [10.0; 4]);
        let draw = |values: &[f32]| Latents::draw(values, (1, 1)).unwrap();
        let start = Start { latent: 0.5, noise: 0.1 };
        let begun = Latents::new(Some(&draw(&latent)), &draw(&noise), start).unwrap();
        assert_eq!(values(&begun.x), [1.5, 2.0, 2.5, 3.0]);
    }

    #[test]
    fn refuses_to_read_a_register_that_holds_nothing() {
        let mut latents = latents(&[0.0; 4], 1.0);
        for register in [Register::Denoised, Register::Noise, Register::Saved(7)] {
            let list = [Assign { target: Register::X, terms: vec![(1.0, register)] }];
            assert!(latents.assign(&list, None).is_err(), "{register:?}");
        }
    }

    #[test]
    fn measures_the_distance_of_two_registers_by_their_size() {
        let mut latents = latents(&[1.0, -4.0, 0.1, 2.0], 1.0);
        let noise = Latents::draw(&[0.5; 4], (1, 1)).unwrap();
        let low =
            Assign { target: Register::Saved(0), terms: vec![(1.0, Register::X), (1.0, Register::Noise)] };
        latents.assign(&[low], Some(&noise)).unwrap();
        let (low, high, previous) = (Register::Saved(0), Register::X, Register::X);
        let measure = Measure { low, high, previous, absolute: 1.0, relative: 0.5 };
        // 0.5 over 1, 2, 1 and 1.25, squared and averaged.
        let want = ((0.25 + 0.0625 + 0.25 + 0.16) / 4.0_f64).sqrt();
        assert!((latents.measure(&measure).unwrap() - want).abs() < 1e-6);
        assert!(latents.measure(&Measure { high: Register::Saved(4), ..measure }).is_err());
    }

    #[test]
    fn refuses_noise_of_another_size() {
        assert!(Latents::draw(&[0.0; 5], (1, 1)).is_err());
        assert!(Latents::draw(&[0.0; 8], (1, 1)).is_err());
    }

    #[test]
    fn sees_what_is_no_number() {
        for value in [f32::NAN, f32::INFINITY] {
            assert!(!latents(&[0.0, value, 0.0, 0.0], 1.0).is_finite().unwrap());
        }
        assert!(latents(&[0.0; 4], 1.0).is_finite().unwrap());
    }
}
