//! A request from a picture's own text: the `infotext` field fills what the body leaves unsaid. The checkpoint is the
//! client's to name, as web UIs have it by default; a VAE or an upscaler of the text that is not here is an error.

use gesso_core::infotext::Infotext;
use serde_json::{Map, Value, json};

use super::generate::Drawing;

/// Fields of the text and of the body, for both kinds of drawing.
const SHARED: &[(&str, &str)] = &[
    ("Steps", "steps"),
    ("Sampler", "sampler_name"),
    ("Schedule type", "scheduler"),
    ("Seed", "seed"),
    ("Variation seed", "subseed"),
    ("Variation seed strength", "subseed_strength"),
];

/// The rest, for text-to-image only: image-to-image has its size, prompt and strength from the client.
const TXT2IMG: &[(&str, &str)] = &[
    ("CFG scale", "cfg_scale"),
    ("Denoising strength", "denoising_strength"),
    ("Eta", "eta"),
    ("Eta DDIM", "eta"),
    ("Sigma churn", "s_churn"),
    ("Sigma tmin", "s_tmin"),
    ("Sigma tmax", "s_tmax"),
    ("Sigma noise", "s_noise"),
    ("Tiling", "tiling"),
    ("NGMS", "s_min_uncond"),
    ("Hires upscale", "hr_scale"),
    ("Hires upscaler", "hr_upscaler"),
    ("Hires steps", "hr_second_pass_steps"),
    ("Hires checkpoint", "hr_checkpoint_name"),
    ("Hires sampler", "hr_sampler_name"),
    ("Hires schedule type", "hr_scheduler"),
    ("Hires prompt", "hr_prompt"),
    ("Hires negative prompt", "hr_negative_prompt"),
];

/// Fields of the text that are options of the web UI.
const OPTIONS: &[(&str, &str)] = &[
    ("Clip skip", "CLIP_stop_at_last_layers"),
    ("ENSD", "eta_noise_seed_delta"),
    ("RNG", "randn_source"),
    ("VAE", "sd_vae"),
    ("Emphasis", "emphasis"),
    ("Extra noise", "img2img_extra_noise"),
    ("Noise multiplier", "initial_noise_multiplier"),
    ("Schedule min sigma", "sigma_min"),
    ("Schedule max sigma", "sigma_max"),
    ("Schedule rho", "rho"),
    ("Beta schedule alpha", "beta_dist_alpha"),
    ("Beta schedule beta", "beta_dist_beta"),
    ("Discard penultimate sigma", "always_discard_next_to_last_sigma"),
    ("SGM noise multiplier", "sgm_noise_multiplier"),
    ("Noise Schedule", "sd_noise_schedule"),
    ("NGMS all steps", "s_min_uncond_all"),
    ("Skip Early CFG", "skip_early_cond"),
    ("Old prompt editing timelines", "use_old_scheduling"),
    ("UniPC variant", "uni_pc_variant"),
    ("UniPC skip type", "uni_pc_skip_type"),
    ("UniPC order", "uni_pc_order"),
    ("UniPC lower order final", "uni_pc_lower_order_final"),
];

/// The body with what its `infotext` says where it says nothing itself.
pub(super) fn filled(drawing: Drawing, body: &Map<String, Value>) -> Map<String, Value> {
    let mut body = body.clone();
    let Some(text) = body.get("infotext").and_then(Value::as_str).filter(|text| !text.is_empty()) else {
        return body;
    };
    let text = Infotext::parse(text);
    let mut found: Vec<(&str, Value)> = fields(&text, SHARED);
    if drawing == Drawing::Txt2Img {
        found.push(("prompt", text.prompt.clone().into()));
        found.push(("negative_prompt", text.negative_prompt.clone().into()));
        found.extend(fields(&text, TXT2IMG));
        found.extend(sizes(&text, "Size", ["width", "height"]));
        found.extend(sizes(&text, "Seed resize from", ["seed_resize_from_w", "seed_resize_from_h"]));
        found.extend(sizes(&text, "Hires resize", ["hr_resize_x", "hr_resize_y"]));
        if text.get("Hires upscaler").is_some() {
            found.push(("enable_hr", true.into()));
        }
    }
    // Without a variation its seed does nothing, and one drawn anew would only differ in the records.
    if text.get("Variation seed").is_none() && body.get("subseed_strength").is_none_or(Value::is_null) {
        found.push(("subseed", 0.into()));
    }
    fill(&mut body, found);
    let options = fields(&text, OPTIONS);
    let overrides = body.entry("override_settings").or_insert_with(|| json!({}));
    if overrides.is_null() {
        *overrides = json!({});
    }
    if let Some(overrides) = overrides.as_object_mut() {
        fill(overrides, options);
    }
    body
}

fn fields<'a>(text: &Infotext, table: &[(&str, &'a str)]) -> Vec<(&'a str, Value)> {
    table.iter().filter_map(|(key, field)| Some((*field, text.get(key)?.into()))).collect()
}

