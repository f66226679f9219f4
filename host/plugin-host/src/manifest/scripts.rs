//! The list `scripts` of a manifest: what a plugin of the world `script` draws, with the arguments that web UIs show for it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ManifestError, wrong};

const FIELD: &str = "scripts";
/// Scripts of one plugin.
const MAX: usize = 64;
pub(super) const ARGUMENTS_MAX: usize = 64;

/// One script. The title is what requests name it by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub title: String,
    #[serde(default = "yes")]
    pub txt2img: bool,
    #[serde(default = "yes")]
    pub img2img: bool,
    /// In the order of a request's `script_args`.
    #[serde(default)]
    pub args: Vec<ScriptArgument>,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptArgument {
    pub label: String,
    /// The value where a request has none.
    #[serde(default)]
    pub value: Value,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub step: Option<f64>,
    pub choices: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}

impl Script {
    /// A value for each argument: the request's, by place in a list or by label in an object, else the default.
    ///
    /// # Errors
    /// A sentence for the client, where the arguments are neither, or an object has a label that the script has not.
    pub fn settle(&self, given: &Value) -> Result<Vec<Value>, String> {
        settle(&self.title, &self.args, given)
    }
}

/// A value for each of `arguments`; `title` is what they belong to.
pub(super) fn settle(title: &str, arguments: &[ScriptArgument], given: &Value) -> Result<Vec<Value>, String> {
    let get = |index: usize, argument: &ScriptArgument| match given {
        Value::Array(list) => list.get(index),
        Value::Object(fields) => {
            let found = fields.iter().find(|(label, _)| label.eq_ignore_ascii_case(&argument.label));
            found.map(|(_, value)| value)
        }
        _ => None,
    };
    if !matches!(given, Value::Array(_) | Value::Object(_) | Value::Null) {
        return Err(format!("the arguments of {title} must be a list or an object"));
    }
    let is_known = |label: &str| arguments.iter().any(|argument| argument.label.eq_ignore_ascii_case(label));
    if let Some(label) = given.as_object().into_iter().flat_map(Map::keys).find(|label| !is_known(label)) {
        let known: Vec<_> = arguments.iter().map(|argument| format!("{:?}", argument.label)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(format!("{title} has no argument {label:?}; it has {known}"));
    }
    let settled = arguments.iter().enumerate().map(|(index, argument)| {
        get(index, argument).filter(|value| !value.is_null()).unwrap_or(&argument.value).clone()
    });
    Ok(settled.collect())
}

pub(super) fn read(fields: &Map<String, Value>) -> Result<Vec<Script>, ManifestError> {
    let items = match fields.get(FIELD) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= MAX => items,
        Some(_) => return wrong(FIELD, format!("is not a list of at most {MAX} scripts")),
    };
    let mut titles = BTreeSet::new();
    let mut scripts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = |problem: String| wrong(FIELD, format!("at place {index}: {problem}"));
        let script: Script = match serde_json::from_value(item.clone()) {
            Ok(script) => script,
            Err(error) => return at(error.to_string()),
        };
        if script.title.trim().is_empty() || script.title.len() > 64 {
            return at("a title has 1 to 64 bytes".into());
        }
        if !titles.insert(script.title.to_lowercase()) {
            return at(format!("{:?} is the title of another script already", script.title));
        }
        if script.args.len() > ARGUMENTS_MAX {
            return at(format!("it has more than {ARGUMENTS_MAX} arguments"));
        }
        scripts.push(script);
    }
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(scripts: Value) -> Result<Vec<Script>, String> {
        read(json!({"scripts": scripts}).as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_are_settled_by_place_and_by_label() {
        let args =
            json!([{"label": "Loops", "value": 4}, {"label": "Final", "value": 0.5}, {"label": "Note"}]);
        let script = parse(json!([{"title": "Loopback", "txt2img": false, "args": args}])).unwrap().remove(0);
        assert!(!script.txt2img && script.img2img);
        for (given, settled) in [
            (json!([]), json!([4, 0.5, null])),
            (json!(null), json!([4, 0.5, null])),
            (json!([2, null, "x", "too many"]), json!([2, 0.5, "x"])),
            (json!({"final": 0.1}), json!([4, 0.1, null])),
        ] {
            assert_eq!(Value::from(script.settle(&given).unwrap()), settled, "{given}");
        }
        assert!(script.settle(&json!("4")).unwrap_err().contains("a list or an object"));
        let misspelt = script.settle(&json!({"final": 0.1, "loop": 1})).unwrap_err();
        assert_eq!(misspelt, r#"Loopback has no argument "loop"; it has "Loops", "Final", "Note""#);
    }

    #[test]
    fn a_wrong_script_is_named_by_its_place() {
        for (script, says) in [
            (json!({}), "missing field `title`"),
            (json!({"title": " "}), "1 to 64 bytes"),
            (json!({"title": "GOOD"}), "the title of another"),
            (json!({"title": "a", "args": [{"value": 1}]}), "missing field `label`"),
        ] {
            let error = parse(json!([{"title": "good"}, script])).unwrap_err();
            assert!(error.contains("at place 1") && error.contains(says), "{error}");
        }
    }
}
