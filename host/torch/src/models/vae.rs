//! The KL autoencoder of Stable Diffusion 1.x: pictures in -1..1 to latents an eighth their size and back.
//! Latents here are the network's own; the factor 0.18215 is the caller's.

use tch::{TchError, Tensor};

use super::layers::{Conv, Forward, GroupNorm, Linear, attend, from_tokens, resize_nearest, to_tokens};
use crate::error::Problem;
use crate::layout::{Residual, VaeLayout};
use crate::weights::Scope;

const EPS: f64 = 1e-6;

pub(crate) struct Vae {
    encoder: Encoder,
    decoder: Decoder,
    quant: Conv,
    post_quant: Conv,
}

impl Vae {
    pub(crate) fn load(scope: &Scope<'_>, layout: &VaeLayout) -> Result<Self, Problem> {
        let latent = layout.latent_channels;
        Ok(Self {
            encoder: Encoder::load(&scope.at("encoder"), layout)?,
            decoder: Decoder::load(&scope.at("decoder"), layout)?,
            quant: Conv::load(&scope.at("quant_conv"), latent * 2, latent * 2, 1)?,
            post_quant: Conv::load(&scope.at("post_quant_conv"), latent, latent, 1)?,
        })
    }

    /// The mean of the posterior of `[batch, 3, height, width]` pictures: `[batch, 4, height/8, width/8]`.
    pub(crate) fn encode_mean(&self, pictures: &Tensor) -> Forward {
        let moments = self.quant.forward(&self.encoder.forward(pictures)?)?;
        let channels = moments.size4()?.1;
        moments.f_narrow(1, 0, channels / 2)
    }

    /// `[batch, 4, rows, columns]` latents to `[batch, 3, 8 rows, 8 columns]` pictures, about -1..1. `is_cancelled` is asked
    /// before each block.
    ///
    /// # Errors
    /// What libtorch says; where it was cancelled, anything.
    pub(crate) fn decode(&self, latents: &Tensor, is_cancelled: &dyn Fn() -> bool) -> Forward {
        self.decoder.forward(&self.post_quant.forward(latents)?, is_cancelled)
    }
}

fn heed(is_cancelled: &dyn Fn() -> bool) -> Result<(), TchError> {
    if is_cancelled() { Err(TchError::Shape("decoding was cancelled".into())) } else { Ok(()) }
}

