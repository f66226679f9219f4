//! One pixel format into another, in Pillow's integer arithmetic: luminance, flattening, premultiplied alpha.
//!
//! Knows nothing of sizes or places: every function works pixel by pixel.

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::error::{PictureError, sound};

/// `a * b / 255`, rounded, as Pillow computes it without a division.
pub(crate) fn multiply_255(a: u8, b: u8) -> u8 {
    divide_255(u32::from(a) * u32::from(b))
}

/// `value / 255`, rounded; exact for products of two bytes and sums of two such products that stay below 255 * 255.
pub(crate) fn divide_255(value: u32) -> u8 {
    let rounded = value + 128;
    (((rounded >> 8) + rounded) >> 8) as u8
}

/// `under` where `cover` is 0, `over` where it is 255, the mean weighted by it between.
pub(crate) fn blend_255(under: u8, over: u8, cover: u8) -> u8 {
    divide_255(u32::from(under) * u32::from(255 - cover) + u32::from(over) * u32::from(cover))
}

/// ITU-R 601 luma in 16-bit fixed point, as Pillow's `convert("L")`.
pub(crate) fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

fn rebuilt(picture: &Pixels, format: PixelFormat, data: Vec<u8>) -> Pixels {
    Pixels { width: picture.width, height: picture.height, format, data }
}

/// Luminance; alpha is dropped unseen, as Pillow does.
pub fn to_gray(picture: &Pixels) -> Result<Pixels, PictureError> {
    sound(picture)?;
    let of = |pixels: &[u8], channels: usize| {
        pixels.chunks_exact(channels).map(|p| luma(p[0], p[1], p[2])).collect::<Vec<u8>>()
    };
    let data = match picture.format {
        PixelFormat::Gray8 => picture.data.clone(),
        PixelFormat::Rgb8 => of(&picture.data, 3),
        PixelFormat::Rgba8 => of(&picture.data, 4),
    };
    Ok(rebuilt(picture, PixelFormat::Gray8, data))
}

/// Three channels; alpha is dropped unseen. [`flatten`] is what an upload wants.
pub fn to_rgb(picture: &Pixels) -> Result<Pixels, PictureError> {
    sound(picture)?;
    let data = match picture.format {
        PixelFormat::Gray8 => picture.data.iter().flat_map(|&gray| [gray; 3]).collect(),
        PixelFormat::Rgb8 => picture.data.clone(),
        PixelFormat::Rgba8 => picture.data.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
    };
    Ok(rebuilt(picture, PixelFormat::Rgb8, data))
}

/// Four channels, opaque where there was no alpha.
pub fn to_rgba(picture: &Pixels) -> Result<Pixels, PictureError> {
    sound(picture)?;
    let data = match picture.format {
        PixelFormat::Gray8 => picture.data.iter().flat_map(|&g| [g, g, g, 255]).collect(),
        PixelFormat::Rgb8 => picture.data.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
        PixelFormat::Rgba8 => picture.data.clone(),
    };
    Ok(rebuilt(picture, PixelFormat::Rgba8, data))
}

/// RGB with `background` seen through what is transparent; web UIs take white unless told otherwise.
pub fn flatten(picture: &Pixels, background: [u8; 3]) -> Result<Pixels, PictureError> {
    if picture.format != PixelFormat::Rgba8 {
        return to_rgb(picture);
    }
    sound(picture)?;
    let over = |p: &[u8]| -> [u8; 3] { std::array::from_fn(|c| blend_255(background[c], p[c], p[3])) };
    let data = picture.data.chunks_exact(4).flat_map(over).collect();
    Ok(rebuilt(picture, PixelFormat::Rgb8, data))
}

/// Each colour multiplied by its alpha: Pillow's mode `RGBa`. `data` is RGBA.
pub(crate) fn premultiply(data: &mut [u8]) {
    for pixel in data.chunks_exact_mut(4) {
        let alpha = pixel[3];
        for colour in &mut pixel[..3] {
            *colour = multiply_255(*colour, alpha);
        }
    }
}

/// Undoes [`premultiply`] as far as eight bits allow; transparent and opaque pixels stay as they are.
pub(crate) fn unpremultiply(data: &mut [u8]) {
    for pixel in data.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        if alpha != 0 && alpha != 255 {
            for colour in &mut pixel[..3] {
                *colour = (u32::from(*colour) * 255 / alpha).min(255) as u8;
            }
        }
    }
}

/// A colour as settings write it: `#rgb` or `#rrggbb`, the `#` optional. `None` for anything else.
pub fn parse_colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.trim().trim_start_matches('#');
    let nibbles = digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let byte = |high: u32, low: u32| (high * 16 + low) as u8;
    match nibbles[..] {
        [r, g, b] => Some([byte(r, r), byte(g, g), byte(b, b)]),
        [r, s, g, h, b, c] => Some([byte(r, s), byte(g, h), byte(b, c)]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_products_of_bytes_by_255_with_rounding() {
        for value in 0..=255 * 255_u32 {
            let exact = (f64::from(value) / 255.0).round();
            assert_eq!(f64::from(divide_255(value)), exact, "{value}");
        }
    }

    #[test]
    fn reads_colours_as_settings_write_them() {
        assert_eq!(parse_colour("#ffffff"), Some([255; 3]));
        assert_eq!(parse_colour(" #1af"), Some([0x11, 0xaa, 0xff]));
        assert_eq!(parse_colour("white"), None);
        assert_eq!(parse_colour("#12345"), None);
    }
}
