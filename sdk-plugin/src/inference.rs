//! Drawings that a script or a picture hook asks for. Each is checked like a client's request and counts against what the
//! call may spend.

use serde_json::Value;

use crate::host::inference as host;
use crate::{Fault, Image, Params};

/// A drawing under way. Dropping it cancels it; several share the device's steps.
#[derive(Debug)]
pub struct Job(host::Job);

/// What came of a drawing.
#[derive(Debug)]
pub struct Drawn {
    pub images: Vec<Image>,
    /// One for each picture.
    pub infotexts: Vec<String>,
    /// The web UI's `info`.
    pub info: Value,
}

/// Begins a drawing: text to image, or image to image where there are `init_images`; `mask` is white where they are
/// repainted.
///
/// # Errors
/// [`Fault::NotPermitted`] outside of scripts and picture hooks. What is wrong with `params` is told by [`Job::finish`].
pub fn generate(params: &Params, init_images: &[Image], mask: Option<&Image>) -> Result<Job, Fault> {
    let images: Vec<_> = init_images.iter().map(Image::as_host).collect();
    Ok(Job(host::generate(&params.to_json(), &images, mask.map(Image::as_host))?))
}

/// The picture, each side times `factor`, by an upscaler that the server lists.
///
/// # Errors
/// [`Fault::InvalidInput`] for an upscaler that is not there or a factor out of range.
pub fn upscale(source: &Image, upscaler: &str, factor: f64) -> Result<Image, Fault> {
    Ok(Image::from_host(host::upscale(source.as_host(), upscaler, factor)?))
}

/// Words for the picture: a caption by the model `clip`, tags by `deepbooru`.
///
/// # Errors
/// [`Fault::InvalidInput`] for another model, or where the server has no network for it.
pub fn interrogate(source: &Image, model: &str) -> Result<String, Fault> {
    Ok(host::interrogate(source.as_host(), model)?)
}

impl Job {
    /// The share that is done, 0 to 1.
    pub fn progress(&self) -> f32 {
        self.0.progress()
    }

    /// Ends it; [`Self::finish`] then answers [`Fault::Cancelled`].
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Waits for the drawing.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] where the request is wrong, [`Fault::LimitExceeded`] where the call has spent what it may.
    pub fn finish(self) -> Result<Drawn, Fault> {
        let host::Drawn { images, infotexts, info } = host::finish(self.0)?;
        let info = serde_json::from_str(&info)
            .map_err(|error| Fault::Other(format!("The host's info is no JSON: {error}.")))?;
        Ok(Drawn { images: images.into_iter().map(Image::from_host).collect(), infotexts, info })
    }
}
