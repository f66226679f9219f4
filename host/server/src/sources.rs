//! The pictures that come with a request: decoded within limits, brought to the size that is drawn, and laid back over
//! the result. The rules are `gesso-picture`'s; what happens to them on the device is the engine's.

pub(crate) mod enlarger;
pub(crate) mod first_pass;

use std::sync::Arc;

use gesso_core::img2img::{Fill, Img2Img, PictureOptions, ResizeMode};
use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_engine::{Source, SourceMask};
use gesso_picture::composite::Rect;
use gesso_picture::convert::to_rgb;
use gesso_picture::decode::{DecodeLimits, decode};
use gesso_picture::error::PictureError;
use gesso_picture::fit::{FitMode, lanczos};
use gesso_picture::inpaint::{self, InpaintSettings, Prepared};
use gesso_picture::text::picture_bytes;
use gesso_picture::{colour_correction, mask};
use serde_json::{Map, Value};

pub(crate) use enlarger::{Device, Enlarger};

use crate::error::AppError;

/// Seen through transparent parts, as in web UIs.
pub(crate) const BACKGROUND: [u8; 3] = [255; 3];
const LATENT_PX: u32 = 8;
/// How a refusal calls one of several.
const A_PICTURE: &str = "a picture of init_images";
/// What a refusal says of what would be too large while it covers the frame.
const INSTEAD: &str =
    "before it is cropped; send one whose shape is nearer to the asked-for size, or another resize_mode";
/// A picture that covers a frame before it is cropped may have so many times the frame's pixels, and always as many as
/// one that is sent.
const COVERING_MAX: u64 = 4;

/// What pictures of a request may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceLimits {
    pub(crate) decode: DecodeLimits,
    /// Of a picture that is not resized before it is encoded.
    pub(crate) unresized_pixels_max: u64,
}

/// The pictures of one request, prepared.
#[derive(Debug)]
pub(crate) struct Sources {
    /// What the engine draws over.
    pub(crate) source: Source,
    prepared: Vec<Prepared>,
    colour_correction: bool,
    options: PictureOptions,
    /// Remarks for the client.
    pub(crate) warnings: Vec<String>,
}

impl Sources {
    /// Reads `init_images` and `mask` of a body. Decodes and resamples, or waits for `enlarger`: call it where blocking
    /// is allowed.
    pub(crate) fn read(
        body: &Map<String, Value>,
        request: &GenerateRequest,
        settings: &Img2Img,
        limits: SourceLimits,
        enlarger: Option<&Enlarger>,
    ) -> Result<Self, AppError> {
        let images = body.get("init_images").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut pictures = Vec::new();
        for image in images {
            let picture = picture("init_images", image, limits.decode)?;
            pictures.push(picture.ok_or_else(|| {
                AppError::invalid("init_images", "init_images holds an empty text; send a picture as base64")
            })?);
        }
        check_sizes(&pictures, settings, limits)?;
        let mask = match (&settings.mask, body.get("mask")) {
            (Some(_), Some(mask)) => picture("mask", mask, limits.decode)?,
            _ => None,
        };
        let frame = (request.width, request.height);
        if let Some(mask) = &mask {
            check_mask_covers(mask, frame, settings, limits.decode)?;
        }
        let mut resize = |picture: &Pixels, size: (u32, u32)| -> Result<Pixels, Unprepared> {
            // The enlarger has a limit of its own.
            if let Some(enlarger) = enlarger {
                return enlarger.resize(picture, size).map_err(Unprepared);
            }
            let pixels = f64::from(size.0) * f64::from(size.1);
            check_covering(("init_images", A_PICTURE), pixels, frame, limits.decode).map_err(Unprepared)?;
            Ok(lanczos(picture, size)?)
        };
        let wanted = inpaint_settings(request, settings);
        let mask = mask.as_ref().map(|mask| inpaint::ready_mask(mask, &wanted)).transpose();
        let mask = mask.map_err(|error| AppError::invalid("mask", error.to_string()))?;
        let prepare = |picture: &Pixels| {
            let prepared = inpaint::prepare_with(picture, mask.as_ref(), &wanted, &mut resize);
            prepared.map_err(|Unprepared(why)| why)
        };
        let prepared = pictures.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let mut warnings = Vec::new();
        if prepared.iter().any(|prepared| prepared.mask_was_blank) {
            warnings.push("the mask is blank: there is nothing in it to repaint".to_owned());
        }
        let latent_mask = match (prepared.first().and_then(|first| first.mask.as_ref()), &settings.mask) {
            (Some(pixels), Some(mask_settings)) => {
                let (width, height) = (request.width / LATENT_PX, request.height / LATENT_PX);
                let latent = mask::latent(pixels, width, height, mask_settings.round)
                    .map_err(|error| AppError::invalid("mask", error.to_string()))?;
                Some(SourceMask { pixels: Arc::new(pixels.clone()), latent: Arc::new(latent) })
            }
            _ => None,
        };
        let pictures = prepared.iter().map(|prepared| Arc::new(prepared.image.clone())).collect();
        Ok(Self {
            source: Source { pictures, mask: latent_mask },
            prepared,
            colour_correction: settings.colour_correction,
            options: settings.pictures.clone(),
            warnings,
        })
    }

