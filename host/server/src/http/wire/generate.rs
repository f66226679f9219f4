//! A drawing's body read by its fields and converted to a `GenerateRequest`, as far as both kinds have them in common
//! ([`super::shared_fields`]). What only one kind has is read by [`super::txt2img`] and [`super::img2img`].

use gesso_core::infotext::Infotext;
use gesso_core::limits::{Limits, MIN_SIDE_PX};
use gesso_core::request::{Emphasis, GenerateRequest, NoiseSource, Variation};
use gesso_core::sampler::{Sampler, SamplerOptions};
use gesso_core::schedule::Scheduler;
use serde_json::{Map, Value};

use super::fields::{self, Field, FieldProblem};
use super::overrides::Overrides;
use super::problems::{Problems, flag, integer, non_empty, number, text};
use super::styles::Styling;
use super::{
    control, grid_options, img2img, infotext, infotext_report, per_picture, refiner, shared_fields,
    token_merging, txt2img,
};

/// What is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawing {
    Txt2Img,
    Img2Img,
}

impl Drawing {
    /// The name in task records and errors.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Txt2Img => "txt2img",
            Self::Img2Img => "img2img",
        }
    }

    /// By the name in a task record.
    pub(crate) fn parse(kind: &str) -> Option<Self> {
        [Self::Txt2Img, Self::Img2Img].into_iter().find(|drawing| drawing.as_str() == kind)
    }

    /// Every field, in the order the web UI's echo has them.
    pub(crate) fn fields(self) -> impl Iterator<Item = &'static Field> + Clone {
        let (middle, end) = match self {
            Self::Txt2Img => (txt2img::DENOISING, txt2img::FIELDS),
            Self::Img2Img => (img2img::DENOISING, img2img::FIELDS),
        };
        shared_fields::FIRST
            .iter()
            .chain(middle)
            .chain(shared_fields::SECOND)
            .chain(end)
            .chain(shared_fields::LAST)
    }

    /// The body with every field present and of its type, seeds drawn; or all problems.
    pub(crate) fn read(
        self,
        body: &Map<String, Value>,
        draw_seed: impl FnMut() -> u32,
    ) -> Result<Map<String, Value>, Vec<FieldProblem>> {
        let text = infotext::of_body(body).map(Infotext::parse);
        self.read_with(body, (text.as_ref(), &Defaults::default()), draw_seed)
    }

    /// [`Self::read`], which knows no settings, with what the `infotext` says, which plugins may have changed.
    pub(crate) fn read_with(
        self,
        body: &Map<String, Value>,
        (text, defaults): (Option<&Infotext>, &Defaults),
        draw_seed: impl FnMut() -> u32,
    ) -> Result<Map<String, Value>, Vec<FieldProblem>> {
        let mut body = fields::read(&infotext::filled(self, body, text, defaults), self.fields())?;
        settle_seeds(&mut body, draw_seed);
        Ok(body)
    }
}

/// A stored body without what the server has put into it, and whether it was marked for an answer with a grid.
pub(crate) fn asked(mut body: Map<String, Value>) -> (Map<String, Value>, bool) {
    Styling::take(&mut body).undo(&mut body);
    infotext_report::take(&mut body);
    let has_grid = grid_options::take_mark(&mut body);
    (body, has_grid)
}

/// Writes into a body without its pictures how many of a batch are drawn, which depends on them.
pub(crate) fn tell_batch(drawing: Drawing, body: &mut Map<String, Value>, pictures: &[(&str, Value)]) {
    let sources = pictures.iter().find(|(name, _)| *name == "init_images");
    let sources = sources.and_then(|(_, list)| list.as_array()).map_or(0, Vec::len);
    if drawing == Drawing::Img2Img
        && let Ok(asked) = u32::try_from(integer(body, "batch_size"))
    {
        body.insert("batch_size".into(), img2img::batch_of(sources, asked).into());
    }
}

/// Fields that are sides of pictures.
pub(super) const SIDES: [&str; 6] =
    ["width", "height", "firstphase_width", "firstphase_height", "seed_resize_from_w", "seed_resize_from_h"];

