//! The web UI's lists of what there is to choose from, entry by entry. Null stands where a client expects a field that has
//! no meaning here.

use std::collections::BTreeMap;

use gesso_core::prompt::Style;
use gesso_core::sampler::Sampler;
use gesso_core::schedule::Scheduler;
use gesso_plugin_host::{PluginStatus, Script, ScriptArgument, Steps};
use gesso_torch::embedding::Embedding;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::catalogue::{Checkpoint, Found, Words, alias};

/// Filters have no scale of their own; web UIs say this.
const FILTER_SCALE: u32 = 4;

/// A checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointEntry {
    /// The file name with the short hash behind it: `file.safetensors [0123456789]`.
    title: String,
    /// The file name without folder and extension.
    model_name: String,
    /// The first ten hex digits of `sha256`.
    hash: String,
    /// Of the whole file, lower-case hex.
    sha256: String,
    /// In the models folder, with `/` between folders: where models lie on the server is nobody's business.
    filename: String,
    /// Always null: what a checkpoint is built like is read from itself.
    #[schema(required)]
    config: Option<String>,
}

impl CheckpointEntry {
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            title: checkpoint.title(),
            model_name: checkpoint.file.name.clone(),
            hash: checkpoint.short_hash().to_owned(),
            sha256: checkpoint.sha256.clone(),
            filename: checkpoint.file_name.clone(),
            config: None,
        }
    }
}

/// A sampler.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SamplerEntry {
    /// What `sampler_name` names it by.
    name: &'static str,
    /// Further names that requests may use.
    aliases: &'static [&'static str],
    /// How the sampler differs from the plainest: option to value, both texts.
    #[schema(value_type = BTreeMap<String, String>)]
    options: Map<String, Value>,
}

impl SamplerEntry {
    pub(crate) fn of(sampler: Sampler) -> Self {
        let options = sampler.options().iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
        Self { name: sampler.label(), aliases: sampler.aliases(), options: options.collect() }
    }
}

/// A scheduler.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchedulerEntry {
    /// In lower case, as samplers' options name it.
    name: &'static str,
    /// What people see, and `scheduler` may name it by.
    label: &'static str,
    /// Further names that requests may use; null where there are none.
    #[schema(required)]
    aliases: Option<&'static [&'static str]>,
    /// What `rho` stands for unless said otherwise; -1 where the scheduler has none.
    default_rho: f64,
    /// Whether its levels depend on the model's noise schedule.
    need_inner_model: bool,
}

impl SchedulerEntry {
    pub(crate) fn of(scheduler: Scheduler) -> Self {
        Self {
            name: scheduler.name(),
            label: scheduler.label(),
            aliases: Some(scheduler.aliases()).filter(|aliases| !aliases.is_empty()),
            default_rho: scheduler.default_rho(),
            need_inner_model: scheduler.need_inner_model(),
        }
    }
}

/// Titles of scripts, lower case.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptTitles {
    /// Those that a text-to-image request may name.
    pub(crate) txt2img: Vec<String>,
    /// Those that an image-to-image request may name.
    pub(crate) img2img: Vec<String>,
}

/// A script with its arguments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptEntry {
    /// The title, lower case.
    name: String,
    /// Whether `alwayson_scripts` names it, and not `script_name`.
    is_alwayson: bool,
    /// Whether this entry is for image-to-image, or else for text-to-image.
    is_img2img: bool,
    /// In the order of `script_args`.
    args: Vec<ScriptArgumentEntry>,
}

/// An argument of a script.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptArgumentEntry {
    /// What people see; a request may name the argument by it.
    label: String,
    /// The value where a request has none, of whatever type the script takes.
    value: Value,
    /// The least value of a number; null where there is no bound.
    #[schema(required)]
    minimum: Option<f64>,
    /// The greatest value of a number; null where there is no bound.
    #[schema(required)]
    maximum: Option<f64>,
    /// Between two values of a slider; null where it has none.
    #[schema(required)]
    step: Option<f64>,
    /// The values to choose from; null where any will do.
    #[schema(required)]
    choices: Option<Vec<String>>,
}

impl ScriptEntry {
    pub(crate) fn of(script: &Script, is_img2img: bool) -> Self {
        Self {
            name: script.title.to_lowercase(),
            is_alwayson: false,
            is_img2img,
            args: script.args.iter().map(ScriptArgumentEntry::of).collect(),
        }
    }

    /// One of the engine's own.
    pub(crate) fn always_on(name: &str, is_img2img: bool, args: Vec<ScriptArgumentEntry>) -> Self {
        Self { name: name.to_owned(), is_alwayson: true, is_img2img, args }
    }

