//! Makes figures count for more than what is behind them: a small one is a twentieth of its picture, so a plain mean
//! hardly tells whether it is there.

use anyhow::{Result, bail};
use tch::{Kind, Tensor};

use crate::pictures::{self, Picture};

/// Pixels that a latent has one number for, each way.
pub(crate) const CELL: i64 = 8;

/// `[pictures, 1, side, side]`: 1 where a figure covers a pixel, even in part, else 0.
pub(crate) fn masks(drawn: &[Picture]) -> Result<Tensor> {
    let bytes: Vec<u8> = drawn.iter().flat_map(Picture::figure).collect();
    let shape = [drawn.len() as i64, 1, pictures::SIDE, pictures::SIDE];
    Ok(Tensor::f_from_data_size(&bytes, &shape, Kind::Uint8)?.f_to_kind(Kind::Float)?)
}

/// The masks in the size of latents: 1 where a figure covers any pixel.
pub(crate) fn in_cells(masks: &Tensor) -> Result<Tensor> {
    Ok(masks.f_max_pool2d([CELL, CELL], [CELL, CELL], [0, 0], [1, 1], false)?)
}

/// What errors are multiplied by: a figure's count `1 + extra` times the rest's. The mean of each row is one, so that
/// no picture counts for more than another.
pub(crate) fn weights(masks: &Tensor, extra: f64) -> Result<Tensor> {
    if extra < 0.0 || !extra.is_finite() {
        bail!("--figure-weight is {extra}; it has to be 0, where figures count as the rest does, or more");
    }
    let weights = masks.f_mul_scalar(extra)?.f_add_scalar(1.0)?;
    let means = weights.f_mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float)?;
    Ok(weights.f_div(&means)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::{Mix, sample};

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.contiguous().view([-1])).unwrap()
    }

    #[test]
    fn figures_count_for_more_and_pictures_for_the_same() {
        let masks = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).view([2, 1, 2, 2]);
        let weighted = numbers(&weights(&masks, 4.0).unwrap());
        for (weight, expected) in weighted.iter().zip([2.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0]) {
            assert!((weight - expected).abs() < 1e-6, "{weighted:?}");
        }
        assert_eq!(numbers(&weights(&masks, 0.0).unwrap()), [1.0; 8]);
    }

    #[test]
    fn weights_below_nothing_are_refused() {
        let masks = Tensor::from_slice(&[1.0f32]).view([1, 1, 1, 1]);
        for extra in [-1.0, f64::NAN, f64::INFINITY] {
            let error = weights(&masks, extra).err().unwrap();
            assert!(error.to_string().contains("--figure-weight"), "{error}");
        }
    }

    #[test]
    fn cells_cover_the_figure_and_little_more() {
        let figures = Mix { landscapes: 0.0, small: 1.0 };
        let landscapes = Mix { landscapes: 1.0, small: 0.0 };
        let drawn = [sample(figures, 1), sample(figures, 2), sample(landscapes, 3)];
        let masks = masks(&drawn).unwrap();
        let cells = in_cells(&masks).unwrap();
        assert_eq!(cells.size(), [3, 1, 16, 16]);
        for row in 0..2 {
            let pixels: f32 = numbers(&masks.get(row)).iter().sum();
            let cells: f32 = numbers(&cells.get(row)).iter().sum();
            assert!(pixels > 0.0);
            assert!((pixels / 64.0..pixels / 8.0).contains(&cells), "{pixels} pixels, {cells} cells");
        }
        assert!(numbers(&cells.get(2)).iter().all(|&cell| cell == 0.0));
    }
}
