//! The request that paints one find again: the picture's own, with what a detail says in place of it. Pure.

use gesso_plugin::serde_json::{Map, Value, json};
use gesso_plugin::{DrawnPicture, Params};

use crate::arguments::{Detail, NAME};

/// What of the first drawing has no meaning for a part of it.
const DROPPED: [&str; 12] = [
    "enable_hr",
    "script_name",
    "script_args",
    "firstphase_width",
    "firstphase_height",
    "image_cfg_scale",
    "infotext",
    "refiner_checkpoint",
    "refiner_switch_at",
    "sampler_index",
    "seed_resize_from_w",
    "seed_resize_from_h",
];
/// What the host takes of a field of an infotext.
const VALUE_BYTES_MAX: usize = 4096;
const SEPARATOR: &str = "[SEP]";
const OWN_PROMPT: &str = "[PROMPT]";
const SKIP: &str = "[SKIP]";

/// The prompts of one find; `None` leaves it alone.
pub fn prompts(detail: &Detail, about: &DrawnPicture, place: usize) -> Option<(String, String)> {
    let prompt = prompt(&detail.ad_prompt, &about.prompt, place);
    (prompt.trim() != SKIP)
        .then(|| (prompt, self::prompt(&detail.ad_negative_prompt, &about.negative_prompt, place)))
}

/// The part for that find, or the last one; the picture's own where it is empty.
fn prompt(given: &str, own: &str, place: usize) -> String {
    let parts: Vec<&str> = given.split(SEPARATOR).map(str::trim).collect();
    match parts.get(place).or(parts.last()).copied().unwrap_or_default() {
        "" => own.to_owned(),
        part => part.replace(OWN_PROMPT, own),
    }
}

/// The request that paints find `place` of a picture of this size again.
pub fn request(
    params: &Params,
    detail: &Detail,
    about: &DrawnPicture,
    (prompt, negative_prompt): (String, String),
    place: usize,
    picture: (u32, u32),
) -> Params {
    let mut request = params.clone();
    for field in DROPPED {
        request.remove(field);
    }
    let own = original(params);
    let mut set = |field: &str, value: Value| request.set(field, value);
    for field in ["steps", "sampler_name", "scheduler"] {
        if let Some(value) = own.and_then(|own| own.get(field)) {
            set(field, value.clone());
        }
    }
    let number = |seed: u64| seed.wrapping_add(place as u64) & u64::from(u32::MAX);
    for (field, value) in [
        ("prompt", json!(prompt)),
        ("negative_prompt", json!(negative_prompt)),
        ("seed", json!(number(about.seed))),
        ("subseed", json!(number(about.subseed))),
        ("batch_size", json!(1)),
        ("n_iter", json!(1)),
        ("styles", json!([])),
        ("resize_mode", json!(0)),
        ("denoising_strength", json!(detail.ad_denoising_strength)),
        ("mask_blur", json!(detail.ad_mask_blur)),
        ("inpainting_fill", json!(1)),
        ("inpainting_mask_invert", json!(0)),
        ("inpaint_full_res", json!(detail.ad_inpaint_only_masked)),
        ("inpaint_full_res_padding", json!(detail.ad_inpaint_only_masked_padding)),
        ("restore_faces", json!(detail.ad_restore_face)),
    ] {
        set(field, value);
    }
    if detail.ad_use_inpaint_width_height {
        set("width", detail.ad_inpaint_width.into());
        set("height", detail.ad_inpaint_height.into());
    } else if !detail.ad_inpaint_only_masked {
        // The whole is drawn: as large as it is, in steps of eight.
        set("width", (picture.0 / 8 * 8).max(8).into());
        set("height", (picture.1 / 8 * 8).max(8).into());
    }
    if detail.ad_use_steps {
        set("steps", detail.ad_steps.into());
    }
    if detail.ad_use_cfg_scale {
        set("cfg_scale", detail.ad_cfg_scale.into());
    }
    if detail.ad_use_sampler {
        if detail.ad_sampler != "Use same sampler" {
            set("sampler_name", detail.ad_sampler.clone().into());
        }
        if detail.ad_scheduler != "Use same scheduler" {
            set("scheduler", detail.ad_scheduler.clone().into());
        }
    }
    if detail.ad_use_noise_multiplier {
        set("initial_noise_multiplier", detail.ad_noise_multiplier.into());
    }
    let scripts = params.get("alwayson_scripts").and_then(Value::as_object);
    set("alwayson_scripts", Value::Object(scripts_of(detail, scripts)));
    let mut overrides =
        params.get("override_settings").and_then(Value::as_object).cloned().unwrap_or_default();
    let named =
        |name: &Option<String>| name.clone().filter(|name| !name.is_empty() && !name.starts_with("Use same"));
    if let Some(checkpoint) = named(&detail.ad_checkpoint).filter(|_| detail.ad_use_checkpoint) {
        // A task's own checkpoint, which the web UI's dialect has under override_settings.
        if params.get("stable_diffusion_model").is_some_and(|model| !model.is_null()) {
            set("stable_diffusion_model", checkpoint.clone().into());
        }
        overrides.insert("sd_model_checkpoint".into(), checkpoint.into());
    }
    if let Some(vae) = named(&detail.ad_vae).filter(|_| detail.ad_use_vae) {
        overrides.insert("sd_vae".into(), vae.into());
    }
    if detail.ad_use_clip_skip {
        overrides.insert("CLIP_stop_at_last_layers".into(), detail.ad_clip_skip.into());
    }
    set("override_settings", Value::Object(overrides));
    request
}

