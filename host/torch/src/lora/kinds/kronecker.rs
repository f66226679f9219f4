//! LoKr: `ΔW = w1 ⊗ w2` (Edalati et al. 2022, "KronA"; Yeh et al. 2023), either factor itself a product
//! `a · b` or, for the second, in Tucker form. Only a factored factor is scaled by `alpha/r`.

use tch::Tensor;

use super::{Change, Misfit, shaped, tucker};
use crate::lora::parts::{Part, Parts};

pub(super) fn change(parts: &Parts, weight: &Tensor) -> Result<Change, Misfit> {
    let (first, first_rank) =
        factor(parts, weight, Part::KroneckerFirst, [Part::KroneckerFirstA, Part::KroneckerFirstB], None)?;
    let (second, second_rank) = factor(
        parts,
        weight,
        Part::KroneckerSecond,
        [Part::KroneckerSecondA, Part::KroneckerSecondB],
        Some(Part::KroneckerSecondCore),
    )?;
    // Asked before the product is made: two small factors can name a product of any size.
    let elements = first.numel().checked_mul(second.numel());
    if elements != Some(weight.numel())
        || weight.size().first() != Some(&(first.size()[0] * second.size()[0]))
    {
        let size = weight.size();
        let expected = format!("a factor beside {:?} that makes {size:?}", first.size());
        return Err(Misfit::shape(Part::KroneckerSecond, &second, expected));
    }
    // A filter's places are the last of a row, so the product of matrices is the product of convolutions.
    let product = shaped(Part::KroneckerSecond, &first.f_kron(&second)?, weight)?;
    let scale = first_rank.or(second_rank).map(|rank| parts.scale(rank)).transpose()?;
    Ok(Change::Whole(match scale {
        Some(scale) => product.f_mul_scalar(scale)?,
        None => product,
    }))
}

/// A factor as a matrix, and its rank if it is a product.
fn factor(
    parts: &Parts,
    weight: &Tensor,
    whole: Part,
    [a, b]: [Part; 2],
    core: Option<Part>,
) -> Result<(Tensor, Option<i64>), Misfit> {
    if let Some(factor) = parts.get_matrix(whole)? {
        return Ok((factor, None));
    }
    let (left, right) = (parts.matrix(a)?, parts.matrix(b)?);
    let (rank, columns) = right.size2()?;
    let middle = core.map(|core| parts.get(core)).transpose()?.flatten();
    let rows = if middle.is_some() { left.size2()?.1 } else { left.size2()?.0 };
    // No factor is larger than the weight; a file can claim one that fills memory.
    if rows.checked_mul(columns).is_none_or(|elements| elements as u64 > weight.numel() as u64) {
        return Err(Misfit::shape(b, &right, format!("a factor of {:?}", weight.size())));
    }
    let factor = match (core, middle) {
        (Some(core), Some(middle)) => {
            tucker((core, &middle), (a, &left), (b, &right), weight.numel())?.f_flatten(1, -1)?
        }
        _ if left.size2()?.1 == rank => left.f_matmul(&right)?,
        _ => return Err(Misfit::shape(a, &left, format!("{rank} columns"))),
    };
    Ok((factor, Some(rank)))
}
