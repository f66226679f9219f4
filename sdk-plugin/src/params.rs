//! The request's parameters: a JSON object in the web UI's field names, kept whole so that fields this SDK has
//! never heard of pass through a plugin unharmed.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Fault, lax};

/// The parameters of a request. The host checks what a plugin changes as it checks a client's.
#[derive(Debug, Clone, PartialEq)]
pub struct Params(Map<String, Value>);

impl Params {
    /// # Errors
    /// [`Fault::InvalidInput`] where the text is not a JSON object.
    pub fn from_json(text: &str) -> Result<Self, Fault> {
        serde_json::from_str(text)
            .map(Self)
            .map_err(|error| Fault::InvalidInput(format!("The parameters are not a JSON object: {error}.")))
    }

    pub fn to_json(&self) -> String {
        // Keys are strings, so there is nothing in a map that JSON could not say.
        serde_json::to_string(&self.0).expect("a JSON map can be written")
    }

    /// The prompt, empty where the request has none.
    pub fn prompt(&self) -> &str {
        self.text("prompt")
    }

    pub fn set_prompt(&mut self, prompt: impl Into<String>) {
        self.set("prompt", prompt.into());
    }

    /// The negative prompt, empty where the request has none.
    pub fn negative_prompt(&self) -> &str {
        self.text("negative_prompt")
    }

    pub fn set_negative_prompt(&mut self, prompt: impl Into<String>) {
        self.set("negative_prompt", prompt.into());
    }

    /// A field by its name in the request, such as `steps` or `cfg_scale`.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    pub fn set(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(field.into(), value.into());
    }

    pub fn remove(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field)
    }

    /// What the request says to the plugin `name`; see [`arguments`].
    ///
    /// # Errors
    /// As [`arguments`].
    pub fn arguments<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Fault> {
        arguments(self, name)
    }

    /// Rewrites text fields of the objects that the request gives to another plugin, such as the prompts that ADetailer paints
    /// with. `rewrite` is given the number of the object, the field and its text, and answers nothing to leave it.
    ///
    /// # Errors
    /// What `rewrite` says.
    pub fn rewrite_texts_of(
        &mut self,
        name: &str,
        fields: &[&'static str],
        mut rewrite: impl FnMut(usize, &'static str, &str) -> Result<Option<String>, Fault>,
    ) -> Result<(), Fault> {
        let scripts = self.0.get_mut("alwayson_scripts").and_then(Value::as_object_mut);
        let script = scripts.and_then(|scripts| {
            scripts.iter_mut().find_map(|(key, script)| is_named(key, name).then_some(script))
        });
        let objects = match script.and_then(|script| script.get_mut("args")) {
            Some(Value::Array(list)) => list.as_mut_slice(),
            Some(one) => std::slice::from_mut(one),
            None => return Ok(()),
        };
        for (number, object) in objects.iter_mut().filter_map(Value::as_object_mut).enumerate() {
            for field in fields {
                let Some(Value::String(text)) = object.get_mut(*field) else { continue };
                if let Some(rewritten) = rewrite(number, field, text)? {
                    *text = rewritten;
                }
            }
        }
        Ok(())
    }

    fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// What the request says to the plugin `name` under `alwayson_scripts.<name>.args`, or nothing where it says
/// nothing. Names are compared without regard to case, as clients of the web UI write titles, and with a version behind them
/// or without, as in `Dynamic Prompts v2.17.1`.
///
/// The arguments are an object, or a list: of the fields of `T` in the order they are declared, or of one object. They are read
/// as [`lax::from_value`] reads them.
///
/// # Errors
/// [`Fault::InvalidInput`] where the arguments do not fit `T`.
pub fn arguments<T: DeserializeOwned>(params: &Params, name: &str) -> Result<Option<T>, Fault> {
    let Some(scripts) = params.get("alwayson_scripts").and_then(Value::as_object) else { return Ok(None) };
    let Some((key, script)) = scripts.iter().find(|(key, _)| is_named(key, name)) else {
        return Ok(None);
    };
    let args = match script.get("args") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) if list.is_empty() => return Ok(None),
        Some(Value::Array(list)) if list.len() == 1 && list[0].is_object() => &list[0],
        Some(args) => args,
    };
    lax::from_value(args)
        .map(Some)
        .map_err(|error| Fault::InvalidInput(format!("alwayson_scripts.{key}.args cannot be used: {error}.")))
}

/// Whether a key under `alwayson_scripts` is that plugin's.
fn is_named(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name) || without_version(key).eq_ignore_ascii_case(name)
}

