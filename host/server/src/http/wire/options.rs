//! The web UI's options that this server knows, with what stands unless somebody says otherwise: the dictionary that
//! clients fetch, change in one place and post back as a whole.
//!
//! An option that a request overrides, an option that an owner saved, and the default mean the same and are read by the
//! same code (`overrides.rs`); they only come from different places.

use std::collections::HashSet;
use std::sync::LazyLock;

use gesso_core::limits::Limits;
use gesso_core::request::{GenerateRequest, NoiseSource};
use serde_json::{Map, Value, json};

use super::added_networks::AddedNetworks;
use super::extras;
use super::faces::FacesWanted;
use super::fields::{self, FieldProblem};
use super::file_format::FileFormat;
use super::generate::{self, Defaults, Drawing};
use super::grid_options::GridOptions;
use super::infotext_options::{self, InfotextOptions};
use super::interrogate::TagOptions;
use super::kept_options;
use super::output_options::OutputOptions;
use crate::output_names::WORDS;

/// The option that names the checkpoint.
pub(crate) const CHECKPOINT: &str = "sd_model_checkpoint";
/// Forge's option that names the VAE. It is told once it was set: by it clients know Forge.
pub(super) const MODULES: &str = "forge_additional_modules";
/// Names in one change. Whole dictionaries of web UIs, which have other options too, are a few hundred.
const NAMES_MAX: usize = 1000;
/// Of all options of an owner that differ from the defaults.
const BYTES_MAX: usize = 64 * 1024;
const CLIP_SKIP: &str = "CLIP_stop_at_last_layers";
/// Told, and not taken: it follows from the checkpoint.
const CHECKPOINT_HASH: &str = "sd_checkpoint_hash";

/// Whether the option acts on what is drawn, saved or told of pictures, or is only known so that clients may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Acts,
    /// What it asks for is so already, or belongs to a user interface.
    None,
    /// The same of an option that other web UIs have; it is told once it was set.
    Elsewhere,
}

/// What `randn_source` calls a source of noise.
pub(super) fn noise_name(source: NoiseSource) -> &'static str {
    match source {
        NoiseSource::Cpu => "CPU",
        NoiseSource::Nv => "NV",
    }
}

