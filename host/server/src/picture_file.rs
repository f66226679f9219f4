//! Pictures as files of the kind a request asks for, with their infotext where readers of that kind look for it: a text
//! chunk in PNG, the EXIF user comment in JPEG and WebP. Reading it back is [`crate::picture_texts`].

use std::borrow::Cow;

use exif::experimental::Writer;
use exif::{Field, In, Tag, Value};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::convert::{flatten, to_rgb};
use gesso_store::ImageFormat;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use img_parts::webp::WebP;
use img_parts::{Bytes, ImageEXIF};

use crate::http::wire::file_format::FileFormat;
use crate::png_file;
use crate::sources::BACKGROUND;

/// What stands before an EXIF comment in UTF-16 (EXIF 2.3, 4.6.5).
const UNICODE: &[u8] = b"UNICODE\0";

/// A JPEG has 64 KiB for EXIF, and a letter may take four bytes of them. A longer infotext is cut: half of one is of more
/// use than a file that cannot be read.
const COMMENT_CHARS_MAX: usize = 16_000;

/// What a file of this format is, whatever it loses.
pub(crate) fn kind(format: FileFormat) -> ImageFormat {
    match format {
        FileFormat::Png => ImageFormat::Png,
        FileFormat::Jpeg { .. } => ImageFormat::Jpeg,
        FileFormat::Webp { .. } | FileFormat::WebpLossless => ImageFormat::Webp,
    }
}

/// Encodes `pixels` with how they were drawn. Transparency is laid on white where the kind has none.
///
/// # Errors
/// A sentence; a picture that is larger than the kind can hold (65,535 pixels a side in JPEG, 16,383 in WebP) is one.
pub(crate) fn encode(pixels: &Pixels, infotext: &str, format: FileFormat) -> Result<Vec<u8>, String> {
    let exif = || if infotext.is_empty() { Ok(None) } else { user_comment(infotext).map(Some) };
    match format {
        FileFormat::Png => png_file::encode(pixels, infotext).map_err(|error| error.to_string()),
        FileFormat::Jpeg { quality } => jpeg(pixels, quality, exif()?),
        FileFormat::Webp { quality } => webp(pixels, quality, exif()?),
        FileFormat::WebpLossless => webp_lossless(pixels, exif()?),
    }
}

/// The same for a picture that was worked on afterwards. Where a kind has room for one text, it is how the picture was
/// drawn, or what was done to it where that is not known.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_worked_on(
    pixels: &Pixels,
    drawn: &str,
    worked: &str,
    format: FileFormat,
) -> Result<Vec<u8>, String> {
    if format == FileFormat::Png {
        let texts = [("parameters", drawn), ("postprocessing", worked)];
        return png_file::encode_with(pixels, &texts).map_err(|error| error.to_string());
    }
    encode(pixels, if drawn.is_empty() { worked } else { drawn }, format)
}

fn jpeg(pixels: &Pixels, quality: u8, exif: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let flat = opaque(pixels)?;
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, quality);
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif).map_err(|error| error.to_string())?;
    }
    let kind =
        if flat.format == PixelFormat::Gray8 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    encoder.write_image(&flat.data, flat.width, flat.height, kind).map_err(|error| error.to_string())?;
    Ok(file)
}

fn webp_lossless(pixels: &Pixels, exif: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let mut file = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut file);
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif).map_err(|error| error.to_string())?;
    }
    let kind = match pixels.format {
        PixelFormat::Gray8 => ExtendedColorType::L8,
        PixelFormat::Rgb8 => ExtendedColorType::Rgb8,
        PixelFormat::Rgba8 => ExtendedColorType::Rgba8,
    };
    encoder
        .write_image(&pixels.data, pixels.width, pixels.height, kind)
        .map_err(|error| error.to_string())?;
    Ok(file)
}

fn webp(pixels: &Pixels, quality: u8, exif: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let grey;
    let encoder = match pixels.format {
        PixelFormat::Rgba8 => webp::Encoder::from_rgba(&pixels.data, pixels.width, pixels.height),
        PixelFormat::Rgb8 => webp::Encoder::from_rgb(&pixels.data, pixels.width, pixels.height),
        PixelFormat::Gray8 => {
            grey = to_rgb(pixels).map_err(|error| error.to_string())?;
            webp::Encoder::from_rgb(&grey.data, grey.width, grey.height)
        }
    };
    let file = encoder
        .encode_simple(false, f32::from(quality))
        .map_err(|error| format!("WebP cannot hold this picture: {error:?}"))?;
    let Some(exif) = exif else { return Ok(file.to_vec()) };
    let mut container = WebP::from_bytes(Bytes::copy_from_slice(&file)).map_err(|error| error.to_string())?;
    container.set_exif(Some(exif.into()));
    Ok(container.encoder().bytes().to_vec())
}

