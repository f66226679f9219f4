//! The denoising U-Net of Stable Diffusion 1.x (Rombach et al. 2022), block by block as its layout lists them.
//! Tells noise from latent, timestep and context; knows no sampler and no guidance.

use tch::{Kind, Tensor};

use super::layers::{
    Conv, Forward, GroupNorm, LayerNorm, Linear, attend, from_tokens, resize_nearest, to_tokens,
};
use crate::error::Problem;
use crate::layout::{Attention, InputBlock, Residual, UnetLayout};
use crate::weights::Scope;

pub(crate) struct UNet {
    time_in: Linear,
    time_out: Linear,
    conv_in: Conv,
    input: Vec<Down>,
    middle: (ResBlock, Transformer, ResBlock),
    output: Vec<Up>,
    norm_out: GroupNorm,
    conv_out: Conv,
    base_channels: i64,
}

enum Down {
    Residual(Box<(ResBlock, Option<Transformer>)>),
    Halve(Conv),
}

struct Up {
    residual: ResBlock,
    transformer: Option<Transformer>,
    upsample: Option<Conv>,
}

impl UNet {
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
        let mut output = Vec::new();
        for (index, block) in layout.output.iter().enumerate() {
            let at = scope.at("output_blocks").at(index);
            let place = if block.attention.is_some() { 2 } else { 1 };
            let channels = block.residual.outputs;
            let upsample = || Conv::load(&at.at(place).at("conv"), channels, channels, 3);
            output.push(Up {
                residual: ResBlock::load(&at.at(0), &block.residual, layout)?,
                transformer: Transformer::load_optional(&at.at(1), block.attention.as_ref(), layout)?,
                upsample: block.upsample.then(upsample).transpose()?,
            });
        }
        let middle = scope.at("middle_block");
        let channels = layout.middle.channels;
        let residual = Residual { inputs: channels, outputs: channels };
        Ok(Self {
            time_in: Linear::load(&scope.at("time_embed.0"), base, time)?,
            time_out: Linear::load(&scope.at("time_embed.2"), time, time)?,
            conv_in: Conv::load(&scope.at("input_blocks.0.0"), layout.latent_channels, base, 3)?,
            input,
            middle: (
                ResBlock::load(&middle.at(0), &residual, layout)?,
                Transformer::load(&middle.at(1), &layout.middle, layout)?,
                ResBlock::load(&middle.at(2), &residual, layout)?,
            ),
            output,
            norm_out: GroupNorm::load(&scope.at("out.0"), base, layout.groups, 1e-5)?,
            conv_out: Conv::load(&scope.at("out.2"), base, layout.latent_channels, 3)?,
            base_channels: base,
        })
    }

    /// Predicts the noise in `x`.
    ///
    /// `x` is `[batch, 4, rows, columns]` and `context` `[batch, tokens, width]`, both in the network's kind;
    /// `timesteps` is `[batch]` in f32, fractional values allowed.
    pub(crate) fn forward(&self, x: &Tensor, timesteps: &Tensor, context: &Tensor) -> Forward {
        let embedding = self.time_embedding(timesteps, x.kind())?;
        let mut x = self.conv_in.forward(x)?;
        let mut skips = vec![x.shallow_clone()];
        for block in &self.input {
            x = match block {
                Down::Halve(conv) => conv.forward(&x)?,
                Down::Residual(block) => {
                    let (residual, transformer) = &**block;
                    let y = residual.forward(&x, &embedding)?;
                    apply(transformer.as_ref(), y, context)?
                }
            };
            skips.push(x.shallow_clone());
        }
        let (first, transformer, last) = &self.middle;
        x = first.forward(&x, &embedding)?;
        x = transformer.forward(&x, context)?;
        x = last.forward(&x, &embedding)?;
        for (block, skip) in self.output.iter().zip(skips.into_iter().rev()) {
            // Odd sizes halve upwards and double to one row too many; web UIs resize to the skip's size here.
            let (rows, columns) = spatial(&skip)?;
            if spatial(&x)? != (rows, columns) {
                x = resize_nearest(&x, rows, columns)?;
            }
            x = block.residual.forward(&Tensor::f_cat(&[&x, &skip], 1)?, &embedding)?;
            x = apply(block.transformer.as_ref(), x, context)?;
            if let Some(conv) = &block.upsample {
                let (rows, columns) = spatial(&x)?;
                x = conv.forward(&resize_nearest(&x, rows * 2, columns * 2)?)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward(&x)?.f_silu()?)
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

fn apply(transformer: Option<&Transformer>, x: Tensor, context: &Tensor) -> Forward {
    transformer.map_or(Ok(x.shallow_clone()), |transformer| transformer.forward(&x, context))
}

fn spatial(x: &Tensor) -> Result<(i64, i64), tch::TchError> {
    let (_, _, rows, columns) = x.size4()?;
    Ok((rows, columns))
}

struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl ResBlock {
    fn load(scope: &Scope<'_>, block: &Residual, layout: &UnetLayout) -> Result<Self, Problem> {
        let Residual { inputs, outputs } = *block;
        let shortcut = || Conv::load(&scope.at("skip_connection"), inputs, outputs, 1);
        Ok(Self {
            norm1: GroupNorm::load(&scope.at("in_layers.0"), inputs, layout.groups, 1e-5)?,
            conv1: Conv::load(&scope.at("in_layers.2"), inputs, outputs, 3)?,
            time: Linear::load(&scope.at("emb_layers.1"), layout.time_channels(), outputs)?,
            norm2: GroupNorm::load(&scope.at("out_layers.0"), outputs, layout.groups, 1e-5)?,
            conv2: Conv::load(&scope.at("out_layers.3"), outputs, outputs, 3)?,
            shortcut: (inputs != outputs).then(shortcut).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, embedding: &Tensor) -> Forward {
        let y = self.conv1.forward(&self.norm1.forward(x)?.f_silu()?)?;
        let shift = self.time.forward(&embedding.f_silu()?)?.f_unsqueeze(-1)?.f_unsqueeze(-1)?;
        let y = self.norm2.forward(&y.f_add(&shift)?)?.f_silu()?;
        let y = self.conv2.forward(&y)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)?.f_add(&y),
            None => x.f_add(&y),
        }
    }
}

struct Transformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<TransformerBlock>,
    proj_out: Linear,
}

impl Transformer {
    fn load_optional(
        scope: &Scope<'_>,
        attention: Option<&Attention>,
        layout: &UnetLayout,
    ) -> Result<Option<Self>, Problem> {
        attention.map(|attention| Self::load(scope, attention, layout)).transpose()
    }

    fn load(scope: &Scope<'_>, attention: &Attention, layout: &UnetLayout) -> Result<Self, Problem> {
        let channels = attention.channels;
        let block =
            |index| TransformerBlock::load(&scope.at("transformer_blocks").at(index), channels, layout);
        Ok(Self {
            norm: GroupNorm::load(&scope.at("norm"), channels, layout.groups, 1e-6)?,
            proj_in: Linear::load(&scope.at("proj_in"), channels, channels)?,
            blocks: (0..attention.depth).map(block).collect::<Result<_, _>>()?,
            proj_out: Linear::load(&scope.at("proj_out"), channels, channels)?,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Forward {
        let (rows, columns) = spatial(x)?;
        let mut tokens = self.proj_in.forward(&to_tokens(&self.norm.forward(x)?)?)?;
        for block in &self.blocks {
            tokens = block.forward(&tokens, context)?;
        }
        x.f_add(&from_tokens(&self.proj_out.forward(&tokens)?, rows, columns)?)
    }
}

struct TransformerBlock {
    norm1: LayerNorm,
    self_attention: CrossAttention,
    norm2: LayerNorm,
    cross_attention: CrossAttention,
    norm3: LayerNorm,
    gated: Linear,
    out: Linear,
}

impl TransformerBlock {
    fn load(scope: &Scope<'_>, channels: i64, layout: &UnetLayout) -> Result<Self, Problem> {
        let heads = layout.heads;
        Ok(Self {
            norm1: LayerNorm::load(&scope.at("norm1"), channels)?,
            self_attention: CrossAttention::load(&scope.at("attn1"), channels, channels, heads)?,
            norm2: LayerNorm::load(&scope.at("norm2"), channels)?,
            cross_attention: CrossAttention::load(&scope.at("attn2"), channels, layout.context_width, heads)?,
            norm3: LayerNorm::load(&scope.at("norm3"), channels)?,
            gated: Linear::load(&scope.at("ff.net.0.proj"), channels, channels * 8)?,
            out: Linear::load(&scope.at("ff.net.2"), channels * 4, channels)?,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Forward {
        let y = self.norm1.forward(x)?;
        let x = x.f_add(&self.self_attention.forward(&y, &y)?)?;
        let x = x.f_add(&self.cross_attention.forward(&self.norm2.forward(&x)?, context)?)?;
        // GEGLU (Shazeer 2020): the first half is the value, the second the gate, with exact GELU.
        let halves = self.gated.forward(&self.norm3.forward(&x)?)?.f_chunk(2, -1)?;
        let y = halves[0].f_mul(&halves[1].f_gelu("none")?)?;
        x.f_add(&self.out.forward(&y)?)
    }
}

struct CrossAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: i64,
}

impl CrossAttention {
    fn load(scope: &Scope<'_>, channels: i64, context: i64, heads: i64) -> Result<Self, Problem> {
        if channels % heads != 0 {
            return Err(Problem::Metadata {
                key: crate::layout::NUM_ATTENTION_HEADS,
                value: heads.to_string(),
                reason: format!("does not divide an attention of {channels} channels"),
            });
        }
        Ok(Self {
            q: Linear::load_without_bias(&scope.at("to_q"), channels, channels)?,
            k: Linear::load_without_bias(&scope.at("to_k"), context, channels)?,
            v: Linear::load_without_bias(&scope.at("to_v"), context, channels)?,
            out: Linear::load(&scope.at("to_out.0"), channels, channels)?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Forward {
        let (q, k, v) = (self.q.forward(x)?, self.k.forward(context)?, self.v.forward(context)?);
        self.out.forward(&attend(&q, &k, &v, self.heads, false)?)
    }
}