    /// The part of the first picture that is drawn, and that picture's size, when it is not all of it.
    pub(crate) fn crop(&self) -> Option<(Rect, (u32, u32))> {
        let first = self.prepared.first()?;
        let overlay = first.overlay.as_ref()?;
        Some((first.paste_back?, (overlay.width, overlay.height)))
    }

    /// A drawn picture as the client gets it: colours matched to the source where asked, the kept part laid over. `hidden`
    /// says of a softly inpainted one what of it is not seen, white. The mask and what is under it, where they are to be
    /// shown, go into `masks`.
    pub(crate) fn finish(
        &self,
        place_in_batch: usize,
        drawn: Pixels,
        hidden: Option<&Pixels>,
        masks: &mut Vec<Pixels>,
    ) -> Result<Pixels, AppError> {
        let Some(prepared) = self.prepared.get(place_in_batch).or(self.prepared.first()) else {
            return Ok(drawn);
        };
        let failed = |error: PictureError| {
            AppError::Internal(format!("a drawn picture could not be finished: {error}"))
        };
        let drawn = if self.colour_correction {
            colour_correction::correct(&drawn, &prepared.image).map_err(failed)?
        } else {
            drawn
        };
        let softened =
            hidden.map(|hidden| inpaint::with_hidden(prepared, hidden)).transpose().map_err(failed)?;
        let prepared = softened.as_ref().unwrap_or(prepared);
        let PictureOptions { overlay, show_mask, show_masked_part, .. } = self.options;
        if show_mask && let Some(mask) = inpaint::mask_of_overlay(prepared) {
            masks.push(to_rgb(&mask).map_err(failed)?);
        }
        if show_masked_part {
            masks.extend(inpaint::masked_part(&drawn, prepared).map_err(failed)?);
        }
        let whole = if overlay { inpaint::paste(&drawn, prepared) } else { to_rgb(&drawn) };
        whole.map_err(failed)
    }
}

/// Why a picture could not be brought to its size.
struct Unprepared(AppError);

impl From<PictureError> for Unprepared {
    fn from(error: PictureError) -> Self {
        let message = match error {
            // Of sides that nobody asked for: only what covers the frame has such.
            PictureError::Size { width, height } => {
                format!("{A_PICTURE} would be enlarged to {width} x {height} pixels {INSTEAD}")
            }
            other => other.to_string(),
        };
        Self(AppError::invalid("init_images", message))
    }
}

/// A picture that is not resized meets the device at its own size, and one mask fits pictures of one size.
fn check_sizes(pictures: &[Pixels], settings: &Img2Img, limits: SourceLimits) -> Result<(), AppError> {
    let pixels = |picture: &Pixels| u64::from(picture.width) * u64::from(picture.height);
    let most = limits.unresized_pixels_max;
    let is_unfit = |picture: &Pixels| pixels(picture) > most || picture.width.min(picture.height) < LATENT_PX;
    if settings.resize_mode == ResizeMode::Latent
        && let Some(Pixels { width, height, .. }) = pictures.iter().find(|picture| is_unfit(picture))
    {
        let message = format!(
            "a picture of init_images is {width} x {height}; with resize_mode 3 each side must have {LATENT_PX} pixels or \
             more, and both together at most {most}: send it at such a size, or another resize_mode"
        );
        return Err(AppError::invalid("init_images", message));
    }
    let size = |picture: &Pixels| (picture.width, picture.height);
    if settings.mask.is_some() && pictures.windows(2).any(|pair| size(&pair[0]) != size(&pair[1])) {
        let message = "with a mask all pictures of init_images must have one size";
        return Err(AppError::invalid("init_images", message));
    }
    Ok(())
}

