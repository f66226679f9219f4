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

fn styled(prompt: &str, style: &str) -> String {
    if prompt.is_empty() { style.to_owned() } else { format!("{prompt}, {style}") }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;
    use gesso_plugin::serde_json::json;

    use super::*;

    #[test]
    fn the_manifest_has_the_settings() {
        let manifest = include_str!("../manifest.json");
        gesso_plugin::schema::assert_in_manifest::<Settings>(manifest, "settings_schema");
    }

    #[test]
    fn the_style_that_the_admin_chose_ends_the_prompt() -> Result<(), Fault> {
        let host = fake::Host::new().settings(json!({"style": "ink"}));
        for (prompt, wanted) in [("a boat", "a boat, ink"), ("", "ink")] {
            let mut params = Params::from_json("{}")?;
            params.set_prompt(prompt);
            assert_eq!(host.run(|| Plugin::before(&mut params))?, Verdict::Continue);
            assert_eq!(params.prompt(), wanted);
        }
        Ok(())
    }

    #[test]
    fn settings_that_are_none_are_told() -> Result<(), Fault> {
        let mut params = Params::from_json("{}")?;
        let host = fake::Host::new().settings(json!({"stile": "ink"}));
        let Err(Fault::Other(text)) = host.run(|| Plugin::before(&mut params)) else { panic!("accepted") };
        assert!(text.contains("stile"), "{text}");
        Ok(())
    }
}
