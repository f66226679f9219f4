//! ParseNet (from PSFR-GAN, Chen et al. 2021, arXiv:2009.08709), as facexlib publishes it: says of every pixel of
//! an upright face which of nineteen parts it is. Residual blocks halve the face four times, ten stay, four double
//! it again. Maps a tensor to a tensor; the picture it could draw besides is left out.

use tch::Tensor;

use super::convolution::{Behind, Convolution, Measures};
use crate::error::Problem;
use crate::models::layers::{Forward, resize_nearest, spatial};
use crate::upscale::{COLOURS, leaky};
use crate::weights::Scope;

/// Skin, eyes, hair and so on; 0 is what is no face.
pub(crate) const PARTS: i64 = 19;
/// Channels behind the first convolution and each halving.
const CHANNELS: [i64; 5] = [64, 128, 256, 256, 256];
const BODY: usize = 10;

pub(crate) struct ParseNet {
    first: Convolution,
    down: Vec<Block>,
    body: Vec<Block>,
    up: Vec<Block>,
    parts: Convolution,
}

impl ParseNet {
    pub(crate) fn load(scope: &Scope<'_>) -> Result<Self, Problem> {
        let [first, .., deepest] = CHANNELS;
        let pairs = || CHANNELS.into_iter().zip(CHANNELS.into_iter().skip(1));
        let down = pairs().enumerate().map(|(index, (inputs, outputs))| {
            // Entry 0 is the first convolution.
            Block::load(&scope.at("encoder").at(index + 1), inputs, outputs, Step::Halve)
        });
        let body =
            (0..BODY).map(|index| Block::load(&scope.at("body").at(index), deepest, deepest, Step::Stay));
        let up = pairs().rev().enumerate().map(|(index, (outputs, inputs))| {
            Block::load(&scope.at("decoder").at(index), inputs, outputs, Step::Double)
        });
        Ok(Self {
            first: plain(&scope.at("encoder.0.conv2d"), COLOURS, first, 1)?,
            down: down.collect::<Result<_, _>>()?,
            body: body.collect::<Result<_, _>>()?,
            up: up.collect::<Result<_, _>>()?,
            parts: plain(&scope.at("out_mask_conv.conv2d"), first, PARTS, 1)?,
        })
    }

    /// `[1, 3, rows, columns]` in -1..1, red first, sides multiples of 16 and at least 32, to
    /// `[1, PARTS, rows, columns]`: the largest is the part.
    pub(crate) fn forward(&self, face: &Tensor) -> Forward {
        let run = |blocks: &[Block], x: Tensor| blocks.iter().try_fold(x, |x, block| block.forward(&x));
        let features = run(&self.down, self.first.forward(face)?)?;
        let x = features.f_add(&run(&self.body, features.shallow_clone())?)?;
        self.parts.forward(&run(&self.up, x)?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Halve,
    Stay,
    Double,
}

/// Two convolutions and the input, or what a third makes of it, beside them.
struct Block {
    first: Convolution,
    second: Convolution,
    shortcut: Option<Convolution>,
    step: Step,
}

impl Block {
    fn load(scope: &Scope<'_>, inputs: i64, outputs: i64, step: Step) -> Result<Self, Problem> {
        let stride = if step == Step::Halve { 2 } else { 1 };
        let normed = |name: &str, inputs, stride| {
            let at = scope.at(name);
            let measures = Measures { inputs, outputs, size: 3, stride };
            Convolution::load_normed(&at.at("conv2d"), &at.at("norm.norm"), measures, Behind::Mirror)
        };
        let shortcut = || plain(&scope.at("shortcut_func.conv2d"), inputs, outputs, stride);
        Ok(Self {
            first: normed("conv1", inputs, 1)?,
            second: normed("conv2", outputs, stride)?,
            shortcut: (step != Step::Stay).then(shortcut).transpose()?,
            step,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let doubled = match self.step {
            Step::Double => {
                let (rows, columns) = spatial(x)?;
                resize_nearest(x, rows * 2, columns * 2)?
            }
            Step::Halve | Step::Stay => x.shallow_clone(),
        };
        let y = self.second.forward(&leaky(&self.first.forward(&doubled)?)?)?;
        match &self.shortcut {
            Some(shortcut) => y.f_add(&shortcut.forward(&doubled)?),
            None => y.f_add(x),
        }
    }
}

fn plain(scope: &Scope<'_>, inputs: i64, outputs: i64, stride: i64) -> Result<Convolution, Problem> {
    Convolution::load(scope, Measures { inputs, outputs, size: 3, stride }, Behind::Mirror)
}
