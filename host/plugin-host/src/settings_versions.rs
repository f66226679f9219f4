//! The settings that a plugin was given, one after the other, so that earlier ones can be put back without the rest of its grants.
//! Kept in the record of the plugin, as its grants are. Knows no schema.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Versions that are kept, and bytes that those before the newest may have together: the registry is one file.
const VERSIONS: usize = 20;
const EARLIER_BYTES: usize = 256 << 10;
/// Bytes that settings may have.
pub(crate) const BYTES_MAX: usize = 256 << 10;

/// Settings as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsVersion {
    /// From 1, and never given twice.
    pub number: u64,
    /// Milliseconds since the Unix epoch; `None` of what stood before versions were kept, or in the settings file.
    pub time_ms: Option<u64>,
    /// Who gave them, where that is known.
    pub by: Option<String>,
    pub settings: Value,
}

/// Whether settings are short enough to be kept.
///
/// # Errors
/// A sentence where they are not.
pub(crate) fn check(settings: &Value) -> Result<(), String> {
    let bytes = settings.to_string().len();
    if bytes > BYTES_MAX {
        return Err(format!("the settings have {bytes} bytes; {BYTES_MAX} are the most"));
    }
    Ok(())
}

/// Adds `settings` to what was given, where they are others than those before; `before` are those that stood until now.
pub(crate) fn note(
    versions: &mut Vec<SettingsVersion>,
    before: &Value,
    settings: &Value,
    (by, now_ms): (Option<&str>, u64),
) {
    let (before, settings) = (without_null(before), without_null(settings));
    if versions.is_empty() && before.as_object().is_some_and(|before| !before.is_empty()) {
        versions.push(SettingsVersion { number: 1, time_ms: None, by: None, settings: before });
    }
    if versions.last().is_some_and(|last| last.settings == settings) {
        return;
    }
    let number = versions.last().map_or(1, |last| last.number + 1);
    let by = by.map(str::to_owned);
    versions.push(SettingsVersion { number, time_ms: Some(now_ms), by, settings });
    let lengths: Vec<usize> =
        versions.iter().rev().skip(1).map(|version| version.settings.to_string().len()).collect();
    let mut bytes = 0;
    let fitting = lengths.iter().take(VERSIONS - 1).take_while(|length| {
        bytes += **length;
        bytes <= EARLIER_BYTES
    });
    let kept = 1 + fitting.count();
    versions.drain(..versions.len() - kept);
}

/// As the guest reads them.
fn without_null(settings: &Value) -> Value {
    if settings.is_null() { Value::Object(Map::new()) } else { settings.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn numbers(versions: &[SettingsVersion]) -> Vec<u64> {
        versions.iter().map(|version| version.number).collect()
    }

    #[test]
    fn every_change_is_kept_with_what_stood_before_it() {
        let mut versions = Vec::new();
        note(&mut versions, &json!({"a": 1}), &json!({"a": 2}), (Some("ann"), 5));
        note(&mut versions, &json!({"a": 2}), &json!({"a": 2}), (Some("bob"), 6));
        note(&mut versions, &json!({"a": 2}), &Value::Null, (None, 7));
        let told: Vec<_> = versions
            .iter()
            .map(|version| (version.number, version.time_ms, version.by.as_deref(), version.settings.clone()))
            .collect();
        let ann = (2, Some(5), Some("ann"), json!({"a": 2}));
        assert_eq!(told, [(1, None, None, json!({"a": 1})), ann, (3, Some(7), None, json!({}))]);
        // Nothing stood there before the first.
        let mut versions = Vec::new();
        note(&mut versions, &Value::Null, &json!({}), (None, 5));
        assert_eq!(numbers(&versions), [1]);
    }

    #[test]
    fn the_oldest_go_first_and_numbers_go_on() {
        let mut versions = Vec::new();
        for number in 0..30 {
            note(&mut versions, &Value::Null, &json!({"a": number}), (None, number));
        }
        assert_eq!(numbers(&versions), (11..=30).collect::<Vec<_>>());
        let long = "x".repeat(EARLIER_BYTES);
        for letter in ["a", "b"] {
            note(&mut versions, &Value::Null, &json!({"long": format!("{letter}{long}")}), (None, 0));
        }
        assert_eq!(numbers(&versions), [32], "what is too long to be kept beside others still is the newest");
        note(&mut versions, &Value::Null, &json!({}), (None, 0));
        note(&mut versions, &Value::Null, &json!({"a": 1}), (None, 0));
        assert_eq!(numbers(&versions), [33, 34]);
        assert!(check(&json!({"long": long})).unwrap_err().contains("262144 are the most"));
    }
}
