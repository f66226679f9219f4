//! From an init image and a mask to what the engine draws with, and from its result back to the whole picture.
//!
//! The order is that of web UIs: read the mask, invert, blur; then either everything is brought to the frame, or
//! ("only masked") the surroundings of the mask are cut out and enlarged to it. The single steps are in `mask`, `fit`
//! and `fill`. Knows nothing of latents: what happens there with the mask is the backend's.

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::composite::{Rect, alpha_composite, blank, crop, paste as lay};
use crate::convert::{flatten, multiply_255, to_gray, to_rgb, to_rgba};
use crate::error::{PictureError, size, sound};
use crate::fill::{blur_fill, without_masked};
use crate::fit::{FitMode, Resize, fit, fit_by, lanczos};
use crate::mask;

/// What a request says about its init image and mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InpaintSettings {
    /// The frame that is drawn in, pixels.
    pub width: u32,
    pub height: u32,
    /// How the image gets into the frame. `None` leaves the image at its size, because its latent will be resized
    /// (`resize_mode` 3); the mask is then stretched to the frame as the latent is.
    pub resize_mode: Option<FitMode>,
    /// `inpainting_mask_invert`.
    pub invert: bool,
    /// Sigmas in pixels, 0 to 4096: `mask_blur_x`, `mask_blur_y`.
    pub blur: (f64, f64),
    /// Leave it to [`with_hidden`] what of the original is seen: the overlay is all of it.
    pub soft: bool,
    /// `mask_round`: an alpha mask becomes black or white.
    pub round: bool,
    /// `inpaint_full_res`.
    pub only_masked: bool,
    /// Pixels around the mask that are drawn too when `only_masked`: `inpaint_full_res_padding`.
    pub padding: u32,
    /// Fill the masked part with a blur of its surroundings: true unless `inpainting_fill` is 1 (original).
    pub blur_fill: bool,
    /// What is seen through transparent parts of the image.
    pub background: [u8; 3],
}

/// What the engine draws with, and what [`paste`] needs afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// RGB, the frame's size (the image's own without a resize mode).
    pub image: Pixels,
    /// Grey, the frame's size. `None` without a mask, and for a blank mask with "only masked": plain
    /// image-to-image then.
    pub mask: Option<Pixels>,
    /// RGBA: the original with the masked part transparent, to lay over the result; opaque with [`InpaintSettings::soft`].
    /// Of the frame's size, or of the original's where only a part of that is drawn. Some exactly when `mask` is.
    pub overlay: Option<Pixels>,
    /// Where the result belongs in the overlay's picture; `None` when it is all of it.
    pub paste_back: Option<Rect>,
    /// A mask was sent but nothing in it is white, which deserves a remark to the client.
    pub mask_was_blank: bool,
}

/// Brings an init image, and its mask if there is one, to the frame.
///
/// Errors: malformed pictures, a frame that no picture has, a blur outside its range. An "only masked" mask of
/// another size than the image is stretched to it, where web UIs cut out mismatched places.
pub fn prepare(
    image: &Pixels,
    mask: Option<&Pixels>,
    settings: &InpaintSettings,
) -> Result<Prepared, PictureError> {
    prepare_by(image, mask, settings, &mut lanczos)
}

/// [`prepare`] with a way of the caller's own to bring the image, or what is cut out of it, to its size. Masks are
/// resampled.
pub fn prepare_by<E: From<PictureError>>(
    image: &Pixels,
    mask: Option<&Pixels>,
    settings: &InpaintSettings,
    resize: Resize<'_, E>,
) -> Result<Prepared, E> {
    let mask = mask.map(|mask| ready_mask(mask, settings)).transpose()?;
    prepare_with(image, mask.as_ref(), settings, resize)
}

/// A mask that was sent, read, inverted and blurred: the same for all images of a request.
pub fn ready_mask(mask: &Pixels, settings: &InpaintSettings) -> Result<Pixels, PictureError> {
    let mut mask = mask::read(mask, settings.round)?;
    if settings.invert {
        mask = mask::invert(&mask);
    }
    mask::blur(&mask, settings.blur.0, settings.blur.1)
}

/// [`prepare_by`] with a mask that [`ready_mask`] made.
pub fn prepare_with<E: From<PictureError>>(
    image: &Pixels,
    mask: Option<&Pixels>,
    settings: &InpaintSettings,
    resize: Resize<'_, E>,
) -> Result<Prepared, E> {
    size(u64::from(settings.width), u64::from(settings.height))?;
    let image = flatten(image, settings.background)?;
    match mask {
        None => Ok(plain(framed(&image, settings, resize)?, false)),
        Some(mask) if settings.only_masked => only_masked(&image, mask, settings, resize),
        Some(mask) => whole(&image, mask, settings, resize),
    }
}

/// The image in the frame, or as it is when its latent will be resized.
fn framed<E: From<PictureError>>(
    image: &Pixels,
    settings: &InpaintSettings,
    resize: Resize<'_, E>,
) -> Result<Pixels, E> {
    match settings.resize_mode {
        Some(mode) => fit_by(image, (settings.width, settings.height), mode, resize),
        None => Ok(image.clone()),
    }
}

fn plain(image: Pixels, mask_was_blank: bool) -> Prepared {
    Prepared { image, mask: None, overlay: None, paste_back: None, mask_was_blank }
}

