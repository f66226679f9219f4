//! Before-hook: replaces variants and wildcards in the prompts of a request. The grammar and the drawing are pure;
//! only this file asks the host. It knows nothing of attention or any other grammar a prompt may hold.

pub mod expand;
pub mod grammar;
pub mod wildcards;

use expand::Expansion;
use gesso_plugin::serde::Deserialize;
use gesso_plugin::{Fault, Params, Random, RequestHook, Verdict, call, folders};
use wildcards::Wildcards;

/// The folder the admin grants.
const FOLDER: &str = "wildcards";

/// Fields and the stream each draws from: the second pass repeats the first's choices, and an edit of the prompt
/// leaves the negative prompt's alone.
const FIELDS: [(&str, u64); 4] =
    [("prompt", 0), ("hr_prompt", 0), ("negative_prompt", 1), ("hr_negative_prompt", 1)];

/// What a request may say under `alwayson_scripts.dynamic-prompts.args`.
#[derive(Debug, Deserialize)]
#[serde(crate = "gesso_plugin::serde", default)]
struct Arguments {
    enabled: bool,
    seed: Option<u64>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { enabled: true, seed: None }
    }
}

struct DynamicPrompts;

impl RequestHook for DynamicPrompts {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let arguments: Arguments = params.arguments("dynamic-prompts")?.unwrap_or_default();
        if !arguments.enabled {
            return Ok(Verdict::Continue);
        }
        let mut wildcards = Wildcards::new(|| folders::list(FOLDER), |path| folders::read(FOLDER, path));
        for (field, stream) in FIELDS {
            let Some(text) = params.get(field).and_then(|value| value.as_str()) else { continue };
            // A prompt without any of the grammar is none of this plugin's business, whatever its length.
            if !grammar::is_dynamic(text) {
                continue;
            }
            let random = Random::new(arguments.seed.unwrap_or_else(call::seed), stream);
            let drawn =
                Expansion::new(&mut wildcards, random).run(text).map_err(|error| error.into_fault(field))?;
            params.set(field, drawn);
        }
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(DynamicPrompts, manifest = "manifest.json");
