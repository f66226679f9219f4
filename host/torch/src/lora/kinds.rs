//! Which formula a module's parts ask for, one file for each. Called by [`super::patch`] with the module's weight
//! in f32; answers with the change at strength 1. Knows neither names nor files.

mod difference;
mod dora;
mod glora;
mod hadamard;
mod ia3;
mod kronecker;
mod low_rank;
mod rotation;

use tch::{TchError, Tensor};

use super::parts::{Part, Parts};

/// Largest rank believed where ranks multiply; trainers offer 128 or less, extracted files up to 1024.
const RANK_MAX: i64 = 4096;

/// Why a module's parts cannot change the weight they name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("its {} is missing", .0.name())]
    Missing(Part),
    #[error("its {} has the shape {found:?} where {expected} is needed", .part.name())]
    Shape { part: Part, found: Vec<i64>, expected: String },
    #[error("libtorch refused it ({0})")]
    Torch(#[from] TchError),
}

impl Misfit {
    fn shape(part: Part, tensor: &Tensor, expected: impl Into<String>) -> Self {
        Self::Shape { part, found: tensor.size(), expected: expected.into() }
    }
}

/// A change of a weight `W` at strength 1.
pub(crate) enum Change {
    /// `up · down`, matrices whose product has as many elements as `W`. Kept apart: adding a product to `W` is one
    /// pass over it.
    Product { up: Tensor, down: Tensor },
    /// In the shape of `W`.
    Whole(Tensor),
}

impl Change {
    /// `W + strength · change`, a new tensor in the shape of `weight`.
    pub(crate) fn added_to(&self, weight: &Tensor, strength: f64) -> Result<Tensor, TchError> {
        match self {
            Self::Whole(change) => weight.f_add(&change.f_mul_scalar(strength)?),
            Self::Product { up, down } => weight
                .f_reshape([up.size2()?.0, down.size2()?.1])?
                .f_addmm(&up.f_mul_scalar(strength)?, down)?
                .f_reshape(weight.size()),
        }
    }
}

/// What `parts` do to `weight` (f32), or `None` when they only touch the bias. `dyn_dim` keeps the first ranks.
///
/// # Errors
/// [`Misfit`] for parts that are incomplete or not of the weight's size.
pub(crate) fn weight_change(
    parts: &Parts,
    weight: &Tensor,
    dyn_dim: Option<usize>,
) -> Result<Option<Change>, Misfit> {
    let has = |part| parts.has(part);
    let change = if has(Part::Down) || has(Part::Up) {
        low_rank::change(parts, weight, dyn_dim)?
    } else if has(Part::HadamardFirstA) {
        hadamard::change(parts, weight)?
    } else if has(Part::KroneckerFirst) || has(Part::KroneckerFirstA) {
        kronecker::change(parts, weight)?
    } else if has(Part::InputFirst) {
        glora::change(parts, weight)?
    } else if has(Part::Rotation) || has(Part::RotationMatrix) {
        rotation::change(parts, weight)?
    } else if has(Part::Difference) || has(Part::NormWeight) {
        difference::change(parts, weight)?
    } else if has(Part::OnInput) {
        ia3::change(parts, weight)?
    } else if has(Part::BiasDifference) || has(Part::NormBias) {
        return Ok(None);
    } else {
        return Err(Misfit::Missing(Part::Up));
    };
    if has(Part::DoraScale) || has(Part::Magnitude) {
        return dora::change(parts, weight, &change).map(Some);
    }
    Ok(Some(change))
}

/// What `parts` add to the module's bias, if anything.
pub(crate) fn bias_change(parts: &Parts, bias: &Tensor) -> Result<Option<Tensor>, Misfit> {
    difference::bias(parts, bias)
}

pub(crate) fn changes_bias(parts: &Parts) -> bool {
    parts.has(Part::BiasDifference) || parts.has(Part::NormBias)
}

/// A weight as a matrix: outputs by everything else. A norm's weight is one column.
struct Sizes {
    rows: i64,
    columns: i64,
    /// Elements of one filter; 1 for a matrix.
    kernel: i64,
}

impl Sizes {
    fn of(weight: &Tensor) -> Self {
        let size = weight.size();
        let columns = size.iter().skip(1).product();
        Self { rows: size.first().copied().unwrap_or(1), columns, kernel: size.iter().skip(2).product() }
    }
}

/// Refuses a matrix that is not `rows` by `columns`.
fn check(part: Part, matrix: &Tensor, rows: i64, columns: i64) -> Result<(), Misfit> {
    if matrix.size() == [rows, columns] {
        return Ok(());
    }
    Err(Misfit::shape(part, matrix, format!("{rows} by {columns}")))
}

/// `core` `[i, j, k…]` between `left` `[i, rows]` and `right` `[j, columns]`: `[rows, columns, k]`, the Tucker form
/// of a convolution (Hyeon-Woo et al. 2022, proposition 3).
///
/// # Errors
/// [`Misfit::Shape`] for parts that do not meet, or whose product has more than `most` elements: small parts can
/// name a product that fills memory.
fn tucker(
    core: (Part, &Tensor),
    left: (Part, &Tensor),
    right: (Part, &Tensor),
    most: usize,
) -> Result<Tensor, Misfit> {
    let size = core.1.size();
    let [i, j, ref kernel @ ..] = size[..] else {
        return Err(Misfit::shape(core.0, core.1, "two sizes or more"));
    };
    if i.max(j) > RANK_MAX || i.min(j) < 1 {
        return Err(Misfit::shape(core.0, core.1, format!("ranks from 1 to {RANK_MAX}")));
    }
    for ((part, tensor), rank) in [(left, i), (right, j)] {
        if tensor.size2()?.0 != rank {
            return Err(Misfit::shape(part, tensor, format!("{rank} rows")));
        }
    }
    let elements = [left.1.size2()?.1, right.1.size2()?.1]
        .iter()
        .chain(kernel)
        .try_fold(1i64, |n, size| n.checked_mul(*size));
    if elements.is_none_or(|elements| elements as u64 > most as u64) {
        return Err(Misfit::shape(core.0, core.1, format!("a core of {most} elements' product")));
    }
    let core = core.1.f_reshape([i, j, kernel.iter().product()])?;
    Ok(Tensor::f_einsum("ijk,ip,jq->pqk", &[&core, left.1, right.1], None::<&[i64]>)?)
}

/// `tensor` in the shape of `weight`, which must have as many elements.
fn shaped(part: Part, tensor: &Tensor, weight: &Tensor) -> Result<Tensor, Misfit> {
    if tensor.numel() != weight.numel() {
        return Err(Misfit::shape(part, tensor, format!("{} elements", weight.numel())));
    }
    Ok(tensor.f_reshape(weight.size())?)
}
