//! `gesso:plugin/inference` of a made-up host: a drawing has ended when it began, and is what the test says. What drawings
//! may cost is not counted.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::ask;
use super::images::Image;
use crate::bindings::request_hook::gesso::plugin::types::{self, PixelFormat};
use crate::{Fault, Params, inference};

/// Where a request names no size.
const SIDE: u32 = 512;

/// A drawing that was asked for.
#[derive(Debug)]
pub struct Drawing {
    pub params: Params,
    /// Those that are drawn over; none for text to image.
    pub init_images: Vec<crate::Image>,
    /// White where they are repainted.
    pub mask: Option<crate::Image>,
}

impl Drawing {
    /// What came of it, with these pictures: infotexts and `info` are made of the parameters.
    pub fn drawn(&self, images: Vec<crate::Image>) -> inference::Drawn {
        let prompt = self.params.prompt();
        let seed = self.params.get("seed").and_then(Value::as_i64).unwrap_or(-1);
        let infotexts = images.iter().map(|_| format!("{prompt}\nSeed: {seed}")).collect();
        inference::Drawn { images, infotexts, info: json!({ "prompt": prompt, "seed": seed }) }
    }

    /// A black picture of the asked size.
    fn blank(&self) -> Result<inference::Drawn, Fault> {
        let side = |field: &str| self.params.get(field).and_then(Value::as_u64);
        let side = |field: &str| side(field).map_or(SIDE, |side| u32::try_from(side).unwrap_or(u32::MAX));
        let format = PixelFormat::Rgb8;
        let desc = types::ImageDesc { width: side("width"), height: side("height"), format };
        Ok(self.drawn(vec![crate::Image::from_host(Image::allocate(desc)?)]))
    }
}

#[derive(Debug)]
pub(crate) struct Job {
    drawn: Result<inference::Drawn, Fault>,
    is_cancelled: Cell<bool>,
}

impl Job {
    pub(crate) fn progress(&self) -> f32 {
        1.0
    }

    pub(crate) fn cancel(&self) {
        self.is_cancelled.set(true);
    }
}

/// As in the contract.
pub(crate) struct Drawn {
    pub(crate) images: Vec<Image>,
    pub(crate) infotexts: Vec<String>,
    pub(crate) info: String,
}

pub(crate) fn generate(
    params: &str,
    init_images: &[&Image],
    mask: Option<&Image>,
) -> Result<Job, types::Fault> {
    let own = |image: &Image| crate::Image::from_host(image.clone());
    let drawing = Rc::new(Drawing {
        params: Params::from_json(params)?,
        init_images: init_images.iter().map(|image| own(image)).collect(),
        mask: mask.map(own),
    });
    let artist = ask(|state| {
        state.drawings.push(Rc::clone(&drawing));
        state.artist.clone()
    });
    let drawn = artist.map_or_else(|| drawing.blank(), |draw| draw(&drawing));
    Ok(Job { drawn, is_cancelled: Cell::new(false) })
}

pub(crate) fn finish(job: Job) -> Result<Drawn, types::Fault> {
    if job.is_cancelled.get() {
        return Err(types::Fault::Cancelled);
    }
    let inference::Drawn { images, infotexts, info } = job.drawn?;
    let images = images.into_iter().map(crate::Image::into_host).collect();
    Ok(Drawn { images, infotexts, info: info.to_string() })
}

/// Every upscaler is one of Lanczos.
pub(crate) fn upscale(source: &Image, _upscaler: &str, factor: f64) -> Result<Image, types::Fault> {
    let types::ImageDesc { width, height, .. } = source.desc();
    let side = |side: u32| (f64::from(side) * factor) as u32;
    source.resize(side(width), side(height))
}

pub(crate) fn interrogate(source: &Image, model: &str) -> Result<String, types::Fault> {
    let types::ImageDesc { width, height, .. } = source.desc();
    match model.to_ascii_lowercase().as_str() {
        "clip" => Ok(format!("a picture of {width} by {height} pixels")),
        "deepbooru" => Ok(format!("{width} wide, {height} high")),
        _ => Err(types::Fault::InvalidInput(format!("model is {model:?}; it must be clip or deepbooru"))),
    }
}