struct Encoder {
    conv_in: Conv,
    levels: Vec<(Vec<ResBlock>, Option<Conv>)>,
    middle: Middle,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl Encoder {
    fn load(scope: &Scope<'_>, layout: &VaeLayout) -> Result<Self, Problem> {
        let mut levels = Vec::new();
        for (index, level) in layout.encoder.levels.iter().enumerate() {
            let at = scope.at("down").at(index);
            let blocks = load_blocks(&at, &level.blocks, layout.groups)?;
            // Stride 2 without padding: the picture is padded right and below in `forward`.
            let halve = || Conv::load_halving(&at.at("downsample.conv"), level.channels(), 0);
            levels.push((blocks, level.resamples.then(halve).transpose()?));
        }
        let (first, last) = (layout.encoder.base_channels, layout.encoder.deep_channels);
        Ok(Self {
            conv_in: Conv::load(&scope.at("conv_in"), 3, first, 3)?,
            levels,
            middle: Middle::load(&scope.at("mid"), last, layout.groups)?,
            norm_out: GroupNorm::load(&scope.at("norm_out"), last, layout.groups, EPS)?,
            conv_out: Conv::load(&scope.at("conv_out"), last, layout.latent_channels * 2, 3)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let mut x = self.conv_in.forward(x)?;
        for (blocks, halve) in &self.levels {
            for block in blocks {
                x = block.forward(&x)?;
            }
            if let Some(conv) = halve {
                x = conv.forward(&x.f_constant_pad_nd([0, 1, 0, 1])?)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward(&self.middle.forward(&x)?)?.f_silu()?)
    }
}

struct Decoder {
    conv_in: Conv,
    middle: Middle,
    /// In the order they run, which is from the file's highest number down to 0.
    levels: Vec<(Vec<ResBlock>, Option<Conv>)>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl Decoder {
    fn load(scope: &Scope<'_>, layout: &VaeLayout) -> Result<Self, Problem> {
        let mut levels = Vec::new();
        for (index, level) in layout.decoder.levels.iter().enumerate().rev() {
            let at = scope.at("up").at(index);
            let blocks = load_blocks(&at, &level.blocks, layout.groups)?;
            let double = || Conv::load(&at.at("upsample.conv"), level.channels(), level.channels(), 3);
            levels.push((blocks, level.resamples.then(double).transpose()?));
        }
        let (first, last) = (layout.decoder.deep_channels, layout.decoder.base_channels);
        Ok(Self {
            conv_in: Conv::load(&scope.at("conv_in"), layout.latent_channels, first, 3)?,
            middle: Middle::load(&scope.at("mid"), first, layout.groups)?,
            levels,
            norm_out: GroupNorm::load(&scope.at("norm_out"), last, layout.groups, EPS)?,
            conv_out: Conv::load(&scope.at("conv_out"), last, 3, 3)?,
        })
    }

    fn forward(&self, x: &Tensor, is_cancelled: &dyn Fn() -> bool) -> Forward {
        heed(is_cancelled)?;
        let mut x = self.middle.forward(&self.conv_in.forward(x)?)?;
        for (blocks, double) in &self.levels {
            for block in blocks {
                heed(is_cancelled)?;
                x = block.forward(&x)?;
            }
            if let Some(conv) = double {
                heed(is_cancelled)?;
                let (_, _, rows, columns) = x.size4()?;
                x = conv.forward(&resize_nearest(&x, rows * 2, columns * 2)?)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward(&x)?.f_silu()?)
    }
}

fn load_blocks(scope: &Scope<'_>, blocks: &[Residual], groups: i64) -> Result<Vec<ResBlock>, Problem> {
    let load = |(index, block)| ResBlock::load(&scope.at("block").at(index), block, groups);
    blocks.iter().enumerate().map(load).collect()
}

struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl ResBlock {
    fn load(scope: &Scope<'_>, block: &Residual, groups: i64) -> Result<Self, Problem> {
        let Residual { inputs, outputs } = *block;
        let shortcut = || Conv::load(&scope.at("nin_shortcut"), inputs, outputs, 1);
        Ok(Self {
            norm1: GroupNorm::load(&scope.at("norm1"), inputs, groups, EPS)?,
            conv1: Conv::load(&scope.at("conv1"), inputs, outputs, 3)?,
            norm2: GroupNorm::load(&scope.at("norm2"), outputs, groups, EPS)?,
            conv2: Conv::load(&scope.at("conv2"), outputs, outputs, 3)?,
            shortcut: (inputs != outputs).then(shortcut).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let y = self.conv1.forward(&self.norm1.forward(x)?.f_silu()?)?;
        let y = self.conv2.forward(&self.norm2.forward(&y)?.f_silu()?)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)?.f_add(&y),
            None => x.f_add(&y),
        }
    }
}

/// Residual block, single-head attention over all places, residual block.
struct Middle {
    block_1: ResBlock,
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    block_2: ResBlock,
}

impl Middle {
    fn load(scope: &Scope<'_>, channels: i64, groups: i64) -> Result<Self, Problem> {
        let residual = Residual { inputs: channels, outputs: channels };
        let attention = scope.at("attn_1");
        let projection = |name| Linear::load(&attention.at(name), channels, channels);
        Ok(Self {
            block_1: ResBlock::load(&scope.at("block_1"), &residual, groups)?,
            norm: GroupNorm::load(&attention.at("norm"), channels, groups, EPS)?,
            q: projection("q")?,
            k: projection("k")?,
            v: projection("v")?,
            out: projection("proj_out")?,
            block_2: ResBlock::load(&scope.at("block_2"), &residual, groups)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let x = self.block_1.forward(x)?;
        let (_, _, rows, columns) = x.size4()?;
        let tokens = to_tokens(&self.norm.forward(&x)?)?;
        let (q, k, v) = (self.q.forward(&tokens)?, self.k.forward(&tokens)?, self.v.forward(&tokens)?);
        let y = self.out.forward(&attend(&q, &k, &v, 1, false)?)?;
        self.block_2.forward(&x.f_add(&from_tokens(&y, rows, columns)?)?)
    }
}
