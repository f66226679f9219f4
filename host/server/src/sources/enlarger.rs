//! What brings a request's pictures to a larger size than they have, where its options name an upscaler. Waits for the
//! device on the calling thread, so call it where blocking is allowed.

use std::sync::Arc;

use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::PixelUpscaler;
use gesso_engine::{CancelFlag, EngineHandle, Enlargement, JobSpec, Work};
use gesso_picture::fit::lanczos;

use super::covering;
use crate::catalogue::Catalogue;
use crate::engine_errors::{engine_failed, engine_refused};
use crate::error::AppError;
use crate::resources;

/// The device, and for whom it works.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) engine: EngineHandle,
    pub(crate) priority: i32,
    pub(crate) cancel: CancelFlag,
}

/// What the request names to enlarge its pictures by, if it does. Reads folders.
///
/// # Errors
/// A name that no upscaler has.
pub(crate) fn named(
    catalogue: &Catalogue,
    request: &GenerateRequest,
) -> Result<Option<PixelUpscaler>, AppError> {
    let settings = request.img2img.as_ref();
    let name = settings.and_then(|settings| settings.pictures.upscaler.as_deref());
    let find = |name| {
        let found = resources::upscaler(catalogue, name, request.upscale_tiles);
        found
            .map_err(|error| AppError::invalid("override_settings", format!("upscaler_for_img2img: {error}")))
    };
    name.map(find).transpose()
}

/// The upscaler of one request.
pub(crate) struct Enlarger {
    by: PixelUpscaler,
    device: Device,
    /// Of an enlarged picture, before it is brought to its exact size.
    pixels_max: u64,
}

impl Enlarger {
    /// The one that the request names, if it does. Reads folders.
    ///
    /// # Errors
    /// A name that no upscaler has.
    pub(crate) fn find(
        catalogue: &Catalogue,
        request: &GenerateRequest,
        device: Device,
        pixels_max: u64,
    ) -> Result<Option<Self>, AppError> {
        let by = named(catalogue, request)?;
        Ok(by.map(|by| Self { by, device, pixels_max }))
    }

    /// A picture at a size, width first. What does not grow is resampled.
    pub(crate) fn resize(&self, picture: &Pixels, size: (u32, u32)) -> Result<Pixels, AppError> {
        let (factor, pixels) = covering(picture, size);
        let enlarged = if factor > 1.0 { Some(self.enlarge(picture, factor, pixels)?) } else { None };
        lanczos(enlarged.as_ref().unwrap_or(picture), size)
            .map_err(|error| AppError::invalid("init_images", error.to_string()))
    }

    /// `pixels` is how many the enlarged picture has.
    fn enlarge(&self, picture: &Pixels, factor: f64, pixels: f64) -> Result<Pixels, AppError> {
        if pixels > self.pixels_max as f64 {
            let most = self.pixels_max;
            return Err(AppError::invalid(
                "init_images",
                format!(
                    "a picture of init_images would be enlarged to {pixels:.0} pixels by upscaler_for_img2img; the limit \
                     is {most}, so send one whose shape is nearer to the asked-for size"
                ),
            ));
        }
        let work =
            Work::Enlarge(Enlargement { picture: Arc::new(picture.clone()), factor, by: self.by.clone() });
        let Device { engine, priority, cancel } = &self.device;
        let job = engine.submit(JobSpec { work, priority: *priority, cancel: cancel.clone() });
        let enlarged = job.map_err(engine_refused)?.blocking_finish().map_err(engine_failed)?.pop();
        enlarged.ok_or_else(|| AppError::Internal("the engine enlarged a picture to none".into()))
    }
}
