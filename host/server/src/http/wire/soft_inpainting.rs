//! Soft inpainting as clients ask for it: `alwayson_scripts` with the web UI's list of arguments, or an object by their
//! labels. Knows nothing of what they do.

use gesso_core::img2img::{SOFT_ENABLED, SOFT_SETTINGS, SoftInpainting};
use gesso_core::infotext::Infotext;
use serde_json::{Map, Value, json};

use super::control::FIELD;
use super::fields::{boolean, number};
use super::infotext;
use super::lists::{ScriptArgumentEntry, ScriptEntry};
use super::problems::Problems;

/// The name under `alwayson_scripts`, in any case.
pub(crate) const SCRIPT: &str = "soft inpainting";
/// What people see of the argument that switches it on.
const SWITCH: &str = "Soft inpainting";

/// The settings of a body that asks for it.
pub(super) fn read(body: &Map<String, Value>, problems: &mut Problems) -> Option<SoftInpainting> {
    let args = script(body.get(FIELD)?.as_object()?)?.get("args")?;
    let mut wrong = |message: String| problems.add(FIELD, format!("alwayson_scripts.{SCRIPT}: {message}"));
    let given = |index: usize, names: [&str; 2]| match args {
        Value::Array(list) => list.get(index),
        Value::Object(fields) => fields
            .iter()
            .find(|(key, _)| names.iter().any(|name| plain(name) == plain(key)))
            .map(|(_, value)| value),
        _ => None,
    };
    let given = |index, names| given(index, names).filter(|value| !value.is_null());
    if !matches!(args, Value::Array(_) | Value::Object(_) | Value::Null) {
        wrong("args must be a list, or an object by label".into());
        return None;
    }
    let is_on = match given(0, [SWITCH, "enabled"]) {
        // Who names settings wants them.
        None => args.is_object(),
        Some(value) => boolean(value).and_then(|flag| flag.as_bool()).unwrap_or_else(|| {
            wrong("the first argument, enabled, must be true or false".into());
            false
        }),
    };
    if !is_on {
        return None;
    }
    let mut values = SoftInpainting::default().values();
    for (index, (setting, value)) in SOFT_SETTINGS.iter().zip(&mut values).enumerate() {
        let Some(asked) = given(index + 1, [setting.label, setting.field]) else { continue };
        match number(asked).filter(|asked| (setting.least..=setting.most).contains(asked)) {
            Some(asked) => *value = asked,
            None => wrong(format!(
                "{} must be a number between {} and {}",
                setting.label, setting.least, setting.most
            )),
        }
    }
    Some(SoftInpainting::from_values(values))
}

/// Fills the arguments of a body from the text of a picture, where the body says nothing of them.
pub(super) fn fill_from_infotext(body: &mut Map<String, Value>, text: &Infotext) {
    if text.get(SOFT_ENABLED).is_none() {
        return;
    }
    let Some(scripts) = infotext::object(body, FIELD) else { return };
    let name = scripts.keys().find(|name| name.eq_ignore_ascii_case(SCRIPT)).cloned();
    let Some(script) = infotext::object(scripts, name.as_deref().unwrap_or(SCRIPT)) else { return };
    let args = script.entry("args").or_insert_with(|| json!({}));
    if args.is_null() {
        *args = json!({});
    }
    let Some(args) = args.as_object_mut() else { return };
    let known = |args: &Map<String, Value>, names: [&str; 2]| {
        args.keys().any(|key| names.iter().any(|name| plain(name) == plain(key)))
    };
    if !known(args, [SWITCH, "enabled"]) {
        args.insert("enabled".into(), true.into());
    }
    for setting in SOFT_SETTINGS {
        if let Some(value) = text.get(setting.field).filter(|_| !known(args, [setting.label, setting.field]))
        {
            args.insert(setting.label.into(), value.into());
        }
    }
}

/// What it is listed as, for image to image.
pub(crate) fn entry() -> ScriptEntry {
    let default = SoftInpainting::default().values();
    let settings = SOFT_SETTINGS.iter().zip(default).map(|(setting, value)| {
        ScriptArgumentEntry::slider(setting.label, value, (setting.least, setting.most), setting.step)
    });
    let args = std::iter::once(ScriptArgumentEntry::switch(SWITCH)).chain(settings).collect();
    ScriptEntry::always_on(SCRIPT, true, args)
}

fn script(scripts: &Map<String, Value>) -> Option<&Value> {
    scripts.iter().find(|(name, _)| name.eq_ignore_ascii_case(SCRIPT)).map(|(_, script)| script)
}

/// A label as programs may write it: `schedule_bias`.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: Value) -> Result<Option<SoftInpainting>, String> {
        let body = json!({"alwayson_scripts": {"Soft Inpainting": {"args": args}}});
        let mut problems = Problems::default();
        let read = read(body.as_object().unwrap(), &mut problems);
        problems.into_result(read).map_err(|problems| problems[0].message.clone())
    }

    #[test]
    fn arguments_come_by_place_or_by_name() {
        let soft = SoftInpainting { schedule_bias: 2.0, mask_influence: 0.25, ..SoftInpainting::default() };
        for args in [
            json!([true, 2, 0.5, 4, 0.25, 0.5, 2]),
            json!(["on", "2", null, 4, 0.25]),
            json!({"enabled": true, "schedule_bias": 2, "mask_influence": 0.25}),
            json!({"Schedule bias": 2, "Mask influence": 0.25}),
            json!({"Soft inpainting": true, "Soft inpainting schedule bias": 2, "MASK INFLUENCE": 0.25}),
        ] {
            assert_eq!(of(args.clone()), Ok(Some(soft)), "{args}");
        }
        for args in [json!([]), json!([false, 99]), json!(null), json!({"enabled": 0})] {
            assert_eq!(of(args.clone()), Ok(None), "{args}");
        }
        assert_eq!(of(json!([true])), Ok(Some(SoftInpainting::default())));
        assert_eq!(of(json!({})), Ok(Some(SoftInpainting::default())));
    }

    #[test]
    fn what_is_out_of_range_is_named_with_its_bounds() {
        for (args, says) in [
            (json!([true, -1]), "Schedule bias must be a number between 0 and 8"),
            (json!([true, 1, 0.5, 0]), "Transition contrast boost must be a number between 1 and 32"),
            (json!({"difference_contrast": "much"}), "Difference contrast must be"),
            (json!(["maybe"]), "enabled, must be true or false"),
            (json!("x"), "args must be a list"),
        ] {
            let why = of(args.clone()).unwrap_err();
            assert!(why.starts_with("alwayson_scripts.soft inpainting: ") && why.contains(says), "{why}");
        }
    }

    #[test]
    fn the_entry_has_the_arguments_in_their_order() {
        let entry = json!(entry());
        assert_eq!(
            (&entry["name"], &entry["is_alwayson"], &entry["is_img2img"]),
            (&json!("soft inpainting"), &json!(true), &json!(true))
        );
        assert_eq!(entry["args"].as_array().unwrap().len(), 7);
        assert_eq!(
            (&entry["args"][0]["value"], &entry["args"][3]["value"], &entry["args"][3]["maximum"]),
            (&json!(false), &json!(4.0), &json!(32.0))
        );
    }
}
