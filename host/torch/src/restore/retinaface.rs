//! RetinaFace (Deng et al. 2020, arXiv:1905.00641) on ResNet-50 (He et al. 2016, arXiv:1512.03385), as facexlib
//! publishes it: three levels of features, a pyramid that mixes each into the finer one (Lin et al. 2017,
//! arXiv:1612.03144), a context module on each level, and heads that say for every anchor whether a face is there,
//! how its box differs from the anchor, and where its five landmarks are. Maps a tensor to tensors.
//!
//! Every measure is the published one: there is one such file, and another would need other anchors.

use tch::{TchError, Tensor};

use super::convolution::{Behind, Convolution, Measures};
use crate::error::Problem;
use crate::models::layers::{Forward, resize_nearest, spatial};
use crate::upscale::COLOURS;
use crate::weights::Scope;

/// Residual blocks of each stage, and the channels within them; four times as many come out.
const STAGES: [(usize, i64); 4] = [(3, 64), (4, 128), (6, 256), (3, 512)];
const WIDENING: i64 = 4;
const STEM: i64 = 64;
/// Channels of the pyramid.
const PYRAMID: i64 = 256;
/// Anchors at each place of a level.
const ANCHORS: i64 = 2;

/// What the heads say for every anchor, in the order of [`super::boxes::anchors`].
pub(crate) struct Heads {
    /// `[anchors, 4]`: how the box differs from the anchor.
    pub(crate) boxes: Tensor,
    /// `[anchors]`: the probability of a face.
    pub(crate) scores: Tensor,
    /// `[anchors, 10]`: where the landmarks are, from the anchor's middle.
    pub(crate) landmarks: Tensor,
}

pub(crate) struct RetinaFace {
    stem: Convolution,
    stages: Vec<Vec<Bottleneck>>,
    levels: Vec<Level>,
    /// Over the finer two levels, the finest first.
    merges: [Convolution; 2],
}

/// What a level of the pyramid has for itself, the finest first.
struct Level {
    narrow: Convolution,
    context: Context,
    scores: Convolution,
    boxes: Convolution,
    landmarks: Convolution,
}

impl RetinaFace {
    pub(crate) fn load(scope: &Scope<'_>) -> Result<Self, Problem> {
        let body = scope.at("body");
        let measures = Measures { inputs: COLOURS, outputs: STEM, size: 7, stride: 2 };
        let stem = Convolution::load_normed(&body.at("conv1"), &body.at("bn1"), measures, Behind::Zeros)?;
        let mut inputs = STEM;
        let mut stages = Vec::new();
        for (index, (count, width)) in STAGES.into_iter().enumerate() {
            let at = body.at(format!("layer{}", index + 1));
            let mut stage = Vec::new();
            for block in 0..count {
                let stride = if index > 0 && block == 0 { 2 } else { 1 };
                stage.push(Bottleneck::load(&at.at(block), inputs, width, stride)?);
                inputs = width * WIDENING;
            }
            stages.push(stage);
        }
        let merge = |name: &str| normed(&scope.at("fpn").at(name), PYRAMID, PYRAMID, 3, 1);
        Ok(Self {
            stem,
            stages,
            levels: (0..3).map(|index| Level::load(scope, index)).collect::<Result<_, _>>()?,
            merges: [merge("merge1")?, merge("merge2")?],
        })
    }

    /// `picture` `[1, 3, rows, columns]`, blue first, levels 0..255 less the mean.
    pub(crate) fn forward(&self, picture: &Tensor) -> Result<Heads, TchError> {
        let x = self.stem.forward(picture)?.f_relu()?;
        let mut x = x.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        let mut features = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            for block in stage {
                x = block.forward(&x)?;
            }
            // The first stage is too fine for faces to be found in.
            if index > 0 {
                let level = &self.levels[index - 1];
                features.push(level.narrow.forward(&x)?.f_relu()?);
            }
        }
        for finer in (0..self.merges.len()).rev() {
            let (rows, columns) = spatial(&features[finer])?;
            let both = features[finer].f_add(&resize_nearest(&features[finer + 1], rows, columns)?)?;
            features[finer] = self.merges[finer].forward(&both)?.f_relu()?;
        }
        let (mut boxes, mut scores, mut landmarks) = (Vec::new(), Vec::new(), Vec::new());
        for (level, x) in self.levels.iter().zip(&features) {
            let x = level.context.forward(x)?;
            boxes.push(rows_of(&level.boxes.forward(&x)?, 4)?);
            scores.push(rows_of(&level.scores.forward(&x)?, 2)?);
            landmarks.push(rows_of(&level.landmarks.forward(&x)?, 10)?);
        }
        let scores = Tensor::f_cat(&scores, 0)?.f_softmax(-1, None)?.f_select(1, 1)?;
        Ok(Heads { boxes: Tensor::f_cat(&boxes, 0)?, scores, landmarks: Tensor::f_cat(&landmarks, 0)? })
    }
}

