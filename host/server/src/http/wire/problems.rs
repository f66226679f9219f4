//! Reading fields out of a body that went through [`super::fields::read`], and gathering what is wrong with them.

use serde_json::{Map, Value};

use super::fields::FieldProblem;

pub(super) fn text(body: &Map<String, Value>, name: &str) -> String {
    body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn non_empty<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

pub(super) fn number(body: &Map<String, Value>, name: &str) -> Option<f64> {
    body.get(name).and_then(Value::as_f64)
}

pub(super) fn integer(body: &Map<String, Value>, name: &str) -> i64 {
    body.get(name).and_then(Value::as_i64).unwrap_or(-1)
}

pub(super) fn flag(body: &Map<String, Value>, name: &str) -> bool {
    body.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// What is wrong with a body so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<FieldProblem>);

impl Problems {
    /// One problem a field is enough to act on.
    pub(super) fn add(&mut self, field: &str, message: String) {
        if self.0.iter().all(|problem| problem.field != field) {
            self.0.push(FieldProblem { field: field.into(), message });
        }
    }

    /// A whole number of at least 0 that fits the machine; limits judge the rest.
    pub(super) fn count(&mut self, body: &Map<String, Value>, name: &str) -> u32 {
        let value = integer(body, name);
        u32::try_from(value).unwrap_or_else(|_| {
            self.add(name, format!("{name} is {value}; it must be between 0 and a few thousand"));
            1
        })
    }

    /// A number of the request that must lie in a range; `least` when it does not.
    pub(super) fn range(&mut self, name: &str, value: f64, least: f64, most: f64) -> f64 {
        if (least..=most).contains(&value) {
            return value;
        }
        self.add(name, format!("{name} must be a number between {least} and {most}, not {value}"));
        least
    }

    /// The value, when nothing was wrong.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, Vec<FieldProblem>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}
