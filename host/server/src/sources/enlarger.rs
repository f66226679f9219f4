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

/// The shortest side that the engine makes: it rounds sides down to multiples of this.
const SIDE_MIN: f64 = 8.0;

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

    /// A picture at a size, width first. What does not grow, or is too thin for the engine all the same, is resampled.
    pub(crate) fn resize(&self, picture: &Pixels, size: (u32, u32)) -> Result<Pixels, AppError> {
        let (factor, pixels) = covering(picture, size);
        let enlarged = match grows(picture, factor) {
            true => Some(self.enlarge(picture, factor, pixels)?),
            false => None,
        };
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

/// Whether multiplying the sides by a factor leaves something for the engine to do that it can.
fn grows(picture: &Pixels, factor: f64) -> bool {
    let thinnest = f64::from(picture.width.min(picture.height)) * factor;
    factor > 1.0 && thinnest >= SIDE_MIN
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;

    use super::*;

    fn grows_to(from: (u32, u32), to: (u32, u32)) -> bool {
        let data = vec![0; from.0 as usize * from.1 as usize * 3];
        let picture = Pixels::new(from.0, from.1, PixelFormat::Rgb8, data).unwrap();
        grows(&picture, covering(&picture, to).0)
    }

    #[test]
    fn a_picture_that_would_stay_thinner_than_the_engine_makes_any_is_left_to_resampling() {
        assert!(grows_to((4, 100), (8, 200)));
        for side in 1..4 {
            assert!(!grows_to((side, 100), (2 * side, 200)), "{side}");
            assert!(!grows_to((100, side), (200, 2 * side)), "{side}");
            assert!(grows_to((side, 100), (8, 100)), "{side}");
        }
    }

    #[test]
    fn what_does_not_grow_is_left_to_resampling() {
        assert!(!grows_to((64, 64), (64, 64)));
        assert!(!grows_to((96, 64), (64, 32)));
        assert!(grows_to((96, 32), (64, 64)));
    }
}
