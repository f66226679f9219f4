//! DoRA: the changed weight is brought to learnt lengths, `W' = m ∘ (W + ΔW) / ‖W + ΔW‖` (Liu et al. 2024). The
//! lengths are those of outputs or of inputs; the shape of `m` tells which.

use tch::Tensor;

use super::{Change, Misfit};
use crate::lora::parts::{Part, Parts};

pub(super) fn change(parts: &Parts, weight: &Tensor, change: &Change) -> Result<Change, Misfit> {
    let merged = change.added_to(weight, 1.0)?;
    let size = merged.size();
    let rank = size.len();
    let (part, magnitude) = match parts.get(Part::Magnitude)? {
        Some(magnitude) => (Part::Magnitude, magnitude),
        None => (Part::DoraScale, parts.need(Part::DoraScale)?),
    };
    // LyCORIS keeps a size of 1 where it sums up; peft has outputs only.
    let by_input = part == Part::DoraScale
        && rank >= 2
        && magnitude.size().first() == Some(&1)
        && magnitude.size().get(1) == Some(&size[1]);
    let axis = usize::from(by_input);
    let Some(length) = size.get(axis).copied().filter(|length| *length == magnitude.numel() as i64) else {
        return Err(Misfit::shape(part, &magnitude, format!("one number for each output of {size:?}")));
    };
    let others: Vec<i64> = (0..rank).filter(|dimension| *dimension != axis).map(|d| d as i64).collect();
    let norm = merged.f_square()?.f_sum_dim_intlist(&others[..], true, None)?.f_sqrt()?;
    let mut along = vec![1; rank];
    along[axis] = length;
    // A row of zeros has no direction; it stays as it is rather than become NaN.
    let factor = magnitude.f_reshape(along)?.f_div(&norm.f_clamp_min(f64::from(f32::EPSILON))?)?;
    Ok(Change::Whole(merged.f_mul(&factor)?.f_sub(weight)?))
}