/// Every option with its default, in the order in which they are told.
fn table(defaults: &Defaults) -> Vec<(&'static str, Value, Effect)> {
    use Effect::{Acts, Elsewhere, None};
    let mut all = vec![
        (CHECKPOINT, Value::Null, Acts),
        (CHECKPOINT_HASH, json!(""), None),
        ("sd_vae", json!("Automatic"), Acts),
        (CLIP_SKIP, json!(defaults.clip_skip), Acts),
        ("emphasis", json!("Original"), Acts),
        ("randn_source", json!(noise_name(defaults.noise_source)), Acts),
        ("eta_noise_seed_delta", json!(0), Acts),
        ("comma_padding_backtrack", json!(GenerateRequest::COMMA_BACKTRACK), Acts),
        ("use_old_scheduling", json!(false), Acts),
        (infotext_options::BY_VERSION, json!(true), Acts),
        ("enable_prompt_comments", json!(true), Acts),
        ("pad_cond_uncond", json!(false), Acts),
        ("pad_cond_uncond_v0", json!(false), Acts),
        ("refiner_switch_by_sample_steps", json!(false), Acts),
        ("hires_fix_refiner_pass", json!("second pass"), Acts),
        ("tiling", json!(false), Acts),
        ("token_merging_ratio", json!(0.0), Acts),
        ("token_merging_ratio_img2img", json!(0.0), Acts),
        ("token_merging_ratio_hr", json!(0.0), Acts),
        ("sd_noise_schedule", json!("Default"), Acts),
        ("use_downcasted_alpha_bar", json!(false), Acts),
        ("eta_ancestral", json!(1.0), Acts),
        ("eta_ddim", json!(0.0), Acts),
        ("s_churn", json!(0.0), Acts),
        ("s_tmin", json!(0.0), Acts),
        ("s_tmax", json!(0.0), Acts),
        ("s_noise", json!(1.0), Acts),
        ("s_min_uncond", json!(0.0), Acts),
        ("s_min_uncond_all", json!(false), Acts),
        ("skip_early_cond", json!(0.0), Acts),
        ("sigma_min", json!(0.0), Acts),
        ("sigma_max", json!(0.0), Acts),
        ("rho", json!(0.0), Acts),
        ("use_old_karras_scheduler_sigmas", json!(false), Acts),
        ("enable_quantization", json!(false), Acts),
        ("beta_dist_alpha", json!(0.6), Acts),
        ("beta_dist_beta", json!(0.6), Acts),
        ("always_discard_next_to_last_sigma", json!(false), Acts),
        ("sgm_noise_multiplier", json!(false), Acts),
        ("uni_pc_variant", json!("bh1"), Acts),
        ("uni_pc_skip_type", json!("time_uniform"), Acts),
        ("uni_pc_order", json!(3), Acts),
        ("uni_pc_lower_order_final", json!(true), Acts),
        ("initial_noise_multiplier", json!(1.0), Acts),
        ("img2img_extra_noise", json!(0.0), Acts),
        ("img2img_fix_steps", json!(false), Acts),
        ("img2img_color_correction", json!(false), Acts),
        ("img2img_background_color", json!("#ffffff"), Acts),
        ("upscaler_for_img2img", Value::Null, Acts),
        ("inpainting_mask_weight", json!(1.0), Acts),
        ("overlay_inpaint", json!(true), Acts),
        ("return_mask", json!(false), Acts),
        ("return_mask_composite", json!(false), Acts),
        ("ESRGAN_tile", json!(192), Acts),
        ("ESRGAN_tile_overlap", json!(8), Acts),
        ("face_restoration", json!(false), Acts),
        ("face_restoration_model", json!("CodeFormer"), Acts),
        ("code_former_weight", json!(0.5), Acts),
        ("samples_format", json!("png"), Acts),
        ("jpeg_quality", json!(80), Acts),
        ("webp_lossless", json!(false), Acts),
        ("samples_filename_pattern", json!(""), Acts),
        ("save_images_add_number", json!(true), Acts),
        ("save_to_dirs", json!(true), Acts),
        ("directories_filename_pattern", json!("[date]"), Acts),
        ("return_grid", json!(true), Acts),
        ("grid_save", json!(true), Acts),
        ("grid_format", json!("png"), Acts),
        ("grid_extended_filename", json!(false), Acts),
        ("grid_save_to_dirs", json!(true), Acts),
        ("grid_only_if_multiple", json!(true), Acts),
        ("grid_prevent_empty_spots", json!(false), Acts),
        ("grid_background_color", json!("#ffffff"), Acts),
        ("n_rows", json!(-1), Acts),
        ("interrogate_deepbooru_score_threshold", json!(0.5), Acts),
        ("deepbooru_sort_alpha", json!(true), Acts),
        ("deepbooru_use_spaces", json!(true), Acts),
        ("deepbooru_escape", json!(true), Acts),
        ("deepbooru_filter_tags", json!(""), Acts),
        ("interrogate_return_ranks", json!(false), Acts),
        ("samples_save", json!(true), Acts),
        ("enable_pnginfo", json!(true), Acts),
        ("save_txt", json!(false), Acts),
        ("directories_max_prompt_words", json!(WORDS), Acts),
        ("add_model_name_to_info", json!(true), Acts),
        ("add_model_hash_to_info", json!(true), Acts),
        ("add_vae_name_to_info", json!(true), Acts),
        ("add_vae_hash_to_info", json!(true), Acts),
        ("add_user_name_to_info", json!(false), Acts),
        ("add_version_to_infotext", json!(true), Acts),
        ("lora_add_hashes_to_infotext", json!(true), Acts),
        ("textual_inversion_add_hashes_to_infotext", json!(true), Acts),
        ("disable_weights_auto_swap", json!(true), Acts),
        ("sd_lora", json!("None"), Acts),
        ("sd_hypernetwork", json!("None"), Acts),
        ("extra_networks_default_multiplier", json!(1.0), Acts),
        ("sd_vae_encode_method", json!("Full"), Acts),
        ("sd_vae_decode_method", json!("Full"), Acts),
        ("use_old_hires_fix_width_height", json!(false), Acts),
        ("live_previews_enable", json!(true), Acts),
        ("postprocessing_operation_order", json!([]), Acts),
        (MODULES, json!([]), Acts),
    ];
    let kept = kept_options::WEB_UI.iter().map(|kept| (kept, None));
    let kept = kept.chain(kept_options::ELSEWHERE.iter().map(|kept| (kept, Elsewhere)));
    all.extend(kept.map(|((name, usual), effect)| (*name, usual.value(), effect)));
    all
}

