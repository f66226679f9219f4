//! The blocks that the denoising U-Net and its relatives are made of: residual blocks that read the timestep, and
//! spatial transformers that read the text. Knows no order of blocks.

use tch::{TchError, Tensor};

use super::context::{KeysValues, Reader, mapped};
use crate::error::Problem;
use crate::layout::{Attention, Residual, UnetLayout};
use crate::models::layers::{
    Conv, Forward, GroupNorm, LayerNorm, Linear, attend, from_tokens, spatial, to_tokens,
};
use crate::weights::Scope;

pub(crate) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl ResBlock {
    pub(crate) fn load(scope: &Scope<'_>, block: &Residual, layout: &UnetLayout) -> Result<Self, Problem> {
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

    pub(crate) fn forward(&self, x: &Tensor, embedding: &Tensor) -> Forward {
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

pub(crate) struct Transformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<TransformerBlock>,
    proj_out: Linear,
}

impl Transformer {
    pub(crate) fn load_optional(
        scope: &Scope<'_>,
        attention: Option<&Attention>,
        layout: &UnetLayout,
    ) -> Result<Option<Self>, Problem> {
        attention.map(|attention| Self::load(scope, attention, layout)).transpose()
    }

    pub(crate) fn load(
        scope: &Scope<'_>,
        attention: &Attention,
        layout: &UnetLayout,
    ) -> Result<Self, Problem> {
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

    /// Appends what this transformer's cross-attentions read of a text: `keys` and `values` are what each is
    /// made of, `[batch, tokens, width]`.
    pub(crate) fn read(
        &self,
        keys: &Tensor,
        values: &Tensor,
        layers: &mut Vec<KeysValues>,
    ) -> Result<(), TchError> {
        for block in &self.blocks {
            layers.push(block.cross_attention.project(keys, values)?);
        }
        Ok(())
    }

    pub(crate) fn forward(&self, x: &Tensor, text: &mut Reader<'_>) -> Forward {
        let (rows, columns) = spatial(x)?;
        let mut tokens = self.proj_in.forward(&to_tokens(&self.norm.forward(x)?)?)?;
        for block in &self.blocks {
            tokens = block.forward(&tokens, (rows, columns), text)?;
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

    /// `x` is `[batch, rows * columns, channels]`, of a picture of that `size`.
    fn forward(&self, x: &Tensor, size: (i64, i64), text: &mut Reader<'_>) -> Forward {
        let y = self.norm1.forward(x)?;
        let merged = text.merging.map(|merging| merging.of(x, size)).transpose()?.flatten();
        let y = match &merged {
            None => self.attend_itself(&y, text)?,
            Some(merged) => merged.apart(&self.attend_itself(&merged.together(&y)?, text)?)?,
        };
        let x = x.f_add(&y)?;
        let x = x.f_add(&self.cross_attention.forward(&self.norm2.forward(&x)?, text.next()?)?)?;
        // GEGLU (Shazeer 2020): the first half is the value, the second the gate, with exact GELU.
        let halves = self.gated.forward(&self.norm3.forward(&x)?)?.f_chunk(2, -1)?;
        let y = halves[0].f_mul(&halves[1].f_gelu("none")?)?;
        x.f_add(&self.out.forward(&y)?)
    }

    /// The self-attention of normalised tokens, with what it reads beside them.
    fn attend_itself(&self, tokens: &Tensor, text: &mut Reader<'_>) -> Forward {
        let map = text.map;
        let reading = |tokens: &Tensor, context: &Tensor| {
            let (keys, values) = mapped(context, map)?;
            self.self_attention.forward(tokens, &self.self_attention.project(&keys, &values)?)
        };
        let Some((reference, states)) = text.beside.next(tokens)? else { return reading(tokens, tokens) };
        let read = reading(tokens, &Tensor::f_cat(&[tokens, states], 1)?)?;
        reference.mixed(read, tokens, |tokens| reading(tokens, tokens))
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

    fn project(&self, keys: &Tensor, values: &Tensor) -> Result<KeysValues, TchError> {
        Ok(KeysValues { keys: self.k.forward(keys)?, values: self.v.forward(values)? })
    }

    fn forward(&self, x: &Tensor, read: &KeysValues) -> Forward {
        let q = self.q.forward(x)?;
        self.out.forward(&attend(&q, &read.keys, &read.values, self.heads, false)?)
    }
}
