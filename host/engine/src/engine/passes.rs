//! The passes of a drawing, worked out before anything is loaded: size, sampler, what each side of the guidance says
//! at each call, and the random numbers a picture starts from. Pure; the owner thread brings the device.

use std::sync::Arc;

use gesso_core::img2img::Fill;
use gesso_core::noise::ImageNoise;
use gesso_core::pixels::Pixels;
use gesso_core::prompt::{Clock, Conditioning};
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{self, Plan};
use gesso_core::schedule::NoiseSchedule;

use crate::backend::{BackendError, ModelFile, PassSpec, StartNoise, Upscale};
use crate::job::{Drawing, JobError};

/// First or second pass of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    First,
    Second,
}

/// A drawing with its passes worked out.
#[derive(Debug)]
pub(super) struct Passes {
    pub(super) drawing: Drawing,
    first: Pass,
    second: Option<Pass>,
}

#[derive(Debug)]
struct Pass {
    sampling: sampler::Pass,
    width: u32,
    height: u32,
    positive: Conditioning,
    negative: Conditioning,
}

impl Passes {
    pub(super) fn new(drawing: Drawing) -> Self {
        let request = &drawing.request;
        let sampling = request.first_pass();
        let clock = Clock { steps: sampling.prompt_clock(), hires_steps: None, old: request.old_scheduling };
        let first = Pass {
            width: request.width,
            height: request.height,
            positive: Conditioning::positive(&request.split(&request.prompt).0, clock),
            negative: Conditioning::negative(&request.split(&request.negative_prompt).0, clock),
            sampling,
        };
        let second = drawing.second.as_ref().zip(request.hires.as_ref()).map(|(second, hires)| {
            let sampling = request.hires_pass(hires);
            let clock = Clock { hires_steps: Some(sampling.prompt_clock()), ..clock };
            let (width, height) = second.upscale.target.size;
            let positive = hires.prompt.as_ref().unwrap_or(&request.prompt);
            let negative = hires.negative_prompt.as_ref().unwrap_or(&request.negative_prompt);
            Pass {
                width,
                height,
                positive: Conditioning::positive(&request.split(positive).0, clock),
                negative: Conditioning::negative(&request.split(negative).0, clock),
                sampling,
            }
        });
        Self { drawing, first, second }
    }

    pub(super) fn request(&self) -> &GenerateRequest {
        &self.drawing.request
    }

    /// Sampler steps that were asked for in a pass.
    pub(super) fn steps(&self, stage: Stage) -> u32 {
        self.pass(stage).map_or(0, |pass| pass.sampling.steps)
    }

    /// The pass that pictures begin in: the second, where one stands in for what the first would draw.
    pub(super) fn opening(&self) -> Stage {
        if self.given().is_some() { Stage::Second } else { Stage::First }
    }

    /// What stands in for the result of the first pass, and how it is enlarged.
    pub(super) fn given(&self) -> Option<(&Pixels, &Upscale)> {
        let second = self.drawing.second.as_ref().filter(|_| self.second.is_some())?;
        Some((second.picture.as_deref()?, &second.upscale))
    }

    /// What comes after `stage`, and how its pictures are enlarged for it.
    pub(super) fn after(&self, stage: Stage) -> Option<(Stage, &Upscale)> {
        let second =
            self.drawing.second.as_ref().filter(|_| stage == Stage::First && self.second.is_some())?;
        Some((Stage::Second, &second.upscale))
    }

