//! LoRA and LoCon: `ΔW = alpha/r · up · down` (Hu et al. 2021), and with `lora_mid` its Tucker form.

use tch::Tensor;

use super::{Change, Misfit, Sizes, check, shaped, tucker};
use crate::lora::parts::{Part, Parts};

pub(super) fn change(parts: &Parts, weight: &Tensor, dyn_dim: Option<usize>) -> Result<Change, Misfit> {
    let (up, down) = (parts.matrix(Part::Up)?, parts.matrix(Part::Down)?);
    let Sizes { rows, columns, kernel } = Sizes::of(weight);
    let (rank, _) = down.size2()?;
    check(Part::Up, &up, rows, rank)?;
    let scale = parts.scale(rank)?;
    if let Some(mid) = parts.get(Part::Mid)? {
        check(Part::Down, &down, rank, columns / kernel.max(1))?;
        let core = (Part::Mid, &mid);
        if mid.size().first() != Some(&rank) {
            return Err(Misfit::shape(Part::Mid, &mid, format!("{rank} rows")));
        }
        let product = tucker(core, (Part::Up, &up.f_transpose(0, 1)?), (Part::Down, &down), weight.numel())?;
        return Ok(Change::Whole(shaped(Part::Mid, &product, weight)?.f_mul_scalar(scale)?));
    }
    check(Part::Down, &down, rank, columns)?;
    // Web UIs leave the scale at alpha over the whole rank when ranks are cut off.
    let kept = dyn_dim.and_then(|kept| i64::try_from(kept).ok()).unwrap_or(rank).clamp(1, rank);
    let (up, down) = (up.f_narrow(1, 0, kept)?, down.f_narrow(0, 0, kept)?);
    Ok(Change::Product { up, down: down.f_mul_scalar(scale)? })
}
