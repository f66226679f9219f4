//! Code of others between two parts of a sampler's step: where it may act, and what it may do to the numbers there. Tensors
//! are names here; whoever holds them carries the operations out. Knows no device and no plugin.

use std::fmt;

/// Where within a UNet call a hook may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// Before the network sees the latent, which may be changed.
    Latent,
    /// After the network: what each prompt makes of the finished latent, before guidance joins them. Both may be changed.
    Predicted,
    /// After guidance: the estimate of the finished latent that the sampler goes on with, which may be changed.
    Guided,
}

impl Point {
    pub const ALL: [Self; 3] = [Self::Latent, Self::Predicted, Self::Guided];

    /// The tensors that exist at this point.
    pub fn tensors(self) -> &'static [TensorId] {
        match self {
            Self::Latent => &[TensorId::LATENT],
            Self::Predicted => &[TensorId::LATENT, TensorId::POSITIVE, TensorId::NEGATIVE],
            Self::Guided => &[TensorId::LATENT, TensorId::POSITIVE, TensorId::NEGATIVE, TensorId::GUIDED],
        }
    }

    /// Those of them whose changes count; changes of the others are forgotten.
    pub fn changeable(self) -> &'static [TensorId] {
        match self {
            Self::Latent => &[TensorId::LATENT],
            Self::Predicted => &[TensorId::POSITIVE, TensorId::NEGATIVE],
            Self::Guided => &[TensorId::GUIDED],
        }
    }
}

/// One moment of a drawing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    pub point: Point,
    /// The sampler's step, from 0, and how many the pass has.
    pub step: u32,
    pub steps: u32,
    /// The network's call within the step, from 0; second-order samplers make two.
    pub call: u32,
    /// The noise level of the call: the latent is `scale * (signal + sigma * noise)`.
    pub sigma: f64,
    pub scale: f64,
    /// What the network is told, fractional, in 0..=999.
    pub timestep: f64,
    /// The factor by which guidance goes from the negative prompt's estimate towards the positive one's; 1 where a call leaves
    /// the negative prompt out.
    pub guidance: f64,
    /// The picture's place in its drawing, from 0.
    pub picture: u32,
    /// The picture's own seed.
    pub seed: u64,
    /// The second, high-resolution pass.
    pub is_second: bool,
}

/// A tensor of `[1, channels, rows, columns]` by its number. Estimates are of the finished latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u32);

impl TensorId {
    /// The latent under way, as the sampler scales it.
    pub const LATENT: Self = Self(0);
    /// The estimate under the prompt: `negative + sum(weight * (part - negative))` over the parts that `AND` joins.
    pub const POSITIVE: Self = Self(1);
    /// The estimate under the negative prompt; under the first part of the prompt where a call leaves the negative one out.
    pub const NEGATIVE: Self = Self(2);
    /// What guidance made of both.
    pub const GUIDED: Self = Self(3);
}

/// A function of each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    Absolute,
    SquareRoot,
    Exponential,
    Logarithm,
    Tanh,
    Sign,
    Sine,
    Cosine,
    ArcCosine,
    Floor,
}

/// A function of two elements at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Minimum,
    Maximum,
    Power,
}

/// One number out of many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reduction {
    Sum,
    Mean,
    /// The standard deviation of a sample, with `n - 1` below.
    Deviation,
    Minimum,
    Maximum,
    /// The root of the sum of squares.
    Norm,
    /// The value that this share, 0 to 1, is below; between two elements it is interpolated.
    Quantile(f32),
}

/// Over which elements a reduction goes. What comes of it has 1 in their place, and meets larger tensors everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Everything,
    /// Rows and columns: one number for each channel.
    Places,
    /// Channels: one number for each place.
    Channels,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    Channels,
    Rows,
    Columns,
}

/// What can be done to tensors. The first one named is changed, or what a new one is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorOp {
    /// Answers with a shape: channels, rows, columns.
    Shape(TensorId),
    /// Makes a tensor, as those below do that say so.
    Duplicate(TensorId),
    Apply(TensorId, Unary),
    /// The other has the same size, or 1 along some axes.
    Combine(TensorId, Binary, TensorId),
    CombineNumber(TensorId, Binary, f32),
    /// Makes a tensor.
    Reduce(TensorId, Reduction, Over),
    /// Makes a tensor of a part.
    Slice(TensorId, Axis, Part),
    /// Overwrites a part by the other tensor, which has its size.
    Paste(TensorId, Axis, Part, TensorId),
    /// Answers with the values, row by row; the host waits for the device.
    Read(TensorId),
    /// Overwrites all values.
    Write(TensorId, Vec<f32>),
    Forget(TensorId),
}

impl TensorOp {
    /// The tensor whose numbers it changes.
    pub fn changes(&self) -> Option<TensorId> {
        match self {
            Self::Apply(id, _)
            | Self::Combine(id, ..)
            | Self::CombineNumber(id, ..)
            | Self::Paste(id, ..)
            | Self::Write(id, _) => Some(*id),
            Self::Shape(_)
            | Self::Duplicate(_)
            | Self::Reduce(..)
            | Self::Slice(..)
            | Self::Read(_)
            | Self::Forget(_) => None,
        }
    }
}

/// `count` places along an axis, from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub first: u32,
    pub count: u32,
}

/// What an operation comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorAnswer {
    Done,
    Tensor(TensorId),
    Shape([u32; 3]),
    Values(Vec<f32>),
}

/// Why an operation was not carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TensorError {
    /// Sizes do not fit, or there is no such tensor.
    Invalid(String),
    /// Too many tensors.
    Limit(String),
    Device(String),
}

/// The tensors of one moment, for one hook.
pub trait Tensors {
    /// # Errors
    /// As [`TensorError`] says.
    fn carry_out(&mut self, op: TensorOp) -> Result<TensorAnswer, TensorError>;

    /// Whether what the point lets change holds numbers only, neither NaN nor infinite.
    ///
    /// # Errors
    /// [`TensorError::Device`].
    fn are_finite(&mut self) -> Result<bool, TensorError>;
}

/// Why a hook ends its drawing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepHookError {
    /// The request is wrong; a sentence for the client.
    #[error("{0}")]
    Rejected(String),
    #[error("{0}")]
    Failed(String),
}

/// Code that acts within a drawing's steps. Called on the device's thread, where everything waits for it.
pub trait StepHook: fmt::Debug + Send + Sync {
    /// Whether it acts at this moment; asked before tensors are made ready.
    fn wants(&self, moment: &Moment) -> bool;

    /// Whether its changes count; else the numbers are as they were.
    ///
    /// # Errors
    /// [`StepHookError`] ends the drawing.
    fn run(&self, moment: &Moment, tensors: &mut dyn Tensors) -> Result<bool, StepHookError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_changed_is_there() {
        for point in Point::ALL {
            assert!(!point.changeable().is_empty(), "{point:?}");
            assert!(point.changeable().iter().all(|id| point.tensors().contains(id)), "{point:?}");
        }
    }
}
