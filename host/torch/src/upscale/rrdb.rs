//! RRDBNet, the network of ESRGAN (Wang et al. 2018, arXiv:1809.00219), Real-ESRGAN (Wang et al. 2021,
//! arXiv:2107.10833) and ESRGAN+ (Rakotonirina and Rasoanaivo 2020, arXiv:2001.08073). Maps a tensor to a tensor;
//! which file it came from and how its tensors were called there is [`super::detect`]'s.
//!
//! With `f` features and `g` growing channels, all convolutions 3x3 and `a` = LeakyReLU(0.2):
//!
//! - dense block: `x_k = a(conv_k[x, x_1, …, x_(k-1)])` for k = 1..4, `x + 0.2 conv_5[x, x_1, …, x_4]`; ESRGAN+
//!   adds a 1x1 convolution of `x` to `x_2`, and `x_2` to `x_4`
//! - block: `x + 0.2 dense(dense(dense(x)))`
//! - network: `y = conv_first(x)`, `y + conv_body(blocks(y))`, then `a(conv_up(nearest x2))` for each doubling,
//!   then `conv_last(a(conv_hr(y)))`
//!
//! A network for scale 1 or 2 may first fold each 4x4 or 2x2 pixels into channels (pixel unshuffle).

use tch::Tensor;

use super::detect::{RrdbLayout, Spelling};
use crate::error::Problem;
use crate::models::layers::{Conv, Forward, resize_nearest};
use crate::weights::Scope;

const RESIDUAL_SCALE: f64 = 0.2;
const SLOPE: f64 = 0.2;
/// Sides are padded to this before pixels are folded, whether by two or by four.
const FOLDED_MULTIPLE: i64 = 4;
const SIDE_MIN: i64 = 2;

pub(crate) struct Rrdb {
    first: Conv,
    blocks: Vec<[DenseBlock; 3]>,
    body: Conv,
    ups: Vec<Conv>,
    hr: Conv,
    last: Conv,
    unshuffle: i64,
    scale: i64,
}

impl Rrdb {
    pub(crate) fn load(scope: &Scope<'_>, layout: &RrdbLayout) -> Result<Self, Problem> {
        let RrdbLayout { spelling, features, .. } = *layout;
        let conv = |name: String, outputs| Conv::load(&scope.at(name), features, outputs, 3);
        let block = |index| -> Result<_, Problem> {
            let at = |part| DenseBlock::load(scope, layout, index, part);
            Ok([at(1)?, at(2)?, at(3)?])
        };
        let up = |index| conv(spelling.up(index), features);
        Ok(Self {
            first: Conv::load(&scope.at(spelling.first()), layout.inputs(), features, 3)?,
            blocks: (0..layout.blocks).map(block).collect::<Result<_, _>>()?,
            body: conv(spelling.body(layout.blocks), features)?,
            ups: (1..=layout.doublings).map(up).collect::<Result<_, _>>()?,
            hr: conv(spelling.hr(layout.doublings), features)?,
            last: conv(spelling.last(layout.doublings), super::detect::COLOURS)?,
            unshuffle: layout.unshuffle,
            scale: layout.scale(),
        })
    }

    /// `[batch, 3, height, width]` in 0..1 to `[batch, 3, scale height, scale width]`, about 0..1.
    pub(crate) fn forward(&self, x: &Tensor) -> Forward {
        let (_, _, height, width) = x.size4()?;
        let multiple = if self.unshuffle > 1 { FOLDED_MULTIPLE } else { 1 };
        let mut y = pad(x, multiple)?;
        if self.unshuffle > 1 {
            y = y.f_pixel_unshuffle(self.unshuffle)?;
        }
        let first = self.first.forward(&y)?;
        let mut y = first.shallow_clone();
        for block in &self.blocks {
            let mut inner = y.shallow_clone();
            for dense in block {
                inner = dense.forward(&inner)?;
            }
            y = y.f_add(&inner.f_mul_scalar(RESIDUAL_SCALE)?)?;
        }
        y = first.f_add(&self.body.forward(&y)?)?;
        for up in &self.ups {
            let (_, _, rows, columns) = y.size4()?;
            y = leaky(&up.forward(&resize_nearest(&y, rows * 2, columns * 2)?)?)?;
        }
        let y = self.last.forward(&leaky(&self.hr.forward(&y)?)?)?;
        y.f_narrow(2, 0, height * self.scale)?.f_narrow(3, 0, width * self.scale)
    }
}

struct DenseBlock {
    convs: [Conv; 5],
    /// ESRGAN+'s `[growth, features, 1, 1]`.
    plus: Option<Tensor>,
}

