//! Pictures onto pictures: crop, paste, paste through a mask, alpha-composite, in Pillow's integer arithmetic.

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::convert::{blend_255, to_rgba};
use crate::error::{PictureError, same_size, size, sound};

/// A box of whole pixels: the left and top edge are inside, `x + width` and `y + height` are the first ones outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// A picture of one colour; `pixel` has as many bytes as the format has channels.
pub(crate) fn blank(
    width: u32,
    height: u32,
    format: PixelFormat,
    pixel: &[u8],
) -> Result<Pixels, PictureError> {
    let (width, height) = size(u64::from(width), u64::from(height))?;
    let data = pixel.repeat(width as usize * height as usize);
    Ok(Pixels { width, height, format, data })
}

/// The part of `picture` inside `rect`, which must lie inside it.
pub fn crop(picture: &Pixels, rect: Rect) -> Result<Pixels, PictureError> {
    sound(picture)?;
    let Rect { x, y, width, height } = rect;
    let inside =
        |from: u32, length: u32, whole: u32| from.checked_add(length).is_some_and(|end| end <= whole);
    if width == 0 || height == 0 || !inside(x, width, picture.width) || !inside(y, height, picture.height) {
        return Err(PictureError::Size { width: u64::from(width), height: u64::from(height) });
    }
    let channels = picture.format.channels();
    let row_bytes = picture.width as usize * channels;
    let rows = picture.data.chunks_exact(row_bytes).skip(y as usize).take(height as usize);
    let data = rows.flat_map(|row| &row[x as usize * channels..(x + width) as usize * channels]);
    Ok(Pixels { width, height, format: picture.format, data: data.copied().collect() })
}

/// Lays `over` on `under` with its corner at (`x`, `y`), which may be outside; what hangs over is cut off.
/// Both have the same format. Alpha is copied like a colour.
pub(crate) fn paste(under: &mut Pixels, over: &Pixels, x: i64, y: i64) {
    debug_assert_eq!(under.format, over.format, "paste does not convert");
    let channels = under.format.channels();
    let (left, right) = overlap(x, over.width, under.width);
    let (top, bottom) = overlap(y, over.height, under.height);
    for row in top..bottom {
        let from = ((row - y) as usize * over.width as usize + (left - x) as usize) * channels;
        let to = (row as usize * under.width as usize + left as usize) * channels;
        let bytes = (right - left) as usize * channels;
        under.data[to..to + bytes].copy_from_slice(&over.data[from..from + bytes]);
    }
}

/// Where `length` pixels from `at` on meet a line of `whole` pixels; empty as `from == to`.
fn overlap(at: i64, length: u32, whole: u32) -> (i64, i64) {
    let from = at.clamp(0, i64::from(whole));
    let to = at.saturating_add(i64::from(length)).clamp(from, i64::from(whole));
    (from, to)
}

/// `over` where `mask` (grey) is white, `under` where it is black, mixed between. All are of one size, the first two
/// of one format.
pub fn mix_by_mask(under: &Pixels, over: &Pixels, mask: &Pixels) -> Result<Pixels, PictureError> {
    for picture in [under, over, mask] {
        sound(picture)?;
    }
    same_size("The picture on top", over, under)?;
    same_size("The mask", mask, under)?;
    let mask = crate::convert::to_gray(mask)?;
    let (under, over) = if under.format == over.format {
        (under.clone(), over.clone())
    } else {
        (to_rgba(under)?, to_rgba(over)?)
    };
    let channels = under.format.channels();
    let pairs = under.data.chunks_exact(channels).zip(over.data.chunks_exact(channels));
    let data = pairs
        .zip(&mask.data)
        .flat_map(|((under, over), &cover)| {
            under.iter().zip(over).map(move |(&u, &o)| blend_255(u, o, cover))
        })
        .collect();
    Ok(Pixels { data, ..under })
}

/// `over` on `under`, both with alpha and of one size: Pillow's `alpha_composite`. Returns RGBA.
pub fn alpha_composite(under: &Pixels, over: &Pixels) -> Result<Pixels, PictureError> {
    same_size("The overlay", over, under)?;
    let mut result = to_rgba(under)?;
    let over = to_rgba(over)?;
    alpha_composite_in_place(&mut result.data, &over.data);
    Ok(result)
}

/// Seven more bits of precision than the eight of a channel, as many as 32-bit products leave room for.
const PRECISION: u32 = 7;

/// [`alpha_composite`] on the bare RGBA bytes of two pictures of one size.
pub(crate) fn alpha_composite_in_place(under: &mut [u8], over: &[u8]) {
    let rounded_255 = |value: u32| ((value >> 8) + value) >> 8;
    for (under, over) in under.chunks_exact_mut(4).zip(over.chunks_exact(4)) {
        let alpha = u32::from(over[3]);
        if alpha == 0 {
            continue;
        }
        let alpha_sum = alpha * 255 + u32::from(under[3]) * (255 - alpha);
        let over_share = alpha * 255 * 255 * (1 << PRECISION) / alpha_sum;
        let under_share = 255 * (1 << PRECISION) - over_share;
        for channel in 0..3 {
            let sum = u32::from(over[channel]) * over_share + u32::from(under[channel]) * under_share;
            under[channel] = (rounded_255(sum + (0x80 << PRECISION)) >> PRECISION) as u8;
        }
        under[3] = rounded_255(alpha_sum + 0x80) as u8;
    }
}
