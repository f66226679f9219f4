//! CodeFormer (Zhou et al. 2022, arXiv:2206.11253): a VQGAN encoder (Esser et al. 2021, arXiv:2012.09841) reads
//! the face into 16x16 places, a transformer guesses for each which entry of a codebook of good faces belongs
//! there, and a generator draws them. Maps a tensor to a tensor.
//!
//! - transformer layer: `x += attend(q = k = norm(x) + position, v = norm(x))`, `x += mlp(norm(x))` with GELU
//! - codes: `codebook[argmax(head(x))]`, given mean and deviation of the encoder's features for each channel
//! - with fidelity `w` > 0 the generator's features `d` at the fused sizes become
//!   `d + w (d · scale(e) + shift(e))`, `e` = a residual block over the encoder's features and `d`

use tch::Tensor;

use super::detect::{Block, CodeFormerLayout};
use crate::error::Problem;
use crate::models::layers::{
    Conv, Forward, GroupNorm, LayerNorm, Linear, attend, from_tokens, resize_nearest, to_tokens,
};
use crate::upscale::leaky;
use crate::weights::Scope;

/// What shapes cannot tell, as in the published network.
const HEADS: i64 = 8;
const GROUPS: i64 = 32;
const NORM_EPS: f64 = 1e-6;
/// Added to variances before the encoder's look is put on the codes.
const LOOK_EPS: f64 = 1e-5;

pub(crate) struct CodeFormer {
    encoder: Vec<Layer>,
    features: Linear,
    /// `[256, width]`.
    positions: Tensor,
    layers: Vec<TransformerLayer>,
    head_norm: LayerNorm,
    head: Linear,
    /// `[codebook, channels]`.
    codebook: Tensor,
    generator: Vec<Layer>,
    fusions: Vec<(i64, Fusion)>,
}

impl CodeFormer {
    pub(crate) fn load(scope: &Scope<'_>, layout: &CodeFormerLayout) -> Result<Self, Problem> {
        let CodeFormerLayout { codebook, code_channels, width, layers, hidden, .. } = *layout;
        let fusion = |&(side, channels): &(i64, i64)| {
            Ok((side, Fusion::load(&scope.at("fuse_convs_dict").at(side), channels)?))
        };
        let layer = |index| TransformerLayer::load(&scope.at("ft_layers").at(index), width, hidden);
        Ok(Self {
            encoder: load_blocks(&scope.at("encoder.blocks"), &layout.encoder, Resample::Halve)?,
            features: Linear::load(&scope.at("feat_emb"), code_channels, width)?,
            positions: scope.tensor("position_emb", &[256, width])?,
            layers: (0..layers).map(layer).collect::<Result<_, _>>()?,
            head_norm: LayerNorm::load(&scope.at("idx_pred_layer.0"), width)?,
            head: Linear::load_without_bias(&scope.at("idx_pred_layer.1"), width, codebook)?,
            codebook: scope.at("quantize.embedding").tensor("weight", &[codebook, code_channels])?,
            generator: load_blocks(&scope.at("generator.blocks"), &layout.generator, Resample::Double)?,
            fusions: layout.fused.iter().map(fusion).collect::<Result<_, Problem>>()?,
        })
    }

    /// `[1, 3, side, side]` in -1..1 to the same; `fidelity` 0..1 is the paper's `w`.
    pub(crate) fn forward(&self, face: &Tensor, fidelity: f64) -> Forward {
        let mut x = face.shallow_clone();
        let mut seen = Vec::new();
        for (index, layer) in self.encoder.iter().enumerate() {
            x = layer.forward(&x)?;
            // The last features of each size but the smallest.
            if matches!(self.encoder.get(index + 1), Some(Layer::Resample(..))) {
                seen.push((x.size4()?.2, x.shallow_clone()));
            }
        }
        let mut y = self.codes(&x)?;
        let mut doubled = false;
        for layer in &self.generator {
            y = layer.forward(&y)?;
            // Behind the first residual block of each doubled size.
            if doubled && fidelity > 0.0 {
                let side = y.size4()?.2;
                let at = |(other, _): &&(i64, _)| *other == side;
                let seen = seen.iter().find(|(other, _)| *other == side);
                if let (Some((_, fusion)), Some((_, seen))) = (self.fusions.iter().find(at), seen) {
                    y = fusion.forward(seen, &y, fidelity)?;
                }
            }
            doubled = matches!(layer, Layer::Resample(..));
        }
        Ok(y)
    }