/// A mask, which has a shape of its own, covers the frame where its picture does, unless it is laid over that first. Checked before
/// it gets there, since it is fitted without asking.
fn check_mask_covers(
    mask: &Pixels,
    frame: (u32, u32),
    settings: &Img2Img,
    limits: DecodeLimits,
) -> Result<(), AppError> {
    let is_part = settings.mask.as_ref().is_some_and(|mask| mask.only_masked.is_some());
    if is_part || settings.resize_mode != ResizeMode::Crop {
        return Ok(());
    }
    check_covering(("mask", "the mask"), covering(mask, frame).1, frame, limits)
}

fn inpaint_settings(request: &GenerateRequest, settings: &Img2Img) -> InpaintSettings {
    let mask = settings.mask.as_ref();
    let blur = mask.map_or((0, 0), |mask| mask.blur);
    InpaintSettings {
        width: request.width,
        height: request.height,
        resize_mode: match settings.resize_mode {
            ResizeMode::Stretch => Some(FitMode::Stretch),
            ResizeMode::Crop => Some(FitMode::Cover),
            ResizeMode::Fill => Some(FitMode::Contain),
            ResizeMode::Latent => None,
        },
        invert: mask.is_some_and(|mask| mask.invert),
        blur: (f64::from(blur.0), f64::from(blur.1)),
        soft: mask.is_some_and(|mask| mask.soft.is_some()),
        round: mask.is_none_or(|mask| mask.round),
        only_masked: mask.is_some_and(|mask| mask.only_masked.is_some()),
        padding: mask.and_then(|mask| mask.only_masked).unwrap_or(0),
        blur_fill: mask.is_some_and(|mask| mask.fill != Fill::Original),
        background: settings.pictures.background,
    }
}

/// What the sides of a picture are multiplied by for it to cover a size, width first, and the pixels that it has then.
pub(crate) fn covering(picture: &Pixels, size: (u32, u32)) -> (f64, f64) {
    let ratio = |to: u32, from: u32| f64::from(to) / f64::from(from.max(1));
    let factor = ratio(size.0, picture.width).max(ratio(size.1, picture.height));
    (factor, f64::from(picture.width) * f64::from(picture.height) * factor * factor)
}

