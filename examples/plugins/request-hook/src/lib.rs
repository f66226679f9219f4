//! Ends every prompt with a style, which the admin may choose.

use gesso_plugin::serde::Deserialize;
use gesso_plugin::{Fault, JsonSchema, Params, RequestHook, Verdict, call};

/// What the admin may set.
// The manifest has it as a schema, which a test below keeps equal.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "gesso_plugin::serde", default, deny_unknown_fields)]
#[schemars(crate = "gesso_plugin::schemars")]
struct Settings {
    /// What every prompt ends with.
    style: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { style: "oil on canvas".into() }
    }
}

struct Plugin;

impl RequestHook for Plugin {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let settings: Settings = call::settings()?;
        params.set_prompt(styled(params.prompt(), &settings.style));
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(Plugin, manifest = "manifest.json");

/// Asks the host for nothing, so it can be tested without one.
fn styled(prompt: &str, style: &str) -> String {
    if prompt.is_empty() { style.to_owned() } else { format!("{prompt}, {style}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_the_settings() {
        let manifest = include_str!("../manifest.json");
        gesso_plugin::schema::assert_in_manifest::<Settings>(manifest, "settings_schema");
    }

    #[test]
    fn a_style_ends_the_prompt() {
        assert_eq!(styled("a boat", "ink"), "a boat, ink");
        assert_eq!(styled("", "ink"), "ink");
    }
}
