//! A request from a picture's own text: the `infotext` field fills what the body leaves unsaid, so that the text alone,
//! and with it whatever pictures went in, draws the picture again. Web UIs take less of it for image-to-image: neither
//! prompt nor size, guidance, strength and mask. The checkpoint is the client's to name, as web UIs have it by default; a
//! VAE or an upscaler of the text that is not here is an error. What a text means by saying nothing is `gesso-core`'s to know.

mod own_texts;

use gesso_core::img2img::{Fill, ResizeMode};
use gesso_core::infotext::Infotext;
use serde_json::{Map, Value, json};

use super::fields::is_empty_list;
use super::generate::{Defaults, Drawing, SIDES};
use super::infotext_options::InfotextOptions;
use super::{control, options, soft_inpainting};

/// Where the noise came from.
const NOISE: &str = "RNG";
const PADDING: (&str, &str) = ("Masked area padding", "inpaint_full_res_padding");

/// Fields of the text and of the body that hold the same. A body has no use for those of the other kind of drawing.
const FIELDS: &[(&str, &str)] = &[
    ("Steps", "steps"),
    ("Sampler", "sampler_name"),
    ("Schedule type", "scheduler"),
    ("CFG scale", "cfg_scale"),
    ("Image CFG scale", "image_cfg_scale"),
    ("Seed", "seed"),
    ("Variation seed", "subseed"),
    ("Variation seed strength", "subseed_strength"),
    PADDING,
    ("Mask round", "mask_round"),
    ("Disable extra networks", "disable_extra_networks"),
    ("Refiner", "refiner_checkpoint"),
    ("Refiner switch at", "refiner_switch_at"),
    ("Hires upscale", "hr_scale"),
    ("Hires upscaler", "hr_upscaler"),
    ("Hires steps", "hr_second_pass_steps"),
    ("Hires checkpoint", "hr_checkpoint_name"),
    ("Hires sampler", "hr_sampler_name"),
    ("Hires schedule type", "hr_scheduler"),
    ("Hires prompt", "hr_prompt"),
    ("Hires negative prompt", "hr_negative_prompt"),
];

/// Fields of the text that hold two fields of the body.
const SIZES: &[(&str, [&str; 2])] = &[
    ("Size", ["width", "height"]),
    ("Seed resize from", ["seed_resize_from_w", "seed_resize_from_h"]),
    ("Hires resize", ["hr_resize_x", "hr_resize_y"]),
];

/// Fields of the text that are options of the web UI.
const OPTIONS: &[(&str, &str)] = &[
    ("Clip skip", "CLIP_stop_at_last_layers"),
    ("Face restoration", "face_restoration_model"),
    ("CodeFormer weight", "code_former_weight"),
    ("ENSD", "eta_noise_seed_delta"),
    (NOISE, "randn_source"),
    ("VAE", "sd_vae"),
    ("Tiling", "tiling"),
    ("Token merging ratio", "token_merging_ratio"),
    ("Token merging ratio hr", "token_merging_ratio_hr"),
    ("Emphasis", "emphasis"),
    ("Comma padding backtrack", "comma_padding_backtrack"),
    ("Conditional mask weight", "inpainting_mask_weight"),
    ("Img2img fix steps", "img2img_fix_steps"),
    ("Img2img color correction", "img2img_color_correction"),
    ("Img2img background color", "img2img_background_color"),
    ("Img2img upscaler", "upscaler_for_img2img"),
    ("Overlay inpaint", "overlay_inpaint"),
    ("ESRGAN tile", "ESRGAN_tile"),
    ("ESRGAN tile overlap", "ESRGAN_tile_overlap"),
    ("Prompt comments", "enable_prompt_comments"),
    ("Pad conds", "pad_cond_uncond"),
    ("Pad conds v0", "pad_cond_uncond_v0"),
    ("Quantization", "enable_quantization"),
    ("Extra noise", "img2img_extra_noise"),
    ("Noise multiplier", "initial_noise_multiplier"),
    ("Eta", "eta_ancestral"),
    ("Eta DDIM", "eta_ddim"),
    ("Sigma churn", "s_churn"),
    ("Sigma tmin", "s_tmin"),
    ("Sigma tmax", "s_tmax"),
    ("Sigma noise", "s_noise"),
    ("Schedule min sigma", "sigma_min"),
    ("Schedule max sigma", "sigma_max"),
    ("Schedule rho", "rho"),
    ("Beta schedule alpha", "beta_dist_alpha"),
    ("Beta schedule beta", "beta_dist_beta"),
    ("Discard penultimate sigma", "always_discard_next_to_last_sigma"),
    ("SGM noise multiplier", "sgm_noise_multiplier"),
    ("Downcast alphas_cumprod", "use_downcasted_alpha_bar"),
    ("Noise Schedule", "sd_noise_schedule"),
    ("NGMS", "s_min_uncond"),
    ("NGMS all steps", "s_min_uncond_all"),
    ("Skip Early CFG", "skip_early_cond"),
    ("Old prompt editing timelines", "use_old_scheduling"),
    ("Refiner switch by sampling steps", "refiner_switch_by_sample_steps"),
    ("Hires refiner", "hires_fix_refiner_pass"),
    ("UniPC variant", "uni_pc_variant"),
    ("UniPC skip type", "uni_pc_skip_type"),
    ("UniPC order", "uni_pc_order"),
    ("UniPC lower order final", "uni_pc_lower_order_final"),
];