/// `WxH` as two fields.
fn sizes<'a>(text: &Infotext, key: &str, fields: [&'a str; 2]) -> Vec<(&'a str, Value)> {
    let sides = text.get(key).and_then(|size| size.split_once('x'));
    let Some((width, height)) = sides else { return Vec::new() };
    vec![(fields[0], width.into()), (fields[1], height.into())]
}

fn fill(body: &mut Map<String, Value>, found: Vec<(&str, Value)>) {
    for (field, value) in found {
        let is_unsaid = body.get(field).is_none_or(Value::is_null);
        if is_unsaid {
            body.insert(field.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::infotext::{self, DrawnWith};
    use gesso_core::limits::Limits;
    use gesso_core::request::GenerateRequest;

    use super::super::generate::{Defaults, to_request};
    use super::*;

    fn request(body: &Value) -> GenerateRequest {
        let body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 7).unwrap();
        to_request(Drawing::Txt2Img, &body, &Defaults::default(), &Limits::default()).unwrap()
    }

    fn text_of(request: &GenerateRequest) -> String {
        let with = DrawnWith {
            model_name: "demo",
            model_hash: "0123456789",
            vae_name: None,
            lora_hashes: &[],
            control: &[],
            version: "v",
        };
        infotext::of(request, 0, &with)
    }

    /// The request that is written and read back draws the same picture: everything but the seed of a variation that has no
    /// strength is equal.
    #[track_caller]
    fn survives(body: Value) {
        let was = request(&body);
        let read = request(&json!({"infotext": text_of(&was)}));
        let plain = |request: GenerateRequest| GenerateRequest {
            variation: gesso_core::request::Variation {
                subseed: if request.variation.strength == 0.0 { 0 } else { request.variation.subseed },
                ..request.variation
            },
            ..request
        };
        assert_eq!(plain(read), plain(was), "{}", text_of(&request(&body)));
    }

    #[test]
    fn a_pictures_own_text_is_the_request_that_drew_it() {
        survives(
            json!({"prompt": "a [cat:dog:0.5], (b:1.2)", "negative_prompt": "x AND y", "steps": 7, "seed": 5}),
        );
        survives(
            json!({"subseed_strength": 0.25, "subseed": 9, "seed_resize_from_w": 64, "seed_resize_from_h": 128}),
        );
        survives(json!({
            "sampler_name": "Euler", "s_churn": 3, "s_tmin": 0.1, "s_tmax": 9, "s_noise": 1.01, "s_min_uncond": 2,
            "scheduler": "Karras",
            "override_settings": {
                "CLIP_stop_at_last_layers": 2, "randn_source": "CPU", "sigma_min": 0.05, "sigma_max": 10, "rho": 5,
                "sd_noise_schedule": "Zero Terminal SNR", "sgm_noise_multiplier": true, "skip_early_cond": 0.25,
                "always_discard_next_to_last_sigma": true, "s_min_uncond_all": true, "use_old_scheduling": true,
            },
        }));
        survives(json!({
            "sampler_name": "UniPC", "eta": 0.5,
            "override_settings": {"uni_pc_variant": "bh2", "uni_pc_skip_type": "logSNR", "uni_pc_order": 2,
                "uni_pc_lower_order_final": false},
        }));
        survives(json!({
            "sampler_name": "Euler a", "eta": 0.5, "prompt": "(x)",
            "override_settings": {"eta_noise_seed_delta": 31337, "emphasis": "No norm"},
        }));
        survives(json!({
            "enable_hr": true, "denoising_strength": 0.6, "hr_scale": 1.5, "hr_upscaler": "Latent (bicubic)",
            "hr_second_pass_steps": 5, "hr_sampler_name": "Heun", "hr_scheduler": "Simple", "hr_prompt": "c, d",
            "hr_negative_prompt": "e: f",
        }));
        survives(json!({
            "enable_hr": true, "denoising_strength": 0.6, "hr_resize_x": 640, "hr_resize_y": 768,
            "hr_upscaler": "Lanczos",
        }));
    }

    #[test]
    fn what_the_body_says_itself_goes_before_the_text() {
        let text = "a cat\nSteps: 7, Sampler: Heun, Seed: 5, CFG scale: 3, Size: 64x128, Clip skip: 2";
        let read = request(&json!({
            "infotext": text, "steps": 9, "prompt": "a dog",
            "override_settings": {"CLIP_stop_at_last_layers": 3},
        }));
        assert_eq!((read.steps, read.prompt.as_str(), read.clip_skip), (9, "a dog", 3));
        assert_eq!((read.seed, read.cfg_scale, read.width, read.height), (5, 3.0, 64, 128));
    }

    #[test]
    fn image_to_image_takes_only_how_it_was_drawn() {
        let text = "a cat\nSteps: 7, Sampler: Heun, Seed: 5, CFG scale: 3, Size: 64x128";
        let body = json!({"infotext": text, "init_images": ["x"]});
        let body = Drawing::Img2Img.read(body.as_object().unwrap(), || 7).unwrap();
        assert_eq!((&body["steps"], &body["seed"]), (&json!(7), &json!(5)));
        assert_eq!(
            (&body["prompt"], &body["width"], &body["cfg_scale"]),
            (&json!(""), &json!(512), &json!(7.0))
        );
    }
}
