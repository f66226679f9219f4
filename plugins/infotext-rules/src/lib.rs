//! Infotext hook: an admin's rules for the texts that clients send, of pictures that were drawn elsewhere or with models that
//! are called otherwise there. The rules are pure; this file asks the host for them.

mod rules;

use gesso_plugin::{Fault, Infotext, InfotextHook, call};

use crate::rules::Rules;

struct InfotextRules;

impl InfotextHook for InfotextRules {
    fn on_infotext(_text: &str, infotext: Infotext) -> Result<Infotext, Fault> {
        let rules: Rules = call::settings()?;
        Ok(rules.applied(infotext))
    }
}

gesso_plugin::infotext_hook!(InfotextRules, manifest = "manifest.json");

#[cfg(test)]
mod tests {
    use gesso_plugin::fake::Host;
    use gesso_plugin::schema::assert_in_manifest;
    use gesso_plugin::serde_json::json;

    use super::*;

    #[test]
    fn the_manifest_has_what_is_read() {
        assert_in_manifest::<Rules>(include_str!("../manifest.json"), "settings_schema");
    }

    #[test]
    fn a_whole_hook_applies_the_admins_rules_and_without_any_changes_nothing() {
        let mut text = Infotext { prompt: "a cat <lora:old:1>".into(), ..Infotext::default() };
        text.set("Sampler", "Euler");
        text.set("Clip skip", "2");
        let read =
            |host: Host| host.run(|| InfotextRules::on_infotext("as it was sent", text.clone())).unwrap();
        assert_eq!(read(Host::new()), text);
        let ruled = read(Host::new().settings(json!({"skip": ["clip skip"], "networks": {"old": "new"}})));
        assert_eq!(ruled.prompt, "a cat <lora:new:1>");
        assert_eq!(ruled.fields, [("Sampler".to_owned(), "Euler".to_owned())]);
        let wrong = Host::new().settings(json!({"skips": []}));
        let fault = wrong.run(|| InfotextRules::on_infotext("", Infotext::default()));
        assert!(fault.is_err(), "a setting that there is not is passed over: {fault:?}");
    }
}
