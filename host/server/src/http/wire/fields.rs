//! Lax typing by table: a body is checked against a list of fields, every problem is gathered, and what comes out
//! has every field, in order, with its declared type.
//!
//! Clients of the web UI send numbers as strings, floats for integers, null for "default", and fields nobody
//! knows. The rules are pydantic v1's: `"512"` is 512, `7.9` truncates to 7 for an integer, 0, 1, "true" and "off"
//! are booleans, unknown fields are ignored. Beyond those an empty list is an empty object.

use serde_json::{Map, Number, Value};

/// A field's type and what it is when absent or null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Text(&'static str),
    OptionalText,
    Integer(i64),
    OptionalInteger,
    Float(f64),
    OptionalFloat,
    Boolean(bool),
    OptionalBoolean,
    OptionalTextList,
    List,
    /// Arguments: by place or by name. Empty list when absent.
    ListOrObject,
    Object,
    OptionalObject,
    /// An integer where -1, null and "" all mean "draw one".
    Seed,
}

/// One field of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) doc: &'static str,
}

/// A row of a table.
pub(super) const fn field(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, doc }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldProblem {
    pub(crate) field: String,
    pub(crate) message: String,
}

/// The body with every field present and of its type; or all problems.
pub(crate) fn read<'a>(
    body: &Map<String, Value>,
    fields: impl IntoIterator<Item = &'a Field>,
) -> Result<Map<String, Value>, Vec<FieldProblem>> {
    let mut out = Map::new();
    let mut problems = Vec::new();
    for field in fields {
        match coerce(field.kind, body.get(field.name).unwrap_or(&Value::Null)) {
            Ok(value) => {
                out.insert(field.name.into(), value);
            }
            Err(expected) => problems.push(FieldProblem {
                field: field.name.into(),
                message: format!("{} must be {expected}", field.name),
            }),
        }
    }
    if problems.is_empty() { Ok(out) } else { Err(problems) }
}

impl Kind {
    fn default_value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Integer(number) => number.into(),
            Self::Float(number) => float(number),
            Self::Boolean(flag) => flag.into(),
            Self::List | Self::ListOrObject => Value::Array(Vec::new()),
            Self::Object => Value::Object(Map::new()),
            Self::Seed => (-1).into(),
            Self::OptionalText
            | Self::OptionalInteger
            | Self::OptionalFloat
            | Self::OptionalBoolean
            | Self::OptionalTextList
            | Self::OptionalObject => Value::Null,
        }
    }
}

fn coerce(kind: Kind, value: &Value) -> Result<Value, &'static str> {
    if value.is_null() {
        return Ok(kind.default_value());
    }
    match kind {
        Kind::Text(_) | Kind::OptionalText => text(value).ok_or("a string"),
        Kind::Integer(_) | Kind::OptionalInteger => integer(value).ok_or("an integer"),
        Kind::Seed if value.as_str() == Some("") => Ok((-1).into()),
        Kind::Seed => integer(value).ok_or("an integer, or -1 for a random one"),
        Kind::Float(_) | Kind::OptionalFloat => number(value).map(float).ok_or("a finite number"),
        Kind::Boolean(_) | Kind::OptionalBoolean => boolean(value).ok_or("true or false"),
        Kind::OptionalTextList => match value {
            Value::Array(items) if items.iter().all(Value::is_string) => Ok(value.clone()),
            _ => Err("a list of strings"),
        },
        Kind::ListOrObject if value.is_array() || value.is_object() => Ok(value.clone()),
        Kind::ListOrObject => Err("a list or an object"),
        Kind::List if value.is_array() => Ok(value.clone()),
        Kind::List => Err("a list"),
        Kind::Object | Kind::OptionalObject if value.is_object() => Ok(value.clone()),
        Kind::Object | Kind::OptionalObject if is_empty_list(value) => Ok(Value::Object(Map::new())),
        Kind::Object | Kind::OptionalObject => Err("an object"),
    }
}

