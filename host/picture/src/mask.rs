//! What happens to an inpainting mask on its own: read, inverted, blurred, boxed in, brought to the latent's size.
//!
//! White is what will be repainted. The order of the steps and what becomes of the picture is `inpaint`.

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::blur::{Axis, opencv_gaussian};
use crate::composite::Rect;
use crate::convert::to_gray;
use crate::error::{PictureError, in_range, size, sound};
use crate::resize::{Filter, resize};

/// Alpha above this is mask when masks are rounded.
const OPAQUE_ABOVE: u8 = 128;

/// The grey mask that an upload means: its alpha if any of it is not opaque, else its luminance. With `round` an
/// alpha becomes black or white; a luminance is left to the latent mask's own rounding, as in web UIs.
pub fn read(upload: &Pixels, round: bool) -> Result<Pixels, PictureError> {
    sound(upload)?;
    let alphas = || upload.data.chunks_exact(4).map(|pixel| pixel[3]);
    if upload.format != PixelFormat::Rgba8 || alphas().all(|alpha| alpha == 255) {
        return to_gray(upload);
    }
    let level = |alpha| if round { if alpha > OPAQUE_ABOVE { 255 } else { 0 } } else { alpha };
    Ok(Pixels { format: PixelFormat::Gray8, data: alphas().map(level).collect(), ..*upload })
}

/// Black for white and white for black.
pub fn invert(mask: &Pixels) -> Pixels {
    Pixels { data: mask.data.iter().map(|level| 255 - level).collect(), ..*mask }
}

/// Blurred along each axis on its own by OpenCV's Gaussian; zero leaves an axis as it is. Sigmas in pixels, 0 to 4096.
pub fn blur(mask: &Pixels, sigma_x: f64, sigma_y: f64) -> Result<Pixels, PictureError> {
    sound(mask)?;
    let mut blurred = mask.clone();
    for (sigma, axis) in [(sigma_x, Axis::Horizontal), (sigma_y, Axis::Vertical)] {
        in_range("The mask blur", sigma, 0.0, 4096.0)?;
        if sigma > 0.0 {
            blurred = opencv_gaussian(&blurred, sigma, axis)?;
        }
    }
    Ok(blurred)
}

/// The smallest box around everything that is not black; `None` for a blank mask.
pub fn bounding_box(mask: &Pixels) -> Option<Rect> {
    let row_bytes = mask.width as usize * mask.format.channels();
    if row_bytes == 0 {
        return None;
    }
    let (mut left, mut right) = (usize::MAX, 0);
    let (mut top, mut bottom) = (None, 0);
    for (y, row) in mask.data.chunks_exact(row_bytes).enumerate() {
        let Some(first) = row.iter().position(|&level| level != 0) else { continue };
        let last = row.iter().rposition(|&level| level != 0).unwrap_or(first);
        left = left.min(first / mask.format.channels());
        right = right.max(last / mask.format.channels() + 1);
        top = top.or(Some(y));
        bottom = y + 1;
    }
    let top = top?;
    Some(Rect { x: left as u32, y: top as u32, width: (right - left) as u32, height: (bottom - top) as u32 })
}

/// `area` with `padding` pixels more on every side, cut off at the edges of a picture of `whole` pixels.
pub fn padded(area: Rect, padding: u32, whole: (u32, u32)) -> Rect {
    let x = area.x.saturating_sub(padding);
    let y = area.y.saturating_sub(padding);
    let right = area.x.saturating_add(area.width).saturating_add(padding).min(whole.0);
    let bottom = area.y.saturating_add(area.height).saturating_add(padding).min(whole.1);
    Rect { x, y, width: right.saturating_sub(x), height: bottom.saturating_sub(y) }
}

