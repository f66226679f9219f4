//! The text-to-image body of both dialects: the field table, and its conversion to a `GenerateRequest`.

use gesso_core::limits::Limits;
use gesso_core::request::{Emphasis, GenerateRequest, NoiseSource, Variation};
use gesso_core::sampler::{Churn, Sampler, SamplerOptions};
use gesso_core::schedule::Scheduler;
use serde_json::{Map, Value};

use super::fields::{Field, FieldProblem, Kind, integer as integer_value};

const fn field(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, doc }
}

/// Every field of the web UI's model, in the order its echo has them.
pub(crate) const FIELDS: &[Field] = &[
    field("prompt", Kind::Text(""), "What to draw; (word:1.2) weighs, BREAK starts a new chunk."),
    field("negative_prompt", Kind::Text(""), "What to keep out."),
    field("styles", Kind::OptionalTextList, "Names of saved styles; none exist yet."),
    field("seed", Kind::Seed, "Seed of the first picture; -1 draws one."),
    field("subseed", Kind::Seed, "Seed of the variation; -1 draws one."),
    field("subseed_strength", Kind::Float(0.0), "0..1, how much of the variation is mixed in."),
    field("seed_resize_from_h", Kind::Integer(-1), "Draw the noise at this height; 0 or less is off."),
    field("seed_resize_from_w", Kind::Integer(-1), "Draw the noise at this width; 0 or less is off."),
    field("sampler_name", Kind::OptionalText, "See GET /sdapi/v1/samplers; names and aliases, any case."),
    field("scheduler", Kind::OptionalText, "See GET /sdapi/v1/schedulers; Automatic is the sampler's own."),
    field("batch_size", Kind::Integer(1), "Pictures in one batch."),
    field("n_iter", Kind::Integer(1), "Batches one after the other."),
    field("steps", Kind::Integer(50), "Sampler steps."),
    field("cfg_scale", Kind::Float(7.0), "How strictly the prompt is followed."),
    field("width", Kind::Integer(512), "Pixels, a multiple of 8."),
    field("height", Kind::Integer(512), "Pixels, a multiple of 8."),
    field("restore_faces", Kind::OptionalBoolean, "Not supported yet."),
    field("tiling", Kind::OptionalBoolean, "Not supported yet."),
    field("do_not_save_samples", Kind::Boolean(false), "Accepted for compatibility."),
    field("do_not_save_grid", Kind::Boolean(false), "Accepted for compatibility."),
    field("eta", Kind::OptionalFloat, "0..1, ancestral noise; null is the sampler's own."),
    field("denoising_strength", Kind::OptionalFloat, "Only for the second pass, which is not supported yet."),
    field("s_min_uncond", Kind::OptionalFloat, "Not supported yet."),
    field("s_churn", Kind::OptionalFloat, "Noise added back in each step (Euler, Heun)."),
    field("s_tmax", Kind::OptionalFloat, "Highest sigma with churn; 0 is no limit."),
    field("s_tmin", Kind::OptionalFloat, "Lowest sigma with churn."),
    field("s_noise", Kind::OptionalFloat, "Scale of the churn noise."),
    field("override_settings", Kind::OptionalObject, "Options for this request only."),
    field(
        "override_settings_restore_afterwards",
        Kind::Boolean(true),
        "Always so: a request never changes options.",
    ),
    field("refiner_checkpoint", Kind::OptionalText, "Not supported yet."),
    field("refiner_switch_at", Kind::OptionalFloat, "Not supported yet."),
    field("disable_extra_networks", Kind::Boolean(false), "Accepted for compatibility."),
    field("firstpass_image", Kind::OptionalText, "Not supported yet."),
    field("comments", Kind::OptionalObject, "Echoed."),
    field("enable_hr", Kind::Boolean(false), "Not supported yet."),
    field("firstphase_width", Kind::Integer(0), "Only for the second pass."),
    field("firstphase_height", Kind::Integer(0), "Only for the second pass."),
    field("hr_scale", Kind::Float(2.0), "Only for the second pass."),
    field("hr_upscaler", Kind::OptionalText, "Only for the second pass."),
    field("hr_second_pass_steps", Kind::Integer(0), "Only for the second pass."),
    field("hr_resize_x", Kind::Integer(0), "Only for the second pass."),
    field("hr_resize_y", Kind::Integer(0), "Only for the second pass."),
    field("hr_checkpoint_name", Kind::OptionalText, "Only for the second pass."),
    field("hr_sampler_name", Kind::OptionalText, "Only for the second pass."),
    field("hr_scheduler", Kind::OptionalText, "Only for the second pass."),
    field("hr_prompt", Kind::Text(""), "Only for the second pass."),
    field("hr_negative_prompt", Kind::Text(""), "Only for the second pass."),
    field("force_task_id", Kind::OptionalText, "The task id to use."),
    field("sampler_index", Kind::Text("Euler"), "Old name of sampler_name."),
    field("script_name", Kind::OptionalText, "A script that replaces the pipeline; none exist yet."),
    field("script_args", Kind::List, "Arguments of script_name."),
    field("send_images", Kind::Boolean(true), "False leaves the pictures out of the reply."),
    field("save_images", Kind::Boolean(false), "Accepted for compatibility: pictures are always kept."),
    field("alwayson_scripts", Kind::Object, "Arguments for plugins, by plugin id or title."),
    field("infotext", Kind::OptionalText, "Not supported yet."),
];

