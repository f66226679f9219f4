//! What the document says of numbers that are not negative. The formats that its maker has for them are those of signed ones,
//! whose greatest number is half as large; and schema validators know no format of integers at all, so that the greatest is
//! said in so many words.

use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayItems, KnownFormat, Object, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa::{Modify, Number};

use super::operations;

pub(super) struct Bounds;

impl Modify for Bounds {
    fn modify(&self, document: &mut OpenApi) {
        if let Some(components) = &mut document.components {
            components.schemas.values_mut().for_each(bound);
        }
        for item in document.paths.paths.values_mut() {
            for (_, operation) in operations(item) {
                for parameter in operation.parameters.iter_mut().flatten() {
                    if let RefOr::T(Parameter { schema: Some(schema), .. }) = parameter {
                        bound(schema);
                    }
                }
            }
        }
    }
}

fn bound(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => bound_object(object),
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                bound(items);
            }
        }
        Schema::OneOf(one_of) => one_of.items.iter_mut().for_each(bound),
        Schema::AllOf(all_of) => all_of.items.iter_mut().for_each(bound),
        Schema::AnyOf(any_of) => any_of.items.iter_mut().for_each(bound),
        // There is no other kind yet.
        _ => {}
    }
}

fn bound_object(object: &mut Object) {
    object.properties.values_mut().for_each(bound);
    if let Some(AdditionalProperties::RefOr(values)) = object.additional_properties.as_deref_mut() {
        bound(values);
    }
    if !is_integer(&object.schema_type) || !is_from_zero(object.minimum.as_ref()) {
        return;
    }
    let (format, greatest) = match &object.format {
        Some(SchemaFormat::KnownFormat(KnownFormat::Int32)) => ("uint32", u64::from(u32::MAX)),
        // Sizes come without a format.
        Some(SchemaFormat::KnownFormat(KnownFormat::Int64)) | None => ("uint64", u64::MAX),
        Some(_) => return,
    };
    object.format = Some(SchemaFormat::Custom(format.to_owned()));
    object.maximum.get_or_insert(Number::from(greatest));
}

fn is_integer(kind: &SchemaType) -> bool {
    match kind {
        SchemaType::Type(kind) => *kind == Type::Integer,
        SchemaType::Array(kinds) => kinds.contains(&Type::Integer),
        SchemaType::AnyValue => false,
    }
}

/// Which is how numbers without a sign are told from others.
fn is_from_zero(minimum: Option<&Number>) -> bool {
    match minimum {
        Some(Number::Int(least)) => *least >= 0,
        Some(Number::UInt(_)) => true,
        Some(Number::Float(least)) => *least >= 0.0,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::document;

    /// Every schema of an integer, and where it stands.
    fn integers(value: &Value, place: &str, found: &mut Vec<(String, Value)>) {
        let Some(map) = value.as_object() else {
            let items = value.as_array().into_iter().flatten().enumerate();
            return items.for_each(|(index, item)| integers(item, &format!("{place}/{index}"), found));
        };
        let kind = map.get("type");
        let is_integer = |kind: &Value| {
            kind == "integer" || kind.as_array().is_some_and(|all| all.contains(&json!("integer")))
        };
        if kind.is_some_and(is_integer) {
            found.push((place.to_owned(), value.clone()));
        }
        map.iter().for_each(|(name, item)| integers(item, &format!("{place}/{name}"), found));
    }

    #[test]
    fn numbers_without_a_sign_are_told_up_to_their_greatest() {
        let document = serde_json::to_value(document()).unwrap();
        let mut found = Vec::new();
        for part in ["/components/schemas", "/paths"] {
            integers(document.pointer(part).unwrap(), part, &mut found);
        }
        assert!(found.len() > 80, "{}", found.len());
        let is_body = |place: &str| place.contains("/requestBody/") || place.contains("/responses/");
        for (place, schema) in found.iter().filter(|(place, _)| !is_body(place)) {
            let is_unsigned = schema["minimum"].as_f64().is_some_and(|least| least >= 0.0);
            let format = schema["format"].as_str().unwrap_or_default();
            assert_eq!(is_unsigned, format.starts_with("uint"), "{place}: {schema}");
            assert!(!is_unsigned || schema["maximum"].is_u64(), "{place}: {schema}");
        }
        let parameters = document["paths"]["/tasks"]["get"]["parameters"].as_array().unwrap();
        let of = |name: &str| &parameters.iter().find(|known| known["name"] == name).unwrap()["schema"];
        assert_eq!(
            *of("cursor"),
            json!({"type": "integer", "format": "uint64", "maximum": u64::MAX, "minimum": 0})
        );
        let seeds = &document["components"]["schemas"]["TaskView"]["properties"]["seeds"]["items"];
        assert_eq!(seeds["maximum"], u64::MAX);
        let allowance = &document["components"]["schemas"]["Allowance"]["properties"]["tasks_at_once"];
        assert_eq!((&allowance["format"], &allowance["maximum"]), (&json!("uint32"), &json!(u32::MAX)));
    }
}
