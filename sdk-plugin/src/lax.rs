//! Values as web UIs take them from clients: a number may be written as text, a whole number with a point, a switch as 0 or 1 or
//! as text. Reads any type that serde can; knows no request.

use std::iter::Enumerate;
use std::slice::Iter;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::{Error, Value};

/// A value of the request as a `T`. Fields that are null count as left out.
///
/// A struct may be a list too, of its fields in the order they are declared; null there is `None` to an `Option`, and left out of
/// any other field. What stands behind the last of them, or of a tuple that is the whole value, is nobody's, as in web UIs, whose
/// versions differ in how many there are.
///
/// # Errors
/// Where the value says nothing that a `T` could be; the message begins with the names of the fields that lead there, or with
/// their places where they are in a list.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(Lax { value, is_whole: true })
}

#[derive(Clone, Copy)]
struct Lax<'de> {
    value: &'de Value,
    /// It lies in no other.
    is_whole: bool,
}

impl<'de> IntoDeserializer<'de, Error> for Lax<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Numbers beyond are no longer exact where they have a point.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;

impl<'de> Lax<'de> {
    fn part(value: &'de Value) -> Self {
        Self { value, is_whole: false }
    }

    fn switch(self) -> Option<bool> {
        match self.value {
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
        match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        }
    }

    /// A whole number that is not written as one.
    fn integer(self) -> Option<i64> {
        if let Value::String(text) = self.value
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
            match self.value {
                Value::Number(number) if number.is_i64() || number.is_u64() => self.value.$method(visitor),
                _ => match self.integer() {
                    Some(whole) => visitor.visit_i64(whole),
                    None => self.value.$method(visitor),
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
        match self.value {
            Value::Array(list) => {
                let mut items = SeqDeserializer::<_, Error>::new(list.iter().map(Lax::part));
                let value = visitor.visit_seq(&mut items)?;
                if !self.is_whole {
                    items.end()?;
                }
                Ok(value)
            }
            Value::Object(fields) => visitor.visit_map(Fields { rest: fields.iter(), at: None }),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.switch() {
            Some(switch) => visitor.visit_bool(switch),
            None => self.value.deserialize_bool(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.number() {
            Some(number) => visitor.visit_f64(number),
            None => self.value.deserialize_f64(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
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
        self.value.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // By their places: among the names that serde has are those of aliases.
        match self.value {
            Value::Array(list) => visitor.visit_seq(Places(list.iter().enumerate())),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The fields of an object, but for those that are null. What is wrong with one begins with its name.
struct Fields<'de> {
    rest: serde_json::map::Iter<'de>,
    /// The one whose name was read last.
    at: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.find(|(_, value)| !value.is_null()) else { return Ok(None) };
        self.at = Some((name.as_str(), value));
        let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((name, value)) = self.at.take() else {
            return Err(Error::custom("a value is asked for before its name"));
        };
        seed.deserialize(Lax::part(value)).map_err(|error| Error::custom(format!("{name}: {error}")))
    }
}

/// The fields of a struct, one after the other. What is wrong with one begins with its place, as people count.
struct Places<'de>(Enumerate<Iter<'de, Value>>);

impl<'de> SeqAccess<'de> for Places<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        match self.0.next() {
            None => Ok(None),
            // No value at a place has its field take the default, while those behind it are still asked for.
            Some((_, null)) if null.is_null() => Ok(seed.deserialize(Lax::part(null)).ok()),
            Some((before, value)) => seed
                .deserialize(Lax::part(value))
                .map(Some)
                .map_err(|error| Error::custom(format!("number {} of the list: {error}", before + 1))),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    pub(crate) struct Asked {
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

    #[derive(Debug, PartialEq, Deserialize)]
    struct Renamed {
        #[serde(alias = "a_first", alias = "z_first")]
        first: u32,
        #[serde(default, alias = "old_second")]
        second: u32,
        third: Option<u32>,
    }

    #[test]
    fn fields_with_other_names_keep_their_places() {
        for (value, second, third) in [
            (json!([1, 2, 3]), 2, Some(3)),
            (json!([1, null, 3, 4]), 0, Some(3)),
            (json!([1, 2, null]), 2, None),
            (json!({"z_first": 1, "old_second": "2"}), 2, None),
        ] {
            let renamed = Renamed { first: 1, second, third };
            assert_eq!(from_value::<Renamed>(&value).unwrap(), renamed, "{value}");
        }
        assert!(from_value::<Renamed>(&json!([null, 2, 3])).is_err(), "it has no default");
    }

    #[test]
    fn what_stands_behind_the_last_of_a_whole_tuple_is_nobodys() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Pair(u32, bool);

        assert_eq!(from_value::<(u32, bool)>(&json!(["1", 1, "more"])).unwrap(), (1, true));
        assert_eq!(from_value::<Pair>(&json!([1, true, null])).unwrap(), Pair(1, true));
        assert_eq!(from_value::<Vec<[u32; 2]>>(&json!([[1, 2], [3, 4]])).unwrap(), [[1, 2], [3, 4]]);
        assert!(from_value::<Vec<[u32; 2]>>(&json!([[1, 2, 3]])).is_err());
        assert!(from_value::<(u32, bool)>(&json!([1])).is_err());
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

    #[test]
    fn a_field_that_does_not_read_is_named() {
        type Nested = std::collections::BTreeMap<String, Asked>;

        let error = from_value::<Asked>(&json!({"name": "a", "share": "wide"})).unwrap_err().to_string();
        assert!(error.starts_with("share: invalid type"), "{error}");
        let error = from_value::<Nested>(&json!({"inner": {"steps": 2.5}})).unwrap_err().to_string();
        assert!(error.starts_with("inner: steps: "), "{error}");
        let error = from_value::<Asked>(&json!(["a", null, 0, "wide"])).unwrap_err().to_string();
        assert!(error.starts_with("number 4 of the list: invalid type"), "{error}");
    }
}
