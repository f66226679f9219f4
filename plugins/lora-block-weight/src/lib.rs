//! Before-hook: gives block weights of LoRAs names. The weights themselves are the server's (`lbw=` in a prompt); what is
//! rewritten, and how, is pure (`tags`).

pub mod tags;

use gesso_plugin::serde_json::Value;
use gesso_plugin::{Fault, JsonSchema, Params, RequestHook, Verdict, call};
use serde::Deserialize;
use tags::Presets;

/// The names under `alwayson_scripts`.
const NAMES: [&str; 2] = ["lora-block-weight", "LoRA Block Weight"];
const FIELDS: [&str; 4] = ["prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt"];
/// Prompts that ADetailer paints what it finds with.
const DETAIL_FIELDS: [&str; 2] = ["ad_prompt", "ad_negative_prompt"];
/// What each picture of a request has of its own.
const PER_PICTURE: &str = "per_picture";

/// What a request may say: an object, or a list in this order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(crate = "gesso_plugin::schemars")]
struct Arguments {
    /// As the setting of this name, for this request.
    presets: String,
    /// False takes block weights out of the prompts.
    active: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { presets: String::new(), active: true }
    }
}

/// What an admin may set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "gesso_plugin::schemars")]
struct Settings {
    /// Lines of a name, a colon and 17 or 26 numbers: MINE:1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0
    #[schemars(length(max = 32768))]
    presets: String,
}

struct LoraBlockWeight;

impl RequestHook for LoraBlockWeight {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let mut arguments = None;
        for name in NAMES {
            arguments = arguments.or(params.arguments::<Arguments>(name)?);
        }
        let arguments = arguments.unwrap_or_default();
        let settings: Settings = call::settings()?;
        // What the request says comes first.
        let presets = Presets::read(&format!("{}\n{}", arguments.presets, settings.presets))?;
        let rewritten = |text: &str| tags::rewritten(text, &presets, arguments.active);
        for field in FIELDS {
            if let Some(text) = params.get(field).and_then(Value::as_str).and_then(rewritten) {
                params.set(field, text);
            }
        }
        let mut pictures = params.get(PER_PICTURE).and_then(Value::as_array).cloned().unwrap_or_default();
        for picture in pictures.iter_mut().filter_map(Value::as_object_mut) {
            for field in FIELDS {
                if let Some(text) = picture.get(field).and_then(Value::as_str).and_then(rewritten) {
                    picture.insert(field.into(), text.into());
                }
            }
        }
        if !pictures.is_empty() {
            params.set(PER_PICTURE, pictures);
        }
        params.rewrite_texts_of("ADetailer", &DETAIL_FIELDS, |_, _, text| Ok(rewritten(text)))?;
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(LoraBlockWeight, manifest = "manifest.json");

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;
    use gesso_plugin::schema::assert_in_manifest;
    use gesso_plugin::serde_json::json;

    use super::*;

    #[test]
    fn the_manifest_has_what_is_read() {
        let manifest = include_str!("../manifest.json");
        assert_in_manifest::<Arguments>(manifest, "arguments_schema");
        assert_in_manifest::<Settings>(manifest, "settings_schema");
    }

    /// The request as the hook leaves it, where the admin has named MINE and THEIRS.
    fn edited(request: &Value) -> Result<Params, Fault> {
        let host = fake::Host::new().settings(json!({"presets": "MINE:0,1\nTHEIRS:1,1"}));
        let mut params = Params::from_json(&request.to_string())?;
        assert_eq!(host.run(|| LoraBlockWeight::before(&mut params))?, Verdict::Continue);
        Ok(params)
    }

    #[test]
    fn the_requests_lists_come_before_the_admins_in_every_prompt() {
        let request = json!({
            "prompt": "a cat <lora:x:1:MINE> <lora:y:1:lbw=THEIRS>",
            "hr_prompt": "no tags",
            "per_picture": [{"prompt": "<lora:x:1:MINE>", "seed": 3}],
            "alwayson_scripts": {
                "LoRA Block Weight": {"args": {"presets": "MINE:1,0"}},
                "ADetailer": {"args": [{"ad_model": "face", "ad_prompt": "<lora:x:1:MINE>"}]},
            },
        });
        let params = edited(&request).unwrap();
        assert_eq!(params.prompt(), "a cat <lora:x:1:lbw=1,0> <lora:y:1:lbw=1,1>");
        assert_eq!(params.get("hr_prompt"), request.get("hr_prompt"));
        let pictures = json!([{"prompt": "<lora:x:1:lbw=1,0>", "seed": 3}]);
        assert_eq!(params.get("per_picture"), Some(&pictures));
        let detail = &params.get("alwayson_scripts").unwrap()["ADetailer"]["args"][0];
        assert_eq!(*detail, json!({"ad_model": "face", "ad_prompt": "<lora:x:1:lbw=1,0>"}));
    }

    #[test]
    fn a_request_turns_block_weights_off_and_hears_of_a_line_that_is_none() {
        let asking = |args: Value| {
            edited(&json!({
                "prompt": "<lora:x:1:MINE>",
                "alwayson_scripts": {"lora-block-weight": {"args": args}},
            }))
        };
        assert_eq!(asking(json!({"active": false})).unwrap().prompt(), "<lora:x:1>");
        assert_eq!(asking(json!({})).unwrap().prompt(), "<lora:x:1:lbw=0,1>");
        let refused = asking(json!({"presets": "MINE"}));
        assert!(matches!(refused, Err(Fault::InvalidInput(_))), "{refused:?}");
    }
}