/// Options a request may override, and what stands when it does not.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) noise_source: NoiseSource,
    pub(crate) clip_skip: u32,
    pub(crate) emphasis: Emphasis,
}

impl Default for Defaults {
    fn default() -> Self {
        // NV draws the same picture with and without a GPU and is what shared seeds were mostly made with.
        Self { noise_source: NoiseSource::Nv, clip_skip: 1, emphasis: Emphasis::Original }
    }
}

/// Turns a body that went through [`super::fields::read`] into a request; all problems at once.
///
/// `seed` and `subseed` must have been drawn already (see [`settle_seeds`]).
pub(crate) fn to_request(
    body: &Map<String, Value>,
    defaults: &Defaults,
    limits: &Limits,
) -> Result<GenerateRequest, Vec<FieldProblem>> {
    let mut problems = Problems::default();
    problems.refuse_unsupported(body);
    let overrides = body.get("override_settings").and_then(Value::as_object).cloned().unwrap_or_default();

    let named =
        non_empty(body, "sampler_name").or_else(|| non_empty(body, "sampler_index")).unwrap_or("Euler");
    let (sampler, suffix) = Sampler::parse(named).unwrap_or_else(|| {
        let known: Vec<_> = Sampler::ALL.iter().map(|sampler| sampler.label()).collect();
        problems.add("sampler_name", format!("{named:?} is not a sampler; known: {}", known.join(", ")));
        (Sampler::Euler, None)
    });
    let scheduler = match non_empty(body, "scheduler") {
        None => suffix.unwrap_or(Scheduler::Automatic),
        Some(name) => Scheduler::parse(name).unwrap_or_else(|| {
            let known: Vec<_> = Scheduler::ALL.iter().map(|scheduler| scheduler.label()).collect();
            problems.add("scheduler", format!("{name:?} is not a scheduler; known: {}", known.join(", ")));
            Scheduler::Automatic
        }),
    };

    let request = GenerateRequest {
        prompt: text(body, "prompt"),
        negative_prompt: text(body, "negative_prompt"),
        model: problems.override_text(&overrides, "sd_model_checkpoint").map(Into::into),
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
        clip_skip: problems
            .override_count(&overrides, "CLIP_stop_at_last_layers")
            .unwrap_or(defaults.clip_skip),
        emphasis: problems.emphasis(&overrides).unwrap_or(defaults.emphasis),
        noise_source: problems.noise_source(&overrides).unwrap_or(defaults.noise_source),
        options: SamplerOptions {
            eta: number(body, "eta"),
            churn: Churn {
                amount: number(body, "s_churn").unwrap_or(0.0),
                min_sigma: number(body, "s_tmin").unwrap_or(0.0),
                max_sigma: number(body, "s_tmax").filter(|&max| max != 0.0).unwrap_or(f64::INFINITY),
                noise: number(body, "s_noise").unwrap_or(1.0),
            },
            ..SamplerOptions::default()
        },
        eta_noise_seed_delta: problems.override_count(&overrides, "eta_noise_seed_delta").unwrap_or(0).into(),
    };
    for problem in limits.check(&request) {
        problems.add(problem.field, problem.message);
    }
    if problems.0.is_empty() { Ok(request) } else { Err(problems.0) }
}

/// Replaces -1 by drawn seeds, so that a stored body draws the same picture again.
pub(crate) fn settle_seeds(body: &mut Map<String, Value>, mut draw: impl FnMut() -> u32) {
    for name in ["seed", "subseed"] {
        if body.get(name).and_then(Value::as_i64).is_none_or(|seed| seed < 0) {
            body.insert(name.into(), draw().into());
        }
    }
}