/// What languages write that do not tell an empty dictionary from an empty list, such as PHP and Lua.
pub(super) fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// The value as one of the type that another has.
pub(super) fn like(other: &Value, value: &Value) -> Option<Value> {
    match other {
        Value::Null => Some(value.clone()),
        Value::Bool(_) => boolean(value),
        // Whether it is whole does not matter to one that is a number already.
        Value::Number(_) if value.is_number() => Some(value.clone()),
        Value::Number(_) => integer(value).or_else(|| number(value).map(float)),
        Value::String(_) => text(value),
        Value::Array(_) => value.is_array().then(|| value.clone()),
        Value::Object(_) => value.is_object().then(|| value.clone()),
    }
}

fn text(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        _ => return None,
    };
    number.is_finite().then_some(number)
}

pub(super) fn integer(value: &Value) -> Option<Value> {
    if let Some(exact) = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()) {
        return Some(exact.into());
    }
    let truncated = match value {
        // Only JSON numbers lose their fraction; "1.5" is refused as a string, as pydantic does.
        Value::Number(_) | Value::Bool(_) => number(value)?.trunc(),
        _ => return None,
    };
    // Beyond 2^53 a float no longer names one integer.
    (truncated.abs() < 9_007_199_254_740_992.0).then(|| (truncated as i64).into())
}

pub(super) fn boolean(value: &Value) -> Option<Value> {
    let flag = match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) if number.as_f64() == Some(0.0) => false,
        Value::Number(number) if number.as_f64() == Some(1.0) => true,
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => true,
            "0" | "false" | "f" | "no" | "n" | "off" => false,
            _ => return None,
        },
        _ => return None,
    };
    Some(flag.into())
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FIELDS: &[Field] = &[
        Field { name: "steps", kind: Kind::Integer(50), doc: "" },
        Field { name: "cfg_scale", kind: Kind::Float(7.0), doc: "" },
        Field { name: "enable_hr", kind: Kind::Boolean(false), doc: "" },
        Field { name: "seed", kind: Kind::Seed, doc: "" },
        Field { name: "prompt", kind: Kind::Text(""), doc: "" },
        Field { name: "scheduler", kind: Kind::OptionalText, doc: "" },
    ];

    #[test]
    fn an_empty_list_is_an_empty_object_and_no_other_list_is_one() {
        const OBJECTS: &[Field] = &[
            Field { name: "scripts", kind: Kind::Object, doc: "" },
            Field { name: "comments", kind: Kind::OptionalObject, doc: "" },
        ];
        let read = |body: Value| read(body.as_object().unwrap(), OBJECTS).map(Value::Object);
        assert_eq!(read(json!({"scripts": [], "comments": []})), Ok(json!({"scripts": {}, "comments": {}})));
        assert_eq!(read(json!({"scripts": [1]})).unwrap_err()[0].message, "scripts must be an object");
    }

    fn read_value(body: Value) -> Result<Value, Vec<String>> {
        let body = body.as_object().unwrap().clone();
        read(&body, FIELDS)
            .map(Value::Object)
            .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn takes_numbers_as_strings_floats_for_integers_and_words_for_booleans() {
        let body = json!({"steps": "20", "cfg_scale": "1.5", "enable_hr": "off", "seed": "", "unknown": 1});
        let read = read_value(body).unwrap();
        assert_eq!(
            read,
            json!({"steps": 20, "cfg_scale": 1.5, "enable_hr": false, "seed": -1, "prompt": "", "scheduler": null})
        );
        assert_eq!(read_value(json!({"steps": 7.9})).unwrap()["steps"], 7);
    }

    #[test]
    fn names_every_field_that_is_wrong_at_once() {
        let problems = read_value(json!({"steps": "many", "cfg_scale": "NaN", "enable_hr": 2})).unwrap_err();
        assert_eq!(
            problems,
            [
                "steps must be an integer",
                "cfg_scale must be a finite number",
                "enable_hr must be true or false"
            ]
        );
    }

    #[test]
    fn keeps_a_64_bit_seed_exact() {
        assert_eq!(read_value(json!({"seed": i64::MAX})).unwrap()["seed"], i64::MAX);
        assert_eq!(read_value(json!({"seed": 1e300})).unwrap_err().len(), 1);
    }
}
