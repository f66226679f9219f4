//! The first half of the denoising U-Net: timestep embedding, first convolution, the blocks that halve, and the
//! middle. A ControlNet is a second one with weights of its own, so both are built here.

use tch::{Kind, TchError, Tensor};

use super::blocks::{ResBlock, Transformer};
use super::context::{KeysValues, Reader};
use crate::error::Problem;
use crate::layout::{InputBlock, Residual, UnetLayout};
use crate::models::control::add;
use crate::models::layers::{Conv, Forward, Linear};
use crate::weights::Scope;

pub(crate) struct Encoder {
    time_in: Linear,
    time_out: Linear,
    conv_in: Conv,
    input: Vec<Down>,
    middle: (ResBlock, Transformer, ResBlock),
    base_channels: i64,
}

enum Down {
    Residual(Box<(ResBlock, Option<Transformer>)>),
    Halve(Conv),
}

/// What leaves an encoder.
pub(crate) struct Encoded {
    /// The timesteps, `[batch, 4 * base_channels]`.
    pub(crate) embedding: Tensor,
    /// After the first convolution and after each block, in order.
    pub(crate) skips: Vec<Tensor>,
    pub(crate) middle: Tensor,
}

/// What is added on the way down. The default is nothing.
#[derive(Default)]
pub(crate) struct Added<'a> {
    /// To the first convolution's output: what a ControlNet made of its picture.
    pub(crate) hint: Option<&'a Tensor>,
    /// At the end of each level, one for each; empty for none. What a T2I-Adapter made of its picture.
    pub(crate) features: &'a [Tensor],
}

impl Encoder {
    pub(crate) fn load(scope: &Scope<'_>, layout: &UnetLayout) -> Result<Self, Problem> {
        let base = layout.base_channels;
        let time = layout.time_channels();
        let mut input = Vec::new();
        for (index, block) in layout.input.iter().enumerate() {
            let at = scope.at("input_blocks").at(index + 1);
            input.push(match block {
                InputBlock::Residual(residual, attention) => Down::Residual(Box::new((
                    ResBlock::load(&at.at(0), residual, layout)?,
                    Transformer::load_optional(&at.at(1), attention.as_ref(), layout)?,
                ))),
                InputBlock::Halve { channels } => {
                    Down::Halve(Conv::load_halving(&at.at("0.op"), *channels, 1)?)
                }
            });
        }
        let middle = scope.at("middle_block");
        let channels = layout.middle.channels;
        let residual = Residual { inputs: channels, outputs: channels };
        Ok(Self {
            time_in: Linear::load(&scope.at("time_embed.0"), base, time)?,
            time_out: Linear::load(&scope.at("time_embed.2"), time, time)?,
            conv_in: Conv::load(&scope.at("input_blocks.0.0"), layout.input_channels, base, 3)?,
            input,
            middle: (
                ResBlock::load(&middle.at(0), &residual, layout)?,
                Transformer::load(&middle.at(1), &layout.middle, layout)?,
                ResBlock::load(&middle.at(2), &residual, layout)?,
            ),
            base_channels: base,
        })
    }

    /// Appends what each cross-attention reads of a text; see [`Transformer::read`].
    pub(crate) fn read(
        &self,
        keys: &Tensor,
        values: &Tensor,
        layers: &mut Vec<KeysValues>,
    ) -> Result<(), TchError> {
        for block in &self.input {
            if let Down::Residual(block) = block
                && let Some(transformer) = &block.1
            {
                transformer.read(keys, values, layers)?;
            }
        }
        self.middle.1.read(keys, values, layers)
    }

    /// `x` is `[batch, channels, rows, columns]`, `timesteps` `[batch]` in f32.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        text: &mut Reader<'_>,
        added: &Added<'_>,
    ) -> Result<Encoded, TchError> {
        let embedding = self.time_embedding(timesteps, x.kind())?;
        let mut features = self.features(added.features)?;
        let mut x = self.conv_in.forward(x)?;
        if let Some(hint) = added.hint {
            x = add(&x, hint)?;
        }
        let mut skips = vec![x.shallow_clone()];
        for (index, block) in self.input.iter().enumerate() {
            x = match block {
                Down::Halve(conv) => conv.forward(&x)?,
                Down::Residual(block) => {
                    let (residual, transformer) = &**block;
                    apply(transformer.as_ref(), residual.forward(&x, &embedding)?, text)?
                }
            };
            if self.ends_level(index)
                && let Some(feature) = features.next()
            {
                x = add(&x, feature)?;
            }
            skips.push(x.shallow_clone());
        }
        let (first, transformer, last) = &self.middle;
        x = first.forward(&x, &embedding)?;
        x = transformer.forward(&x, text)?;
        let middle = last.forward(&x, &embedding)?;
        Ok(Encoded { embedding, skips, middle })
    }

    /// Whether the block at `index` is the last before a halving or before the middle.
    fn ends_level(&self, index: usize) -> bool {
        !matches!(self.input[index], Down::Halve(_))
            && self.input.get(index + 1).is_none_or(|next| matches!(next, Down::Halve(_)))
    }

    fn features<'a>(&self, features: &'a [Tensor]) -> Result<std::slice::Iter<'a, Tensor>, TchError> {
        let levels = (0..self.input.len()).filter(|index| self.ends_level(*index)).count();
        if features.is_empty() || features.len() == levels {
            return Ok(features.iter());
        }
        let given = features.len();
        Err(TchError::Shape(format!("an adapter gives {given} features to a UNet of {levels} levels")))
    }

    /// Sinusoids, cosines first (frequencies in f32 as every implementation has them), then the two-layer MLP.
    fn time_embedding(&self, timesteps: &Tensor, kind: Kind) -> Forward {
        let half = self.base_channels / 2;
        let steps = Tensor::f_arange(half, (Kind::Float, timesteps.device()))?;
        let frequencies = steps.f_mul_scalar(-f64::ln(10_000.0))?.f_div_scalar(half)?.f_exp()?;
        let angles = timesteps.f_unsqueeze(1)?.f_mul(&frequencies.f_unsqueeze(0)?)?;
        let waves = Tensor::f_cat(&[angles.f_cos()?, angles.f_sin()?], 1)?.f_to_kind(kind)?;
        self.time_out.forward(&self.time_in.forward(&waves)?.f_silu()?)
    }
}

/// Runs the transformer that a block may have behind it.
pub(crate) fn apply(transformer: Option<&Transformer>, x: Tensor, text: &mut Reader<'_>) -> Forward {
    transformer.map_or(Ok(x.shallow_clone()), |transformer| transformer.forward(&x, text))
}
