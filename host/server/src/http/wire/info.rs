//! The web UI's `info`: a JSON document inside a string, whose keys and order clients rely on.

use gesso_core::request::GenerateRequest;
use serde_json::{Value, json};

/// What the finished pictures add to the request.
#[derive(Debug, Clone)]
pub(crate) struct Drawn<'a> {
    /// Prompts as drawn, after the plugins.
    pub(crate) request: &'a GenerateRequest,
    pub(crate) model_name: &'a str,
    pub(crate) model_hash: &'a str,
    /// One for each picture, in order.
    pub(crate) infotexts: &'a [String],
    /// `YYYYMMDDhhmmss` of the start, UTC.
    pub(crate) job_timestamp: &'a str,
    pub(crate) version: &'a str,
}

/// The document; callers serialise it into a string.
pub(crate) fn info(drawn: &Drawn<'_>) -> Value {
    let request = drawn.request;
    let seeds: Vec<_> = (0..request.image_count()).map(|image| request.seeds_of(image)).collect();
    let all_seeds: Vec<u64> = seeds.iter().map(|(seed, _)| *seed).collect();
    let all_subseeds: Vec<u64> = seeds.iter().map(|(_, subseed)| *subseed).collect();
    let (from_w, from_h) = request.seed_resize_from.map_or((-1, -1), |(w, h)| (i64::from(w), i64::from(h)));
    json!({
        "prompt": request.prompt,
        "all_prompts": vec![&request.prompt; seeds.len()],
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": vec![&request.negative_prompt; seeds.len()],
        "seed": request.seed,
        "all_seeds": all_seeds,
        "subseed": request.variation.subseed,
        "all_subseeds": all_subseeds,
        "subseed_strength": request.variation.strength,
        "width": request.width,
        "height": request.height,
        "sampler_name": request.sampler.label(),
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "batch_size": request.batch_size,
        "restore_faces": false,
        "face_restoration_model": null,
        "sd_model_name": drawn.model_name,
        "sd_model_hash": drawn.model_hash,
        "sd_vae_name": null,
        "sd_vae_hash": null,
        "seed_resize_from_w": from_w,
        "seed_resize_from_h": from_h,
        "denoising_strength": null,
        "extra_generation_params": {"Schedule type": request.scheduler.label()},
        "index_of_first_image": 0,
        "infotexts": drawn.infotexts,
        "styles": [],
        "job_timestamp": drawn.job_timestamp,
        "clip_skip": request.clip_skip,
        "is_using_inpainting_conditioning": false,
        "version": drawn.version,
    })
}
