//! IA³: `ΔW = W ∘ w`, by input or by output (Liu et al. 2022).

use tch::Tensor;

use super::{Change, Misfit};
use crate::lora::parts::{Part, Parts};

pub(super) fn change(parts: &Parts, weight: &Tensor) -> Result<Change, Misfit> {
    let scale = parts.need(Part::Scale)?.f_flatten(0, -1)?;
    let axis = usize::from(parts.number(Part::OnInput)? != Some(0.0));
    let size = weight.size();
    let Some(length) = size.get(axis) else {
        return Err(Misfit::shape(Part::OnInput, weight, "a weight with inputs"));
    };
    if scale.numel() as i64 != *length {
        return Err(Misfit::shape(Part::Scale, &scale, format!("{length} elements")));
    }
    let mut along = vec![1; size.len()];
    along[axis] = *length;
    Ok(Change::Whole(weight.f_mul(&scale.f_reshape(along)?)?))
}
