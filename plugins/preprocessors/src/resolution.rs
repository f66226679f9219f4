//! The resolution that a map is made at: the short side is brought to it, and the picture is padded on the right and below
//! to multiples of 64, which is cut off again. Maps near those edges depend on it. A picture that is already so is not
//! copied, and one that would become too large is refused: thin strips grow without end.

use std::borrow::Cow;

use gesso_core::pixels::Pixels;
use gesso_picture::opencv_resize::{OpencvFilter, opencv_resize};
use gesso_plugin::Fault;

use crate::unfit;

/// Sides are padded to multiples of this.
const STEP: u32 = 64;
/// Pixels of a map: four times as long as wide at the largest resolution. With what is kept beside it, this fits the memory that an
/// annotator has by default.
const PIXELS_MAX: u64 = 1 << 24;

/// What `work`, which keeps the size, makes of the picture at a resolution.
pub(crate) fn at(
    source: &Pixels,
    resolution: u32,
    work: impl FnOnce(&Pixels) -> Result<Pixels, Fault>,
) -> Result<Pixels, Fault> {
    let scaled = scaled(source, resolution)?;
    let map = work(&padded(&scaled))?;
    Ok(cut(map, scaled.width, scaled.height))
}

/// Refuses to make a map of so many pixels.
pub(crate) fn check_room(width: u32, height: u32, most: u64) -> Result<(), Fault> {
    if u64::from(width) * u64::from(height) <= most {
        return Ok(());
    }
    Err(Fault::InvalidInput(format!(
        "resolution: the map would be {width} x {height} pixels large, and {most} are the most; choose a smaller \
         processor_res, or crop the picture"
    )))
}

/// The picture with its short side of `resolution` pixels.
pub(crate) fn scaled(source: &Pixels, resolution: u32) -> Result<Cow<'_, Pixels>, Fault> {
    let factor = f64::from(resolution) / f64::from(source.width.min(source.height).max(1));
    let side = |side: u32| (f64::from(side) * factor).round_ties_even().max(1.0) as u32;
    let (width, height) = (side(source.width), side(source.height));
    check_room(width, height, PIXELS_MAX)?;
    if (width, height) == (source.width, source.height) {
        return Ok(Cow::Borrowed(source));
    }
    let filter = if factor > 1.0 { OpencvFilter::Cubic } else { OpencvFilter::Area };
    opencv_resize(source, width, height, filter).map(Cow::Owned).map_err(unfit)
}

/// The last pixels are repeated.
fn padded(picture: &Pixels) -> Cow<'_, Pixels> {
    let (width, height) = (picture.width.next_multiple_of(STEP), picture.height.next_multiple_of(STEP));
    if (width, height) == (picture.width, picture.height) {
        return Cow::Borrowed(picture);
    }
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
    Cow::Owned(Pixels { width, height, format: picture.format, data })
}

fn cut(picture: Pixels, width: u32, height: u32) -> Pixels {
    if (width, height) == (picture.width, picture.height) {
        return picture;
    }
    let channels = picture.format.channels();
    let (row_bytes, kept) = (picture.width as usize * channels, width as usize * channels);
    let mut data = Vec::with_capacity(kept * height as usize);
    for row in picture.data.chunks_exact(row_bytes).take(height as usize) {
        data.extend_from_slice(&row[..kept]);
    }
    Pixels { width, height, format: picture.format, data }
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;

    use super::*;

    #[test]
    fn a_picture_that_is_already_so_is_worked_on_as_it_is() {
        let picture = Pixels::new(128, 64, PixelFormat::Gray8, vec![7; 128 * 64]).unwrap();
        let work = |given: &Pixels| {
            assert!(std::ptr::eq(given, &picture));
            Ok(given.clone())
        };
        assert_eq!(at(&picture, 64, work).unwrap(), picture);
    }

    #[test]
    fn a_strip_that_would_grow_beyond_all_room_is_refused() {
        let strip =
            |length: u32| Pixels::new(32, length, PixelFormat::Gray8, vec![7; 32 * length as usize]).unwrap();
        assert_eq!(scaled(&strip(2048), 512).unwrap().height, 32_768);
        let strip = strip(2050);
        let refused = scaled(&strip, 512);
        assert!(
            matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains("512 x 32800 pixels")),
            "{refused:?}"
        );
    }
}