/// Refuses a picture, told by its field and in words, that would have too many pixels before it is cropped to a frame,
/// which only odd shapes have.
pub(crate) fn check_covering(
    (field, name): (&'static str, &str),
    pixels: f64,
    frame: (u32, u32),
    limits: DecodeLimits,
) -> Result<(), AppError> {
    let area = u64::from(frame.0) * u64::from(frame.1);
    let most = limits.pixels_max.max(area.saturating_mul(COVERING_MAX));
    if pixels <= most as f64 {
        return Ok(());
    }
    let message = format!("{name} would be enlarged to {pixels:.0} pixels, of {most} at most, {INSTEAD}");
    Err(AppError::invalid(field, message))
}

/// The picture a field holds as text; `None` for an empty one.
pub(crate) fn picture(
    field: &'static str,
    value: &Value,
    limits: DecodeLimits,
) -> Result<Option<Pixels>, AppError> {
    let Some(text) = value.as_str() else {
        return Err(AppError::invalid(field, format!("{field} must hold pictures as base64 text")));
    };
    file(field, text, limits)?.map(|bytes| pixels(field, &bytes, limits)).transpose()
}

/// The encoded picture that a text stands for; `None` for an empty one.
pub(crate) fn file(
    field: &'static str,
    text: &str,
    limits: DecodeLimits,
) -> Result<Option<Vec<u8>>, AppError> {
    picture_bytes(text, limits.bytes_max).map_err(|error| AppError::invalid(field, error.to_string()))
}

/// An encoded picture, decoded.
pub(crate) fn pixels(field: &'static str, file: &[u8], limits: DecodeLimits) -> Result<Pixels, AppError> {
    decode(file, &limits).map_err(|error| AppError::invalid(field, error.to_string()))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use gesso_core::limits::Limits;
    use gesso_core::pixels::PixelFormat;
    use serde_json::json;

    use super::*;
    use crate::http::wire::generate::{Defaults, Drawing, to_request};
    use crate::png_file;

    const LIMITS: SourceLimits = SourceLimits {
        decode: DecodeLimits { bytes_max: 1 << 20, side_max: 4096, pixels_max: 1 << 15 },
        unresized_pixels_max: 1 << 14,
    };

    fn plain(grey: u8, (width, height): (u32, u32)) -> String {
        let data = vec![grey; width as usize * height as usize];
        let picture = Pixels::new(width, height, PixelFormat::Gray8, data).unwrap();
        BASE64_STANDARD.encode(png_file::encode_with(&picture, &[]).unwrap())
    }

    fn white(width: u32, height: u32) -> String {
        plain(255, (width, height))
    }

    /// What is refused, at 64 x 64 pixels: the field, and why.
    fn refused(mut body: Value) -> Option<(String, String)> {
        body["width"] = 64.into();
        body["height"] = 64.into();
        let body = Drawing::Img2Img.read(body.as_object().unwrap(), || 1).unwrap();
        let request = to_request(Drawing::Img2Img, &body, &Defaults::default(), &Limits::default()).unwrap();
        let settings = request.img2img.as_ref().unwrap();
        match Sources::read(&body, &request, settings, LIMITS, None) {
            Ok(_) => None,
            Err(AppError::Invalid(mut problems)) => {
                let problem = problems.remove(0);
                Some((problem.field, problem.message))
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_picture_whose_latent_is_resized_has_one_and_no_larger_one_than_is_drawn() {
        let of = |size: (u32, u32), mode: u32| {
            refused(json!({"init_images": [plain(9, size)], "resize_mode": mode}))
        };
        for (size, says) in [((7, 7), "is 7 x 7;"), ((64, 7), "is 64 x 7;"), ((256, 80), "is 256 x 80;")] {
            let (field, why) = of(size, 3).unwrap();
            assert_eq!(field, "init_images");
            assert!(
                why.contains(says) && why.contains("8 pixels or more, and both together at most 16384"),
                "{why}"
            );
        }
        assert_eq!([of((8, 8), 3), of((7, 7), 0)], [None, None]);
    }

    #[test]
    fn what_covers_the_frame_by_far_is_refused_before_it_is_made() {
        let odd = |mode: u32| json!({"init_images": [white(8, 512)], "resize_mode": mode});
        let (field, why) = refused(odd(1)).unwrap();
        assert_eq!(field, "init_images");
        assert!(why.contains("would be enlarged to 262144 pixels") && why.contains("resize_mode"), "{why}");
        // A side that no picture has.
        let (field, why) = refused(json!({"init_images": [white(2048, 1)], "resize_mode": 1})).unwrap();
        assert_eq!(field, "init_images");
        assert!(why.contains("would be enlarged to 131072 x 64 pixels before it is cropped"), "{why}");
        assert_eq!([0, 2].map(|mode| refused(odd(mode))), [None, None]);
        // Of a blank mask no part can be drawn, and so the whole is.
        let blank = plain(0, (2048, 1));
        let (field, why) =
            refused(json!({"init_images": [white(2048, 1)], "mask": blank, "resize_mode": 1})).unwrap();
        assert_eq!(field, "init_images");
        assert!(why.contains("would be enlarged to 131072 x 64 pixels before it is cropped"), "{why}");
        let masked = |mode: u32, is_part: bool| {
            let (source, mask) = (white(64, 64), white(8, 512));
            json!({"init_images": [source], "mask": mask, "resize_mode": mode, "inpaint_full_res": is_part})
        };
        assert_eq!(refused(masked(1, false)).unwrap().0, "mask");
        assert_eq!([refused(masked(1, true)), refused(masked(0, false))], [None, None]);
    }
}
