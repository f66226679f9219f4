//! The blur fill (`inpainting_fill` 0): the masked part of a picture filled with the colours around it.

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::blur::pillow_gaussian;
use crate::composite::{alpha_composite_in_place, blank};
use crate::convert::{multiply_255, premultiply, to_gray, to_rgb, to_rgba, unpremultiply};
use crate::error::{PictureError, same_size, sound};

/// Radius of the blur and how often its result is laid on what is there: wide first, the sharp original last.
const LAYERS: [(f64, u32); 6] = [(256.0, 1), (64.0, 1), (16.0, 2), (4.0, 4), (2.0, 2), (0.0, 1)];

/// RGB of `picture`'s size in which the white part of `mask` (grey) is a blur of what lies around it.
pub fn blur_fill(picture: &Pixels, mask: &Pixels) -> Result<Pixels, PictureError> {
    let kept = premultiplied_without(picture, mask)?;
    let mut filled = blank(picture.width, picture.height, PixelFormat::Rgba8, &[0; 4])?;
    for (radius, repeats) in LAYERS {
        let mut layer = pillow_gaussian(&kept, radius)?;
        unpremultiply(&mut layer.data);
        for _ in 0..repeats {
            alpha_composite_in_place(&mut filled.data, &layer.data);
        }
    }
    to_rgb(&filled)
}

/// `picture` with the white part of `mask` transparent, as RGBA with straight alpha.
pub fn without_masked(picture: &Pixels, mask: &Pixels) -> Result<Pixels, PictureError> {
    let mut kept = premultiplied_without(picture, mask)?;
    unpremultiply(&mut kept.data);
    Ok(kept)
}

fn premultiplied_without(picture: &Pixels, mask: &Pixels) -> Result<Pixels, PictureError> {
    sound(mask)?;
    same_size("The mask", mask, picture)?;
    let mut kept = to_rgba(picture)?;
    premultiply(&mut kept.data);
    for (pixel, cover) in kept.data.chunks_exact_mut(4).zip(to_gray(mask)?.data) {
        for value in pixel {
            *value = multiply_255(*value, 255 - cover);
        }
    }
    Ok(kept)
}
