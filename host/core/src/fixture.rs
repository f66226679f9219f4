//! The request that the tests of this crate start from. Test builds only.

use crate::request::{Churn, Emphasis, GenerateRequest, NoiseSource, Variation};
use crate::sampler::Sampler;
use crate::schedule::Scheduler;

/// One 512 x 512 picture, 20 steps of Euler, seed 1, everything else as web UIs default it.
pub(crate) fn request() -> GenerateRequest {
    GenerateRequest {
        prompt: "mountain landscape during sunset".into(),
        negative_prompt: String::new(),
        model: None,
        width: 512,
        height: 512,
        steps: 20,
        cfg_scale: 7.0,
        sampler: Sampler::Euler,
        scheduler: Scheduler::Automatic,
        seed: 1,
        variation: Variation { subseed: 5, strength: 0.0 },
        seed_resize_from: None,
        batch_size: 1,
        n_iter: 1,
        clip_skip: 1,
        emphasis: Emphasis::Original,
        noise_source: NoiseSource::Cpu,
        eta: None,
        churn: Churn::default(),
        eta_noise_seed_delta: 0,
    }
}
