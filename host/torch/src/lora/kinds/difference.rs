//! Whole differences, of any weight (`diff`, `diff_b`) or of a norm's (`w_norm`, `b_norm`): `ΔW` as it stands.

use tch::Tensor;

use super::{Change, Misfit, shaped};
use crate::lora::parts::{Part, Parts};

pub(super) fn change(parts: &Parts, weight: &Tensor) -> Result<Change, Misfit> {
    let part = if parts.has(Part::Difference) { Part::Difference } else { Part::NormWeight };
    Ok(Change::Whole(shaped(part, &parts.need(part)?, weight)?))
}

pub(super) fn bias(parts: &Parts, bias: &Tensor) -> Result<Option<Tensor>, Misfit> {
    for part in [Part::BiasDifference, Part::NormBias] {
        if let Some(change) = parts.get(part)? {
            return shaped(part, &change, bias).map(Some);
        }
    }
    Ok(None)
}
