//! A T2I-Adapter (Mou et al. 2023), full or light: a small network that makes a picture into one feature for each
//! level of the U-Net's first half. It reads neither latent nor timestep, so it runs once for a picture.

use tch::{TchError, Tensor};

use super::control::Control;
use super::layers::{Conv, Forward};
use crate::error::Problem;
use crate::weights::Scope;

/// Side of the square of pixels that become channels of one place.
pub(crate) const PIXELS_PER_PLACE: i64 = 8;

/// What names and shapes tell of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdapterLayout {
    /// Channels of the picture that are read, from the first on.
    pub(crate) picture_channels: i64,
    /// The full adapter's first convolution.
    pub(crate) first: Option<ConvLayout>,
    pub(crate) levels: Vec<LevelLayout>,
}

/// One level; all but the first halve the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LevelLayout {
    pub(crate) conv_in: Option<ConvLayout>,
    /// The two convolutions of each residual block.
    pub(crate) blocks: Vec<[ConvLayout; 2]>,
    /// The light adapter's way back to the UNet's channels.
    pub(crate) conv_out: Option<ConvLayout>,
}

/// A convolution and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConvLayout {
    pub(crate) name: String,
    pub(crate) inputs: i64,
    pub(crate) outputs: i64,
    pub(crate) size: i64,
}

pub(crate) struct T2iAdapter {
    picture_channels: i64,
    first: Option<Conv>,
    levels: Vec<Level>,
}

struct Level {
    conv_in: Option<Conv>,
    blocks: Vec<[Conv; 2]>,
    conv_out: Option<Conv>,
}

impl T2iAdapter {
    pub(crate) fn load(scope: &Scope<'_>, layout: &AdapterLayout) -> Result<Self, Problem> {
        let conv =
            |conv: &ConvLayout| Conv::load(&scope.at(&conv.name), conv.inputs, conv.outputs, conv.size);
        let optional = |layout: &Option<ConvLayout>| layout.as_ref().map(conv).transpose();
        let mut levels = Vec::new();
        for level in &layout.levels {
            let block = |[first, second]: &[ConvLayout; 2]| Ok([conv(first)?, conv(second)?]);
            levels.push(Level {
                conv_in: optional(&level.conv_in)?,
                blocks: level.blocks.iter().map(block).collect::<Result<_, Problem>>()?,
                conv_out: optional(&level.conv_out)?,
            });
        }
        Ok(Self { picture_channels: layout.picture_channels, first: optional(&layout.first)?, levels })
    }

    /// How many features it gives.
    pub(crate) fn layers(&self) -> usize {
        self.levels.len()
    }

    /// The features of a picture `[batch, channels, height, width]`, sides in multiples of 8.
    pub(crate) fn forward(&self, picture: &Tensor) -> Result<Control, TchError> {
        // Adapters for drawings read one channel and are given the first.
        let mut x = picture.f_narrow(1, 0, self.picture_channels)?.f_pixel_unshuffle(PIXELS_PER_PLACE)?;
        if let Some(first) = &self.first {
            x = first.forward(&x)?;
        }
        let mut features = Vec::new();
        for (index, level) in self.levels.iter().enumerate() {
            if index > 0 {
                x = halve(&x)?;
            }
            x = level.forward(&x)?;
            features.push(x.shallow_clone());
        }
        Ok(Control { features, ..Control::default() })
    }
}

impl Level {
    fn forward(&self, x: &Tensor) -> Forward {
        let apply = |conv: &Option<Conv>, x: Tensor| {
            conv.as_ref().map_or(Ok(x.shallow_clone()), |conv| conv.forward(&x))
        };
        let mut x = apply(&self.conv_in, x.shallow_clone())?;
        for [first, second] in &self.blocks {
            x = x.f_add(&second.forward(&first.forward(&x)?.f_relu()?)?)?;
        }
        apply(&self.conv_out, x)
    }
}

/// Means of 2x2 places; an odd last row or column is a mean of what there is, so that the sizes stay those of the
/// UNet's levels.
fn halve(x: &Tensor) -> Forward {
    x.f_avg_pool2d([2, 2], [2, 2], [0, 0], true, true, None::<i64>)
}
