//! The denoising U-Net of Stable Diffusion 1.x (Rombach et al. 2022), block by block as its layout lists them.
//! Tells noise from latent, timestep and context; knows no sampler and no guidance.

pub(crate) mod blocks;
pub(crate) mod context;
pub(crate) mod encoder;
mod merging;
pub(crate) mod reference;

use tch::{TchError, Tensor};

use self::blocks::{ResBlock, Transformer};
use self::context::{Context, ContextMap, Reader, mapped};
use self::encoder::{Added, Encoder, apply};
use self::merging::Merging;
use self::reference::Reference;
use super::control::Control;
use super::layers::{Conv, Forward, GroupNorm, resize_nearest, spatial};
use crate::error::Problem;
use crate::layout::UnetLayout;
use crate::weights::Scope;

pub(crate) struct UNet {
    encoder: Encoder,
    output: Vec<Up>,
    norm_out: GroupNorm,
    conv_out: Conv,
    input_channels: i64,
}

struct Up {
    residual: ResBlock,
    transformer: Option<Transformer>,
    upsample: Option<Conv>,
}

/// What may act on a call besides its inputs. The default is nothing.
#[derive(Clone, Copy, Default)]
pub struct Extras<'a> {
    pub control: Option<&'a Control>,
    /// Changes what the self-attentions read. The text's part is applied when its [`Context`] is made.
    pub map: Option<&'a dyn ContextMap>,
    /// What the self-attentions read besides; with as many rows as the call.
    pub reference: Option<&'a Reference>,
    /// Share of the tokens, 0..=1, that self-attentions of the widest level go without, merged into others like them.
    pub merging: f64,
}

impl UNet {
    pub(crate) fn load(scope: &Scope<'_>, layout: &UnetLayout) -> Result<Self, Problem> {
        let base = layout.base_channels;
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
        Ok(Self {
            encoder: Encoder::load(scope, layout)?,
            output,
            norm_out: GroupNorm::load(&scope.at("out.0"), base, layout.groups, 1e-5)?,
            conv_out: Conv::load(&scope.at("out.2"), base, layout.latent_channels, 3)?,
            input_channels: layout.input_channels,
        })
    }

    /// Channels of what the first convolution reads.
    pub(crate) fn input_channels(&self) -> i64 {
        self.input_channels
    }

    /// Projects a text, `[batch, tokens, width]` in the network's kind, for every cross-attention.
    pub(crate) fn context(&self, text: &Tensor, map: Option<&dyn ContextMap>) -> Result<Context, TchError> {
        let (keys, values) = mapped(text, map)?;
        let mut layers = Vec::new();
        self.encoder.read(&keys, &values, &mut layers)?;
        for transformer in self.output.iter().filter_map(|block| block.transformer.as_ref()) {
            transformer.read(&keys, &values, &mut layers)?;
        }
        Ok(Context { layers })
    }

    /// Predicts the noise in `x`.
    ///
    /// `x` is `[batch, channels, rows, columns]` in the network's kind: 4 channels of latent, to which the caller
    /// appends what inpainting (mask, masked latent) and editing (picture's latent) checkpoints read besides.
    /// `timesteps` is `[batch]` in f32, fractional values allowed; `context` has as many rows as `x`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        context: &Context,
        extras: &Extras<'_>,
    ) -> Forward {
        let mut text = Reader::new(context, extras.map).merging(Merging::new(extras.merging, spatial(x)?));
        if let Some(reference) = extras.reference {
            text = text.beside(reference);
        }
        self.run(x, timesteps, &mut text, extras.control)
    }

    /// What the self-attentions are given in a call without control, in its order: `[batch, tokens, channels]` each, after
    /// their normalisation.
    pub(crate) fn hidden_states(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        context: &Context,
        map: Option<&dyn ContextMap>,
    ) -> Result<Vec<Tensor>, TchError> {
        let mut text = Reader::new(context, map).recording();
        let _predicted = self.run(x, timesteps, &mut text, None)?;
        Ok(text.into_recorded())
    }

    fn run(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        text: &mut Reader<'_>,
        control: Option<&Control>,
    ) -> Forward {
        let features = control.map_or(&[][..], |control| &control.features);
        let encoded = self.encoder.forward(x, timesteps, text, &Added { hint: None, features })?;
        let mut skips = encoded.skips;
        let mut x = encoded.middle;
        if let Some(control) = control {
            control.add_to(&mut skips, &mut x)?;
        }
        for (block, skip) in self.output.iter().zip(skips.into_iter().rev()) {
            // Odd sizes halve upwards and double to one row too many; web UIs resize to the skip's size here.
            let (rows, columns) = spatial(&skip)?;
            if spatial(&x)? != (rows, columns) {
                x = resize_nearest(&x, rows, columns)?;
            }
            x = block.residual.forward(&Tensor::f_cat(&[&x, &skip], 1)?, &encoded.embedding)?;
            x = apply(block.transformer.as_ref(), x, text)?;
            if let Some(conv) = &block.upsample {
                let (rows, columns) = spatial(&x)?;
                x = conv.forward(&resize_nearest(&x, rows * 2, columns * 2)?)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward(&x)?.f_silu()?)
    }
}
