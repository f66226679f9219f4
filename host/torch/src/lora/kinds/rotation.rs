//! OFT and BOFT: `ΔW = rescale ∘ (R·W) − W`, where R turns blocks of outputs (Qiu et al. 2023) or is a butterfly of
//! such turns (Liu et al. 2023). A block is a rotation by Cayley's formula `(I + Q)(I − Q)⁻¹`, `Q = B − Bᵀ`.

use tch::{Kind, Tensor};

use super::{Change, Misfit, Sizes};
use crate::lora::parts::{Part, Parts};

/// Most stages of a butterfly believed; blocks of two need 14 for the widest layer.
const STAGES_MAX: i64 = 24;

pub(super) fn change(parts: &Parts, weight: &Tensor) -> Result<Change, Misfit> {
    let Sizes { rows, columns, .. } = Sizes::of(weight);
    let matrix = weight.f_reshape([rows, columns])?;
    let turned = if parts.has(Part::RotationMatrix) {
        let blocks = parts.need(Part::RotationMatrix)?;
        check_blocks(Part::RotationMatrix, &blocks, rows)?;
        turn(&blocks, &matrix)?
    } else {
        let blocks = parts.need(Part::Rotation)?;
        check_blocks(Part::Rotation, &blocks, rows)?;
        let rotations = cayley(&blocks, parts.number(Part::Alpha)?.unwrap_or(0.0) * rows as f64)?;
        if blocks.dim() == 4 { butterfly(&rotations, &matrix)? } else { turn(&rotations, &matrix)? }
    };
    let turned = match parts.get(Part::Rescale)? {
        Some(rescale) if rescale.numel() as i64 == rows => turned.f_mul(&rescale.f_reshape([rows, 1])?)?,
        Some(rescale) => return Err(Misfit::shape(Part::Rescale, &rescale, format!("{rows} elements"))),
        None => turned,
    };
    Ok(Change::Whole(turned.f_sub(&matrix)?.f_reshape(weight.size())?))
}

/// `[blocks, size, size]`, or `[stages, blocks, size, size]` with an even size; blocks times size is `rows`.
fn check_blocks(part: Part, blocks: &Tensor, rows: i64) -> Result<(), Misfit> {
    let fits = match blocks.size()[..] {
        [count, size, again] => size == again && count.checked_mul(size) == Some(rows),
        // Stage s pairs outputs that lie 2^s half blocks apart.
        [stages, count, size, again] if part == Part::Rotation => {
            let blocks = size == again && size % 2 == 0 && count.checked_mul(size) == Some(rows);
            blocks && (1..=STAGES_MAX).contains(&stages) && rows % (size << (stages - 1)) == 0
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(Misfit::shape(part, blocks, format!("square blocks for {rows} rows"))) }
}

/// Rotations from any blocks. `limit` is the largest norm that all `Q` together may have; 0 for none.
fn cayley(blocks: &Tensor, limit: f64) -> Result<Tensor, Misfit> {
    let mut skew = blocks.f_sub(&blocks.f_transpose(-1, -2)?)?;
    if limit > 0.0 {
        let norm = f64::try_from(skew.f_square()?.f_sum(Kind::Float)?.f_sqrt()?)? + 1e-8;
        if norm > limit {
            skew = skew.f_mul_scalar(limit / norm)?;
        }
    }
    let size = blocks.size().last().copied().unwrap_or(0);
    let one = Tensor::f_eye(size, (Kind::Float, blocks.device()))?;
    Ok(one.f_add(&skew)?.f_matmul(&one.f_sub(&skew)?.f_inverse()?)?)
}

/// Each block of rows by its own rotation, transposed as trainers have it.
fn turn(rotations: &Tensor, matrix: &Tensor) -> Result<Tensor, Misfit> {
    let (count, size, _) = rotations.size3()?;
    let blocks = matrix.f_reshape([count, size, -1])?;
    Ok(rotations.f_transpose(1, 2)?.f_matmul(&blocks)?.f_reshape(matrix.size())?)
}

/// Stage by stage: rows that lie `2^stage` half blocks apart come together, are turned, and go back.
fn butterfly(rotations: &Tensor, matrix: &Tensor) -> Result<Tensor, Misfit> {
    let (stages, _, size, _) = rotations.size4()?;
    let (rows, columns) = matrix.size2()?;
    let mut rotated = matrix.shallow_clone();
    for stage in 0..stages {
        let half = (1i64 << stage) * (size / 2);
        let gathered = rotated.f_reshape([-1, 2, half, columns])?.f_transpose(1, 2)?;
        let turned = rotations.f_get(stage)?.f_matmul(&gathered.f_reshape([-1, size, columns])?)?;
        rotated = turned.f_reshape([-1, half, 2, columns])?.f_transpose(1, 2)?.f_reshape([rows, columns])?;
    }
    Ok(rotated)
}
