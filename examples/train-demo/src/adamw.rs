//! AdamW: Loshchilov and Hutter 2019, "Decoupled weight decay regularization". libtorch's own cannot hand out its
//! moments through `tch`, and a training that cannot save them cannot be resumed.

use tch::{TchError, Tensor};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.99;
const EPS: f64 = 1e-8;
/// Shrinks matrices and kernels only: biases and norms have no reason to be small.
const DECAY: f64 = 0.01;
/// Gradients longer than this, all together, are shortened to it.
const LONGEST: f64 = 1.0;

/// What the optimiser remembers of one tensor.
#[derive(Debug)]
pub(crate) struct Moments {
    pub(crate) first: Tensor,
    pub(crate) second: Tensor,
}

impl Moments {
    pub(crate) fn new(of: &Tensor) -> Result<Self, TchError> {
        Ok(Self { first: of.detach().f_zeros_like()?, second: of.detach().f_zeros_like()? })
    }
}

/// How much gradients are shortened so that together they are no longer than allowed.
pub(crate) fn shortening(gradients: &[Tensor]) -> Result<f64, TchError> {
    let mut squares = 0.0;
    for gradient in gradients {
        let length = f64::try_from(gradient.f_norm()?)?;
        squares += length * length;
    }
    Ok((LONGEST / squares.sqrt()).min(1.0))
}

/// Moves `parameter` one step; `step` counts from 1, `scale` multiplies the gradient.
pub(crate) fn step(
    parameter: &mut Tensor,
    gradient: &Tensor,
    moments: &mut Moments,
    (step, rate, scale): (i32, f64, f64),
) -> Result<(), TchError> {
    // In place: a tensor for each operator would cost more than its arithmetic.
    let mut gradient = gradient.f_mul_scalar(scale)?;
    let _ = moments.first.f_lerp_(&gradient, 1.0 - BETA_1)?;
    let _ = moments.second.f_lerp_(&gradient.f_square_()?, 1.0 - BETA_2)?;
    if parameter.dim() > 1 {
        let _ = parameter.f_mul_scalar_(1.0 - rate * DECAY)?;
    }
    // Both moments begin at zero; the divisors take that out of the mean.
    let (bias_1, bias_2) = (1.0 - BETA_1.powi(step), 1.0 - BETA_2.powi(step));
    let mut spread = moments.second.f_sqrt()?;
    let _ = spread.f_div_scalar_(bias_2.sqrt())?.f_add_scalar_(EPS)?.f_mul_scalar_(-bias_1 / rate)?;
    let _ = parameter.f_addcdiv_(&moments.first, &spread)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn the_first_step_is_the_rate_against_the_gradients_sign() {
        let mut parameter = Tensor::from_slice(&[1.0f32, -1.0]);
        let mut moments = Moments::new(&parameter).unwrap();
        let gradient = Tensor::from_slice(&[0.5f32, -3.0]);
        step(&mut parameter, &gradient, &mut moments, (1, 0.1, 1.0)).unwrap();
        let want = Tensor::from_slice(&[0.9f32, -0.9]);
        assert!(f64::try_from((parameter - want).abs().max()).unwrap() < 1e-6);
    }

    #[test]
    fn finds_the_bottom_of_a_bowl() {
        let mut parameter = Tensor::from_slice(&[3.0f32, -2.0]);
        let mut moments = Moments::new(&parameter).unwrap();
        for at in 1..=400 {
            let gradient = &parameter * 2.0;
            step(&mut parameter, &gradient, &mut moments, (at, 0.05, 1.0)).unwrap();
        }
        assert!(f64::try_from(parameter.abs().max()).unwrap() < 0.01);
    }

    #[test]
    fn only_long_gradients_are_shortened() {
        let short = [Tensor::from_slice(&[0.3f32, 0.4])];
        let long = [Tensor::from_slice(&[3.0f32, 4.0]), Tensor::zeros([2], (Kind::Float, tch::Device::Cpu))];
        assert_eq!(shortening(&short).unwrap(), 1.0);
        assert!((shortening(&long).unwrap() - 0.2).abs() < 1e-6);
    }
}