/// `area`, inside a picture of `whole` pixels, with its short side grown to the ratio of `frame`; moved inwards where
/// it would leave the picture, and cut where the picture itself is too short. All sides are at least 1.
pub fn grown_to_ratio(area: Rect, frame: (u32, u32), whole: (u32, u32)) -> Rect {
    let ratio = f64::from(frame.0) / f64::from(frame.1);
    if f64::from(area.width) / f64::from(area.height) > ratio {
        let (y, height) = grown(area.y, area.height, f64::from(area.width) / ratio, whole.1);
        Rect { y, height, ..area }
    } else {
        let (x, width) = grown(area.x, area.width, f64::from(area.height) * ratio, whole.0);
        Rect { x, width, ..area }
    }
}

/// A span grown to `desired` pixels around its middle, the odd one at the end.
fn grown(start: u32, length: u32, desired: f64, whole: u32) -> (u32, u32) {
    let more = (desired - f64::from(length)) as i64;
    let whole = i64::from(whole);
    let mut from = i64::from(start) - more.div_euclid(2);
    let mut to = from + i64::from(length) + more;
    let beyond = (to - whole).max(0);
    (from, to) = (from - beyond, to - beyond);
    let before = (-from).max(0);
    (from, to) = (from + before, (to + before).min(whole));
    (from as u32, (to - from) as u32)
}

/// Twice as opaque, so that a blurred edge of the mask shows the new picture up to the middle of the blur.
pub fn for_overlay(mask: &Pixels) -> Pixels {
    Pixels { data: mask.data.iter().map(|level| level.saturating_mul(2)).collect(), ..*mask }
}

/// The mask at the latent's size: `height * width` values, rows first, 1 where the latent is repainted; whole
/// numbers if `round`.
pub fn latent(mask: &Pixels, width: u32, height: u32, round: bool) -> Result<Vec<f32>, PictureError> {
    let (width, height) = size(u64::from(width), u64::from(height))?;
    let small = resize(&to_gray(mask)?, width, height, Filter::Bicubic)?;
    let value = |&level: &u8| f32::from(level) / 255.0;
    Ok(small
        .data
        .iter()
        .map(|level| if round { value(level).round_ties_even() } else { value(level) })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(width: u32, height: u32, data: Vec<u8>) -> Pixels {
        Pixels::new(width, height, PixelFormat::Gray8, data).unwrap()
    }

    #[test]
    fn boxes_in_what_is_not_black() {
        assert_eq!(bounding_box(&gray(3, 2, vec![0; 6])), None);
        let spots = gray(4, 3, vec![0, 0, 0, 0, 0, 0, 1, 0, 0, 9, 0, 0]);
        assert_eq!(bounding_box(&spots), Some(Rect { x: 1, y: 1, width: 2, height: 2 }));
    }

    #[test]
    fn pads_inside_the_picture_only() {
        let area = Rect { x: 2, y: 30, width: 4, height: 10 };
        assert_eq!(padded(area, 5, (64, 42)), Rect { x: 0, y: 25, width: 11, height: 17 });
        assert_eq!(padded(area, u32::MAX, (64, 42)), Rect { x: 0, y: 0, width: 64, height: 42 });
    }

    #[test]
    fn grows_the_short_side_and_moves_inwards_at_an_edge() {
        let at_the_edge = Rect { x: 0, y: 90, width: 50, height: 10 };
        assert_eq!(
            grown_to_ratio(at_the_edge, (512, 512), (100, 100)),
            Rect { y: 50, height: 50, ..at_the_edge }
        );
        let too_short = Rect { x: 0, y: 5, width: 100, height: 4 };
        assert_eq!(grown_to_ratio(too_short, (512, 512), (100, 20)), Rect { y: 0, height: 20, ..too_short });
    }

    #[test]
    fn alpha_is_the_mask_only_where_some_of_it_is_not_opaque() {
        let rgba = |alphas: [u8; 2]| {
            let data = vec![255, 255, 255, alphas[0], 0, 0, 0, alphas[1]];
            Pixels::new(2, 1, PixelFormat::Rgba8, data).unwrap()
        };
        assert_eq!(read(&rgba([255, 255]), true).unwrap().data, [255, 0]);
        assert_eq!(read(&rgba([128, 129]), true).unwrap().data, [0, 255]);
        assert_eq!(read(&rgba([128, 129]), false).unwrap().data, [128, 129]);
    }
}
