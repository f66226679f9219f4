//! The fields that both kinds of drawing have, in the order of the web UI's echo; between these tables stand those that only one
//! kind has ([`super::txt2img`], [`super::img2img`]). What is made of them is [`super::generate`]'s.

use super::fields::{Field, Kind, field};
use super::generate::FIRST_PASS_PICTURE;
use super::per_picture;
use crate::plugin_use;

/// Before `denoising_strength`, whose default differs.
pub(super) const FIRST: &[Field] = &[
    field(
        "prompt",
        Kind::Text(""),
        "What to draw. (word:1.2) weighs, [a:b:0.5] changes over the steps, [a|b] alternates, AND combines, BREAK \
         starts a new chunk, <lora:name:0.8> uses a LoRA.",
    ),
    field("negative_prompt", Kind::Text(""), "What to keep out."),
    field(
        "styles",
        Kind::OptionalTextList,
        "Names of saved styles, see GET /sdapi/v1/prompt-styles; laid into the prompts in their order.",
    ),
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
    field(
        "restore_faces",
        Kind::OptionalBoolean,
        "Restores faces with CodeFormer at weight 0.5, or with GFPGAN where only that is there.",
    ),
    field(
        "tiling",
        Kind::OptionalBoolean,
        "Opposite edges join, so that the picture repeats without a seam.",
    ),
    field("do_not_save_samples", Kind::Boolean(false), "Accepted for compatibility."),
    field("do_not_save_grid", Kind::Boolean(false), "Accepted for compatibility."),
    field("eta", Kind::OptionalFloat, "0..1, ancestral noise; null is the sampler's own."),
];

/// Before what only one kind has.
pub(super) const SECOND: &[Field] = &[
    field(
        "s_min_uncond",
        Kind::OptionalFloat,
        "Below this sigma every second step leaves the negative prompt out.",
    ),
    field("s_churn", Kind::OptionalFloat, "Noise added back in each step (Euler, Heun, DPM2)."),
    field("s_tmax", Kind::OptionalFloat, "Highest sigma with churn; 0 is no limit."),
    field("s_tmin", Kind::OptionalFloat, "Lowest sigma with churn."),
    field("s_noise", Kind::OptionalFloat, "Scale of the churn noise."),
    field("override_settings", Kind::OptionalObject, "Options for this request only."),
    field(
        "override_settings_restore_afterwards",
        Kind::Boolean(true),
        "Always so: a request never changes options.",
    ),
    field(
        "refiner_checkpoint",
        Kind::OptionalText,
        "Another checkpoint that draws the end of each picture, named as sd_model_checkpoint is; None is none.",
    ),
    field(
        "refiner_switch_at",
        Kind::OptionalFloat,
        "0..1, the share of the training's timesteps after which refiner_checkpoint takes over; 0 and 1 leave it out.",
    ),
    field(
        "disable_extra_networks",
        Kind::Boolean(false),
        "True reads <lora:...> and the like but applies none.",
    ),
    field(
        FIRST_PASS_PICTURE,
        Kind::OptionalText,
        "In text to image with enable_hr: a picture, base64 or data URI, in place of the first pass, which is not drawn \
         then. Refused elsewhere. The echo is without it.",
    ),
    field("comments", Kind::OptionalObject, "Echoed."),
];

/// Behind it.
pub(super) const LAST: &[Field] = &[
    field("force_task_id", Kind::OptionalText, "The task id to use."),
    field("sampler_index", Kind::Text("Euler"), "Old name of sampler_name."),
    field(
        "script_name",
        Kind::OptionalText,
        "A script that draws in place of the pipeline, see GET /sdapi/v1/script-info.",
    ),
    field(
        "script_args",
        Kind::ListOrObject,
        "Arguments of script_name: a list in the order of script-info, or an object by label.",
    ),
    field("send_images", Kind::Boolean(true), "False leaves the pictures out of the reply."),
    field(
        "save_images",
        Kind::Boolean(false),
        "Saves the pictures in the folder of outputs too, under names by the options samples_filename_pattern and others. \
         The web UI's reply then begins with a grid of them, unless the option return_grid says otherwise.",
    ),
    field(
        "alwayson_scripts",
        Kind::Object,
        "Arguments for plugins, by plugin id or title, for ControlNet and for soft inpainting.",
    ),
    field(
        per_picture::FIELD,
        Kind::List,
        "An object for each picture with what it has of its own: prompt, negative_prompt, hr_prompt, hr_negative_prompt, \
         seed, subseed. The last batch may have fewer. Plugins that write prompts fill it.",
    ),
    field(
        plugin_use::OFF,
        Kind::OptionalTextList,
        "Plugins that this request leaves out, by id or title, of those that the admin lets requests leave out.",
    ),
    field(
        "infotext",
        Kind::OptionalText,
        "A picture's text; fills what the body leaves unsaid, but for the checkpoint.",
    ),
];
