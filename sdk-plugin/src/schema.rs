//! JSON schemas of settings and arguments, made of the very types that read them (`derive(JsonSchema)`): names, types,
//! defaults, doc comments as descriptions. A test keeps the manifest, which a host reads without running the plugin, equal
//! to the type.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of a type as a manifest holds it: one piece, which refers to nothing.
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    // The manifest has a title of its own.
    schema.as_object_mut().map(|fields| fields.remove("title"));
    schema
}

/// For a plugin's own test: `field` of the manifest (`settings_schema` or `arguments_schema`) must be the schema of the type.
///
/// # Panics
/// With what belongs there, where it is another.
pub fn assert_in_manifest<T: JsonSchema>(manifest: &str, field: &str) {
    let there = serde_json::from_str::<Value>(manifest).map(|manifest| manifest[field].clone());
    let wanted = of::<T>();
    assert!(
        there.as_ref().is_ok_and(|there| *there == wanted),
        "the manifest's {field} is not the schema of {}; it should be\n{wanted:#}",
        std::any::type_name::<T>()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How strongly.
    #[derive(serde::Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        /// From 0 to 1.
        #[schemars(range(min = 0, max = 1))]
        strength: f64,
        corner: Corner,
        name: Option<String>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize, serde::Serialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Corner {
        Left,
        Right,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self { strength: 0.5, corner: Corner::Right, name: None }
        }
    }

    #[test]
    fn a_schema_is_one_piece_with_defaults_and_descriptions() {
        let schema = of::<Settings>();
        let read: Settings = serde_json::from_str("{}").unwrap();
        assert_eq!((read.strength, read.corner, read.name), (0.5, Corner::Right, None));
        assert_eq!(
            schema,
            serde_json::json!({
                "type": "object",
                "description": "How strongly.",
                "additionalProperties": false,
                "properties": {
                    "strength": {"type": "number", "format": "double", "description": "From 0 to 1.", "minimum": 0,
                                 "maximum": 1, "default": 0.5},
                    "corner": {"type": "string", "enum": ["left", "right"], "default": "right"},
                    "name": {"type": ["string", "null"], "default": null}
                }
            })
        );
        assert_in_manifest::<Settings>(
            &serde_json::json!({"settings_schema": schema}).to_string(),
            "settings_schema",
        );
    }

    #[test]
    #[should_panic(expected = "it should be")]
    fn another_schema_in_the_manifest_fails_the_test() {
        assert_in_manifest::<Settings>(r#"{"settings_schema": {"type": "object"}}"#, "settings_schema");
    }
}