/// Sides of the web UI's dialect: what is beyond a multiple of 8 is lost, as it is of a second pass's size. What is too small, or no
/// number, is left to be refused, or to say that there is none.
pub(crate) fn cut_sides(body: &mut Map<String, Value>) {
    for name in SIDES {
        let side = body.get(name).and_then(fields::integer).and_then(|side| side.as_i64());
        if let Some(side) = side.filter(|side| *side > i64::from(MIN_SIDE_PX) && side % 8 != 0) {
            body.insert(name.into(), (side / 8 * 8).into());
        }
    }
}

/// The field of a picture that stands in for what the first of two passes would draw.
pub(crate) const FIRST_PASS_PICTURE: &str = "firstpass_image";

/// Fields whose pictures are left out of an echo that was not asked to have them.
pub(crate) const PICTURES: [&str; 3] = ["init_images", "mask", FIRST_PASS_PICTURE];

/// Whether a picture may stand in for the first pass of a body that was read.
pub(crate) fn takes_first_pass(drawing: Drawing, body: &Map<String, Value>) -> bool {
    drawing == Drawing::Txt2Img && flag(body, "enable_hr")
}

/// Options a request may override, and what stands when it does not.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) noise_source: NoiseSource,
    pub(crate) clip_skip: u32,
    pub(crate) emphasis: Emphasis,
    /// An infotext means what the version that wrote it did.
    pub(crate) by_version: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        // NV draws the same picture with and without a GPU and is what shared seeds were mostly made with.
        Self { noise_source: NoiseSource::Nv, clip_skip: 1, emphasis: Emphasis::Original, by_version: true }
    }
}

/// Turns a body that went through [`Drawing::read`] into a request; all problems at once.
pub(crate) fn to_request(
    drawing: Drawing,
    body: &Map<String, Value>,
    defaults: &Defaults,
    limits: &Limits,
) -> Result<GenerateRequest, Vec<FieldProblem>> {
    let mut problems = Problems::default();
    refuse_without_effect(drawing, body, &mut problems);
    let overrides = Overrides::new(body, &mut problems);
    overrides.check_vae_methods(&mut problems);
    let named =
        non_empty(body, "sampler_name").or_else(|| non_empty(body, "sampler_index")).unwrap_or("Euler");
    let (sampler, suffix) = sampler("sampler_name", named, &mut problems).unwrap_or((Sampler::Euler, None));
    let scheduler = match non_empty(body, "scheduler") {
        None => suffix.unwrap_or(Scheduler::Automatic),
        Some(name) => scheduler("scheduler", name, &mut problems).unwrap_or(Scheduler::Automatic),
    };
    let mut request = GenerateRequest {
        prompt: text(body, "prompt"),
        negative_prompt: text(body, "negative_prompt"),
        model: overrides.text("sd_model_checkpoint", &mut problems).map(str::to_owned),
        vae: overrides.vae(&mut problems),
        width: problems.count(body, "width"),
        height: problems.count(body, "height"),
        steps: problems.count(body, "steps"),
        cfg_scale: number(body, "cfg_scale").unwrap_or(7.0),
        sampler,
        scheduler,
        seed: integer(body, "seed") as u64,
        variation: Variation {
            subseed: integer(body, "subseed") as u64,
            strength: number(body, "subseed_strength").unwrap_or(0.0),
        },
        seed_resize_from: resize_from(body),
        batch_size: problems.count(body, "batch_size"),
        n_iter: problems.count(body, "n_iter"),
        clip_skip: overrides.count("CLIP_stop_at_last_layers", &mut problems).unwrap_or(defaults.clip_skip),
        emphasis: overrides.emphasis(&mut problems).unwrap_or(defaults.emphasis),
        comma_backtrack: overrides
            .count("comma_padding_backtrack", &mut problems)
            .unwrap_or(GenerateRequest::COMMA_BACKTRACK),
        noise_source: overrides.noise_source(&mut problems).unwrap_or(defaults.noise_source),
        options: options(body, &overrides, &mut problems),
        eta_noise_seed_delta: overrides.count("eta_noise_seed_delta", &mut problems).unwrap_or(0).into(),
        zero_terminal_snr: overrides.zero_terminal_snr(&mut problems),
        half_alphas: overrides.flag("use_downcasted_alpha_bar", &mut problems).unwrap_or(false),
        old_scheduling: overrides.flag("use_old_scheduling", &mut problems).unwrap_or(false),
        prompt_comments: overrides.flag("enable_prompt_comments", &mut problems).unwrap_or(true),
        quantized_timesteps: overrides.flag("enable_quantization", &mut problems).unwrap_or(false),
        prompt_lengths: overrides.prompt_lengths(&mut problems),
        upscale_tiles: overrides.upscale_tiles(&mut problems),
        tiling: body
            .get("tiling")
            .and_then(Value::as_bool)
            .or_else(|| overrides.flag("tiling", &mut problems))
            .unwrap_or(false),
        token_merging: token_merging::read(drawing, &overrides, &mut problems),
        extra_networks: !flag(body, "disable_extra_networks"),
        hires: None,
        refiner: refiner::read(body, &overrides, &mut problems),
        img2img: None,
    };
    // Read of every request, so that a value that is none is refused where it is saved.
    let are_sides_seconds = overrides.flag("use_old_hires_fix_width_height", &mut problems).unwrap_or(false);
    match drawing {
        Drawing::Txt2Img => {
            request.hires = txt2img::hires(body, are_sides_seconds, &mut problems);
            if let Some(size) = txt2img::first_pass(body, are_sides_seconds, &mut problems) {
                (request.width, request.height) = size;
            }
        }
        Drawing::Img2Img => {
            request.img2img = Some(img2img::settings(body, &overrides, &mut problems));
            request.batch_size = img2img::batch_size(body, request.batch_size);
        }
    }
    if let Err(units) = control::units(body) {
        units.into_iter().for_each(|problem| problems.add(&problem.field, problem.message));
    }
    per_picture::check(body, &request, limits, &mut problems);
    for problem in limits.check(&request) {
        let (field, message) = txt2img::as_asked(body, are_sides_seconds, problem);
        problems.add(field, message);
    }
    problems.into_result(request)
}