    pub(crate) fn of_steps(steps: &Steps, is_img2img: bool) -> Self {
        Self {
            name: steps.title.to_lowercase(),
            is_alwayson: true,
            is_img2img,
            args: steps.args.iter().map(ScriptArgumentEntry::of).collect(),
        }
    }

    /// Of a plugin that a request says something to under `alwayson_scripts`, by the schema of its manifest.
    pub(crate) fn of_hook(plugin: &PluginStatus, is_img2img: bool) -> Self {
        let schema = plugin.arguments_schema.as_ref();
        Self {
            name: plugin.title.as_ref().unwrap_or(&plugin.id).to_lowercase(),
            is_alwayson: true,
            is_img2img,
            args: schema.map(ScriptArgumentEntry::of_schema).unwrap_or_default(),
        }
    }
}

impl ScriptArgumentEntry {
    fn of(argument: &ScriptArgument) -> Self {
        let ScriptArgument { label, value, minimum, maximum, step, choices } = argument.clone();
        Self { label, value, minimum, maximum, step, choices }
    }

    /// One that is off unless a request says otherwise.
    pub(crate) fn switch(label: &str) -> Self {
        let (minimum, maximum, step) = (None, None, None);
        Self { label: label.to_owned(), value: false.into(), minimum, maximum, step, choices: None }
    }

    /// Fields of their own, with what stands where a request leaves one out.
    pub(crate) fn object(label: String, value: Value) -> Self {
        let (minimum, maximum, step) = (None, None, None);
        Self { label, value, minimum, maximum, step, choices: None }
    }

    pub(crate) fn slider(label: &str, value: f64, (least, most): (f64, f64), step: f64) -> Self {
        let (minimum, maximum, step) = (Some(least), Some(most), Some(step));
        Self { label: label.to_owned(), value: value.into(), minimum, maximum, step, choices: None }
    }

    /// Those that a schema describes: of an object by name, of a list by place.
    fn of_schema(schema: &Value) -> Vec<Self> {
        let named = schema["properties"].as_object().into_iter().flatten();
        let named = named.map(|(name, about)| Self::of_property(name, about));
        let placed = schema["prefixItems"].as_array().into_iter().flatten().enumerate();
        let placed = placed.map(|(place, about)| {
            let number = (place + 1).to_string();
            Self::of_property(about["title"].as_str().unwrap_or(&number), about)
        });
        named.chain(placed).collect()
    }

    fn of_property(label: &str, about: &Value) -> Self {
        let default = about.get("default").or_else(|| about.get("const"));
        let is_whole = about["type"].as_str() == Some("integer");
        let choices = about["enum"].as_array().map(|list| list.iter().map(Value::as_str));
        Self {
            label: label.to_owned(),
            value: default.cloned().unwrap_or_default(),
            minimum: about["minimum"].as_f64(),
            maximum: about["maximum"].as_f64(),
            step: about["multipleOf"].as_f64().or(is_whole.then_some(1.0)),
            choices: choices.and_then(|texts| texts.map(|text| text.map(str::to_owned)).collect()),
        }
    }
}

/// An interpolation of a latent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LatentModeEntry {
    /// What `hr_upscaler` names it by.
    pub(crate) name: &'static str,
}

/// What enlarges pictures.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpscalerEntry {
    /// What requests name it by.
    pub(crate) name: String,
    /// The file in the models folder; null for a filter.
    #[schema(required)]
    pub(crate) model_name: Option<String>,
    /// As `model_name`: where models lie on the server is nobody's business.
    #[schema(required)]
    pub(crate) model_path: Option<String>,
    /// Always null: nothing is fetched.
    #[schema(required)]
    pub(crate) model_url: Option<String>,
    /// How many times larger a network makes a picture; 4 for filters, which have no scale of their own.
    pub(crate) scale: u32,
}

impl UpscalerEntry {
    pub(crate) fn filter(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            model_name: None,
            model_path: None,
            model_url: None,
            scale: FILTER_SCALE,
        }
    }

    pub(crate) fn network(found: &Found, scale: u32) -> Self {
        let file_name = Some(found.file_name.clone());
        Self {
            name: found.stem.clone(),
            model_name: file_name.clone(),
            model_path: file_name,
            model_url: None,
            scale,
        }
    }
}

/// An upscaling network of the Real-ESRGAN family.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RealEsrganEntry {
    /// What requests name it by.
    pub(crate) name: String,
    /// The file in the models folder.
    pub(crate) path: String,
    /// How many times larger it makes a picture.
    pub(crate) scale: u32,
}

/// What restores faces.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FaceRestorerEntry {
    /// What requests name it by.
    pub(crate) name: &'static str,
    /// Always null: no folder of the server is told.
    #[schema(required)]
    pub(crate) cmd_dir: Option<String>,
}

