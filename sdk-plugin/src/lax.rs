//! Values as web UIs take them from clients: a number may be written as text, a whole number with a point, a switch as 0 or 1 or
//! as text. Reads any type that serde can; knows no request.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::{Error, Value};

/// A value of the request as a `T`. Fields that are null count as left out.
///
/// A struct may be a list too, of its fields in the order they are declared. What stands behind the last of them is nobody's, as
/// in web UIs, whose versions differ in how many there are.
///
/// # Errors
/// Where the value says nothing that a `T` could be.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(Lax(value))
}

#[derive(Clone, Copy)]
struct Lax<'de>(&'de Value);

impl<'de> IntoDeserializer<'de, Error> for Lax<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Numbers beyond are no longer exact where they have a point.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;

impl Lax<'_> {
    fn switch(self) -> Option<bool> {
        match self.0 {
            Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
            Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Some(true),
                "false" | "off" | "no" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn number(self) -> Option<f64> {
        match self.0 {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        }
    }

    /// A whole number that is not written as one.
    fn integer(self) -> Option<i64> {
        if let Value::String(text) = self.0
            && let Ok(whole) = text.trim().parse()
        {
            return Some(whole);
        }
        let is_whole = |number: &f64| number.fract() == 0.0 && number.abs() <= EXACT_MAX;
        self.number().filter(is_whole).map(|number| number as i64)
    }
}

/// Whole numbers of every size; the value itself where it is one, or is none in any spelling.
macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0 {
                Value::Number(number) if number.is_i64() || number.is_u64() => self.0.$method(visitor),
                _ => match self.integer() {
                    Some(whole) => visitor.visit_i64(whole),
                    None => self.0.$method(visitor),
                },
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Lax<'de> {
    type Error = Error;

    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64);
    integers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(list) => {
                let mut items = SeqDeserializer::<_, Error>::new(list.iter().map(Lax));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(fields) => {
                let fields = fields.iter().filter(|(_, value)| !value.is_null());
                visitor.visit_map(MapDeserializer::new(fields.map(|(name, value)| (name.as_str(), Lax(value)))))
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.switch() {
            Some(switch) => visitor.visit_bool(switch),
            None => self.0.deserialize_bool(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.number() {
            Some(number) => visitor.visit_f64(number),
            None => self.0.deserialize_f64(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Array(list) = self.0 else { return self.deserialize_any(visitor) };
        let told = fields.iter().zip(list).filter(|(_, value)| !value.is_null());
        visitor.visit_map(MapDeserializer::new(told.map(|(name, value)| (*name, Lax(value)))))
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Asked {
        name: String,
        steps: u32,
        shift: i8,
        share: f32,
        on: bool,
        seed: Option<u64>,
        sizes: Vec<u32>,
        kind: Kind,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    enum Kind {
        #[default]
        Plain,
        Bent,
    }

    #[test]
    fn values_are_read_in_every_spelling_of_clients() {
        let wanted = Asked {
            name: "a".into(),
            steps: 28,
            shift: -4,
            share: 0.5,
            on: true,
            seed: Some(u64::MAX),
            sizes: vec![1, 2],
            kind: Kind::Bent,
        };
        for value in [
            json!({"name": "a", "steps": 28, "shift": -4, "share": 0.5, "on": true, "seed": u64::MAX, "sizes": [1, 2],
                "kind": "Bent"}),
            json!({"name": "a", "steps": 28.0, "shift": "-4", "share": "0.5", "on": 1, "seed": u64::MAX,
                "sizes": ["1", 2.0], "kind": "Bent", "more": {"x": 1}}),
            json!(["a", "28", -4.0, 0.5, "True", u64::MAX, [1, "2.0"], "Bent", "more", null, {"x": 1}]),
        ] {
            assert_eq!(from_value::<Asked>(&value).unwrap(), wanted, "{value}");
        }
    }

    #[test]
    fn null_is_left_out() {
        let wanted = Asked { steps: 3, ..Asked::default() };
        for value in [json!({"name": null, "steps": 3, "seed": null, "on": null}), json!([null, 3, null])] {
            assert_eq!(from_value::<Asked>(&value).unwrap(), wanted, "{value}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused_by_what_it_is() {
        for (value, says) in [
            (json!({"steps": "many"}), "many"),
            (json!({"steps": 2.5}), "2.5"),
            (json!({"steps": -1}), "-1"),
            (json!({"shift": 300.0}), "300"),
            (json!({"share": "wide"}), "wide"),
            (json!({"on": 2}), "2"),
            (json!({"sizes": 3}), "3"),
            (json!("text"), "text"),
        ] {
            let error = from_value::<Asked>(&value).unwrap_err().to_string();
            assert!(error.contains(says), "{value}: {error}");
        }
    }
}