    /// The codebook's entries for the encoder's features, both `[1, channels, 16, 16]`.
    fn codes(&self, features: &Tensor) -> Forward {
        let (_, _, rows, columns) = features.size4()?;
        let mut x = self.features.forward(&to_tokens(features)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, &self.positions)?;
        }
        let logits = self.head.forward(&self.head_norm.forward(&x)?)?;
        let entries = self.codebook.f_index_select(0, &logits.f_argmax(-1, false)?.f_flatten(0, -1)?)?;
        let codes = from_tokens(&entries.f_unsqueeze(0)?, rows, columns)?;
        let (code_mean, code_deviation) = look(&codes)?;
        let (mean, deviation) = look(features)?;
        codes.f_sub(&code_mean)?.f_div(&code_deviation)?.f_mul(&deviation)?.f_add(&mean)
    }
}

/// Mean and deviation of each channel over all places, `[1, channels, 1, 1]`.
fn look(x: &Tensor) -> Result<(Tensor, Tensor), tch::TchError> {
    let places = [2, 3].as_slice();
    let variance = x.f_var_dim(places, true, true)?;
    Ok((x.f_mean_dim(places, true, None)?, variance.f_add_scalar(LOOK_EPS)?.f_sqrt()?))
}

struct TransformerLayer {
    norm1: LayerNorm,
    /// Query, key and value, `[width, width]` each with its bias.
    projections: [(Tensor, Tensor); 3],
    out: Linear,
    norm2: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

impl TransformerLayer {
    fn load(scope: &Scope<'_>, width: i64, hidden: i64) -> Result<Self, Problem> {
        if width % HEADS != 0 {
            let expected = format!("a multiple of {HEADS}");
            return Err(Problem::Shape { key: "position_emb".into(), found: vec![256, width], expected });
        }
        let attention = scope.at("self_attn");
        let weight = attention.tensor("in_proj_weight", &[3 * width, width])?;
        let bias = attention.tensor("in_proj_bias", &[3 * width])?;
        let part = |index: i64| -> Result<(Tensor, Tensor), Problem> {
            Ok((weight.f_narrow(0, index * width, width)?, bias.f_narrow(0, index * width, width)?))
        };
        Ok(Self {
            norm1: LayerNorm::load(&scope.at("norm1"), width)?,
            projections: [part(0)?, part(1)?, part(2)?],
            out: Linear::load(&attention.at("out_proj"), width, width)?,
            norm2: LayerNorm::load(&scope.at("norm2"), width)?,
            widen: Linear::load(&scope.at("linear1"), width, hidden)?,
            narrow: Linear::load(&scope.at("linear2"), hidden, width)?,
        })
    }

    /// `x` `[1, places, width]`, `positions` `[places, width]`.
    fn forward(&self, x: &Tensor, positions: &Tensor) -> Forward {
        let value = self.norm1.forward(x)?;
        let placed = value.f_add(positions)?;
        let project = |x: &Tensor, (weight, bias): &(Tensor, Tensor)| x.f_linear(weight, Some(bias));
        let [query, key, values] = &self.projections;
        let (q, k, v) = (project(&placed, query)?, project(&placed, key)?, project(&value, values)?);
        let x = x.f_add(&self.out.forward(&attend(&q, &k, &v, HEADS, false)?)?)?;
        let y = self.widen.forward(&self.norm2.forward(&x)?)?.f_gelu("none")?;
        x.f_add(&self.narrow.forward(&y)?)
    }
}

/// Mixes the encoder's features into the generator's.
struct Fusion {
    both: Residual,
    scale: [Conv; 2],
    shift: [Conv; 2],
}

impl Fusion {
    fn load(scope: &Scope<'_>, channels: i64) -> Result<Self, Problem> {
        let pair = |name: &str| -> Result<[Conv; 2], Problem> {
            let at = scope.at(name);
            let conv = |index: i64| Conv::load(&at.at(index), channels, channels, 3);
            Ok([conv(0)?, conv(2)?])
        };
        Ok(Self {
            both: Residual::load(&scope.at("encode_enc"), 2 * channels, channels)?,
            scale: pair("scale")?,
            shift: pair("shift")?,
        })
    }

