//! SRVGGNetCompact, the small network of Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833): `realesr-general-x4v3`
//! and the animation models. Maps a tensor to a tensor.
//!
//! `y = shuffle(conv_n(… prelu(conv_1(prelu(conv_0(x)))) …)) + nearest(x)`: 3x3 convolutions at the picture's own
//! size, the last to `3 scale²` channels, which the pixel shuffle spreads over `scale` x `scale` pixels; the
//! network adds detail to the picture with its pixels repeated. PReLU has one slope for each channel.

use tch::Tensor;

use super::detect::{COLOURS, CompactLayout};
use crate::error::Problem;
use crate::models::layers::{Conv, Forward, resize_nearest};
use crate::weights::Scope;

pub(crate) struct Compact {
    /// Each convolution with the slopes `[features]` behind it.
    layers: Vec<(Conv, Tensor)>,
    last: Conv,
    scale: i64,
}

impl Compact {
    pub(crate) fn load(scope: &Scope<'_>, layout: &CompactLayout) -> Result<Self, Problem> {
        let CompactLayout { features, layers, scale } = *layout;
        let body = scope.at("body");
        let layer = |index: usize| {
            let inputs = if index == 0 { COLOURS } else { features };
            let conv = Conv::load(&body.at(2 * index), inputs, features, 3)?;
            Ok((conv, body.at(2 * index + 1).tensor("weight", &[features])?))
        };
        Ok(Self {
            layers: (0..layers).map(layer).collect::<Result<_, Problem>>()?,
            last: Conv::load(&body.at(2 * layers), features, COLOURS * scale * scale, 3)?,
            scale,
        })
    }

    /// `[batch, 3, height, width]` in 0..1 to `[batch, 3, scale height, scale width]`, about 0..1.
    pub(crate) fn forward(&self, x: &Tensor) -> Forward {
        let (_, _, height, width) = x.size4()?;
        let mut y = x.shallow_clone();
        for (conv, slopes) in &self.layers {
            y = conv.forward(&y)?.f_prelu(slopes)?;
        }
        let detail = self.last.forward(&y)?.f_pixel_shuffle(self.scale)?;
        detail.f_add(&resize_nearest(x, height * self.scale, width * self.scale)?)
    }
}