/// A sampler, and the scheduler that old combined names carry.
pub(super) fn sampler(
    field: &str,
    name: &str,
    problems: &mut Problems,
) -> Option<(Sampler, Option<Scheduler>)> {
    let found = Sampler::parse(name);
    if found.is_none() {
        let known: Vec<_> = Sampler::ALL.iter().map(|sampler| sampler.label()).collect();
        problems.add(field, format!("{name:?} is not a sampler; known: {}", known.join(", ")));
    }
    found
}

pub(super) fn scheduler(field: &str, name: &str, problems: &mut Problems) -> Option<Scheduler> {
    let found = Scheduler::parse(name);
    if found.is_none() {
        let known: Vec<_> = Scheduler::ALL.iter().map(|scheduler| scheduler.label()).collect();
        problems.add(field, format!("{name:?} is not a scheduler; known: {}", known.join(", ")));
    }
    found
}

/// Fields of the body over options of the same meaning.
fn options(body: &Map<String, Value>, overrides: &Overrides<'_>, problems: &mut Problems) -> SamplerOptions {
    let mut options = overrides.sampler_options(problems);
    options.eta = number(body, "eta");
    options.churn.amount = number(body, "s_churn").unwrap_or(options.churn.amount);
    options.churn.min_sigma = number(body, "s_tmin").unwrap_or(options.churn.min_sigma);
    options.churn.noise = number(body, "s_noise").unwrap_or(options.churn.noise);
    options.ngms_sigma = number(body, "s_min_uncond").unwrap_or(options.ngms_sigma);
    options.initial_noise_multiplier =
        number(body, "initial_noise_multiplier").unwrap_or(options.initial_noise_multiplier);
    if let Some(most) = number(body, "s_tmax") {
        options.churn.max_sigma = if most == 0.0 { f64::INFINITY } else { most };
    }
    options
}

/// Replaces -1 by drawn seeds, so that a stored body draws the same picture again.
fn settle_seeds(body: &mut Map<String, Value>, mut draw: impl FnMut() -> u32) {
    for name in ["seed", "subseed"] {
        if body.get(name).and_then(Value::as_i64).is_none_or(|seed| seed < 0) {
            body.insert(name.into(), draw().into());
        }
    }
}

fn resize_from(body: &Map<String, Value>) -> Option<(u32, u32)> {
    let side = |name| u32::try_from(integer(body, name)).ok().filter(|&side| side > 0);
    Some((side("seed_resize_from_w")?, side("seed_resize_from_h")?))
}