    fn forward(&self, encoded: &Tensor, drawn: &Tensor, fidelity: f64) -> Forward {
        let both = self.both.forward(&Tensor::f_cat(&[encoded, drawn], 1)?)?;
        let run = |[first, second]: &[Conv; 2]| second.forward(&leaky(&first.forward(&both)?)?);
        let change = drawn.f_mul(&run(&self.scale)?)?.f_add(&run(&self.shift)?)?;
        drawn.f_add(&change.f_mul_scalar(fidelity)?)
    }
}

/// One entry of the encoder's or generator's list.
enum Layer {
    Conv(Conv),
    Residual(Residual),
    Attention(Attention),
    Resample(Resample, Conv),
    Norm(GroupNorm),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Resample {
    Halve,
    Double,
}

fn load_blocks(scope: &Scope<'_>, blocks: &[Block], resample: Resample) -> Result<Vec<Layer>, Problem> {
    let mut layers = Vec::new();
    let mut channels = 0;
    for (index, block) in blocks.iter().enumerate() {
        let at = scope.at(index);
        layers.push(match *block {
            Block::Conv { inputs, outputs } => {
                channels = outputs;
                Layer::Conv(Conv::load(&at, inputs, outputs, 3)?)
            }
            Block::Residual { inputs, outputs } => {
                channels = outputs;
                Layer::Residual(Residual::load(&at, inputs, outputs)?)
            }
            Block::Attention { channels } => Layer::Attention(Attention::load(&at, channels)?),
            Block::Norm { channels } => Layer::Norm(GroupNorm::load(&at, channels, GROUPS, NORM_EPS)?),
            Block::Resample => Layer::Resample(
                resample,
                match resample {
                    // Padded right and below in `forward`.
                    Resample::Halve => Conv::load_halving(&at.at("conv"), channels, 0)?,
                    Resample::Double => Conv::load(&at.at("conv"), channels, channels, 3)?,
                },
            ),
        });
    }
    Ok(layers)
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Forward {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::Residual(block) => block.forward(x),
            Self::Attention(block) => block.forward(x),
            Self::Norm(norm) => norm.forward(x),
            Self::Resample(Resample::Halve, conv) => conv.forward(&x.f_constant_pad_nd([0, 1, 0, 1])?),
            Self::Resample(Resample::Double, conv) => {
                let (_, _, rows, columns) = x.size4()?;
                conv.forward(&resize_nearest(x, rows * 2, columns * 2)?)
            }
        }
    }
}

struct Residual {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl Residual {
    fn load(scope: &Scope<'_>, inputs: i64, outputs: i64) -> Result<Self, Problem> {
        let shortcut = || Conv::load(&scope.at("conv_out"), inputs, outputs, 1);
        Ok(Self {
            norm1: GroupNorm::load(&scope.at("norm1"), inputs, GROUPS, NORM_EPS)?,
            conv1: Conv::load(&scope.at("conv1"), inputs, outputs, 3)?,
            norm2: GroupNorm::load(&scope.at("norm2"), outputs, GROUPS, NORM_EPS)?,
            conv2: Conv::load(&scope.at("conv2"), outputs, outputs, 3)?,
            shortcut: (inputs != outputs).then(shortcut).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let y = self.conv1.forward(&self.norm1.forward(x)?.f_silu()?)?;
        let y = self.conv2.forward(&self.norm2.forward(&y)?.f_silu()?)?;
        match &self.shortcut {
            Some(shortcut) => y.f_add(&shortcut.forward(x)?),
            None => y.f_add(x),
        }
    }
}

/// Attention of one head over all places.
struct Attention {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl Attention {
    fn load(scope: &Scope<'_>, channels: i64) -> Result<Self, Problem> {
        let projection = |name: &str| Linear::load(&scope.at(name), channels, channels);
        Ok(Self {
            norm: GroupNorm::load(&scope.at("norm"), channels, GROUPS, NORM_EPS)?,
            q: projection("q")?,
            k: projection("k")?,
            v: projection("v")?,
            out: projection("proj_out")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let (_, _, rows, columns) = x.size4()?;
        let tokens = to_tokens(&self.norm.forward(x)?)?;
        let (q, k, v) = (self.q.forward(&tokens)?, self.k.forward(&tokens)?, self.v.forward(&tokens)?);
        let y = self.out.forward(&attend(&q, &k, &v, 1, false)?)?;
        x.f_add(&from_tokens(&y, rows, columns)?)
    }
}