/// A VAE.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VaeEntry {
    /// What `sd_vae` and `forge_additional_modules` name it by: the file in the models folder.
    pub(crate) model_name: String,
    /// The same.
    pub(crate) filename: String,
}

/// A LoRA.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoraEntry {
    /// The file name without folder and extension, which prompts name it by.
    pub(crate) name: String,
    /// The name its trainer gave it, which prompts may use too; `name` where there is none.
    alias: String,
    /// The file in the models folder.
    path: String,
    /// What the file says about itself: word to text. Empty where it says nothing.
    metadata: BTreeMap<String, String>,
}

impl LoraEntry {
    /// `words` are those of the file's header.
    pub(crate) fn of(found: &Found, words: &Words) -> Self {
        Self {
            name: found.stem.clone(),
            alias: alias(words).unwrap_or(&found.stem).to_owned(),
            path: found.file_name.clone(),
            metadata: (**words).clone(),
        }
    }
}

/// A hypernetwork.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HypernetworkEntry {
    /// What prompts name it by.
    pub(crate) name: String,
    /// The file in the models folder.
    pub(crate) path: String,
}

/// The textual inversions, by the names that prompts use.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EmbeddingLists {
    /// Those that fit the caller's checkpoint.
    #[schema(value_type = BTreeMap<String, EmbeddingEntry>)]
    pub(crate) loaded: Map<String, Value>,
    /// Those that do not.
    #[schema(value_type = BTreeMap<String, EmbeddingEntry>)]
    pub(crate) skipped: Map<String, Value>,
}

/// A textual inversion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EmbeddingEntry {
    /// Training steps it had. Null is what the file does not say, here and below.
    #[schema(required)]
    step: Option<u64>,
    /// Short hash of the checkpoint it was trained on.
    #[schema(required)]
    sd_checkpoint: Option<String>,
    /// The name of that checkpoint.
    #[schema(required)]
    sd_checkpoint_name: Option<String>,
    /// Numbers in a vector: the width of the text encoder that it was trained for.
    shape: i64,
    /// How many vectors it has; each takes the place of one token.
    #[schema(required)]
    vectors: Option<i64>,
}

impl EmbeddingEntry {
    pub(crate) fn of(embedding: &Embedding) -> Self {
        Self {
            step: embedding.step,
            sd_checkpoint: embedding.checkpoint.clone(),
            sd_checkpoint_name: embedding.checkpoint_name.clone(),
            shape: embedding.width(),
            vectors: embedding.vectors.size().first().copied(),
        }
    }
}

/// A saved style.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StyleEntry {
    /// What `styles` names it by.
    name: String,
    /// Goes behind the prompt, or around it where it holds `{prompt}`; null where the file has none.
    #[schema(required)]
    prompt: Option<String>,
    /// The same for the negative prompt.
    #[schema(required)]
    negative_prompt: Option<String>,
}

impl StyleEntry {
    pub(crate) fn of(style: &Style) -> Self {
        let Style { name, prompt, negative_prompt } = style.clone();
        Self { name, prompt, negative_prompt }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_of_hooks_are_told_by_their_schema() {
        let of = |schema: Value| serde_json::to_value(ScriptArgumentEntry::of_schema(&schema)).unwrap();
        let told = of(json!({"type": "object", "properties": {
            "model": {"enum": ["a", "b"], "default": "b"},
            "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 2},
            "share": {"type": "number", "multipleOf": 0.5},
            "never": {"const": false},
            "odd": {"enum": ["a", 1]},
        }}));
        let entry = |label: &str, value: Value, bounds: [Value; 3], choices: Value| {
            let [minimum, maximum, step] = bounds;
            json!({"label": label, "value": value, "minimum": minimum, "maximum": maximum, "step": step, "choices": choices})
        };
        let none = || [Value::Null, Value::Null, Value::Null];
        assert_eq!(
            told,
            json!([
                entry("model", json!("b"), none(), json!(["a", "b"])),
                entry("count", json!(2), [json!(1.0), json!(9.0), json!(1.0)], Value::Null),
                entry("share", Value::Null, [Value::Null, Value::Null, json!(0.5)], Value::Null),
                entry("never", json!(false), none(), Value::Null),
                entry("odd", Value::Null, none(), Value::Null),
            ])
        );
        let told = of(json!({"type": "array", "prefixItems": [{"title": "On", "default": true}, {}]}));
        assert_eq!(
            told,
            json!([
                entry("On", json!(true), none(), Value::Null),
                entry("2", Value::Null, none(), Value::Null)
            ])
        );
        assert_eq!(of(json!({})), json!([]));
    }
}
