//! Ends every prompt with a style, which the admin may choose.

use gesso_plugin::serde::Deserialize;
use gesso_plugin::{Fault, Params, RequestHook, Verdict, call};

/// What the admin may set; the manifest has the same as a schema.
#[derive(Deserialize)]
#[serde(crate = "gesso_plugin::serde", default)]
struct Settings {
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
    fn a_style_ends_the_prompt() {
        assert_eq!(styled("a boat", "ink"), "a boat, ink");
        assert_eq!(styled("", "ink"), "ink");
    }
}
