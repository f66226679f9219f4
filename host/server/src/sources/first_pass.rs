//! The picture that stands in for what the first of two passes would draw: read within limits, and no larger than what is drawn
//! from it. Upscalers, the VAE and the second pass bring it to that size.

use gesso_core::pixels::Pixels;
use gesso_picture::convert::flatten;
use gesso_picture::fit::lanczos;
use serde_json::{Map, Value};

use super::{BACKGROUND, LATENT_PX, SourceLimits, covering, picture};
use crate::error::AppError;
use crate::http::wire::generate::FIRST_PASS_PICTURE as FIELD;

/// Reads the picture of a body whose request is drawn from it, in RGB. `enlarged` is what it will be enlarged to, width first.
/// Decodes: call it where blocking is allowed.
pub(crate) fn read(
    body: &Map<String, Value>,
    enlarged: (u32, u32),
    limits: SourceLimits,
) -> Result<Pixels, AppError> {
    let refuse = |message: String| AppError::invalid(FIELD, message);
    let sent = picture(FIELD, body.get(FIELD).unwrap_or(&Value::Null), limits.decode)?;
    let sent = sent.ok_or_else(|| refuse(format!("{FIELD} is an empty text; send a picture as base64")))?;
    let (width, height) = (sent.width, sent.height);
    let most = limits.unresized_pixels_max;
    if width.min(height) < LATENT_PX || u64::from(width) * u64::from(height) > most {
        return Err(refuse(format!(
            "{FIELD} is {width} x {height}; each side must have {LATENT_PX} pixels or more, and both together at most {most}"
        )));
    }
    // Enlarging keeps its shape until it covers the size.
    let (_, pixels) = covering(&sent, enlarged);
    let most = limits.decode.pixels_max;
    if pixels > most as f64 {
        return Err(refuse(format!(
            "{FIELD} would be enlarged to {pixels:.0} pixels; the limit is {most}, so send one whose shape is nearer to the \
             second pass's"
        )));
    }
    let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    let picture = flatten(&sent, BACKGROUND);
    // Nothing larger is encoded than what is drawn, for which there is room.
    let picture = match pixels((width, height)) > pixels(enlarged) {
        true => picture.and_then(|picture| lanczos(&picture, enlarged)),
        false => picture,
    };
    picture.map_err(|error| refuse(format!("{FIELD}: {error}")))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use gesso_core::pixels::PixelFormat;
    use gesso_picture::decode::DecodeLimits;
    use serde_json::json;

    use super::*;
    use crate::png_file;

    const LIMITS: SourceLimits = SourceLimits {
        decode: DecodeLimits { bytes_max: 1 << 20, side_max: 4096, pixels_max: 1 << 16 },
        unresized_pixels_max: 1 << 14,
    };

    fn sent(width: u32, height: u32, pixel: [u8; 4]) -> Result<Pixels, AppError> {
        let data = pixel.repeat((width * height) as usize);
        let picture = Pixels::new(width, height, PixelFormat::Rgba8, data).unwrap();
        let text = BASE64_STANDARD.encode(png_file::encode_with(&picture, &[]).unwrap());
        read(json!({FIELD: text}).as_object().unwrap(), (128, 128), LIMITS)
    }

    #[test]
    fn white_is_seen_through_it() {
        let read = sent(16, 8, [200, 0, 0, 0]).unwrap();
        assert_eq!((read.width, read.height, read.format), (16, 8, PixelFormat::Rgb8));
        assert!(read.data.iter().all(|level| *level == 255));
    }

    #[test]
    fn what_is_too_small_too_large_or_of_too_odd_a_shape_is_refused_in_words() {
        for ((width, height), says) in [
            ((7, 64), "firstpass_image is 7 x 64;"),
            ((256, 128), "both together at most 16384"),
            ((8, 64), "send one whose shape is nearer"),
        ] {
            let refused = sent(width, height, [9; 4]).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn what_is_larger_than_what_is_drawn_from_it_is_made_smaller() {
        let of = |limits| {
            let data = [9; 4].repeat(256 * 80);
            let picture = Pixels::new(256, 80, PixelFormat::Rgba8, data).unwrap();
            let text = BASE64_STANDARD.encode(png_file::encode_with(&picture, &[]).unwrap());
            read(json!({FIELD: text}).as_object().unwrap(), (128, 128), limits)
        };
        assert!(of(LIMITS).is_err(), "it has more pixels than may be drawn");
        let read = of(SourceLimits { unresized_pixels_max: 1 << 15, ..LIMITS }).unwrap();
        assert_eq!((read.width, read.height), (128, 128));
        assert_eq!(sent(256, 64, [9; 4]).map(|read| (read.width, read.height)).unwrap(), (256, 64));
    }

    #[test]
    fn no_picture_is_refused_too() {
        for text in ["", " ", "data:image/png;base64,", "AAAA"] {
            let refused = read(json!({FIELD: text}).as_object().unwrap(), (128, 128), LIMITS).unwrap_err();
            assert!(matches!(&refused, AppError::Invalid(problems) if problems[0].field == FIELD), "{text}");
        }
    }
}
