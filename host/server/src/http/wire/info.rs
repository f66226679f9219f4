//! The web UI's `info`: a JSON document inside a string, whose keys and order clients rely on.

use gesso_core::infotext::{DrawnWith, Infotext};
use gesso_core::request::GenerateRequest;
use serde_json::{Value, json};

/// What the finished pictures add to the request.
#[derive(Debug, Clone)]
pub(crate) struct Drawn<'a> {
    /// Prompts as drawn, after the plugins.
    pub(crate) request: &'a GenerateRequest,
    /// Names of the styles, as the client sent them.
    pub(crate) styles: Option<&'a Value>,
    /// The checkpoint is made for inpainting.
    pub(crate) inpaints: bool,
    pub(crate) drawn_with: &'a DrawnWith<'a>,
    /// One for each picture, in order.
    pub(crate) infotexts: &'a [String],
    /// `YYYYMMDDhhmmss` of the start, UTC.
    pub(crate) job_timestamp: &'a str,
}

/// The document; callers serialise it into a string.
pub(crate) fn info(drawn: &Drawn<'_>) -> Value {
    let request = drawn.request;
    let seeds: Vec<_> = (0_u32..).take(drawn.infotexts.len()).map(|image| request.seeds_of(image)).collect();
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
        "restore_faces": drawn.drawn_with.face_restoration.is_some(),
        "face_restoration_model": drawn.drawn_with.face_restoration,
        "sd_model_name": drawn.drawn_with.model_name,
        "sd_model_hash": drawn.drawn_with.model_hash,
        "sd_vae_name": drawn.drawn_with.vae_name,
        "sd_vae_hash": drawn.drawn_with.vae_hash,
        "seed_resize_from_w": from_w,
        "seed_resize_from_h": from_h,
        "denoising_strength": denoising_strength(request),
        "extra_generation_params": extra_params(drawn.infotexts),
        "index_of_first_image": 0,
        "infotexts": drawn.infotexts,
        "styles": drawn.styles.filter(|styles| !styles.is_null()).cloned().unwrap_or_else(|| json!([])),
        "job_timestamp": drawn.job_timestamp,
        "clip_skip": request.clip_skip,
        "is_using_inpainting_conditioning": drawn.inpaints,
        "version": drawn.drawn_with.version,
    })
}

fn denoising_strength(request: &GenerateRequest) -> Option<f64> {
    let second = request.hires.as_ref().map(|hires| hires.denoising_strength);
    second.or(request.img2img.as_ref().map(|img2img| img2img.denoising_strength))
}

/// The fields of the infotext that have no key of their own in the document.
fn extra_params(infotexts: &[String]) -> Value {
    const OWN_KEYS: [&str; 16] = [
        "Steps",
        "Sampler",
        "CFG scale",
        "Seed",
        "Face restoration",
        "Size",
        "Model hash",
        "Model",
        "VAE hash",
        "VAE",
        "Variation seed",
        "Variation seed strength",
        "Seed resize from",
        "Clip skip",
        "Version",
        "User",
    ];
    let Some(first) = infotexts.first() else { return json!({}) };
    let fields =
        Infotext::parse(first).fields.into_iter().filter(|(key, _)| !OWN_KEYS.contains(&key.as_str()));
    Value::Object(fields.map(|(key, value)| (key, value.into())).collect())
}