/// What `before` put aside of a first drawing that is left out.
fn original(params: &Params) -> Option<&Map<String, Value>> {
    let scripts = params.get("alwayson_scripts")?.as_object()?;
    let (_, own) = scripts.iter().find(|(key, _)| key.eq_ignore_ascii_case(NAME))?;
    own.get("original")?.as_object()
}

/// What else acts on a part: all that acts on the picture but for this plugin, and of ControlNet the request's own units, the
/// detail's, or none.
fn scripts_of(detail: &Detail, scripts: Option<&Map<String, Value>>) -> Map<String, Value> {
    let model = detail.ad_controlnet_model.trim();
    let stays = |key: &String| {
        let is_control = key.eq_ignore_ascii_case("controlnet");
        !key.eq_ignore_ascii_case(NAME) && (!is_control || model == "Passthrough")
    };
    let mut kept = scripts.cloned().unwrap_or_default();
    kept.retain(|key, _| stays(key));
    if ["", "None", "Passthrough"].contains(&model) {
        return kept;
    }
    let module =
        detail.ad_controlnet_module.as_deref().filter(|module| !module.is_empty() && *module != "None");
    let unit = json!({
        "enabled": true,
        "model": model,
        "module": module.unwrap_or_else(|| module_for(model)),
        "weight": detail.ad_controlnet_weight,
        "guidance_start": detail.ad_controlnet_guidance_start,
        "guidance_end": detail.ad_controlnet_guidance_end,
        "pixel_perfect": true,
    });
    kept.insert("controlnet".to_owned(), json!({"args": [unit]}));
    kept
}

/// The preprocessor that goes with a model, by its name.
fn module_for(model: &str) -> &'static str {
    let model = model.to_ascii_lowercase();
    let modules = [
        ("inpaint", "inpaint_global_harmonious"),
        ("scribble", "t2ia_sketch_pidi"),
        ("lineart", "lineart_coarse"),
        ("openpose", "openpose_full"),
        ("tile", "tile_resample"),
        ("depth", "depth_midas"),
    ];
    modules.into_iter().find(|(part, _)| model.contains(part)).map_or("none", |(_, module)| module)
}