fn opaque(pixels: &Pixels) -> Result<Cow<'_, Pixels>, String> {
    if pixels.format != PixelFormat::Rgba8 {
        return Ok(Cow::Borrowed(pixels));
    }
    flatten(pixels, BACKGROUND).map(Cow::Owned).map_err(|error| error.to_string())
}

/// An EXIF block that holds nothing but a comment.
fn user_comment(text: &str) -> Result<Vec<u8>, String> {
    let text: String = text.chars().take(COMMENT_CHARS_MAX).collect();
    let comment: Vec<u8> =
        UNICODE.iter().copied().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect();
    let field = Field { tag: Tag::UserComment, ifd_num: In::PRIMARY, value: Value::Undefined(comment, 0) };
    let mut writer = Writer::new();
    writer.push_field(&field);
    let mut block = std::io::Cursor::new(Vec::new());
    // Big-endian, so that readers that take the order of the text from that of the block read it right.
    writer.write(&mut block, false).map_err(|error| format!("the infotext cannot be written: {error}"))?;
    Ok(block.into_inner())
}

#[cfg(test)]
mod tests {
    use gesso_picture::decode::{DecodeLimits, decode};

    use super::*;
    use crate::picture_texts;

    const FORMATS: [FileFormat; 4] = [
        FileFormat::Png,
        FileFormat::Jpeg { quality: 95 },
        FileFormat::Webp { quality: 95 },
        FileFormat::WebpLossless,
    ];

    fn gradient(format: PixelFormat, channels: usize) -> Pixels {
        let value = |at: usize| ((at / channels) % 32 * 8) as u8;
        Pixels::new(32, 16, format, (0..32 * 16 * channels).map(value).collect()).unwrap()
    }

    #[test]
    fn every_kind_is_read_back_with_its_text_and_close_to_its_pixels() {
        let picture = gradient(PixelFormat::Rgb8, 3);
        for text in ["", "a café\nSteps: 20, Sampler: Euler", "夕焼けの山 🏔\nSteps: 1"] {
            for format in FORMATS {
                let file = encode(&picture, text, format).unwrap();
                let read = picture_texts::read(&file).infotext.unwrap_or_default();
                assert_eq!(read, text, "{format:?}");
                let back = decode(&file, &DecodeLimits::default()).unwrap();
                assert_eq!((back.width, back.height), (32, 16), "{format:?}");
                let worst = back.data.iter().zip(&picture.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                let bound = if matches!(format, FileFormat::Png | FileFormat::WebpLossless) { 0 } else { 24 };
                assert!(worst <= bound, "{format:?}: {worst}");
            }
        }
    }

    #[test]
    fn grey_and_transparent_pictures_have_a_file_of_every_kind() {
        for (format, channels) in [(PixelFormat::Gray8, 1), (PixelFormat::Rgba8, 4)] {
            for kind in FORMATS {
                let file = encode(&gradient(format, channels), "x", kind).unwrap();
                assert_eq!(decode(&file, &DecodeLimits::default()).unwrap().width, 32, "{format:?} {kind:?}");
            }
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_the_picture_stays_whole() {
        let picture = gradient(PixelFormat::Rgb8, 3);
        for letter in ["x", "🏔"] {
            let text = letter.repeat(70_000);
            for format in FORMATS {
                let file = encode(&picture, &text, format).unwrap();
                assert_eq!(decode(&file, &DecodeLimits::default()).unwrap().width, 32, "{format:?}");
                let read = picture_texts::read(&file).infotext.unwrap();
                assert!(text.starts_with(&read) && read.chars().count() >= COMMENT_CHARS_MAX, "{format:?}");
            }
        }
    }

    #[test]
    fn a_lower_quality_is_a_smaller_file() {
        let picture = Pixels::new(
            64,
            64,
            PixelFormat::Rgb8,
            (0..64 * 64 * 3_u32).map(|at| (at * 7919 % 251) as u8).collect(),
        )
        .unwrap();
        let size = |format| encode(&picture, "", format).unwrap().len();
        assert!(size(FileFormat::Jpeg { quality: 30 }) < size(FileFormat::Jpeg { quality: 90 }));
        assert!(size(FileFormat::Webp { quality: 30 }) < size(FileFormat::Webp { quality: 90 }));
    }
}
