//! Maps of colour: turned around, in a coarse grid, smaller, or without it.

use gesso_core::pixels::Pixels;
use gesso_picture::error::PictureError;
use gesso_picture::lab;
use gesso_picture::opencv_resize::{OpencvFilter, opencv_resize};
use gesso_plugin::Fault;

use crate::{resolution, unfit};

/// Pixels of a square of the grid.
const SQUARE: u32 = 64;
/// Rates below leave the picture as it is.
const RATE_MIN: f64 = 1.1;

pub(crate) fn invert(picture: &Pixels) -> Pixels {
    Pixels { data: picture.data.iter().map(|level| 255 - level).collect(), ..*picture }
}

/// Squares of one colour each.
pub(crate) fn grid(picture: &Pixels, resolution: u32) -> Result<Pixels, Fault> {
    let scaled = resolution::scaled(picture, resolution)?;
    let (width, height) = (scaled.width, scaled.height);
    let small =
        opencv_resize(&scaled, (width / SQUARE).max(1), (height / SQUARE).max(1), OpencvFilter::Cubic);
    opencv_resize(&small.map_err(unfit)?, width, height, OpencvFilter::Nearest).map_err(unfit)
}

/// Shrunk by a rate.
pub(crate) fn resampled(picture: &Pixels, rate: f64) -> Result<Pixels, PictureError> {
    if rate < RATE_MIN {
        return Ok(picture.clone());
    }
    let side = |side: u32| ((f64::from(side) / rate) as u32).max(1);
    opencv_resize(picture, side(picture.width), side(picture.height), OpencvFilter::Area)
}

/// L of L*a*b*, to the power of `gamma`.
pub(crate) fn luminance(picture: &Pixels, gamma: f64) -> Pixels {
    of_levels(picture, gamma, |pixel| lab::from_rgb(pixel)[0])
}

/// The largest channel, to the power of `gamma`.
pub(crate) fn intensity(picture: &Pixels, gamma: f64) -> Pixels {
    of_levels(picture, gamma, |pixel| pixel.into_iter().fold(0, u8::max))
}

fn of_levels(picture: &Pixels, gamma: f64, level: impl Fn([u8; 3]) -> u8) -> Pixels {
    let corrected: Vec<u8> = (0..=255_u32)
        .map(|level| ((f64::from(level) / 255.0).powf(gamma) * 255.0).clamp(0.0, 255.0) as u8)
        .collect();
    let (pixels, _) = picture.data.as_chunks::<3>();
    let data = pixels.iter().flat_map(|pixel| [corrected[usize::from(level(*pixel))]; 3]).collect();
    Pixels { data, ..*picture }
}