    /// What the backend prepares for a pass; `None` for a second pass that was not asked for.
    pub(super) fn spec(&self, stage: Stage) -> Option<PassSpec<'_>> {
        let pass = self.pass(stage)?;
        let share = self.drawing.share;
        let (model, resources, refiner, source, share) = match stage {
            Stage::First => {
                let Drawing { model, resources, refiner, source, .. } = &self.drawing;
                (model, resources, refiner, source.as_ref(), share)
            }
            Stage::Second => {
                let second = self.drawing.second.as_ref()?;
                (&second.model, &second.resources, &second.refiner, None, second.share.unwrap_or(share))
            }
        };
        Some(PassSpec {
            model,
            resources,
            request: &self.drawing.request,
            width: pass.width,
            height: pass.height,
            steps: pass.sampling.steps_run(),
            is_second: stage == Stage::Second,
            positive: &pass.positive,
            negative: &pass.negative,
            source,
            refiner: refiner.as_ref(),
            share,
        })
    }

    /// The checkpoints of a pass, each once.
    pub(super) fn models(&self, stage: Stage) -> Vec<Arc<ModelFile>> {
        let Some(spec) = self.spec(stage) else { return Vec::new() };
        let mut models = vec![spec.model.clone()];
        models.extend(spec.refiner.map(|refiner| refiner.model.clone()).filter(|model| model != spec.model));
        models
    }

    /// The calls of one picture in a pass.
    pub(super) fn plan(&self, stage: Stage, schedule: &NoiseSchedule) -> Result<Plan, JobError> {
        let pass = self.pass(stage).ok_or(JobError::ShutDown)?;
        Plan::new(&pass.sampling, schedule)
            .map_err(|error| BackendError::Field { field: error.field(), why: error.to_string() }.into())
    }

    /// The generator of a picture in a pass, and the numbers it starts from. A second pass draws from the same seeds
    /// anew, at its own size.
    pub(super) fn noise(&self, stage: Stage, image: u32) -> (ImageNoise, StartNoise) {
        let request = &self.drawing.request;
        let (width, height) =
            self.pass(stage).map_or((request.width, request.height), |pass| (pass.width, pass.height));
        let mut noise = ImageNoise::for_image(request, image, width, height);
        let start = StartNoise { noise: noise.first(), fill: self.fill_noise(stage, image) };
        (noise, start)
    }

    /// Under a mask that is filled with noise lies each picture's own seed's, without its variation. Web UIs lay the first
    /// batch's noise under those of later batches too, which no picture's text could tell.
    fn fill_noise(&self, stage: Stage, image: u32) -> Option<Vec<f32>> {
        let request = &self.drawing.request;
        let mask = request.img2img.as_ref()?.mask.as_ref()?;
        if stage != Stage::First || mask.fill != Fill::LatentNoise {
            return None;
        }
        let plain = GenerateRequest {
            variation: gesso_core::request::Variation { strength: 0.0, ..request.variation },
            seed: request.seeds_of(image).0,
            seed_resize_from: None,
            ..request.clone()
        };
        Some(ImageNoise::for_image(&plain, 0, request.width, request.height).first())
    }

    fn pass(&self, stage: Stage) -> Option<&Pass> {
        match stage {
            Stage::First => Some(&self.first),
            Stage::Second => self.second.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use gesso_core::img2img::{Img2Img, Mask, PictureOptions, ResizeMode};
    use gesso_core::request::Variation;

    use super::*;
    use crate::backend::ModelFile;

    fn over(request: GenerateRequest, fill: Fill) -> Passes {
        let mask = Mask {
            blur: (0, 0),
            invert: false,
            fill,
            only_masked: None,
            round: true,
            soft: None,
            conditioning_weight: 1.0,
        };
        let img2img = Img2Img {
            denoising_strength: 0.5,
            exact_steps: false,
            resize_mode: ResizeMode::Stretch,
            image_cfg_scale: 1.5,
            colour_correction: false,
            mask: Some(mask),
            pictures: PictureOptions::default(),
        };
        let request = GenerateRequest { img2img: Some(img2img), ..request };
        let model = ModelFile { name: "demo".into(), path: PathBuf::from("demo"), version: String::new() };
        Passes::new(Drawing::new(request, Arc::new(model)))
    }

    #[test]
    fn what_no_plan_can_be_made_from_is_told_of_its_field() {
        let options = sampler::SamplerOptions { sigma_min: Some(20.0), ..Default::default() };
        let passes = over(GenerateRequest { options, ..GenerateRequest::default() }, Fill::Blur);
        let refused = passes.plan(Stage::First, &NoiseSchedule::sd1()).unwrap_err();
        let JobError::Backend(BackendError::Field { field, why }) = &refused else { panic!("{refused}") };
        assert_eq!(*field, "sigma_min");
        assert!(why.starts_with("sigma_min 20 is not below sigma_max"), "{why}");
    }

    #[test]
    fn under_a_mask_of_noise_lies_what_the_pictures_own_seed_draws_first() {
        let request = GenerateRequest {
            width: 64,
            height: 64,
            seed: 5,
            batch_size: 2,
            n_iter: 2,
            eta_noise_seed_delta: 3,
            ..GenerateRequest::default()
        };
        let plain = |seed| {
            let request = GenerateRequest { seed, ..GenerateRequest::default() };
            Some(ImageNoise::for_image(&request, 0, 64, 64).first())
        };
        let fills = |request: &GenerateRequest| {
            let passes = over(request.clone(), Fill::LatentNoise);
            [0, 1, 2, 3].map(|image| passes.noise(Stage::First, image).1.fill)
        };
        assert_eq!(fills(&request), [plain(5), plain(6), plain(7), plain(8)]);
        let varied =
            GenerateRequest { variation: Variation { subseed: 9, strength: 0.5 }, ..request.clone() };
        assert_eq!(fills(&varied), [0; 4].map(|_| plain(5)));
        assert_eq!(over(request, Fill::LatentNothing).noise(Stage::First, 0).1.fill, None);
    }
}