/// What the picture's infotext says of a detail; `place` is its place among several, from 0.
pub fn fields(detail: &Detail, place: usize) -> Vec<(String, String)> {
    let suffix = match place {
        0 => String::new(),
        1 => " 2nd".into(),
        2 => " 3rd".into(),
        more => format!(" {}th", more + 1),
    };
    let default = Detail::default();
    let mut fields = Vec::new();
    let mut say = |name: &str, mut value: String| {
        value.truncate(value.floor_char_boundary(VALUE_BYTES_MAX));
        fields.push((format!("ADetailer {name}{suffix}"), value));
    };
    say("model", detail.ad_model.clone());
    for (name, text) in [
        ("model classes", &detail.ad_model_classes),
        ("prompt", &detail.ad_prompt),
        ("negative prompt", &detail.ad_negative_prompt),
    ] {
        if !text.is_empty() {
            say(name, text.clone());
        }
    }
    say("confidence", detail.ad_confidence.to_string());
    if detail.ad_mask_k > 0 {
        say("method to decide top-k masks", format!("{:?}", detail.ad_mask_filter_method));
        say("mask only top k", detail.ad_mask_k.to_string());
    }
    for (name, value, usual) in [
        ("mask min ratio", detail.ad_mask_min_ratio, default.ad_mask_min_ratio),
        ("mask max ratio", detail.ad_mask_max_ratio, default.ad_mask_max_ratio),
    ] {
        if value != usual {
            say(name, value.to_string());
        }
    }
    for (name, value) in [("x offset", detail.ad_x_offset), ("y offset", detail.ad_y_offset)] {
        if value != 0 {
            say(name, value.to_string());
        }
    }
    say("dilate erode", detail.ad_dilate_erode.to_string());
    if detail.ad_mask_merge_invert != default.ad_mask_merge_invert {
        say("mask merge invert", detail.ad_mask_merge_invert.name().into());
    }
    say("mask blur", detail.ad_mask_blur.to_string());
    say("denoising strength", detail.ad_denoising_strength.to_string());
    say("inpaint only masked", if detail.ad_inpaint_only_masked { "True" } else { "False" }.into());
    if detail.ad_inpaint_only_masked {
        say("inpaint padding", detail.ad_inpaint_only_masked_padding.to_string());
    }
    if detail.ad_use_steps {
        say("steps", detail.ad_steps.to_string());
    }
    if detail.ad_use_cfg_scale {
        say("CFG scale", detail.ad_cfg_scale.to_string());
    }
    if detail.ad_use_sampler {
        say("sampler", detail.ad_sampler.clone());
    }
    if detail.ad_controlnet_model != "None" {
        say("ControlNet model", detail.ad_controlnet_model.clone());
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Merge;

    fn about() -> DrawnPicture {
        DrawnPicture {
            place: 0,
            count: 1,
            stage: gesso_plugin::PictureStage::Composited,
            prompt: "a crowd".into(),
            negative_prompt: "blurry".into(),
            seed: u64::from(u32::MAX),
            subseed: 5,
            infotext: String::new(),
        }
    }

    #[test]
    fn each_find_has_the_part_of_the_prompt_that_is_its_own() {
        let detail = Detail {
            ad_prompt: "smiling, [PROMPT] [SEP] [SKIP] [SEP] [SEP] last".into(),
            ..Detail::default()
        };
        let of = |place| prompts(&detail, &about(), place).map(|(prompt, _)| prompt);
        assert_eq!(of(0).unwrap(), "smiling, a crowd");
        assert_eq!(of(1), None);
        assert_eq!(of(2).unwrap(), "a crowd");
        assert_eq!((of(3).unwrap(), of(9).unwrap()), ("last".into(), "last".into()));
        let plain = prompts(&Detail::default(), &about(), 0).unwrap();
        assert_eq!(plain, ("a crowd".into(), "blurry".into()));
    }

    #[test]
    fn a_part_is_drawn_like_the_picture_but_for_what_the_detail_says() {
        let params = Params::from_json(
            r#"{"prompt": "old", "steps": 20, "cfg_scale": 7, "width": 512, "height": 768, "enable_hr": true,
                "script_name": "X/Y/Z plot", "batch_size": 4, "sampler_name": "Euler",
                "override_settings": {"sd_vae": "a"},
                "alwayson_scripts": {"ADetailer": {"args": []}, "ControlNet": {"args": [{"model": "canny"}]},
                "Dynamic Thresholding": {"args": [true]}}}"#,
        )
        .unwrap();
        let detail = Detail {
            ad_use_steps: true,
            ad_use_clip_skip: true,
            ad_clip_skip: 2,
            ad_use_checkpoint: true,
            ad_checkpoint: Some("other".into()),
            ad_controlnet_model: "control_v11p_sd15_inpaint".into(),
            ..Detail::default()
        };
        let prompts = ("p".to_owned(), "n".to_owned());
        let made = request(&params, &detail, &about(), prompts.clone(), 1, (512, 768));
        for (field, value) in [
            ("prompt", json!("p")),
            ("steps", json!(28)),
            ("cfg_scale", json!(7)),
            ("sampler_name", json!("Euler")),
            ("seed", json!(0)),
            ("subseed", json!(6)),
            ("batch_size", json!(1)),
            ("width", json!(512)),
            ("denoising_strength", json!(0.4)),
            ("inpaint_full_res", json!(true)),
            (
                "override_settings",
                json!({"sd_vae": "a", "sd_model_checkpoint": "other", "CLIP_stop_at_last_layers": 2}),
            ),
        ] {
            assert_eq!(made.get(field), Some(&value), "{field}");
        }
        assert!(made.get("enable_hr").is_none() && made.get("script_name").is_none());
        let unit = &made.get("alwayson_scripts").unwrap()["controlnet"]["args"][0];
        assert_eq!(unit["module"], "inpaint_global_harmonious");
        let scripts = made.get("alwayson_scripts").unwrap().as_object().unwrap();
        assert_eq!(scripts.keys().collect::<Vec<_>>(), ["Dynamic Thresholding", "controlnet"]);
        let passing =
            Detail { ad_controlnet_model: "Passthrough".into(), ad_inpaint_only_masked: false, ..detail };
        let made = request(&params, &passing, &about(), prompts, 0, (515, 700));
        assert_eq!(
            made.get("alwayson_scripts"),
            Some(&json!({
                "ControlNet": {"args": [{"model": "canny"}]},
                "Dynamic Thresholding": {"args": [true]},
            }))
        );
        assert_eq!((made.get("width"), made.get("height")), (Some(&json!(512)), Some(&json!(696))));
    }

    #[test]
    fn a_sampler_that_is_the_same_is_the_requests() {
        let params = Params::from_json(r#"{"sampler_name": "Euler", "scheduler": "Karras"}"#).unwrap();
        let of = |sampler: &str, scheduler: &str| {
            let detail = Detail {
                ad_use_sampler: true,
                ad_sampler: sampler.into(),
                ad_scheduler: scheduler.into(),
                ..Detail::default()
            };
            let made = request(&params, &detail, &about(), (String::new(), String::new()), 0, (64, 64));
            ["sampler_name", "scheduler"].map(|field| made.get(field).cloned().unwrap_or_default())
        };
        assert_eq!(of("Use same sampler", "Use same scheduler"), ["Euler", "Karras"].map(Value::from));
        assert_eq!(of("Heun", "Use same scheduler"), ["Heun", "Karras"].map(Value::from));
        assert_eq!(of("Use same sampler", "Beta"), ["Euler", "Beta"].map(Value::from));
    }

    #[test]
    fn infotexts_have_the_words_of_the_argument_and_no_more_than_the_host_takes() {
        let detail = Detail {
            ad_mask_merge_invert: Merge::MergeAndInvert,
            ad_prompt: "é".repeat(VALUE_BYTES_MAX),
            ..Detail::default()
        };
        let fields = fields(&detail, 0);
        let of = |name: &str| fields.iter().find(|(field, _)| field == name).unwrap().1.clone();
        assert_eq!(of("ADetailer mask merge invert"), "Merge and Invert");
        assert_eq!(of("ADetailer prompt"), "é".repeat(VALUE_BYTES_MAX / 2));
    }

    #[test]
    fn infotexts_name_each_detail_by_its_place() {
        let detail = Detail { ad_model: "face".into(), ad_prompt: "smile".into(), ..Detail::default() };
        let first = fields(&detail, 0);
        assert_eq!(first[0], ("ADetailer model".into(), "face".into()));
        assert!(first.contains(&("ADetailer prompt".into(), "smile".into())), "{first:?}");
        assert_eq!(fields(&detail, 1)[0].0, "ADetailer model 2nd");
        assert_eq!(fields(&detail, 3)[0].0, "ADetailer model 4th");
    }
}
