//! Layers that more than one network uses. Each is loaded from a scope and applied with `forward`.

use tch::{TchError, Tensor};

use crate::error::Problem;
use crate::weights::{Padding, Scope};

pub(crate) type Forward = Result<Tensor, TchError>;

/// `y = x W^T + b` over the last dimension.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn load(scope: &Scope<'_>, inputs: i64, outputs: i64) -> Result<Self, Problem> {
        let weight = scope.matrix("weight", outputs, inputs)?;
        Ok(Self { weight, bias: Some(scope.tensor("bias", &[outputs])?) })
    }

    pub(crate) fn load_without_bias(scope: &Scope<'_>, inputs: i64, outputs: i64) -> Result<Self, Problem> {
        Ok(Self { weight: scope.matrix("weight", outputs, inputs)?, bias: None })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Forward {
        x.f_linear(&self.weight, self.bias.as_ref())
    }
}

/// A square convolution.
pub(crate) struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    /// Rows and columns read behind each edge.
    padding: i64,
    /// What stands there.
    behind_edges: Padding,
}

impl Conv {
    /// `size` x `size`, stride 1, padded so that rows and columns stay.
    pub(crate) fn load(scope: &Scope<'_>, inputs: i64, outputs: i64, size: i64) -> Result<Self, Problem> {
        let weight = scope.tensor("weight", &[outputs, inputs, size, size])?;
        let bias = scope.tensor("bias", &[outputs])?;
        Ok(Self { weight, bias, stride: 1, padding: size / 2, behind_edges: scope.padding() })
    }

    /// 3x3 with stride 2.
    pub(crate) fn load_halving(scope: &Scope<'_>, channels: i64, padding: i64) -> Result<Self, Problem> {
        Ok(Self { stride: 2, padding, ..Self::load(scope, channels, channels, 3)? })
    }

    /// The same convolution at every `stride`th place.
    pub(crate) fn with_stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Forward {
        let run = |x: &Tensor, padding: i64| {
            x.f_conv2d(&self.weight, Some(&self.bias), [self.stride; 2], [padding; 2], [1, 1], 1)
        };
        match self.behind_edges {
            Padding::Circular if self.padding > 0 => {
                run(&x.f_pad([self.padding; 4].as_slice(), "circular", None)?, 0)
            }
            _ => run(x, self.padding),
        }
    }
}

/// Group normalisation with scale and shift per channel.
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl GroupNorm {
    /// `groups` must divide `channels`.
    pub(crate) fn load(scope: &Scope<'_>, channels: i64, groups: i64, eps: f64) -> Result<Self, Problem> {
        if channels % groups != 0 {
            return Err(Problem::Metadata {
                key: crate::layout::NORM_NUM_GROUPS,
                value: groups.to_string(),
                reason: format!("does not divide a layer of {channels} channels"),
            });
        }
        let weight = scope.tensor("weight", &[channels])?;
        Ok(Self { weight, bias: scope.tensor("bias", &[channels])?, groups, eps })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Forward {
        x.f_group_norm(self.groups, Some(&self.weight), Some(&self.bias), self.eps, true)
    }
}

/// Layer normalisation over the last dimension, eps 1e-5.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    width: i64,
}

impl LayerNorm {
    pub(crate) fn load(scope: &Scope<'_>, width: i64) -> Result<Self, Problem> {
        Ok(Self { weight: scope.tensor("weight", &[width])?, bias: scope.tensor("bias", &[width])?, width })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Forward {
        x.f_layer_norm([self.width], Some(&self.weight), Some(&self.bias), 1e-5, true)
    }
}

/// Matrices narrower than this are multiplied by a slow kernel of MKL's, so heads are filled up with zeros. Those of
/// Stable Diffusion are wider; those of a network as small as the demo checkpoint's are not.
const NARROWEST_HEAD: i64 = 16;

/// Multi-head attention of `[batch, tokens, width]` tensors that are already projected.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, heads: i64, causal: bool) -> Forward {
    let (batch, tokens, width) = q.size3()?;
    let head = width / heads;
    let missing = (NARROWEST_HEAD - head).max(0);
    let split = |x: &Tensor| -> Forward {
        let (batch, tokens, _) = x.size3()?;
        let x = x.f_view([batch, tokens, heads, head])?;
        let x = if missing > 0 { x.f_constant_pad_nd([0, missing])? } else { x };
        x.f_transpose(1, 2)
    };
    let scale = (head as f64).sqrt().recip();
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    Tensor::f_scaled_dot_product_attention(&q, &k, &v, None::<Tensor>, 0.0, causal, Some(scale), false)?
        .f_narrow(-1, 0, head)?
        .f_transpose(1, 2)?
        .f_reshape([batch, tokens, width])
}

/// `[batch, channels, rows, columns]` to `[batch, rows * columns, channels]`.
pub(crate) fn to_tokens(x: &Tensor) -> Forward {
    x.f_flatten(2, 3)?.f_transpose(1, 2)
}

/// The way back from [`to_tokens`].
pub(crate) fn from_tokens(x: &Tensor, rows: i64, columns: i64) -> Forward {
    let (batch, _, channels) = x.size3()?;
    x.f_transpose(1, 2)?.f_reshape([batch, channels, rows, columns])
}

/// Nearest-neighbour resize to `rows` x `columns`.
pub(crate) fn resize_nearest(x: &Tensor, rows: i64, columns: i64) -> Forward {
    x.f_upsample_nearest2d([rows, columns], None, None)
}

/// Bilinear resize to `rows` x `columns`, pixel centres aligned.
pub(crate) fn resize_bilinear(x: &Tensor, rows: i64, columns: i64) -> Forward {
    x.f_upsample_bilinear2d([rows, columns], false, None, None)
}

/// Rows and columns of `[batch, channels, rows, columns]`.
pub(crate) fn spatial(x: &Tensor) -> Result<(i64, i64), TchError> {
    let (_, _, rows, columns) = x.size4()?;
    Ok((rows, columns))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// Vaswani et al. 2017, equation 1, head by head.
    fn by_definition(q: &Tensor, k: &Tensor, v: &Tensor, heads: i64) -> Tensor {
        let one = |head| {
            let of = |x: &Tensor| x.chunk(heads, -1).swap_remove(head);
            let scores = of(q).matmul(&of(k).transpose(1, 2)) / (of(q).size()[2] as f64).sqrt();
            scores.softmax(-1, Kind::Float).matmul(&of(v))
        };
        Tensor::cat(&(0..heads as usize).map(one).collect::<Vec<_>>(), -1)
    }

    #[test]
    fn heads_of_any_width_attend_as_defined() {
        tch::manual_seed(1);
        for head in [1, 4, NARROWEST_HEAD, 40] {
            let random = |tokens: i64| Tensor::randn([2, tokens, head * 3], (Kind::Float, Device::Cpu));
            let (q, k, v) = (random(5), random(7), random(7));
            let attended = attend(&q, &k, &v, 3, false).unwrap();
            assert_eq!(attended.size(), q.size());
            let off = (attended - by_definition(&q, &k, &v, 3)).abs().max();
            assert!(f64::try_from(off).unwrap() < 1e-5, "heads of {head}");
        }
    }
}