/// Any of them says that the picture was drawn in two passes.
const SECOND_PASS: [&str; 3] = ["Hires upscaler", "Hires upscale", "Hires resize"];

/// Any of them says that a part of a picture was painted over.
const MASKED: [&str; 5] = ["Mask mode", "Mask blur", "Masked content", "Inpaint area", "Masked area padding"];

/// The text that a body is to be filled from.
pub(crate) fn of_body(body: &Map<String, Value>) -> Option<&str> {
    body.get("infotext").and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The body with what `text` says where it says nothing itself.
pub(super) fn filled(
    drawing: Drawing,
    body: &Map<String, Value>,
    text: Option<&Infotext>,
    defaults: &Defaults,
) -> Map<String, Value> {
    let mut body = body.clone();
    let Some(text) = text else { return body };
    let text = &text.migrated(InfotextOptions::by_version(&body).unwrap_or(defaults.by_version));
    let sent = of_body(&body).map(Infotext::parse).unwrap_or_default();
    let unsaid = unsaid(&sent, text, defaults);
    let mut found: Vec<(&str, Value)> = fields(text, FIELDS);
    found.push(("prompt", text.prompt.clone().into()));
    found.push(("negative_prompt", text.negative_prompt.clone().into()));
    found.extend(SIZES.iter().flat_map(|(key, fields)| pair(text, key, *fields)));
    found.iter_mut().filter(|(field, _)| SIDES.contains(field)).for_each(|(_, side)| cut(side));
    found.extend(words(text));
    if MASKED.iter().any(|key| text.get(key).is_some()) {
        found.extend(words(&unsaid));
        found.extend(fields(&unsaid, &[PADDING]));
    }
    let is_two_passes = SECOND_PASS.iter().any(|key| text.get(key).is_some());
    if is_two_passes {
        found.push(("enable_hr", true.into()));
    }
    // The strength of a second pass says nothing of how a picture is drawn over.
    if drawing == Drawing::Txt2Img || !is_two_passes {
        found.extend(fields(text, &[("Denoising strength", "denoising_strength")]));
    }
    // Without a variation its seed does nothing, and one drawn anew would only differ in the records.
    if text.get("Variation seed").is_none() && body.get("subseed_strength").is_none_or(Value::is_null) {
        found.push(("subseed", 0.into()));
    }
    fill(&mut body, found);
    if let Some(overrides) = object(&mut body, "override_settings") {
        fill(overrides, fields(text, OPTIONS));
        // Or else the options that are saved here would be those of a picture that was drawn elsewhere.
        fill(overrides, fields(&unsaid, OPTIONS));
        fill(overrides, own_texts::unsaid(&sent, text, defaults));
        if is_two_passes {
            // The size of a text is the first pass's.
            fill(overrides, vec![("use_old_hires_fix_width_height", false.into())]);
        }
    }
    control::fill_from_infotext(&mut body, text);
    if drawing == Drawing::Img2Img {
        soft_inpainting::fill_from_infotext(&mut body, text);
    }
    body
}

/// What the text leaves unsaid, and so did the one that the client sent. Where it does not name the noise, that of the
/// machine's own device was drawn with, and the server's settings say which that is.
fn unsaid(sent: &Infotext, text: &Infotext, defaults: &Defaults) -> Infotext {
    if text.fields.is_empty() {
        return Infotext::default();
    }
    let unsaid = text.unsaid_beside(sent);
    let noise = unsaid.get(NOISE).map(|_| options::noise_name(defaults.noise_source));
    unsaid.optional_field(NOISE, noise)
}

/// A field of the body that is an object, made where there is none or an empty list; `None` where something else stands.
pub(super) fn object<'a>(body: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let value = body.entry(name).or_insert_with(|| json!({}));
    if value.is_null() || is_empty_list(value) {
        *value = json!({});
    }
    value.as_object_mut()
}

