//! What is done to pictures beside drawing them: enlarging between two passes and on its own (latents by
//! interpolation, pictures by a resampling filter or a network), and restoring faces.

use gesso_core::hires::{HiresTarget, LatentUpscaler};
use gesso_core::pixels::Pixels;
use gesso_engine::backend::{BackendError, FaceRestorer, PixelUpscaler, Upscale, UpscaleBy};
use gesso_picture::resize::{Filter, resize};
use tch::{TchError, Tensor};

use crate::failure::{device_error, file_name, is_out_of_memory};
use crate::memory::tiles_or_smaller;
use crate::resident::Resident;
use crate::restore::restore_faces;
use crate::upscale::{PictureError, Tiling, upscale_by};

/// What a second pass of `size` (rows, columns) begins from: a latent of the pass before or, where pixels are what is
/// enlarged, of its enlarged picture.
pub(crate) fn for_pass(latent: &Tensor, upscale: &Upscale, size: (i64, i64)) -> Result<Tensor, TchError> {
    match &upscale.by {
        UpscaleBy::Latent(mode) => crop(&interpolated(latent, *mode, upscale.target)?, upscale.target, size),
        UpscaleBy::Pixels(_) => crop(latent, upscale.target, size),
    }
}

/// A latent `[1, 4, rows, columns]` at the target's enlarged size, as `torch.nn.functional.interpolate` does it.
fn interpolated(latent: &Tensor, mode: LatentUpscaler, target: HiresTarget) -> Result<Tensor, TchError> {
    let size = [i64::from(target.enlarged.1 / 8), i64::from(target.enlarged.0 / 8)];
    match mode {
        LatentUpscaler::Bilinear => latent.f_upsample_bilinear2d(size, false, None, None),
        LatentUpscaler::BilinearAntialiased => {
            latent.f_internal_upsample_bilinear2d_aa(size, false, None, None)
        }
        LatentUpscaler::Bicubic => latent.f_upsample_bicubic2d(size, false, None, None),
        LatentUpscaler::BicubicAntialiased => {
            latent.f_internal_upsample_bicubic2d_aa(size, false, None, None)
        }
        LatentUpscaler::Nearest => latent.f_upsample_nearest2d(size, None, None),
        LatentUpscaler::NearestExact => latent.f_internal_upsample_nearest_exact2d(size, None, None),
    }
}

/// Cuts what is over the target off a latent, half of it from each side.
fn crop(latent: &Tensor, target: HiresTarget, (rows, columns): (i64, i64)) -> Result<Tensor, TchError> {
    let (top, left) = target.crop_origin();
    latent.f_narrow(2, top.into(), rows)?.f_narrow(3, left.into(), columns)
}

/// Enlarges by a factor; each side of the result is a multiple of 8, as web UIs make it.
pub(crate) fn by_factor(
    resident: &mut Resident,
    picture: &Pixels,
    factor: f64,
    by: &PixelUpscaler,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Pixels, BackendError> {
    let exactly = |picture: &Pixels, width, height| resample(picture, width, height, Filter::Lanczos);
    let times = |side: u32| (f64::from(side) * factor) as u32;
    let enlarged = match by {
        PixelUpscaler::Lanczos | PixelUpscaler::Nearest => {
            let filter = if *by == PixelUpscaler::Lanczos { Filter::Lanczos } else { Filter::Nearest };
            let mut run =
                |picture: &Pixels| resample(picture, times(picture.width), times(picture.height), filter);
            upscale_by(picture, factor, &mut run, &exactly)
        }
        PixelUpscaler::Network { file, tile, overlap } => {
            let upscaler = resident.upscaler(file).map_err(picture_error)?;
            let tiling = Tiling { tile: *tile, overlap: *overlap };
            let mut run = |picture: &Pixels| {
                tiles_or_smaller(tiling, is_shortage, |tiling| {
                    upscaler.upscale(picture, tiling, is_cancelled)
                })
            };
            upscale_by(picture, factor, &mut run, &exactly)
        }
    };
    enlarged.map_err(picture_error)
}

/// Enlarges to a size, which need not have the picture's aspect ratio.
pub(crate) fn to_size(
    resident: &mut Resident,
    picture: &Pixels,
    (width, height): (u32, u32),
    by: &PixelUpscaler,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Pixels, BackendError> {
    let ratio = |to: u32, from: u32| f64::from(to) / f64::from(from.max(1));
    let factor = ratio(width, picture.width).max(ratio(height, picture.height));
    let enlarged =
        if factor > 1.0 { by_factor(resident, picture, factor, by, is_cancelled)? } else { picture.clone() };
    if (enlarged.width, enlarged.height) == (width, height) {
        return Ok(enlarged);
    }
    resample(&enlarged, width, height, Filter::Lanczos).map_err(picture_error)
}

/// Restores every face that the detector finds.
pub(crate) fn faces(
    resident: &mut Resident,
    picture: &Pixels,
    by: &FaceRestorer,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Pixels, BackendError> {
    let mut run = || -> Result<Pixels, PictureError> {
        // Held to the end, or the restorer would drive it out where memory is short, and it the restorer at the next picture.
        let detector = resident.face_detector(&by.detector)?;
        let found = detector.detect(picture)?;
        tracing::debug!(faces = found.len(), "looked for faces");
        if found.is_empty() {
            return Ok(picture.clone());
        }
        let (restorer, parser) = (resident.restorer(&by.network)?, resident.face_parser(&by.parser)?);
        restore_faces(picture, &found, &parser, restorer.side(), &mut |face| {
            if is_cancelled() {
                Err(PictureError::Cancelled)
            } else {
                restorer.restore_face(face, by.fidelity)
            }
        })
    };
    run().map_err(picture_error)
}

fn resample(picture: &Pixels, width: u32, height: u32, filter: Filter) -> Result<Pixels, PictureError> {
    resize(picture, width, height, filter).map_err(|error| PictureError::Request(error.to_string()))
}

/// Whether there was too little memory for it.
fn is_shortage(error: &PictureError) -> bool {
    matches!(error, PictureError::Device(error) if is_out_of_memory(error))
}

fn picture_error(error: PictureError) -> BackendError {
    match error {
        PictureError::File { path, why } => BackendError::Model(format!("{}: {why}", file_name(&path))),
        PictureError::Request(why) => BackendError::Request(why),
        PictureError::Cancelled => BackendError::Cancelled,
        PictureError::NotANumber => BackendError::Device(error.to_string()),
        PictureError::Device(error) => device_error(error),
    }
}
