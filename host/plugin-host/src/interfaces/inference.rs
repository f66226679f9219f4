//! `gesso:plugin/inference`: drawings on a script's behalf. What they cost is counted behind [`Inference`]; pictures are on
//! the call's account as everywhere.
//!
//! [`Inference`]: crate::inference::Inference

use super::gesso::plugin::types::Fault;
use super::picture_hook::gesso::plugin0_2_0::inference::{Drawn, Host, HostJob};
use super::{CallState, images};
use crate::inference::{InferenceError, JobUnderWay, Outcome};
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
    ) -> wasmtime::Result<Result<Resource<JobUnderWay>, Fault>> {
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
        let (outcome, result) = Outcome::new(self.pictures.clone(), self.own_time.begin());
        let job = inference.generate(params, pictures, mask, outcome);
        Ok(Ok(self.table.push(JobUnderWay { job, result, given_bytes })?))
    }

    async fn finish(&mut self, job: Resource<JobUnderWay>) -> wasmtime::Result<Result<Drawn, Fault>> {
        let JobUnderWay { job, result, given_bytes } = self.table.delete(job)?;
        self.pictures.give_back(given_bytes);
        let ended = || InferenceError::Unavailable("the server ended before the drawing".into());
        let kept = result.await.unwrap_or_else(|_| Err(ended()));
        drop(job);
        let (drawn, mut bytes) = match kept {
            Ok(kept) => kept.take(),
            Err(error) => return Ok(Err(error.into())),
        };
        let mut images = Vec::with_capacity(drawn.images.len());
        for pixels in drawn.images {
            // Stays on the account, as a picture of the guest's: nothing takes its room in between.
            bytes -= pixels.data.len() as u64;
            match images::push_reserved(self, pixels) {
                Ok(image) => images.push(image),
                Err(error) => {
                    self.pictures.give_back(bytes);
                    return Ok(Err(error.into()));
                }
            }
        }
        self.pictures.give_back(bytes);
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
        let _under_way = self.own_time.begin();
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
        let _under_way = self.own_time.begin();
        Ok(inference.interrogate(source, model).await.map_err(Fault::from))
    }
}

impl HostJob for CallState {
    fn progress(&mut self, job: Resource<JobUnderWay>) -> wasmtime::Result<f32> {
        Ok((self.table.get(&job)?.job.progress)())
    }

    fn cancel(&mut self, job: Resource<JobUnderWay>) -> wasmtime::Result<()> {
        (self.table.get(&job)?.job.cancel)();
        Ok(())
    }

    fn drop(&mut self, job: Resource<JobUnderWay>) -> wasmtime::Result<()> {
        let job = self.table.delete(job)?;
        self.pictures.give_back(job.given_bytes);
        Ok(())
    }
}
