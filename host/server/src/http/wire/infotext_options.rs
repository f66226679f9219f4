//! The options about infotexts: what one tells of the models, who asked and what drew, and of one that is sent whether it chooses
//! the checkpoint and means what the version did that wrote it.

use gesso_core::infotext::{DrawnWith, Infotext};
use serde_json::{Map, Value};

use super::fields::FieldProblem;
use super::infotext::object;
use super::options;
use super::overrides::Overrides;
use super::problems::Problems;

/// Whether an infotext of an older web UI turns on what has that one's pictures drawn again.
pub(super) const BY_VERSION: &str = "auto_backcompat";
const FIELD: &str = "override_settings";
/// What a text says of the checkpoint it was drawn with.
const HASH: &str = "Model hash";
const NAME: &str = "Model";

/// As the options of a body say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InfotextOptions {
    tells_model_name: bool,
    tells_model_hash: bool,
    tells_vae_name: bool,
    tells_vae_hash: bool,
    tells_user: bool,
    tells_version: bool,
    tells_lora_hashes: bool,
    tells_inversion_hashes: bool,
    /// Not `disable_weights_auto_swap`: whether a request's infotext chooses its checkpoint.
    chooses_checkpoint: bool,
    /// As [`BY_VERSION`]; `None` where nobody says.
    by_version: Option<bool>,
}

impl InfotextOptions {
    /// # Errors
    /// Options of another type.
    pub(crate) fn of(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let overrides = Overrides::new(body, &mut problems);
        let mut flag = |name: &str, default: bool| overrides.flag(name, &mut problems).unwrap_or(default);
        let options = Self {
            tells_model_name: flag("add_model_name_to_info", true),
            tells_model_hash: flag("add_model_hash_to_info", true),
            tells_vae_name: flag("add_vae_name_to_info", true),
            tells_vae_hash: flag("add_vae_hash_to_info", true),
            tells_user: flag("add_user_name_to_info", false),
            tells_version: flag("add_version_to_infotext", true),
            tells_lora_hashes: flag("lora_add_hashes_to_infotext", true),
            tells_inversion_hashes: flag("textual_inversion_add_hashes_to_infotext", true),
            chooses_checkpoint: !flag("disable_weights_auto_swap", true),
            by_version: overrides.flag(BY_VERSION, &mut problems),
        };
        problems.into_result(options)
    }

    /// Whether its infotext means what the version did that wrote it, where the body says. What cannot be read is refused elsewhere.
    pub(super) fn by_version(body: &Map<String, Value>) -> Option<bool> {
        Self::of(body).ok()?.by_version
    }

    /// What of it an infotext tells.
    pub(crate) fn told<'a>(&self, with: DrawnWith<'a>, user: &'a str) -> DrawnWith<'a> {
        DrawnWith {
            model_name: if self.tells_model_name { with.model_name } else { "" },
            model_hash: if self.tells_model_hash { with.model_hash } else { "" },
            vae_name: with.vae_name.filter(|_| self.tells_vae_name),
            vae_hash: with.vae_hash.filter(|_| self.tells_vae_hash),
            lora_hashes: if self.tells_lora_hashes { with.lora_hashes } else { &[] },
            inversion_hashes: if self.tells_inversion_hashes { with.inversion_hashes } else { &[] },
            user: self.tells_user.then_some(user),
            version: if self.tells_version { with.version } else { "" },
            ..with
        }
    }
}

/// Whether infotexts mean what the versions did that wrote them, by what is saved.
pub(crate) fn saved_by_version(saved: &Map<String, Value>) -> bool {
    saved.get(BY_VERSION).and_then(Value::as_bool).unwrap_or(true)
}