fn filled(image: Pixels, mask: &Pixels, settings: &InpaintSettings) -> Result<Pixels, PictureError> {
    // An image that keeps its size has no mask of that size; its fill would be resized away with the latent.
    let fill = settings.blur_fill && (image.width, image.height) == (mask.width, mask.height);
    if fill { blur_fill(&image, mask) } else { Ok(image) }
}

fn whole<E: From<PictureError>>(
    image: &Pixels,
    mask: &Pixels,
    settings: &InpaintSettings,
    resize: Resize<'_, E>,
) -> Result<Prepared, E> {
    let (width, height) = (settings.width, settings.height);
    let mask_was_blank = mask::bounding_box(mask).is_none();
    let mask = fit(mask, width, height, settings.resize_mode.unwrap_or(FitMode::Stretch))?;
    let image = framed(image, settings, resize)?;
    // What is kept is seen in the frame, also where the image gets there by its latent.
    let kept = fit(&image, width, height, FitMode::Stretch)?;
    let overlay =
        if settings.soft { to_rgba(&kept)? } else { without_masked(&kept, &mask::for_overlay(&mask))? };
    let image = filled(image, &mask, settings)?;
    Ok(Prepared { image, mask: Some(mask), overlay: Some(overlay), paste_back: None, mask_was_blank })
}

fn only_masked<E: From<PictureError>>(
    image: &Pixels,
    mask: &Pixels,
    settings: &InpaintSettings,
    resize: Resize<'_, E>,
) -> Result<Prepared, E> {
    let (width, height) = (settings.width, settings.height);
    let mask = fit(mask, image.width, image.height, FitMode::Stretch)?;
    let Some(area) = mask::bounding_box(&mask) else {
        return Ok(plain(framed(image, settings, resize)?, true));
    };
    let sides = (image.width, image.height);
    let area = mask::grown_to_ratio(mask::padded(area, settings.padding, sides), (width, height), sides);
    let overlay = if settings.soft { to_rgba(image)? } else { without_masked(image, &mask)? };
    let mask = fit(&crop(&mask, area)?, width, height, FitMode::Contain)?;
    let part = fit_by(&crop(image, area)?, (width, height), FitMode::Contain, resize)?;
    let image = filled(part, &mask, settings)?;
    Ok(Prepared {
        image,
        mask: Some(mask),
        overlay: Some(overlay),
        paste_back: Some(area),
        mask_was_blank: false,
    })
}

/// The whole picture with `result` in the masked part: RGB of the overlay's size, or `result` itself when there was
/// no mask. A result of another size than the frame (hires, upscaled) is brought to its place.
pub fn paste(result: &Pixels, prepared: &Prepared) -> Result<Pixels, PictureError> {
    sound(result)?;
    let Some(overlay) = &prepared.overlay else {
        return to_rgb(result);
    };
    let under = in_place(result, prepared, (overlay.width, overlay.height), to_rgba)?;
    to_rgb(&alpha_composite(&under, overlay)?)
}

/// What `result` has in the masked part: RGBA of the overlay's size, as transparent as the mask is black. `None` when
/// there was no mask.
pub fn masked_part(result: &Pixels, prepared: &Prepared) -> Result<Option<Pixels>, PictureError> {
    sound(result)?;
    let Some(overlay) = &prepared.overlay else { return Ok(None) };
    let mut part = in_place(result, prepared, (overlay.width, overlay.height), to_rgba)?;
    for (pixel, kept) in part.data.chunks_exact_mut(4).zip(overlay.data.chunks_exact(4)) {
        pixel[3] = pixel[3].min(255 - kept[3]);
    }
    Ok(Some(part))
}

/// The mask by which [`paste`] joins the two, white where the result shows: grey, of the overlay's size. `None` when
/// there was no mask.
pub fn mask_of_overlay(prepared: &Prepared) -> Option<Pixels> {
    let Pixels { width, height, data, .. } = prepared.overlay.as_ref()?;
    let data = data.chunks_exact(4).map(|kept| 255 - kept[3]).collect();
    Some(Pixels { width: *width, height: *height, format: PixelFormat::Gray8, data })
}

/// What was prepared, where a grey picture says what of the original is seen in the end: white hides the result. Its size may
/// be another than the result's, since both are brought to their place.
pub fn with_hidden(prepared: &Prepared, hidden: &Pixels) -> Result<Prepared, PictureError> {
    sound(hidden)?;
    let mut with = prepared.clone();
    let Some(overlay) = &mut with.overlay else { return Ok(with) };
    // Turned round, so that nothing of the result is shown where there is none.
    let shown =
        in_place(&mask::invert(&to_gray(hidden)?), prepared, (overlay.width, overlay.height), to_gray)?;
    for (pixel, shown) in overlay.data.chunks_exact_mut(4).zip(&shown.data) {
        pixel[3] = multiply_255(pixel[3], 255 - shown);
    }
    Ok(with)
}

/// A picture of the frame where it belongs in a picture of `width` x `height` pixels, in the format that `convert` makes;
/// zero beside it.
fn in_place(
    picture: &Pixels,
    prepared: &Prepared,
    (width, height): (u32, u32),
    convert: fn(&Pixels) -> Result<Pixels, PictureError>,
) -> Result<Pixels, PictureError> {
    let Some(area) = prepared.paste_back else {
        return convert(&fit(picture, width, height, FitMode::Stretch)?);
    };
    let part = convert(&fit(picture, area.width, area.height, FitMode::Cover)?)?;
    let mut whole = blank(width, height, part.format, &[0; 4][..part.format.channels()])?;
    lay(&mut whole, &part, i64::from(area.x), i64::from(area.y));
    Ok(whole)
}