impl DenseBlock {
    fn load(scope: &Scope<'_>, layout: &RrdbLayout, block: usize, part: usize) -> Result<Self, Problem> {
        let RrdbLayout { spelling, features, growth, .. } = *layout;
        let conv = |index: usize, outputs| {
            let at = scope.at(spelling.dense(block, part, index));
            Conv::load(&at, features + growth * (index as i64 - 1), outputs, 3)
        };
        let plus = || {
            let at = scope.at(format!("{}.conv1x1", spelling.dense_block(block, part)));
            at.tensor("weight", &[growth, features, 1, 1])
        };
        Ok(Self {
            convs: [
                conv(1, growth)?,
                conv(2, growth)?,
                conv(3, growth)?,
                conv(4, growth)?,
                conv(5, features)?,
            ],
            plus: layout.plus.then(plus).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let [conv1, conv2, conv3, conv4, conv5] = &self.convs;
        let x1 = leaky(&conv1.forward(x)?)?;
        let mut x2 = leaky(&conv2.forward(&Tensor::f_cat(&[x, &x1], 1)?)?)?;
        if let Some(weight) = &self.plus {
            x2 = x2.f_add(&x.f_conv2d(weight, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1)?)?;
        }
        let x3 = leaky(&conv3.forward(&Tensor::f_cat(&[x, &x1, &x2], 1)?)?)?;
        let mut x4 = leaky(&conv4.forward(&Tensor::f_cat(&[x, &x1, &x2, &x3], 1)?)?)?;
        if self.plus.is_some() {
            x4 = x4.f_add(&x2)?;
        }
        let x5 = conv5.forward(&Tensor::f_cat(&[x, &x1, &x2, &x3, &x4], 1)?)?;
        x.f_add(&x5.f_mul_scalar(RESIDUAL_SCALE)?)
    }
}

impl Spelling {
    fn first(self) -> &'static str {
        match self {
            Self::Old => "model.0",
            Self::Middle | Self::New => "conv_first",
        }
    }

    fn dense_block(self, block: usize, part: usize) -> String {
        match self {
            Self::Old => format!("model.1.sub.{block}.RDB{part}"),
            Self::Middle => format!("RRDB_trunk.{block}.RDB{part}"),
            Self::New => format!("body.{block}.rdb{part}"),
        }
    }

    fn dense(self, block: usize, part: usize, conv: usize) -> String {
        let suffix = if self == Self::Old { ".0" } else { "" };
        format!("{}.conv{conv}{suffix}", self.dense_block(block, part))
    }

    fn body(self, blocks: usize) -> String {
        match self {
            Self::Old => format!("model.1.sub.{blocks}"),
            Self::Middle => "trunk_conv".into(),
            Self::New => "conv_body".into(),
        }
    }

    /// `index` counts from 1.
    fn up(self, index: usize) -> String {
        match self {
            Self::Old => format!("model.{}", 3 * index),
            Self::Middle => format!("upconv{index}"),
            Self::New => format!("conv_up{index}"),
        }
    }

    fn hr(self, doublings: usize) -> String {
        match self {
            Self::Old => format!("model.{}", 3 * doublings + 2),
            Self::Middle => "HRconv".into(),
            Self::New => "conv_hr".into(),
        }
    }

    fn last(self, doublings: usize) -> String {
        match self {
            Self::Old => format!("model.{}", 3 * doublings + 4),
            Self::Middle | Self::New => "conv_last".into(),
        }
    }
}

/// LeakyReLU; libtorch's own has no slope in this binding.
pub(crate) fn leaky(x: &Tensor) -> Forward {
    x.f_maximum(&x.f_mul_scalar(SLOPE)?)
}

/// Mirrors the right and lower edges until both sides are whole multiples and at least [`SIDE_MIN`] long; where a
/// side is too short to mirror, its last line is repeated.
fn pad(x: &Tensor, multiple: i64) -> Forward {
    let (_, _, height, width) = x.size4()?;
    let missing = |side: i64| {
        let wanted = side.max(SIDE_MIN);
        (wanted + multiple - 1) / multiple * multiple - side
    };
    let (right, below) = (missing(width), missing(height));
    if (right, below) == (0, 0) {
        return Ok(x.shallow_clone());
    }
    let (mirrored_right, mirrored_below) = (right.min(width - 1), below.min(height - 1));
    x.f_pad([0, mirrored_right, 0, mirrored_below], "reflect", None)?.f_pad(
        [0, right - mirrored_right, 0, below - mirrored_below],
        "replicate",
        None,
    )
}