static NAMES: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| table(&Defaults::default()).into_iter().map(|(name, _, _)| name).collect());

/// Whether there is an option of this name.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(name)
}

/// Some of them, each with what stands unless somebody says otherwise.
pub(super) fn usual(defaults: &Defaults, names: &[&str]) -> Vec<(&'static str, Value)> {
    let all = table(defaults).into_iter().map(|(name, value, _)| (name, value));
    all.filter(|(name, _)| names.contains(name)).collect()
}

/// The names of options that act, for sentences.
pub(super) fn acting() -> Vec<&'static str> {
    let all = table(&Defaults::default());
    all.into_iter()
        .filter(|(name, _, effect)| *effect == Effect::Acts && *name != CHECKPOINT_HASH)
        .map(|(name, _, _)| name)
        .collect()
}

/// The whole dictionary: the defaults with what was saved over them. `checkpoint` is the title and the hash of the one
/// that is drawn with.
pub(crate) fn whole(
    defaults: &Defaults,
    saved: &Map<String, Value>,
    checkpoint: Option<(String, String)>,
) -> Map<String, Value> {
    let told = table(defaults)
        .into_iter()
        .filter(|(name, _, effect)| *effect != Effect::Elsewhere && *name != MODULES);
    let mut all: Map<String, Value> = told.map(|(name, value, _)| (name.to_owned(), value)).collect();
    all.extend(saved.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some((title, hash)) = checkpoint {
        all.insert(CHECKPOINT.into(), title.into());
        all.insert(CHECKPOINT_HASH.into(), hash.into());
    }
    all
}

/// What an owner has saved after `change` was laid over it: only what differs from the defaults is kept, so that the
/// rest follows them. Null is the default.
///
/// # Errors
/// Every option that is not known, or whose value cannot be read.
pub(crate) fn change(
    defaults: &Defaults,
    saved: &Map<String, Value>,
    change: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<FieldProblem>> {
    let table = table(defaults);
    if change.len() > NAMES_MAX {
        let message =
            format!("{} options are more than there are; send those of GET /sdapi/v1/options", change.len());
        return Err(vec![FieldProblem { field: "body".into(), message }]);
    }
    let mut problems = Vec::new();
    let mut merged = saved.clone();
    for (name, value) in change {
        let Some((_, default, effect)) = table.iter().find(|(known, _, _)| known == name) else {
            let message = format!("{name} is not an option here; GET /sdapi/v1/options lists them");
            problems.push(FieldProblem { field: name.clone(), message });
            continue;
        };
        if value.is_null() || name == CHECKPOINT_HASH {
            merged.shift_remove(name);
            continue;
        }
        let read = match effect {
            Effect::Acts => Some(as_read(default, value)),
            Effect::None | Effect::Elsewhere => fields::like(default, value),
        };
        let Some(read) = read else {
            let message = format!("{name} has a value of another type than the option's");
            problems.push(FieldProblem { field: name.clone(), message });
            continue;
        };
        // What the server tells and the client sends back changes nothing.
        if same(&read, default) {
            merged.shift_remove(name);
        } else {
            merged.insert(name.clone(), read);
        }
    }
    problems.extend(unreadable(defaults, change));
    let bytes: usize = merged.iter().map(|(name, value)| name.len() + value.to_string().len()).sum();
    if bytes > BYTES_MAX {
        let message = format!("the options take {bytes} bytes together; at most {BYTES_MAX} are kept");
        problems.push(FieldProblem { field: "body".into(), message });
    }
    if problems.is_empty() { Ok(merged) } else { Err(problems) }
}

/// The value of an option that acts, in the type that it is read in: clients that take the options' values for what they are
/// would take the text `false` for true. What cannot be read is refused where it acts.
fn as_read(default: &Value, value: &Value) -> Value {
    let read = if default.is_i64() { fields::integer(value) } else { fields::like(default, value) };
    read.unwrap_or_else(|| value.clone())
}

/// Options whose value a request that overrode them would be refused for.
fn unreadable(defaults: &Defaults, options: &Map<String, Value>) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let acting = acting();
    let read = |name: &str, value: &Value| acting.contains(&name) && !value.is_null();
    for (name, value) in options.iter().filter(|(name, value)| read(name, value)) {
        for drawing in [Drawing::Txt2Img, Drawing::Img2Img] {
            let body = json!({"override_settings": {name: value}, "init_images": [""]});
            let Some(body) = body.as_object() else { continue };
            let Ok(body) = drawing.read(body, || 0) else { continue };
            let limits = Limits::default();
            let found = generate::to_request(drawing, &body, defaults, &limits).err().unwrap_or_default();
            let faces = FacesWanted::read(&body).err().unwrap_or_default();
            let file = FileFormat::of(&body).err().unwrap_or_default();
            let outputs = OutputOptions::of(&body).err().unwrap_or_default();
            let grids = GridOptions::of(&body).err().unwrap_or_default();
            let tags = TagOptions::of(&body).err().unwrap_or_default();
            let texts = InfotextOptions::of(&body).err().unwrap_or_default();
            let networks = AddedNetworks::of(&body).err().unwrap_or_default();
            let order = extras::operation_order(&body).err().unwrap_or_default();
            // Limits know options by their names.
            let own = |problem: &FieldProblem| problem.field == "override_settings" || problem.field == *name;
            let found = found.into_iter().chain(faces).chain(file).chain(outputs).chain(grids).chain(tags);
            let found = found.chain(texts).chain(networks).chain(order);
            for problem in found.filter(own) {
                let message = problem.message.replace("override_settings.", "");
                if !problems.iter().any(|known: &FieldProblem| known.message == message) {
                    problems.push(FieldProblem { field: name.clone(), message });
                }
            }
        }
    }
    problems
}

/// Takes out what cannot be read any more, and says what that was. An option that has come to act may have been saved with
/// anything that had its type, and each of its owner's requests would be refused for it.
pub(crate) fn drop_unreadable(saved: &mut Map<String, Value>) -> Vec<FieldProblem> {
    let problems = unreadable(&Defaults::default(), saved);
    for problem in &problems {
        saved.shift_remove(&problem.field);
    }
    problems
}

/// Numbers are the same whether they are written with a point or without.
fn same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// Lays saved options under those of a request, which win. `body` went through [`Drawing::read`].
pub(crate) fn lay_under(body: &mut Map<String, Value>, saved: &Map<String, Value>) {
    let acting = acting();
    let mut all: Map<String, Value> = saved
        .iter()
        .filter(|(name, _)| acting.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if all.is_empty() {
        return;
    }
    // Of what is saved image to image goes by its own share, and not by that of all drawings.
    if body.contains_key("init_images") && all.contains_key("token_merging_ratio_img2img") {
        all.shift_remove("token_merging_ratio");
    }
    if let Some(own) = body.get("override_settings").and_then(Value::as_object) {
        // Both name the VAE, and the request's own word is the last.
        if own.get("sd_vae").is_some_and(|value| !value.is_null()) {
            all.shift_remove(MODULES);
        }
        all.extend(
            own.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    body.insert("override_settings".into(), all.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn changed(saved: Value, by: Value) -> Result<Value, Vec<String>> {
        change(&Defaults::default(), &map(saved), &map(by))
            .map(Value::Object)
            .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn the_whole_dictionary_posted_back_changes_nothing() {
        let saved = json!({"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "x"});
        let whole = whole(&Defaults::default(), &map(saved.clone()), None);
        assert_eq!(changed(saved.clone(), Value::Object(whole)).unwrap(), saved);
    }

    #[test]
    fn only_what_differs_is_kept_and_null_is_the_default() {
        let saved = changed(json!({}), json!({"eta_ddim": 0.5, "s_noise": 1, "tiling": true})).unwrap();
        assert_eq!(saved, json!({"eta_ddim": 0.5, "tiling": true}));
        assert_eq!(changed(saved, json!({"eta_ddim": null, "tiling": false})).unwrap(), json!({}));
    }

    #[test]
    fn values_out_of_range_are_refused_where_they_are_saved() {
        for (option, value) in [
            ("rho", json!(-7)),
            ("eta_ddim", json!(2)),
            ("uni_pc_order", json!(99)),
            ("CLIP_stop_at_last_layers", json!(40)),
            ("initial_noise_multiplier", json!(1e9)),
            ("inpainting_mask_weight", json!(3)),
            ("samples_filename_pattern", json!("x".repeat(1025))),
        ] {
            let problems = changed(json!({}), json!({option: value})).unwrap_err();
            assert_eq!(problems.len(), 1, "{option}: {problems:?}");
        }
    }

    #[test]
    fn unknown_options_and_values_that_cannot_be_read_are_named() {
        let by = json!({"sd_modell": "x", "eta_ddim": "much", "uni_pc_variant": "bh3", "img2img_fix_steps": "maybe",
            "samples_format": "tiff", "show_progress_grid": "perhaps", "n_rows": "few",
            "deepbooru_escape": "perhaps", "postprocessing_operation_order": [1]});
        let problems = changed(json!({}), by).unwrap_err();
        assert_eq!(problems.len(), 9, "{problems:?}");
        assert!(problems[0].starts_with("sd_modell is not an option here"), "{problems:?}");
        assert!(problems.contains(&"eta_ddim must be a finite number".to_owned()), "{problems:?}");
    }

    #[test]
    fn no_option_is_there_twice_and_each_default_is_one_of_its_own() {
        let all = table(&Defaults::default());
        let names: HashSet<_> = all.iter().map(|(name, _, _)| *name).collect();
        assert_eq!(names.len(), all.len());
        let defaults = all.into_iter().map(|(name, value, _)| (name.to_owned(), value)).collect();
        assert_eq!(changed(json!({}), Value::Object(defaults)).unwrap(), json!({}));
    }

    #[test]
    fn options_without_effect_are_kept_by_their_type_and_lie_under_no_request() {
        let by = json!({"gradio_theme": "Dark", "hidden_tabs": "Train", "save_mask": "maybe",
            "img_max_size_mp": "many"});
        assert_eq!(changed(json!({}), by).unwrap_err().len(), 3);
        let by = json!({"gradio_theme": "Dark", "hidden_tabs": ["Train"], "img_max_size_mp": 50.5, "forge_preset": "xl"});
        assert_eq!(changed(json!({}), by.clone()).unwrap(), by);
        let mut body = Map::new();
        lay_under(&mut body, &map(by));
        assert_eq!(body, Map::new());
    }

    #[test]
    fn options_without_effect_are_read_as_laxly_as_fields() {
        let by = json!({"save_mask": 1, "save_init_img": "true", "notification_audio": "on", "export_for_4chan": 0,
            "target_side_length": "3000", "img_downscale_threshold": "2.5", "gallery_height": 4});
        let kept = json!({"save_mask": true, "save_init_img": true, "export_for_4chan": false,
            "target_side_length": 3000, "img_downscale_threshold": 2.5, "gallery_height": "4"});
        assert_eq!(changed(json!({}), by).unwrap(), kept);
        let usual = json!({"save_mask": 0, "target_side_length": "4000"});
        assert_eq!(changed(kept, usual).unwrap().as_object().unwrap().len(), 4);
    }

    #[test]
    fn options_that_act_are_kept_in_the_type_that_they_are_read_in() {
        let by = json!({"CLIP_stop_at_last_layers": "2", "jpeg_quality": 90.5, "tiling": "true", "save_txt": 1,
            "eta_ddim": "0.5"});
        let kept = json!({"CLIP_stop_at_last_layers": 2, "jpeg_quality": 90, "tiling": true, "save_txt": true,
            "eta_ddim": 0.5});
        assert_eq!(changed(json!({}), by).unwrap(), kept);
        let usual = json!({"CLIP_stop_at_last_layers": "1", "jpeg_quality": 80.5, "tiling": "off", "save_txt": 0,
            "eta_ddim": "0"});
        assert_eq!(changed(kept, usual).unwrap(), json!({}));
    }

    #[test]
    fn what_tells_forge_from_others_is_told_once_it_was_set() {
        let told = |saved: Value| whole(&Defaults::default(), &map(saved), None);
        for name in ["forge_preset", MODULES] {
            assert!(is_known(name) && !told(json!({})).contains_key(name), "{name}");
        }
        assert_eq!(told(json!({"forge_preset": "xl"}))["forge_preset"], "xl");
        assert_eq!(told(json!({}))["gradio_theme"], "Default");
    }

    #[test]
    fn a_requests_own_vae_wins_over_a_saved_one_by_its_other_name() {
        let saved = map(json!({MODULES: ["a.safetensors"]}));
        let mut body = map(json!({"override_settings": {"sd_vae": "b"}}));
        lay_under(&mut body, &saved);
        assert_eq!(body["override_settings"], json!({"sd_vae": "b"}));
    }

    #[test]
    fn neither_many_names_nor_long_values_are_kept() {
        let many: Map<String, Value> = (0..=NAMES_MAX).map(|number| (number.to_string(), json!(1))).collect();
        assert_eq!(changed(json!({}), Value::Object(many)).unwrap_err().len(), 1);
        let long = json!({"api_useragent": "x".repeat(BYTES_MAX)});
        assert!(changed(json!({}), long).unwrap_err()[0].contains("bytes together"));
    }

    #[test]
    fn a_requests_own_options_win_over_saved_ones() {
        let mut body = map(json!({"override_settings": {"eta_ddim": 0.1, "sd_vae": null}}));
        lay_under(&mut body, &map(json!({"eta_ddim": 0.5, "sd_vae": "x.pt", "show_progress_grid": false})));
        assert_eq!(body["override_settings"], json!({"eta_ddim": 0.1, "sd_vae": "x.pt"}));
    }

    #[test]
    fn image_to_image_has_its_own_saved_share_of_tokens_before_that_of_all() {
        let saved = json!({"token_merging_ratio": 0.5, "token_merging_ratio_img2img": 0.25});
        for (body, want) in [
            (json!({}), saved.clone()),
            (json!({"init_images": []}), json!({"token_merging_ratio_img2img": 0.25})),
            (
                json!({"init_images": [], "override_settings": {"token_merging_ratio": 0.75}}),
                json!({"token_merging_ratio_img2img": 0.25, "token_merging_ratio": 0.75}),
            ),
        ] {
            let mut body = map(body);
            lay_under(&mut body, &map(saved.clone()));
            assert_eq!(body["override_settings"], want);
        }
    }
}