fn fields<'a>(text: &Infotext, table: &[(&str, &'a str)]) -> Vec<(&'a str, Value)> {
    table.iter().filter_map(|(key, field)| Some((*field, text.get(key)?.into()))).collect()
}

/// A side of a picture that a web UI cut to a multiple of 8 when it was drawn, and whose text says what was asked for.
fn cut(side: &mut Value) {
    if let Some(pixels) = side.as_str().and_then(|side| side.parse::<u32>().ok()).filter(|side| *side >= 8) {
        *side = (pixels / 8 * 8).into();
    }
}

/// `WxH` as two fields.
fn pair<'a>(text: &Infotext, key: &str, fields: [&'a str; 2]) -> Vec<(&'a str, Value)> {
    let sides = text.get(key).and_then(|size| size.split_once('x'));
    let Some((width, height)) = sides else { return Vec::new() };
    vec![(fields[0], width.into()), (fields[1], height.into())]
}

/// Fields that are words in the text and numbers or flags in the body. A word that nobody knows says nothing.
fn words(text: &Infotext) -> Vec<(&'static str, Value)> {
    let mut found: Vec<(&str, Value)> = Vec::new();
    let mut choice = |key: &str, field: &'static str, labels: &[&str]| {
        let place = text.get(key).and_then(|value| labels.iter().position(|label| *label == value));
        found.extend(place.map(|place| (field, place.into())));
    };
    choice("Mask mode", "inpainting_mask_invert", &["Inpaint masked", "Inpaint not masked"]);
    choice("Inpaint area", "inpaint_full_res", &["Whole picture", "Only masked"]);
    choice("Masked content", "inpainting_fill", &Fill::ALL.map(Fill::label));
    choice("Resize mode", "resize_mode", &ResizeMode::ALL.map(ResizeMode::label));
    if text.get("Face restoration").is_some() {
        found.push(("restore_faces", true.into()));
    }
    let sides = ["mask_blur_x", "mask_blur_y"];
    match text.get("Mask blur") {
        Some(blur) if !blur.contains('x') => found.extend(sides.map(|side| (side, blur.into()))),
        _ => found.extend(pair(text, "Mask blur", sides)),
    }
    found
}

