//! GLoRA: `ΔW = alpha/r · (W·A + B)`, A and B of low rank (Chavan et al. 2023). LyCORIS swapped the numbering of
//! the factors once; the shapes tell which of the two a file has.

use tch::Tensor;

use super::{Change, Misfit, Sizes, check, shaped};
use crate::lora::parts::{Part, Parts};

pub(super) fn change(parts: &Parts, weight: &Tensor) -> Result<Change, Misfit> {
    let Sizes { rows, columns, kernel } = Sizes::of(weight);
    let channels = columns / kernel.max(1);
    let (a1, a2) = (parts.matrix(Part::InputFirst)?, parts.matrix(Part::InputSecond)?);
    let [a_left, a_right, b_left, b_right] = if a1.size2()?.0 == channels && a2.size2()?.1 == channels {
        [Part::InputFirst, Part::InputSecond, Part::OutputFirst, Part::OutputSecond]
    } else {
        [Part::InputSecond, Part::InputFirst, Part::OutputSecond, Part::OutputFirst]
    };
    let rank = parts.matrix(b_right)?.size2()?.0;
    for (part, rows, columns) in
        [(a_left, channels, rank), (a_right, rank, channels), (b_left, rows, rank), (b_right, rank, columns)]
    {
        check(part, &parts.matrix(part)?, rows, columns)?;
    }
    let output = shaped(b_left, &parts.matrix(b_left)?.f_matmul(&parts.matrix(b_right)?)?, weight)?;
    let filters = weight.f_reshape([rows, channels, kernel])?;
    let input = Tensor::f_einsum(
        "oik,ir,rj->ojk",
        &[filters, parts.matrix(a_left)?, parts.matrix(a_right)?],
        None::<&[i64]>,
    )?;
    let whole = output.f_add(&input.f_reshape(weight.size())?)?;
    Ok(Change::Whole(whole.f_mul_scalar(parts.scale(rank)?)?))
}
