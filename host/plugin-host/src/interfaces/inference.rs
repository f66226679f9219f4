//! `gesso:plugin/inference`: drawings on a script's behalf. What they cost is counted behind [`Inference`]; pictures are on
//! the call's account as everywhere.
//!
//! [`Inference`]: crate::inference::Inference

use super::gesso::plugin::types::Fault;
use super::picture_hook::gesso::plugin0_2_0::inference::{Drawn, Host, HostJob};
use super::{CallState, images};
use crate::inference::{InferenceError, Job};
use gesso_core::pixels::Pixels;
use std::sync::Arc;
use wasmtime::component::Resource;

/// Pictures that one drawing may be given, and bytes of its parameters.
const INIT_IMAGES_MAX: usize = 16;
const PARAMS_BYTES_MAX: usize = 1 << 20;

impl From<InferenceError> for Fault {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::Invalid(text) => Self::InvalidInput(text),
            InferenceError::Limit(text) => Self::LimitExceeded(text),
            InferenceError::Cancelled => Self::Cancelled,
            InferenceError::Unavailable(text) => Self::Unavailable(text),
            InferenceError::Failed(text) => Self::Other(text),
        }
    }
}

fn not_here() -> Fault {
    Fault::NotPermitted("drawings can be asked for by scripts and picture hooks, not here".to_owned())
}

impl Host for CallState {
    fn generate(
        &mut self,
        params: String,
        init_images: Vec<Resource<Pixels>>,
        mask: Option<Resource<Pixels>>,
    ) -> wasmtime::Result<Result<Resource<Job>, Fault>> {
        let Some(inference) = self.inference.clone() else { return Ok(Err(not_here())) };
        if params.len() > PARAMS_BYTES_MAX {
            let text = format!("the parameters have {} bytes; {PARAMS_BYTES_MAX} are the most", params.len());
            return Ok(Err(Fault::LimitExceeded(text)));
        }
        if init_images.len() > INIT_IMAGES_MAX {
            let text = format!("{} pictures to draw over; {INIT_IMAGES_MAX} are the most", init_images.len());
            return Ok(Err(Fault::LimitExceeded(text)));
        }
        let mut given_bytes = params.len() as u64;
        for image in init_images.iter().chain(&mask) {
            given_bytes += self.table.get(image)?.data.len() as u64;
        }
        if let Err(error) = images::reserve(self, given_bytes) {
            return Ok(Err(error.into()));
        }
        let mut pictures = Vec::with_capacity(init_images.len());
        for image in &init_images {
            pictures.push(self.table.get(image)?.clone());
        }
        let mask = mask.map(|mask| self.table.get(&mask).cloned()).transpose()?;
        let mut job = inference.generate(params, pictures, mask);
        job.given_bytes = given_bytes;
        Ok(Ok(self.table.push(job)?))
    }

    async fn finish(&mut self, job: Resource<Job>) -> wasmtime::Result<Result<Drawn, Fault>> {
        let job = self.table.delete(job)?;
        self.image_bytes -= job.given_bytes;
        let drawn = match job.finish().await {
            Ok(drawn) => drawn,
            Err(error) => return Ok(Err(error.into())),
        };
        let mut images = Vec::with_capacity(drawn.images.len());
        for pixels in drawn.images {
            match self.lend(pixels) {
                Ok(image) => images.push(image),
                Err(error) => return Ok(Err(error.into())),
            }
        }
        Ok(Ok(Drawn { images, infotexts: drawn.infotexts, info: drawn.info }))
    }

    async fn upscale(
        &mut self,
        source: Resource<Pixels>,
        upscaler: String,
        factor: f64,
    ) -> wasmtime::Result<Result<Resource<Pixels>, Fault>> {
        let Some(inference) = self.inference.clone() else { return Ok(Err(not_here())) };
        let source = self.table.get(&source)?.clone();
        match Arc::clone(&inference).upscale(source, upscaler, factor).await {
            Ok(pixels) => Ok(self.lend(pixels).map_err(Fault::from)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn interrogate(
        &mut self,
        source: Resource<Pixels>,
        model: String,
    ) -> wasmtime::Result<Result<String, Fault>> {
        let Some(inference) = self.inference.clone() else { return Ok(Err(not_here())) };
        let source = self.table.get(&source)?.clone();
        Ok(inference.interrogate(source, model).await.map_err(Fault::from))
    }
}

impl HostJob for CallState {
    fn progress(&mut self, job: Resource<Job>) -> wasmtime::Result<f32> {
        Ok((self.table.get(&job)?.progress)())
    }

    fn cancel(&mut self, job: Resource<Job>) -> wasmtime::Result<()> {
        (self.table.get(&job)?.cancel)();
        Ok(())
    }

    fn drop(&mut self, job: Resource<Job>) -> wasmtime::Result<()> {
        let job = self.table.delete(job)?;
        self.image_bytes -= job.given_bytes;
        Ok(())
    }
}