/// A picture that would silently change nothing is refused instead.
fn refuse_without_effect(drawing: Drawing, body: &Map<String, Value>, problems: &mut Problems) {
    if non_empty(body, FIRST_PASS_PICTURE).is_some() && !takes_first_pass(drawing, body) {
        let message = format!(
            "{FIRST_PASS_PICTURE} stands in for the first of two passes, which text to image with enable_hr alone has; set \
             enable_hr there, or leave it out"
        );
        problems.add(FIRST_PASS_PICTURE, message);
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::request::VaeChoice;
    use gesso_plugin_host::ChainReport;
    use serde_json::json;

    use super::*;

    fn request(body: Value) -> Result<GenerateRequest, Vec<String>> {
        let body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 42).unwrap();
        to_request(Drawing::Txt2Img, &body, &Defaults::default(), &Limits::default())
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn an_empty_body_is_the_web_uis_default_request() {
        let request = request(json!({})).unwrap();
        assert_eq!((request.width, request.height, request.steps, request.cfg_scale), (512, 512, 50, 7.0));
        assert_eq!((request.sampler, request.scheduler), (Sampler::Euler, Scheduler::Automatic));
        assert_eq!((request.seed, request.image_count()), (42, 1));
        assert_eq!((request.hires, request.img2img), (None, None));
    }

    #[test]
    fn a_stored_body_is_told_as_it_was_asked_for_and_reads_as_it_did() {
        let sent =
            json!({"prompt": "a cat", "steps": "20", "seed": -1, "override_settings": {"eta_ddim": 0.5}});
        let read = |body: &Map<String, Value>| Drawing::Txt2Img.read(body, || 42).unwrap();
        let taken_in = read(sent.as_object().unwrap());
        let mut stored = taken_in.clone();
        grid_options::mark(&mut stored);
        infotext_report::write(&mut stored, &ChainReport { acted: Vec::new(), warnings: vec!["x".into()] });
        assert_ne!(stored, taken_in);
        let (body, has_grid) = asked(stored);
        assert_eq!((&body, has_grid), (&taken_in, true));
        assert_eq!(read(&body), taken_in);
        assert!(!asked(taken_in).1);
    }

    #[test]
    fn splits_old_combined_sampler_names() {
        let request = request(json!({"sampler_name": "DPM++ 2M Karras"})).unwrap();
        assert_eq!((request.sampler, request.scheduler), (Sampler::Dpmpp2m, Scheduler::Karras));
    }

    #[test]
    fn names_all_bad_fields_at_once() {
        let body = json!({
            "sampler_name": "Eular", "width": 100, "steps": 0, "refiner_checkpoint": "x", "cfg_scale": 1e9,
            "override_settings": {"sd_modell": "x"},
        });
        let mut problems = request(body).unwrap_err();
        problems.sort();
        assert_eq!(
            problems,
            ["cfg_scale", "override_settings", "refiner_switch_at", "sampler_name", "steps", "width"]
        );
    }

    #[test]
    fn sides_of_the_web_uis_dialect_lose_what_is_beyond_a_multiple_of_eight() {
        for (width, cut) in [
            (json!(100), json!(96)),
            (json!("500"), json!(496)),
            (json!(65.9), json!(64)),
            (json!(64), json!(64)),
            (json!(63), json!(63)),
            (json!(0), json!(0)),
            (json!(-100), json!(-100)),
            (json!("wide"), json!("wide")),
        ] {
            let all = |value: &Value| -> Map<String, Value> {
                SIDES.iter().map(|name| ((*name).to_owned(), value.clone())).collect()
            };
            let mut body = all(&width);
            cut_sides(&mut body);
            assert_eq!(body, all(&cut));
        }
    }

    #[test]
    fn a_limit_names_the_field_that_was_sent() {
        let said = |body: Value| {
            let body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 42).unwrap();
            let request = to_request(Drawing::Txt2Img, &body, &Defaults::default(), &Limits::default());
            let problem = request.unwrap_err().remove(0);
            (problem.field, problem.message)
        };
        let with = |first: (u32, u32)| {
            said(json!({"enable_hr": true, "denoising_strength": 0.5, "firstphase_width": first.0,
                "firstphase_height": first.1}))
        };
        let (field, message) = with((100, 64));
        assert_eq!(field, "firstphase_width");
        assert_eq!(message, "firstphase_width must be a multiple of 8, not 100; try 96");
        assert_eq!(with((64, 4096)).0, "firstphase_height");
        assert_eq!(said(json!({"width": 100, "firstphase_width": 64, "firstphase_height": 64})).0, "width");
        let (field, message) = said(json!({"override_settings": {"CLIP_stop_at_last_layers": 13}}));
        assert_eq!(field, "CLIP_stop_at_last_layers");
        assert!(message.starts_with("CLIP_stop_at_last_layers must be between 1 and 12"), "{message}");
    }

    #[test]
    fn a_negative_size_is_refused_and_not_wrapped() {
        assert_eq!(request(json!({"height": -8})).unwrap_err(), ["height"]);
    }

    #[test]
    fn options_of_a_request_reach_the_sampler_and_fields_win_over_them() {
        let body = json!({
            "s_churn": 2, "sampler_name": "DDIM",
            "override_settings": {"s_churn": 9, "eta_ddim": "0.5", "eta_ancestral": 0.1, "rho": 5, "sigma_min": 0},
        });
        let options = request(body).unwrap().options;
        assert_eq!((options.churn.amount, options.rho), (2.0, Some(5.0)));
        assert_eq!((options.eta, options.eta_ancestral, options.eta_ddim), (None, Some(0.1), Some(0.5)));
        assert_eq!(options.sigma_min, None);
    }

    #[test]
    fn the_ends_of_old_karras_schedules_give_way_to_those_that_are_asked_for() {
        let ends = |more: Value| {
            let mut overrides = json!({"use_old_karras_scheduler_sigmas": true});
            overrides.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let options = request(json!({"override_settings": overrides})).unwrap().options;
            (options.sigma_min, options.sigma_max)
        };
        assert_eq!(ends(json!({})), (Some(0.1), Some(10.0)));
        assert_eq!(ends(json!({"sigma_max": 12})), (Some(0.1), Some(12.0)));
        assert_eq!(ends(json!({"use_old_karras_scheduler_sigmas": false})), (None, None));
    }

    #[test]
    fn the_field_decides_about_tiling_and_the_option_where_there_is_none() {
        for (body, tiling) in [
            (json!({}), false),
            (json!({"tiling": true}), true),
            (json!({"override_settings": {"tiling": true}}), true),
            (json!({"tiling": false, "override_settings": {"tiling": true}}), false),
        ] {
            assert_eq!(request(body.clone()).unwrap().tiling, tiling, "{body}");
        }
    }

    #[test]
    fn forges_modules_name_the_vae() {
        let vae = |modules: Value| {
            let overrides = json!({"sd_vae": "other", "forge_additional_modules": modules});
            request(json!({"override_settings": overrides})).map(|request| request.vae)
        };
        let named = |name: &str| Ok(VaeChoice::Named(name.to_owned()));
        assert_eq!(vae(json!([])), named("other"));
        assert_eq!(vae(json!(["sub/x.safetensors"])), named("sub/x.safetensors"));
        assert_eq!(vae(json!(["/srv/models/VAE/x.safetensors"])), named("x.safetensors"));
        assert_eq!(vae(json!(["C:\\models\\VAE\\x.pt"])), named("x.pt"));
        for wrong in [json!(["x", "y"]), json!("x"), json!([1])] {
            assert_eq!(vae(wrong.clone()).unwrap_err(), ["override_settings"], "{wrong}");
        }
    }

    #[test]
    fn a_vae_in_small_is_refused_in_words() {
        for (method, is_fine) in [("Full", true), ("full", true), ("TAESD", false)] {
            for option in ["sd_vae_encode_method", "sd_vae_decode_method"] {
                let body = json!({"override_settings": {option: method}});
                assert_eq!(request(body).is_ok(), is_fine, "{option} {method}");
            }
        }
    }

    #[test]
    fn an_option_of_the_wrong_type_is_named() {
        for overrides in [
            json!({"rho": "x"}),
            json!({"uni_pc_variant": "bh3"}),
            json!({"emphasis": 1}),
            json!({"use_old_scheduling": "maybe"}),
            json!({"CLIP_stop_at_last_layers": -1}),
            json!({"ESRGAN_tile": 15}),
            json!({"ESRGAN_tile_overlap": 49}),
            json!({"enable_quantization": "x"}),
            json!({"enable_prompt_comments": 2}),
            json!({"pad_cond_uncond": "often"}),
            json!({"pad_cond_uncond_v0": 2}),
            json!({"use_downcasted_alpha_bar": "half"}),
            json!({"use_old_hires_fix_width_height": "maybe"}),
        ] {
            assert_eq!(request(json!({"override_settings": overrides})).unwrap_err(), ["override_settings"]);
        }
    }
}