/// A title without the version behind it.
fn without_version(title: &str) -> &str {
    let is_version = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_digit())
            && text.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
    };
    match title.rsplit_once(" v") {
        Some((bare, version)) if is_version(version) => bare,
        _ => title,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Options {
        enabled: bool,
        depth: u32,
    }

    impl Default for Options {
        fn default() -> Self {
            Self { enabled: true, depth: 4 }
        }
    }

    fn options(args: &str) -> Result<Option<Options>, Fault> {
        let params = format!(r#"{{"alwayson_scripts": {{"Dynamic-Prompts": {{"args": {args}}}}}}}"#);
        Params::from_json(&params).unwrap().arguments("dynamic-prompts")
    }

    #[test]
    fn reads_arguments_given_as_an_object_as_a_list_and_as_a_list_of_one_object() {
        let wanted = Some(Options { enabled: false, depth: 2 });
        assert_eq!(options(r#"{"depth": 2, "enabled": false}"#).unwrap(), wanted);
        assert_eq!(options("[false, 2]").unwrap(), wanted);
        assert_eq!(options(r#"[{"enabled": false, "depth": 2}]"#).unwrap(), wanted);
        assert_eq!(options("[false]").unwrap(), Some(Options { enabled: false, depth: 4 }));
    }

    #[test]
    fn says_nothing_where_the_request_says_nothing() {
        assert_eq!(options("[]").unwrap(), None);
        assert_eq!(options("null").unwrap(), None);
        assert_eq!(Params::from_json("{}").unwrap().arguments::<Options>("dynamic-prompts").unwrap(), None);
    }

    #[test]
    fn names_the_arguments_that_do_not_fit() {
        for args in [r#"{"depth": "deep"}"#, r#"[true, "deep", "more"]"#] {
            let Err(Fault::InvalidInput(text)) = options(args) else { panic!("{args} is accepted") };
            assert!(
                text.contains("alwayson_scripts.Dynamic-Prompts.args") && text.contains("deep"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_stands_behind_the_last_field_is_nobodys() {
        let wanted = Some(Options { enabled: false, depth: 2 });
        assert_eq!(options(r#"[false, 2, "more", null, {"x": 1}]"#).unwrap(), wanted);
    }

    #[test]
    fn a_version_may_stand_behind_the_name() {
        let of = |name: &str| {
            let params = format!(r#"{{"alwayson_scripts": {{"{name}": {{"args": [false]}}}}}}"#);
            Params::from_json(&params).unwrap().arguments::<Options>("Dynamic Prompts").unwrap().is_some()
        };
        let found =
            ["Dynamic Prompts v2.17.1", "dynamic prompts v1", "Dynamic Prompts vast", "Dynamic"].map(of);
        assert_eq!(found, [true, true, false, false]);
    }

    #[test]
    fn texts_for_another_plugin_are_rewritten_where_they_are() {
        let rewritten = |args: &str| {
            let text = format!(r#"{{"alwayson_scripts":{{"ADetailer":{{"args":{args}}}}}}}"#);
            let mut params = Params::from_json(&text).unwrap();
            params
                .rewrite_texts_of("adetailer", &["p", "n"], |number, field, text| {
                    Ok((text != "plain").then(|| format!("{number}{field} {text}")))
                })
                .unwrap();
            params.get("alwayson_scripts").unwrap()["ADetailer"]["args"].to_string()
        };
        assert_eq!(
            rewritten(r#"[true,{"p":"a","x":"b"},{"n":"c","p":"plain"}]"#),
            r#"[true,{"p":"0p a","x":"b"},{"n":"1n c","p":"plain"}]"#
        );
        assert_eq!(rewritten(r#"{"p":"a","n":3}"#), r#"{"p":"0p a","n":3}"#);
        assert_eq!(rewritten("null"), "null");
        let refused = || Err(Fault::InvalidInput("no".into()));
        let mut params = Params::from_json(r#"{"alwayson_scripts":{"a":{"args":[{"p":"x"}]}}}"#).unwrap();
        assert_eq!(
            params.rewrite_texts_of("a", &["p"], |_, _, _| refused()),
            refused().map(|_: Option<String>| ())
        );
        assert_eq!(params.rewrite_texts_of("b", &["p"], |_, _, _| refused()), Ok(()));
    }

    #[test]
    fn keeps_fields_it_has_never_heard_of_and_their_order() {
        let text = r#"{"zeta":1,"prompt":"a","alpha":[null,{"deep":true}]}"#;
        let mut params = Params::from_json(text).unwrap();
        assert_eq!(params.to_json(), text);
        params.set_prompt("b");
        assert_eq!(params.to_json(), text.replace("\"a\"", "\"b\""));
    }

    #[test]
    fn refuses_parameters_that_are_not_an_object() {
        assert!(matches!(Params::from_json("[1]"), Err(Fault::InvalidInput(_))));
        assert!(matches!(Params::from_json("{"), Err(Fault::InvalidInput(_))));
    }
}
