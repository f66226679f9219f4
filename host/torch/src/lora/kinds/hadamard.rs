//! LoHa: `ΔW = alpha/r · (w1a · w1b) ∘ (w2a · w2b)` (Hyeon-Woo et al. 2022, "FedPara"), each half in Tucker form
//! where the file has cores `t1` and `t2`.

use tch::Tensor;

use super::{Change, Misfit, Sizes, check, shaped, tucker};
use crate::lora::parts::{Part, Parts};

pub(super) fn change(parts: &Parts, weight: &Tensor) -> Result<Change, Misfit> {
    let first = half(parts, weight, [Part::HadamardFirstA, Part::HadamardFirstB, Part::HadamardFirstCore])?;
    let second =
        half(parts, weight, [Part::HadamardSecondA, Part::HadamardSecondB, Part::HadamardSecondCore])?;
    let (rank, _) = parts.matrix(Part::HadamardFirstB)?.size2()?;
    Ok(Change::Whole(first.f_mul(&second)?.f_mul_scalar(parts.scale(rank)?)?))
}

fn half(parts: &Parts, weight: &Tensor, [a, b, core]: [Part; 3]) -> Result<Tensor, Misfit> {
    let (left, right) = (parts.matrix(a)?, parts.matrix(b)?);
    let Sizes { rows, columns, kernel } = Sizes::of(weight);
    let (rank, _) = right.size2()?;
    let product = match parts.get(core)? {
        Some(middle) => {
            check(a, &left, rank, rows)?;
            check(b, &right, rank, columns / kernel.max(1))?;
            tucker((core, &middle), (a, &left), (b, &right), weight.numel())?
        }
        None => {
            check(a, &left, rows, rank)?;
            check(b, &right, rank, columns)?;
            left.f_matmul(&right)?
        }
    };
    shaped(core, &product, weight)
}
