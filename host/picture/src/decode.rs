//! The bytes of a PNG, JPEG, WebP, GIF or BMP file into pixels, upright, as Pillow's `convert("RGB")` or
//! `convert("RGBA")` would give them.
//!
//! Uploads are hostile: the header is judged against limits before anything of the picture's size is allocated. Of an
//! animation the first frame is taken. Colour profiles and gamma are ignored, as Pillow ignores them. Where the
//! pixels differ from Pillow's: JPEG and lossy WebP by the rounding of another decoder (the tests hold how much), and
//! a transparent colour of a palette becomes alpha where `convert("RGB")` would drop it; 16-bit grey is scaled like
//! 16-bit colour, where Pillow turns all but the darkest to white.

use std::io::Cursor;

use gesso_core::pixels::{PixelFormat, Pixels};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::jpeg_end::is_complete;

/// What an upload may ask of the machine. A decoder holds up to about 12 bytes for each pixel while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of the encoded file.
    pub bytes_max: usize,
    /// Pixels of the longer side.
    pub side_max: u32,
    /// Pixels in all.
    pub pixels_max: u64,
}

impl Default for DecodeLimits {
    /// 64 MiB, 16384 pixels a side, 2^25 pixels (8192 x 4096) in all.
    fn default() -> Self {
        Self { bytes_max: 64 << 20, side_max: 16384, pixels_max: 1 << 25 }
    }
}

/// Why an upload is not a picture. The client can send another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("The picture's file has {found} bytes; the limit is {limit}. Send a smaller one.")]
    TooManyBytes { found: usize, limit: usize },
    #[error(
        "The picture is {width} x {height} pixels; the limits are {side} a side and {pixels} in all. Scale it down."
    )]
    TooManyPixels { width: u32, height: u32, side: u32, pixels: u64 },
    #[error("The bytes are not a PNG, JPEG, WebP, GIF or BMP picture; convert it to one of these.")]
    UnknownFormat,
    #[error(
        "The {format} picture cannot be read ({reason}); it is cut off, damaged or of a rare kind. Save it anew as PNG."
    )]
    Unreadable { format: &'static str, reason: String },
}

/// Bytes a decoder may take for each pixel, its output included: 16-bit RGBA twice.
const BYTES_PER_PIXEL_MAX: u64 = 16;
/// And for what does not grow with the picture: text chunks, tables, profiles.
const BYTES_BESIDE: u64 = 16 << 20;

/// Decodes the whole file in `bytes`. The result is RGB, or RGBA where the file has transparency.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Pixels, DecodeError> {
    if bytes.len() > limits.bytes_max {
        return Err(DecodeError::TooManyBytes { found: bytes.len(), limit: limits.bytes_max });
    }
    let format = image::guess_format(bytes).map_err(|_| DecodeError::UnknownFormat)?;
    let name = known_name(format).ok_or(DecodeError::UnknownFormat)?;
    let unreadable = |reason: String| DecodeError::Unreadable { format: name, reason };
    let failed = |error: ImageError| unreadable(error.to_string());

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(memory(BYTES_BESIDE));
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(unreadable("a side is zero".into()));
    }
    if width.max(height) > limits.side_max || u64::from(width) * u64::from(height) > limits.pixels_max {
        let (side, pixels) = (limits.side_max, limits.pixels_max);
        return Err(DecodeError::TooManyPixels { width, height, side, pixels });
    }
    let pixels = u64::from(width) * u64::from(height);
    decoder.set_limits(memory(pixels.saturating_mul(BYTES_PER_PIXEL_MAX) + BYTES_BESIDE)).map_err(failed)?;
    if format == ImageFormat::Jpeg && !is_complete(bytes) {
        return Err(unreadable("the file ends before the picture does".into()));
    }
    // Damaged metadata is no reason to refuse a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    picture.apply_orientation(orientation);
    let pixels =
        in_eight_bits(picture).ok_or_else(|| unreadable("its pixels are of an unknown kind".into()))?;
    // The GIF decoder always gives alpha; a picture that uses none has none for Pillow.
    Ok(if format == ImageFormat::Gif { without_idle_alpha(pixels) } else { pixels })
}

fn memory(bytes: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(bytes);
    limits
}

fn known_name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("PNG"),
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Bmp => Some("BMP"),
        _ => None,
    }
}

/// Sixteen bits are cut to their high byte, as Pillow does while reading.
fn in_eight_bits(picture: DynamicImage) -> Option<Pixels> {
    let (width, height) = (picture.width(), picture.height());
    let high = |value: &u16| (value >> 8) as u8;
    let (format, data) = match picture {
        DynamicImage::ImageRgb8(picture) => (PixelFormat::Rgb8, picture.into_raw()),
        DynamicImage::ImageRgba8(picture) => (PixelFormat::Rgba8, picture.into_raw()),
        DynamicImage::ImageLuma8(picture) => (PixelFormat::Rgb8, spread(&picture.into_raw())),
        DynamicImage::ImageLumaA8(picture) => (PixelFormat::Rgba8, spread_with_alpha(&picture.into_raw())),
        DynamicImage::ImageRgb16(picture) => (PixelFormat::Rgb8, picture.iter().map(high).collect()),
        DynamicImage::ImageRgba16(picture) => (PixelFormat::Rgba8, picture.iter().map(high).collect()),
        DynamicImage::ImageLuma16(picture) => {
            (PixelFormat::Rgb8, spread(&picture.iter().map(high).collect::<Vec<u8>>()))
        }
        DynamicImage::ImageLumaA16(picture) => {
            (PixelFormat::Rgba8, spread_with_alpha(&picture.iter().map(high).collect::<Vec<u8>>()))
        }
        _ => return None,
    };
    Pixels::new(width, height, format, data)
}

fn spread(gray: &[u8]) -> Vec<u8> {
    gray.iter().flat_map(|&level| [level; 3]).collect()
}

fn spread_with_alpha(gray_alpha: &[u8]) -> Vec<u8> {
    gray_alpha.chunks_exact(2).flat_map(|pixel| [pixel[0], pixel[0], pixel[0], pixel[1]]).collect()
}

fn without_idle_alpha(picture: Pixels) -> Pixels {
    let opaque =
        picture.format == PixelFormat::Rgba8 && picture.data.chunks_exact(4).all(|pixel| pixel[3] == 255);
    if !opaque {
        return picture;
    }
    let data = picture.data.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    Pixels { format: PixelFormat::Rgb8, data, ..picture }
}