fn text(body: &Map<String, Value>, name: &str) -> String {
    body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn non_empty<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn number(body: &Map<String, Value>, name: &str) -> Option<f64> {
    body.get(name).and_then(Value::as_f64)
}

fn integer(body: &Map<String, Value>, name: &str) -> i64 {
    body.get(name).and_then(Value::as_i64).unwrap_or(-1)
}

fn resize_from(body: &Map<String, Value>) -> Option<(u32, u32)> {
    let side = |name| u32::try_from(integer(body, name)).ok().filter(|&side| side > 0);
    Some((side("seed_resize_from_w")?, side("seed_resize_from_h")?))
}

#[derive(Default)]
struct Problems(Vec<FieldProblem>);

impl Problems {
    fn add(&mut self, field: &str, message: String) {
        // One problem a field is enough to act on.
        if self.0.iter().all(|problem| problem.field != field) {
            self.0.push(FieldProblem { field: field.into(), message });
        }
    }

    fn count(&mut self, body: &Map<String, Value>, name: &str) -> u32 {
        let value = integer(body, name);
        u32::try_from(value).unwrap_or_else(|_| {
            self.add(name, format!("{name} is {value}; it must be between 1 and a few thousand"));
            1
        })
    }

    fn override_count(&mut self, overrides: &Map<String, Value>, name: &str) -> Option<u32> {
        let value = overrides.get(name).filter(|value| !value.is_null())?;
        let count = integer_value(value).and_then(|count| u32::try_from(count.as_i64()?).ok());
        if count.is_none() {
            self.add(
                "override_settings",
                format!("override_settings.{name} must be a whole number of at least 0"),
            );
        }
        count
    }

    fn override_text<'a>(&mut self, overrides: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
        let value = overrides.get(name).filter(|value| !value.is_null())?;
        if !value.is_string() {
            self.add("override_settings", format!("override_settings.{name} must be a string"));
        }
        value.as_str().filter(|text| !text.is_empty())
    }

    fn emphasis(&mut self, overrides: &Map<String, Value>) -> Option<Emphasis> {
        match self.override_text(overrides, "emphasis")? {
            "None" => Some(Emphasis::None),
            "Ignore" => Some(Emphasis::Ignore),
            "Original" => Some(Emphasis::Original),
            "No norm" => Some(Emphasis::NoNorm),
            other => {
                let known = "None, Ignore, Original, No norm";
                self.add(
                    "override_settings",
                    format!("override_settings.emphasis {other:?} is not one of {known}"),
                );
                None
            }
        }
    }

    fn noise_source(&mut self, overrides: &Map<String, Value>) -> Option<NoiseSource> {
        match self.override_text(overrides, "randn_source")? {
            "CPU" => Some(NoiseSource::Cpu),
            // A CUDA device draws with Philox, which NV emulates on any machine.
            "NV" | "GPU" => Some(NoiseSource::Nv),
            other => {
                self.add(
                    "override_settings",
                    format!("override_settings.randn_source {other:?} is not CPU or NV"),
                );
                None
            }
        }
    }

    /// A feature that would silently change nothing is refused instead.
    fn refuse_unsupported(&mut self, body: &Map<String, Value>) {
        for name in ["enable_hr", "restore_faces", "tiling"] {
            if body.get(name) == Some(&Value::Bool(true)) {
                self.add(name, format!("{name} is not supported yet; leave it out or send false"));
            }
        }
        for name in ["script_name", "refiner_checkpoint", "firstpass_image", "infotext"] {
            if non_empty(body, name).is_some() {
                self.add(name, format!("{name} is not supported yet; leave it out"));
            }
        }
        if number(body, "s_min_uncond").is_some_and(|sigma| sigma > 0.0) {
            self.add("s_min_uncond", "s_min_uncond is not supported yet; leave it out or send 0".into());
        }
        if let Some(option) = body
            .get("override_settings")
            .and_then(Value::as_object)
            .and_then(|overrides| overrides.keys().find(|key| !OVERRIDES.contains(&key.as_str())))
        {
            let known = OVERRIDES.join(", ");
            self.add(
                "override_settings",
                format!("override_settings.{option} is not an option here; known: {known}"),
            );
        }
    }
}

/// Options a request may override. `sd_vae`, `samples_format`, `jpeg_quality` and `filter_nsfw` are taken because clients send
/// them; their only effect so far is their default.
const OVERRIDES: &[&str] = &[
    "sd_model_checkpoint",
    "CLIP_stop_at_last_layers",
    "eta_noise_seed_delta",
    "randn_source",
    "emphasis",
    "sd_vae",
    "samples_format",
    "filter_nsfw",
    "jpeg_quality",
];

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;
    use serde_json::json;

    fn request(body: Value) -> Result<GenerateRequest, Vec<String>> {
        let mut body = fields::read(body.as_object().unwrap(), FIELDS).unwrap();
        settle_seeds(&mut body, || 42);
        to_request(&body, &Defaults::default(), &Limits::default())
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn an_empty_body_is_the_web_uis_default_request() {
        let request = request(json!({})).unwrap();
        assert_eq!((request.width, request.height, request.steps, request.cfg_scale), (512, 512, 50, 7.0));
        assert_eq!((request.sampler, request.scheduler), (Sampler::Euler, Scheduler::Automatic));
        assert_eq!((request.seed, request.image_count()), (42, 1));
    }

    #[test]
    fn splits_old_combined_sampler_names() {
        let request = request(json!({"sampler_name": "DPM++ 2M Karras"})).unwrap();
        assert_eq!((request.sampler, request.scheduler), (Sampler::Dpmpp2m, Scheduler::Karras));
    }

    #[test]
    fn names_all_bad_fields_at_once() {
        let body = json!({
            "sampler_name": "Eular", "width": 100, "steps": 0, "enable_hr": true, "cfg_scale": 1e9,
            "override_settings": {"sd_modell": "x"},
        });
        let mut problems = request(body).unwrap_err();
        problems.sort();
        assert_eq!(
            problems,
            ["cfg_scale", "enable_hr", "override_settings", "sampler_name", "steps", "width"]
        );
    }

    #[test]
    fn a_negative_size_is_refused_and_not_wrapped() {
        assert_eq!(request(json!({"height": -8})).unwrap_err(), ["height"]);
    }
}
