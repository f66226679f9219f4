//! CLIP's text transformer as Stable Diffusion 1.x uses it (Radford et al. 2021): pre-norm layers, causal
//! attention, quick-GELU. Tokens in, one vector per token out. Knows no vocabulary and no prompt weights.

use tch::{TchError, Tensor};

use super::layers::{Forward, LayerNorm, Linear, attend};
use crate::error::Problem;
use crate::layout::TextLayout;
use crate::weights::Scope;

pub(crate) struct TextEncoder {
    token_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
}

impl TextEncoder {
    pub(crate) fn load(scope: &Scope<'_>, layout: &TextLayout) -> Result<Self, Problem> {
        let width = layout.width;
        let embeddings = scope.at("embeddings");
        let layer = |index| Layer::load(&scope.at("encoder.layers").at(index), layout);
        Ok(Self {
            token_embedding: embeddings.tensor("token_embedding.weight", &[layout.vocabulary, width])?,
            position_embedding: embeddings.tensor("position_embedding.weight", &[layout.positions, width])?,
            layers: (0..layout.layers).map(layer).collect::<Result<_, _>>()?,
            final_norm: LayerNorm::load(&scope.at("final_layer_norm"), width)?,
        })
    }

    pub(crate) fn width(&self) -> i64 {
        self.token_embedding.size().last().copied().unwrap_or(0)
    }

    pub(crate) fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Encodes `[batch, tokens]` ids (int64) to `[batch, tokens, width]`.
    ///
    /// `clip_skip` 1 uses every layer, 2 all but the last, and so on; the final norm is applied in each case.
    /// `embeddings` are vectors `[count, width]` that stand in for the tokens from a place on, in every row.
    pub(crate) fn forward(&self, tokens: &Tensor, clip_skip: u32, embeddings: &[(i64, &Tensor)]) -> Forward {
        let (_, length) = tokens.size2()?;
        let positions = self.position_embedding.f_narrow(0, 0, length)?;
        let words = Tensor::f_embedding(&self.token_embedding, tokens, -1, false, false)?;
        for (place, vectors) in embeddings {
            // What hangs over the end of the chunk is left out.
            let count = vectors.size2()?.0.min(length - place);
            let mut here = words.f_narrow(1, *place, count)?;
            here.f_copy_(&vectors.f_narrow(0, 0, count)?)?;
        }
        let mut x = words.f_add(&positions)?;
        let used = (self.layers.len() + 1).checked_sub(clip_skip.max(1) as usize);
        let used = used.ok_or_else(|| TchError::Shape(format!("clip skip {clip_skip} leaves no layer")))?;
        for layer in &self.layers[..used] {
            x = layer.forward(&x)?;
        }
        self.final_norm.forward(&x)
    }
}

struct Layer {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: i64,
}

impl Layer {
    fn load(scope: &Scope<'_>, layout: &TextLayout) -> Result<Self, Problem> {
        let width = layout.width;
        let attention = scope.at("self_attn");
        Ok(Self {
            norm1: LayerNorm::load(&scope.at("layer_norm1"), width)?,
            q: Linear::load(&attention.at("q_proj"), width, width)?,
            k: Linear::load(&attention.at("k_proj"), width, width)?,
            v: Linear::load(&attention.at("v_proj"), width, width)?,
            out: Linear::load(&attention.at("out_proj"), width, width)?,
            norm2: LayerNorm::load(&scope.at("layer_norm2"), width)?,
            fc1: Linear::load(&scope.at("mlp.fc1"), width, layout.hidden)?,
            fc2: Linear::load(&scope.at("mlp.fc2"), layout.hidden, width)?,
            heads: layout.heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let y = self.norm1.forward(x)?;
        let (q, k, v) = (self.q.forward(&y)?, self.k.forward(&y)?, self.v.forward(&y)?);
        let x = x.f_add(&self.out.forward(&attend(&q, &k, &v, self.heads, true)?)?)?;
        let y = self.fc1.forward(&self.norm2.forward(&x)?)?;
        let y = y.f_mul(&y.f_mul_scalar(1.702)?.f_sigmoid()?)?;
        x.f_add(&self.fc2.forward(&y)?)
    }
}
