//! Settings against the schema that a plugin's manifest has for them. The schema is the plugin's, and so nobody's to trust: it
//! refers to nothing, within itself or elsewhere, and its patterns are matched in time that grows with the text alone.

use jsonschema::PatternOptions;
use serde_json::Value;

/// A schema of settings deeper than this is a mistake or an attack.
const DEPTH_MAX: usize = 16;
/// Patterns of a schema, and the bytes that one may take when it is compiled.
const PATTERNS_MAX: usize = 32;
const PATTERN_BYTES: usize = 128 << 10;
/// What is told of settings that are wrong in many places.
const TOLD_MAX: usize = 5;

/// What a schema may not be, as the end of a sentence.
pub(crate) fn problem(schema: &Value) -> Option<String> {
    let mut patterns = 0;
    if let Some(found) = unfit(schema, 0, &mut patterns) {
        return Some(found);
    }
    if patterns > PATTERNS_MAX {
        return Some(format!("has {patterns} patterns; {PATTERNS_MAX} are enough for settings"));
    }
    validator(schema).err().map(|error| format!("is no JSON schema: {error}"))
}

fn unfit(value: &Value, depth: usize, patterns: &mut usize) -> Option<String> {
    match value {
        _ if depth > DEPTH_MAX => Some(format!("is more than {DEPTH_MAX} levels deep")),
        Value::Object(fields) => fields.iter().find_map(|(name, inner)| match name.as_str() {
            "$ref" | "$dynamicRef" | "$recursiveRef" => {
                Some(format!("has {name}; write what it refers to in its place"))
            }
            _ => {
                *patterns += match name.as_str() {
                    "pattern" => 1,
                    "patternProperties" => inner.as_object().map_or(1, serde_json::Map::len),
                    _ => 0,
                };
                unfit(inner, depth + 1, patterns)
            }
        }),
        Value::Array(items) => items.iter().find_map(|inner| unfit(inner, depth + 1, patterns)),
        _ => None,
    }
}

fn validator(schema: &Value) -> Result<jsonschema::Validator, String> {
    let options =
        jsonschema::options().with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES));
    options.build(schema).map_err(|error| error.to_string())
}

/// Checks settings; none at all are an empty object.
///
/// # Errors
/// What is wrong, with its place, in one sentence. No value is in it, which may be a secret: others than the admin read it, in the
/// trail and in the log.
pub(crate) fn check(schema: &Value, settings: &Value) -> Result<(), String> {
    let empty = Value::Object(serde_json::Map::new());
    let settings = if settings.is_null() { &empty } else { settings };
    let validator = validator(schema)?;
    let wrong: Vec<String> = validator
        .iter_errors(settings)
        .take(TOLD_MAX)
        .map(|error| match error.instance_path().to_string() {
            place if place.is_empty() => error.masked().to_string(),
            place => format!("{place}: {}", error.masked()),
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("its settings are wrong: {}", wrong.join("; "))) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_checked_and_every_problem_has_its_place() {
        let schema = json!({"type": "object", "additionalProperties": false,
            "properties": {"style": {"type": "string"}, "size": {"type": "integer", "minimum": 1}}});
        assert_eq!(problem(&schema), None);
        assert_eq!(check(&schema, &Value::Null), Ok(()));
        assert_eq!(check(&schema, &json!({"style": "ink", "size": 3})), Ok(()));
        let error = check(&schema, &json!({"style": 7, "size": 0, "other": 1})).unwrap_err();
        for part in ["/style: value is not of type", "/size: value is less than", "other"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn no_value_is_told() {
        let secret = "sk-51f0";
        for (schema, settings) in [
            (json!({"type": "array"}), json!({"token": secret})),
            (json!({"properties": {"token": {"type": "object"}}}), json!({"token": secret})),
            (json!({"properties": {"token": {"maxLength": 3}}}), json!({"token": secret})),
            (json!({"properties": {"token": {"enum": ["a", "b"]}}}), json!({"token": secret})),
            (json!({"properties": {"token": {"const": "a"}}}), json!({"token": secret})),
            (json!({"properties": {"token": {"pattern": "^a$"}}}), json!({"token": secret})),
            (json!({"properties": {"token": {"not": {"type": "string"}}}}), json!({"token": secret})),
            (json!({"properties": {"keys": {"uniqueItems": true}}}), json!({"keys": [secret, secret]})),
            (json!({"properties": {"keys": {"contains": {"const": 1}}}}), json!({"keys": [secret]})),
            (
                json!({"properties": {"keys": {"prefixItems": [true], "items": false}}}),
                json!({"keys": [1, secret]}),
            ),
            (json!({"anyOf": [{"type": "array"}, {"required": ["a"]}]}), json!({"token": secret})),
            (json!({"oneOf": [{"type": "array"}, {"required": ["a"]}]}), json!({"token": secret})),
            (json!({"minProperties": 2}), json!({"token": secret})),
            (json!({"additionalProperties": false}), json!({"token": secret})),
            (json!({"unevaluatedProperties": false}), json!({"token": secret})),
        ] {
            let error = check(&schema, &settings).unwrap_err();
            assert!(!error.contains(secret), "{schema}: {error}");
        }
    }

    #[test]
    fn a_schema_that_could_run_away_is_none() {
        assert!(problem(&json!({"allOf": [{"$ref": "#"}]})).unwrap().contains("has $ref"));
        assert!(
            problem(&json!({"properties": {"a": {"$dynamicRef": "x"}}})).unwrap().contains("has $dynamicRef")
        );
        assert!(problem(&json!({"type": "thing"})).unwrap().contains("no JSON schema"));
        assert!(
            problem(&json!({"pattern": "(a)\\1"})).is_some(),
            "a pattern that looks back can take for ever"
        );
        let many: Vec<_> = (0..40).map(|index| json!({"pattern": format!("a{index}")})).collect();
        assert!(problem(&json!({ "allOf": many })).unwrap().contains("40 patterns"));
        assert!(
            problem(&json!({"pattern": "(?:\\pL|a\\pN){150}"})).is_some(),
            "a pattern that takes megabytes"
        );
        let deep = (0..40).fold(json!(true), |inner, _| json!({"not": inner}));
        assert!(problem(&deep).unwrap().contains("levels deep"));
    }
}
