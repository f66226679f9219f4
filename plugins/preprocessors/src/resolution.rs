//! The resolution that a map is made at: the short side is brought to it, and the picture is padded on the right and below
//! to multiples of 64, which is cut off again. Maps near those edges depend on it.

use gesso_core::pixels::Pixels;
use gesso_picture::error::PictureError;
use gesso_picture::opencv_resize::{OpencvFilter, opencv_resize};

/// Sides are padded to multiples of this.
const STEP: u32 = 64;

/// What `work`, which keeps the size, makes of the picture at a resolution.
pub(crate) fn at(
    source: &Pixels,
    resolution: u32,
    work: impl Fn(&Pixels) -> Pixels,
) -> Result<Pixels, PictureError> {
    try_at(source, resolution, |error| error, |picture| Ok(work(picture)))
}

/// The same of work that may fail; `unfit` makes its error of the picture's.
pub(crate) fn try_at<E>(
    source: &Pixels,
    resolution: u32,
    unfit: impl Fn(PictureError) -> E,
    work: impl Fn(&Pixels) -> Result<Pixels, E>,
) -> Result<Pixels, E> {
    let scaled = scaled(source, resolution).map_err(unfit)?;
    let (width, height) = (scaled.width, scaled.height);
    Ok(cut(&work(&padded(&scaled))?, width, height))
}

/// The picture with its short side of `resolution` pixels.
pub(crate) fn scaled(source: &Pixels, resolution: u32) -> Result<Pixels, PictureError> {
    let factor = f64::from(resolution) / f64::from(source.width.min(source.height).max(1));
    let side = |side: u32| (f64::from(side) * factor).round_ties_even().max(1.0) as u32;
    let filter = if factor > 1.0 { OpencvFilter::Cubic } else { OpencvFilter::Area };
    opencv_resize(source, side(source.width), side(source.height), filter)
}

/// The last pixels are repeated.
fn padded(picture: &Pixels) -> Pixels {
    let (width, height) = (picture.width.next_multiple_of(STEP), picture.height.next_multiple_of(STEP));
    let channels = picture.format.channels();
    let row_bytes = picture.width as usize * channels;
    let mut data = Vec::with_capacity(width as usize * height as usize * channels);
    for row in 0..height {
        let start = row.min(picture.height - 1) as usize * row_bytes;
        let row = &picture.data[start..start + row_bytes];
        data.extend_from_slice(row);
        let last = &row[row_bytes - channels..];
        (picture.width..width).for_each(|_| data.extend_from_slice(last));
    }
    Pixels { width, height, format: picture.format, data }
}

fn cut(picture: &Pixels, width: u32, height: u32) -> Pixels {
    let channels = picture.format.channels();
    let (row_bytes, kept) = (picture.width as usize * channels, width as usize * channels);
    let mut data = Vec::with_capacity(kept * height as usize);
    for row in picture.data.chunks_exact(row_bytes).take(height as usize) {
        data.extend_from_slice(&row[..kept]);
    }
    Pixels { width, height, format: picture.format, data }
}