pub(super) fn fill(body: &mut Map<String, Value>, found: Vec<(&str, Value)>) {
    for (field, value) in found {
        let is_unsaid = body.get(field).is_none_or(Value::is_null);
        if is_unsaid {
            body.insert(field.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::hires::HiresSize;
    use gesso_core::infotext::{self, DrawnWith};
    use gesso_core::limits::Limits;
    use gesso_core::request::{Emphasis, GenerateRequest, NoiseSource, Variation};
    use gesso_core::sampler::SamplerOptions;

    use super::super::generate::to_request;
    use super::*;

    fn request_of(drawing: Drawing, body: &Value) -> GenerateRequest {
        let body = drawing.read(body.as_object().unwrap(), || 7).unwrap();
        to_request(drawing, &body, &Defaults::default(), &Limits::default()).unwrap()
    }

    fn request(body: &Value) -> GenerateRequest {
        request_of(Drawing::Txt2Img, body)
    }

    pub(super) fn text_of(request: &GenerateRequest) -> String {
        let refiner = request.refiner.as_ref().map(|refiner| refiner.model.as_str());
        let with = DrawnWith { edits_pictures: true, refiner, version: "v", ..DrawnWith::default() };
        infotext::of(request, 0, &with)
    }

    /// What the request draws, however it was asked for.
    pub(super) fn plain(request: GenerateRequest) -> GenerateRequest {
        let passes = [Some(request.first_pass()), request.hires.as_ref().map(|h| request.hires_pass(h))];
        let eta = |timesteps: bool| {
            let mut of_kind =
                passes.iter().flatten().filter(|p| p.sampler.is_timestep_sampler() == timesteps);
            of_kind.next().map(|pass| pass.eta())
        };
        let options = SamplerOptions {
            eta: None,
            eta_ancestral: eta(false),
            eta_ddim: eta(true),
            ..request.options.clone()
        };
        // The seed of a variation that has no strength does nothing.
        let subseed = if request.variation.strength == 0.0 { 0 } else { request.variation.subseed };
        let schedulers = passes.map(|pass| pass.map(|pass| pass.resolved_scheduler()));
        let hires =
            request.hires.clone().map(|hires| gesso_core::hires::Hires { scheduler: schedulers[1], ..hires });
        let scheduler = schedulers[0].unwrap_or(request.scheduler);
        let variation = Variation { subseed, ..request.variation };
        GenerateRequest { options, variation, hires, scheduler, ..request }
    }

    /// The request that is written and read back draws the same picture.
    #[track_caller]
    fn survives(drawing: Drawing, body: Value) {
        let was = request_of(drawing, &body);
        let mut again = json!({"infotext": text_of(&was)});
        for picture in ["init_images", "mask"] {
            again[picture] = body[picture].clone();
        }
        let read = request_of(drawing, &again);
        assert_eq!(plain(read), plain(was.clone()), "{}", text_of(&was));
    }

    #[test]
    fn a_pictures_own_text_is_the_request_that_drew_it() {
        for body in [
            json!({"prompt": "a [cat:dog:0.5], (b:1.2)", "negative_prompt": "x AND y", "steps": 7, "seed": 5}),
            json!({"subseed_strength": 0.25, "subseed": 9, "seed_resize_from_w": 64, "seed_resize_from_h": 128}),
            json!({
                "sampler_name": "Euler", "s_churn": 3, "s_tmin": 0.1, "s_tmax": 9, "s_noise": 1.01, "s_min_uncond": 2,
                "scheduler": "Karras", "tiling": true,
                "override_settings": {
                    "CLIP_stop_at_last_layers": 2, "randn_source": "CPU", "sigma_min": 0.05, "sigma_max": 10, "rho": 5,
                    "sd_noise_schedule": "Zero Terminal SNR", "sgm_noise_multiplier": true, "skip_early_cond": 0.25,
                    "always_discard_next_to_last_sigma": true, "s_min_uncond_all": true, "use_old_scheduling": true,
                    "enable_quantization": true, "use_downcasted_alpha_bar": true,
                },
            }),
            json!({"prompt": "a # b", "override_settings": {"enable_prompt_comments": false, "pad_cond_uncond": true,
                "use_old_karras_scheduler_sigmas": true}}),
            json!({
                "sampler_name": "UniPC", "eta": 0.5,
                "override_settings": {"uni_pc_variant": "bh2", "uni_pc_skip_type": "logSNR", "uni_pc_order": 2,
                    "uni_pc_lower_order_final": false},
            }),
            json!({
                "sampler_name": "Euler a", "eta": 0.5, "prompt": "(x)",
                "override_settings": {"eta_noise_seed_delta": 31337, "emphasis": "No norm"},
            }),
            json!({"sampler_name": "DPM++ 2S a", "s_noise": 1.05, "override_settings": {"eta_ancestral": 0.4}}),
            json!({"sampler_name": "DDIM", "override_settings": {"eta_ddim": 0.4, "eta_noise_seed_delta": 5,
                "pad_cond_uncond": true, "pad_cond_uncond_v0": true}}),
            json!({"override_settings": {"token_merging_ratio": 0.5}}),
            json!({
                "refiner_checkpoint": "other [0123456789]", "refiner_switch_at": 0.75,
                "override_settings": {"refiner_switch_by_sample_steps": true},
            }),
            json!({
                "prompt": "a BREAK b <lora:x:1>", "disable_extra_networks": true, "scheduler": "Beta",
                "override_settings": {"emphasis": "None", "comma_padding_backtrack": 5, "sd_vae": "None",
                    "beta_dist_alpha": 0.7, "beta_dist_beta": 0.5},
            }),
        ] {
            survives(Drawing::Txt2Img, body);
        }
    }

    #[test]
    fn the_text_of_a_picture_in_two_passes_is_both() {
        for changes in [
            json!({
                "hr_scale": 1.5, "hr_upscaler": "Latent (bicubic)", "hr_second_pass_steps": 5, "hr_sampler_name": "Heun",
                "hr_scheduler": "Simple", "hr_prompt": "c, (d)", "hr_negative_prompt": "e: f", "s_churn": 2,
                "hr_checkpoint_name": "other", "override_settings": {"emphasis": "Ignore"},
            }),
            json!({"hr_resize_x": 640, "hr_resize_y": 768, "hr_upscaler": "Lanczos"}),
            json!({"hr_upscaler": "4x", "override_settings": {"ESRGAN_tile": 0, "ESRGAN_tile_overlap": 16}}),
            json!({"override_settings": {"token_merging_ratio": 0.5, "token_merging_ratio_hr": 0.25}}),
            json!({"override_settings": {"token_merging_ratio_hr": 0.25}}),
            json!({
                "refiner_checkpoint": "other", "refiner_switch_at": 0.5,
                "override_settings": {"hires_fix_refiner_pass": "both passes"},
            }),
            // "Automatic" is Karras in the first pass, and even timesteps in the second.
            json!({"sampler_name": "DPM++ 2M", "hr_sampler_name": "Euler"}),
            json!({"sampler_name": "Euler", "hr_sampler_name": "DPM++ 2M SDE", "s_noise": 1.1}),
            json!({
                "sampler_name": "Euler a", "hr_sampler_name": "DDIM",
                "override_settings": {"eta_ancestral": 0.3, "eta_ddim": 0.6, "eta_noise_seed_delta": 5},
            }),
            json!({"sampler_name": "Euler a", "hr_sampler_name": "DDIM", "eta": 1}),
            json!({
                "sampler_name": "LMS", "hr_sampler_name": "Heun", "s_churn": 2,
                "override_settings": {"eta_noise_seed_delta": 5},
            }),
            json!({
                "sampler_name": "Euler", "hr_sampler_name": "UniPC",
                "override_settings": {"uni_pc_order": 2},
            }),
        ] {
            let mut body = json!({"enable_hr": true, "denoising_strength": 0.6});
            body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            survives(Drawing::Txt2Img, body);
        }
    }

    #[test]
    fn the_text_of_a_picture_drawn_over_another_is_all_but_the_pictures() {
        for changes in [
            json!({"prompt": "a, b", "width": 64, "cfg_scale": 3, "denoising_strength": 0.4, "resize_mode": 2}),
            json!({
                "image_cfg_scale": 1.2, "resize_mode": 3, "tiling": true, "s_min_uncond": 1,
                "override_settings": {"img2img_fix_steps": true, "img2img_color_correction": true,
                    "img2img_extra_noise": 0.1, "initial_noise_multiplier": 1.1,
                    "img2img_background_color": "#000000", "upscaler_for_img2img": "Nearest", "ESRGAN_tile": 64},
            }),
            json!({"override_settings": {"token_merging_ratio_img2img": 0.25}}),
            json!({"mask": "y", "mask_blur": 8, "inpainting_fill": 1, "inpaint_full_res": false}),
            json!({
                "mask": "y", "mask_blur_x": 2, "mask_blur_y": 7, "inpainting_fill": 3, "inpainting_mask_invert": 1,
                "inpaint_full_res_padding": 24, "mask_round": false,
                "override_settings": {"inpainting_mask_weight": 0.5, "overlay_inpaint": false},
            }),
            json!({
                "mask": "y",
                "alwayson_scripts": {"soft inpainting": {"args": [true, 1.5, 0.25, 8, 0.1, 1, 3]}},
            }),
        ] {
            let mut body = json!({"init_images": ["x"]});
            body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            survives(Drawing::Img2Img, body);
        }
    }

    #[test]
    fn what_the_body_says_itself_goes_before_the_text() {
        let text =
            "a cat\nSteps: 7, Sampler: Heun, Seed: 5, CFG scale: 3, Size: 64x128, Clip skip: 2, Eta: 0.5";
        let read = request(&json!({
            "infotext": text, "steps": 9, "prompt": "a dog", "eta": 0.25,
            "override_settings": {"CLIP_stop_at_last_layers": 3},
        }));
        assert_eq!((read.steps, read.prompt.as_str(), read.clip_skip), (9, "a dog", 3));
        assert_eq!((read.seed, read.cfg_scale, read.width, read.height), (5, 3.0, 64, 128));
        assert_eq!(read.first_pass().eta(), 0.25);
    }

    #[test]
    fn a_side_that_is_no_multiple_of_eight_is_what_web_uis_made_of_it() {
        let of = |size: &str| {
            let text = format!("a cat\nSteps: 7, Sampler: Heun, Seed: 5, Size: {size}");
            let read = request(&json!({"infotext": text}));
            (read.width, read.height)
        };
        assert_eq!((of("500x333"), of("512x768")), ((496, 328), (512, 768)));
    }

    #[test]
    fn a_side_of_the_noise_is_cut_as_the_pictures_is() {
        let text = "a cat\nSteps: 7, Sampler: Heun, Seed: 5, Seed resize from: 500x333";
        assert_eq!(request(&json!({"infotext": text})).seed_resize_from, Some((496, 328)));
    }

    #[test]
    fn any_word_of_a_second_pass_is_one() {
        let of = |more: &str| {
            let text = format!(
                "a cat\nSteps: 7, Sampler: Heun, Seed: 5, Size: 512x384, Denoising strength: 0.5{more}"
            );
            let read = request(&json!({"infotext": text}));
            let hires = read.hires.map(|hires| (hires.size, hires.upscaler.label().to_owned()));
            ((read.width, read.height), hires)
        };
        let second = |size| Some((size, "Latent".to_owned()));
        let resize = |width, height| HiresSize::Resize { width, height };
        assert_eq!(of(""), ((512, 384), None));
        assert_eq!(of(", Hires upscale: 1.5"), ((512, 384), second(HiresSize::Scale(1.5))));
        assert_eq!(of(", Hires resize: 1024x768"), ((512, 384), second(resize(1024, 768))));
        assert_eq!(of(", Hires upscaler: Latent"), ((512, 384), second(HiresSize::Scale(2.0))));
        assert_eq!(of(", First pass size: 256x192"), ((256, 192), second(resize(512, 384))));
    }

    #[test]
    fn saved_options_do_not_leak_into_what_a_text_leaves_unsaid() {
        let saved = json!({"CLIP_stop_at_last_layers": 2, "randn_source": "CPU", "sigma_min": 0.1, "sigma_max": 9, "rho": 5,
            "emphasis": "No norm", "refiner_switch_by_sample_steps": true, "eta_noise_seed_delta": 3});
        let drawn = |body: Value| {
            let mut body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 7).unwrap();
            options::lay_under(&mut body, saved.as_object().unwrap());
            to_request(Drawing::Txt2Img, &body, &Defaults::default(), &Limits::default()).unwrap()
        };
        let fields = "Steps: 7, Sampler: Euler, Seed: 5, Refiner: x, Refiner switch at: 0.5";
        let read = drawn(json!({"infotext": format!("a (cat:1.2)\n{fields}")}));
        assert_eq!((read.clip_skip, read.noise_source), (1, NoiseSource::Nv));
        assert_eq!((read.options.sigma_min, read.options.sigma_max, read.options.rho), (None, None, None));
        assert_eq!(read.emphasis, Emphasis::Original);
        assert_eq!(read.refiner.map(|refiner| refiner.by_steps), Some(false));
        assert_eq!(read.eta_noise_seed_delta, 3, "a text may leave out what acted");
        let old = drawn(json!({"infotext": format!("a cat\n{fields}, Version: v1.7.0")}));
        assert_eq!(old.refiner.map(|refiner| refiner.by_steps), Some(true));
        // What the text or the request says goes before, and what is no text of a picture says nothing.
        let own = json!({"CLIP_stop_at_last_layers": 4});
        for (body, clip_skip) in [
            (json!({"infotext": format!("a cat\n{fields}, Clip skip: 3")}), 3),
            (json!({"infotext": format!("a cat\n{fields}"), "override_settings": own}), 4),
            (json!({"infotext": "a cat"}), 2),
        ] {
            assert_eq!(drawn(body.clone()).clip_skip, clip_skip, "{body}");
        }
    }

    #[test]
    fn what_a_plugin_took_out_of_a_text_is_as_it_stands_without_one() {
        let body = json!({"infotext": "a cat\nSteps: 7, Sampler: Euler, Seed: 5, Clip skip: 3"});
        let left = Infotext::parse("a cat\nSteps: 7, Sampler: Euler, Seed: 5");
        let body = body.as_object().unwrap();
        let filled = filled(Drawing::Txt2Img, body, Some(&left), &Defaults::default());
        let options = &filled["override_settings"];
        assert_eq!(options.get("CLIP_stop_at_last_layers"), None);
        assert_eq!(options["randn_source"], "NV");
    }

    #[test]
    fn noise_that_a_text_does_not_name_is_the_servers_usual_one() {
        let defaults = Defaults { noise_source: NoiseSource::Cpu, ..Defaults::default() };
        let source = |more: &str, own: Value| {
            let text = format!("a cat\nSteps: 7, Sampler: Euler, Seed: 5{more}");
            let body = json!({"infotext": text, "override_settings": own});
            let text = Infotext::parse(&text);
            let body = body.as_object().unwrap();
            let mut body = Drawing::Txt2Img.read_with(body, (Some(&text), &defaults), || 7).unwrap();
            options::lay_under(&mut body, json!({"randn_source": "NV"}).as_object().unwrap());
            to_request(Drawing::Txt2Img, &body, &defaults, &Limits::default()).unwrap().noise_source
        };
        assert_eq!(source("", json!({})), NoiseSource::Cpu);
        assert_eq!(source(", RNG: NV", json!({})), NoiseSource::Nv);
        assert_eq!(source(", RNG: GPU", json!({})), NoiseSource::Nv);
        assert_eq!(source("", json!({"randn_source": "NV"})), NoiseSource::Nv);
    }

    #[test]
    fn a_mask_of_few_words_is_the_web_uis_usual_one() {
        let of = |more: &str| {
            let text = format!("a cat\nSteps: 7, Sampler: Heun, Seed: 5{more}");
            let body = json!({"infotext": text, "init_images": ["x"], "mask": "y"});
            let mask = request_of(Drawing::Img2Img, &body).img2img.unwrap().mask.unwrap();
            (mask.fill, mask.only_masked, mask.blur)
        };
        assert_eq!(of(", Mask blur: 6"), (Fill::Original, None, (6, 6)));
        assert_eq!(of(", Inpaint area: Only masked"), (Fill::Original, Some(32), (4, 4)));
        assert_eq!(of(", Masked content: fill"), (Fill::Blur, None, (4, 4)));
        assert_eq!(of(""), (Fill::Blur, Some(0), (4, 4)), "the fields' own, of a text that had no mask");
    }

    #[test]
    fn an_empty_list_of_options_is_filled_as_none_is() {
        let text = "a cat\nSteps: 7, Sampler: Heun, Seed: 5, Clip skip: 3";
        assert_eq!(request(&json!({"infotext": text, "override_settings": []})).clip_skip, 3);
    }

    #[test]
    fn old_web_uis_placed_changes_of_prompts_otherwise() {
        let old = |prompt: &str, version: &str| {
            let text = format!("{prompt}\nSteps: 7, Sampler: Euler, Seed: 5{version}");
            request(&json!({"infotext": text})).old_scheduling
        };
        for version in ["v1.5.2", "v1.5.2-14-g0a1b2c3d", "v0.9"] {
            assert!(old("a [b:c:0.5]", &format!(", Version: {version}")), "{version}");
            assert!(!old("a b", &format!(", Version: {version}")), "{version}");
        }
        for version in [
            "",
            ", Version: v1.6.0",
            ", Version: v1.10.1",
            ", Version: f2.0.1v1.10.1",
            ", Version: gesso 0.1.0",
        ] {
            assert!(!old("a [b:c:0.5]", version), "{version}");
        }
        let said = json!({
            "infotext": "a [b:c:0.5]\nSteps: 7, Sampler: Euler, Seed: 5, Version: v1.5.2",
            "override_settings": {"use_old_scheduling": false},
        });
        assert!(!request(&said).old_scheduling, "what the body says itself goes before");
    }

    #[test]
    fn old_web_uis_had_noise_tables_of_half_precision() {
        let of = |version: &str, more: Value, by_version: bool| {
            let text = format!("a cat\nSteps: 7, Sampler: Euler, Seed: 5, Version: {version}");
            let body = json!({"infotext": text, "override_settings": more});
            let defaults = Defaults { by_version, ..Defaults::default() };
            let text = Infotext::parse(&text);
            let body = body.as_object().unwrap();
            let body = Drawing::Txt2Img.read_with(body, (Some(&text), &defaults), || 7).unwrap();
            to_request(Drawing::Txt2Img, &body, &defaults, &Limits::default()).unwrap().half_alphas
        };
        assert!(of("v1.6.1", json!({}), true));
        assert!(!of("v1.10.1", json!({}), true));
        assert!(!of("v1.6.1", json!({"use_downcasted_alpha_bar": false}), true));
        assert!(!of("v1.6.1", json!({}), false));
        // What the body says of it goes before what is saved.
        assert!(!of("v1.6.1", json!({"auto_backcompat": "off"}), true));
        assert!(of("v1.6.1", json!({"auto_backcompat": true}), false));
    }

    #[test]
    fn a_second_passs_strength_is_none_of_a_picture_that_is_drawn_over() {
        let of = |more: &str| {
            let text = format!("a cat\nSteps: 7, Sampler: Heun, Seed: 5, Denoising strength: 0.3{more}");
            let read = request_of(Drawing::Img2Img, &json!({"infotext": text, "init_images": ["x"]}));
            assert_eq!((read.prompt.as_str(), read.steps), ("a cat", 7));
            read.img2img.unwrap().denoising_strength
        };
        assert_eq!((of(""), of(", Hires upscaler: Latent")), (0.3, 0.75));
    }
}
