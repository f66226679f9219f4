//! A ControlNet (Zhang et al. 2023): a copy of the U-Net's first half that reads a picture besides the latent and
//! gives a residual for each skip and for the middle. Knows no weight, no step and no other unit.

use tch::{TchError, Tensor};

use super::control::Control;
use super::layers::{Conv, Forward};
use super::unet::context::{Context, ContextMap, Reader, mapped};
use super::unet::encoder::{Added, Encoder};
use crate::error::Problem;
use crate::layout::UnetLayout;
use crate::weights::Scope;

/// Channels of the picture.
const HINT_CHANNELS: i64 = 3;

/// What shapes tell of a ControlNet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlNetLayout {
    /// A UNet's without the second half.
    pub(crate) encoder: UnetLayout,
    /// Channels out of the convolutions that shrink the picture by eight; the last are the encoder's base channels.
    pub(crate) hint: Vec<i64>,
}

pub(crate) struct ControlNet {
    encoder: Encoder,
    hint: Vec<Conv>,
    outputs: Vec<Conv>,
    middle: Conv,
}

impl ControlNet {
    pub(crate) fn load(scope: &Scope<'_>, layout: &ControlNetLayout) -> Result<Self, Problem> {
        let mut inputs = HINT_CHANNELS;
        let mut hint = Vec::new();
        for (index, outputs) in layout.hint.iter().enumerate() {
            // Activations have the odd numbers.
            let conv = Conv::load(&scope.at("input_hint_block").at(index * 2), inputs, *outputs, 3)?;
            // Same size, same size, half, same size, half, same size, half, same size.
            let halves = index > 0 && index % 2 == 0;
            hint.push(conv.with_stride(if halves { 2 } else { 1 }));
            inputs = *outputs;
        }
        let output =
            |(index, channels)| Conv::load(&scope.at("zero_convs").at(index).at(0), channels, channels, 1);
        let middle = layout.encoder.middle.channels;
        Ok(Self {
            encoder: Encoder::load(scope, &layout.encoder)?,
            hint,
            outputs: layout
                .encoder
                .skip_channels()
                .into_iter()
                .enumerate()
                .map(output)
                .collect::<Result<_, _>>()?,
            middle: Conv::load(&scope.at("middle_block_out").at(0), middle, middle, 1)?,
        })
    }

    /// How many residuals it gives, the middle's included.
    pub(crate) fn layers(&self) -> usize {
        self.outputs.len() + 1
    }

    /// Projects a text for the encoder's cross-attentions; see [`super::unet::UNet::context`].
    pub(crate) fn context(&self, text: &Tensor, map: Option<&dyn ContextMap>) -> Result<Context, TchError> {
        let (keys, values) = mapped(text, map)?;
        let mut layers = Vec::new();
        self.encoder.read(&keys, &values, &mut layers)?;
        Ok(Context { layers })
    }

    /// What the network sees of a picture `[batch, 3, height, width]`, the same at every step: `[batch,
    /// base_channels, height / 8, width / 8]`.
    pub(crate) fn hint(&self, picture: &Tensor) -> Forward {
        let mut x = picture.shallow_clone();
        for (index, conv) in self.hint.iter().enumerate() {
            x = conv.forward(&x)?;
            if index + 1 < self.hint.len() {
                x = x.f_silu()?;
            }
        }
        Ok(x)
    }

    /// The residuals for `x` `[batch, 4, rows, columns]` at `timesteps` `[batch]` in f32.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        context: &Context,
        hint: &Tensor,
        map: Option<&dyn ContextMap>,
    ) -> Result<Control, TchError> {
        let mut text = Reader::new(context, map);
        let added = Added { hint: Some(hint), features: &[] };
        let encoded = self.encoder.forward(x, timesteps, &mut text, &added)?;
        let residual = |(conv, skip): (&Conv, &Tensor)| conv.forward(skip);
        Ok(Control {
            inputs: self.outputs.iter().zip(&encoded.skips).map(residual).collect::<Result<_, _>>()?,
            middle: Some(self.middle.forward(&encoded.middle)?),
            features: Vec::new(),
        })
    }
}
