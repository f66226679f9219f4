//! Convolutions with the batch normalisation behind them folded into their weights, which is the same sum with one
//! pass less. Called by the networks that find and part faces.

use tch::Tensor;

use crate::error::Problem;
use crate::models::layers::Forward;
use crate::weights::Scope;

/// Added to variances; what every published network has.
const NORM_EPS: f64 = 1e-5;

/// A square convolution's measures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measures {
    pub(crate) inputs: i64,
    pub(crate) outputs: i64,
    pub(crate) size: i64,
    pub(crate) stride: i64,
}

/// What stands behind the edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    Zeros,
    /// The picture mirrored at its outermost pixels.
    Mirror,
}

/// Padded by half its size, so that only a stride makes the picture smaller.
pub(crate) struct Convolution {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
    behind: Behind,
}

impl Convolution {
    /// With a bias and no normalisation.
    pub(crate) fn load(scope: &Scope<'_>, measures: Measures, behind: Behind) -> Result<Self, Problem> {
        let weight = weight(scope, measures)?;
        Ok(Self::new(weight, scope.tensor("bias", &[measures.outputs])?, measures, behind))
    }

    /// Without a bias, followed by the batch normalisation at `norm`.
    pub(crate) fn load_normed(
        scope: &Scope<'_>,
        norm: &Scope<'_>,
        measures: Measures,
        behind: Behind,
    ) -> Result<Self, Problem> {
        let weight = weight(scope, measures)?;
        let vector = |name: &str| norm.tensor(name, &[measures.outputs]);
        let deviation = vector("running_var")?.f_add_scalar(NORM_EPS)?.f_sqrt()?;
        let factor = vector("weight")?.f_div(&deviation)?;
        let bias = vector("bias")?.f_sub(&vector("running_mean")?.f_mul(&factor)?)?;
        let weight = weight.f_mul(&factor.f_reshape([-1, 1, 1, 1])?)?;
        Ok(Self::new(weight, bias, measures, behind))
    }

    fn new(weight: Tensor, bias: Tensor, measures: Measures, behind: Behind) -> Self {
        Self { weight, bias, stride: measures.stride, padding: measures.size / 2, behind }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Forward {
        let run = |x: &Tensor, padding: i64| {
            x.f_conv2d(&self.weight, Some(&self.bias), [self.stride; 2], [padding; 2], [1, 1], 1)
        };
        match self.behind {
            Behind::Mirror if self.padding > 0 => run(&x.f_reflection_pad2d([self.padding; 4])?, 0),
            _ => run(x, self.padding),
        }
    }
}

fn weight(scope: &Scope<'_>, measures: Measures) -> Result<Tensor, Problem> {
    let Measures { inputs, outputs, size, .. } = measures;
    scope.tensor("weight", &[outputs, inputs, size, size])
}