/// `[1, anchors * numbers, rows, columns]` to `[rows * columns * anchors, numbers]`.
fn rows_of(x: &Tensor, numbers: i64) -> Forward {
    x.f_permute([0, 2, 3, 1])?.f_reshape([-1, numbers])
}

/// Entry 0 of a list is the convolution and entry 1 its normalisation.
fn normed(
    scope: &Scope<'_>,
    inputs: i64,
    outputs: i64,
    size: i64,
    stride: i64,
) -> Result<Convolution, Problem> {
    let measures = Measures { inputs, outputs, size, stride };
    Convolution::load_normed(&scope.at(0), &scope.at(1), measures, Behind::Zeros)
}

impl Level {
    fn load(scope: &Scope<'_>, index: usize) -> Result<Self, Problem> {
        let (_, width) = STAGES[index + 1];
        let head = |name: &str, numbers: i64| {
            let measures = Measures { inputs: PYRAMID, outputs: ANCHORS * numbers, size: 1, stride: 1 };
            Convolution::load(&scope.at(name).at(index).at("conv1x1"), measures, Behind::Zeros)
        };
        let number = index + 1;
        Ok(Self {
            narrow: normed(&scope.at(format!("fpn.output{number}")), width * WIDENING, PYRAMID, 1, 1)?,
            context: Context::load(&scope.at(format!("ssh{number}")))?,
            scores: head("ClassHead", 2)?,
            boxes: head("BboxHead", 4)?,
            landmarks: head("LandmarkHead", 10)?,
        })
    }
}

/// ResNet's block: narrow, look around, widen, and the input beside it.
struct Bottleneck {
    convolutions: [Convolution; 3],
    shortcut: Option<Convolution>,
}

impl Bottleneck {
    fn load(scope: &Scope<'_>, inputs: i64, width: i64, stride: i64) -> Result<Self, Problem> {
        let outputs = width * WIDENING;
        let convolution = |number: usize, inputs, outputs, size, stride| {
            let measures = Measures { inputs, outputs, size, stride };
            let (at, norm) = (scope.at(format!("conv{number}")), scope.at(format!("bn{number}")));
            Convolution::load_normed(&at, &norm, measures, Behind::Zeros)
        };
        let shortcut = || normed(&scope.at("downsample"), inputs, outputs, 1, stride);
        Ok(Self {
            convolutions: [
                convolution(1, inputs, width, 1, 1)?,
                convolution(2, width, width, 3, stride)?,
                convolution(3, width, outputs, 1, 1)?,
            ],
            shortcut: (inputs != outputs).then(shortcut).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let [narrow, around, widen] = &self.convolutions;
        let y = around.forward(&narrow.forward(x)?.f_relu()?)?.f_relu()?;
        let y = widen.forward(&y)?;
        match &self.shortcut {
            Some(shortcut) => y.f_add(&shortcut.forward(x)?)?.f_relu(),
            None => y.f_add(x)?.f_relu(),
        }
    }
}

/// Looks 3, 5 and 7 pixels far, the latter two by 3x3 convolutions in a row.
struct Context {
    near: Convolution,
    begin: Convolution,
    middle: Convolution,
    far: [Convolution; 2],
}

impl Context {
    fn load(scope: &Scope<'_>) -> Result<Self, Problem> {
        let (half, quarter) = (PYRAMID / 2, PYRAMID / 4);
        let load = |name: &str, inputs, outputs| normed(&scope.at(name), inputs, outputs, 3, 1);
        Ok(Self {
            near: load("conv3X3", PYRAMID, half)?,
            begin: load("conv5X5_1", PYRAMID, quarter)?,
            middle: load("conv5X5_2", quarter, quarter)?,
            far: [load("conv7X7_2", quarter, quarter)?, load("conv7x7_3", quarter, quarter)?],
        })
    }

    fn forward(&self, x: &Tensor) -> Forward {
        let begin = self.begin.forward(x)?.f_relu()?;
        let [first, second] = &self.far;
        let far = second.forward(&first.forward(&begin)?.f_relu()?)?;
        Tensor::f_cat(&[self.near.forward(x)?, self.middle.forward(&begin)?, far], 1)?.f_relu()
    }
}