/// Has the text choose the checkpoint of a body that names none itself, where the options, the body's or those saved, want it.
/// Answers whether it did.
///
/// # Errors
/// Options that cannot be read.
pub(crate) fn choose_checkpoint(
    body: &mut Map<String, Value>,
    text: &Infotext,
    saved: &Map<String, Value>,
) -> Result<bool, Vec<FieldProblem>> {
    let mut in_force: Map<String, Value> =
        body.get(FIELD).map(|own| (FIELD.to_owned(), own.clone())).into_iter().collect();
    options::lay_under(&mut in_force, saved);
    if !InfotextOptions::of(&in_force)?.chooses_checkpoint {
        return Ok(false);
    }
    // The hash first: a file may be called otherwise here.
    let Some(named) = text.get(HASH).or_else(|| text.get(NAME)) else { return Ok(false) };
    let Some(own) = object(body, FIELD) else { return Ok(false) };
    let of = own.entry(options::CHECKPOINT).or_insert(Value::Null);
    let chooses = of.is_null();
    if chooses {
        *of = named.into();
    }
    Ok(chooses)
}

/// The checkpoint of a text that knows it by hash and by name: a file that was saved anew has another hash.
pub(crate) fn hash_and_name(text: &Infotext) -> Option<(&str, &str)> {
    text.get(HASH).zip(text.get(NAME))
}

/// Has the body's checkpoint be the one of this name.
pub(crate) fn choose_by_name(body: &mut Map<String, Value>, name: &str) {
    if let Some(own) = object(body, FIELD) {
        own.insert(options::CHECKPOINT.into(), name.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(options: Value) -> Result<InfotextOptions, Vec<FieldProblem>> {
        InfotextOptions::of(json!({"override_settings": options}).as_object().unwrap())
    }

    #[test]
    fn what_options_hide_is_told_nowhere_and_the_user_only_on_request() {
        let hashes = [("a".to_owned(), "1234".to_owned())];
        let with = DrawnWith {
            model_name: "demo",
            model_hash: "0123456789",
            vae_name: Some("bright"),
            vae_hash: Some("9876543210"),
            lora_hashes: &hashes,
            inversion_hashes: &hashes,
            version: "v",
            ..DrawnWith::default()
        };
        assert_eq!(of(json!({})).unwrap().told(with, "ann"), with);
        let nothing = json!({"add_model_name_to_info": false, "add_model_hash_to_info": false, "add_vae_name_to_info": false,
            "add_vae_hash_to_info": false, "add_version_to_infotext": false, "lora_add_hashes_to_infotext": false,
            "textual_inversion_add_hashes_to_infotext": false, "add_user_name_to_info": true});
        let told = of(nothing).unwrap().told(with, "ann");
        assert_eq!(told, DrawnWith { user: Some("ann"), ..DrawnWith::default() });
    }

    #[test]
    fn a_text_chooses_the_checkpoint_where_that_is_wanted_and_the_body_names_none() {
        let text =
            Infotext::parse("a\nSteps: 7, Sampler: Euler, Seed: 5, Model hash: 0123456789, Model: demo");
        let chosen = |own: Value, saved: Value| {
            let mut body = json!({"override_settings": own}).as_object().unwrap().clone();
            let chosen = choose_checkpoint(&mut body, &text, saved.as_object().unwrap()).unwrap();
            let checkpoint = body["override_settings"]["sd_model_checkpoint"].clone();
            assert_eq!(chosen, checkpoint == "0123456789", "{checkpoint}");
            checkpoint
        };
        let wanted = json!({"disable_weights_auto_swap": false});
        for (own, saved, expected) in [
            (json!({}), json!({}), Value::Null),
            (Value::Null, wanted.clone(), json!("0123456789")),
            (wanted.clone(), json!({"sd_model_checkpoint": "other"}), json!("0123456789")),
            (json!({"sd_model_checkpoint": "own"}), wanted.clone(), json!("own")),
            (json!({"disable_weights_auto_swap": true}), wanted, Value::Null),
        ] {
            assert_eq!(chosen(own.clone(), saved.clone()), expected, "{own} {saved}");
        }
    }

    #[test]
    fn options_of_another_type_are_named() {
        let problems = of(json!({"add_version_to_infotext": "maybe"})).unwrap_err();
        assert!(problems[0].message.contains("add_version_to_infotext"), "{problems:?}");
    }
}
