//! Arguments of scripts and step hooks as clients send them: numbers and switches as themselves or as text, choices by name or
//! by place. Knows no manifest.

use serde_json::Value;

use crate::Fault;

/// Arguments in the order of the manifest. Where one is wrong, its label is in the sentence for the client.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a>(pub &'a [Value]);

impl Arguments<'_> {
    fn get(&self, place: usize) -> &Value {
        self.0.get(place).unwrap_or(&Value::Null)
    }

    /// A switch; nothing reads as false.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`], as of every function here, where it is something else.
    pub fn flag(&self, place: usize, label: &str) -> Result<bool, Fault> {
        match self.get(place) {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
            Value::String(text) if ["true", "on", "1", "yes"].contains(&text.to_lowercase().as_str()) => {
                Ok(true)
            }
            Value::String(text)
                if ["false", "off", "0", "no", ""].contains(&text.to_lowercase().as_str()) =>
            {
                Ok(false)
            }
            other => wrong(label, other, "true or false"),
        }
    }

    /// A number between two others, both allowed.
    ///
    /// # Errors
    /// As [`Self::flag`].
    pub fn number(&self, place: usize, label: &str, (least, most): (f64, f64)) -> Result<f64, Fault> {
        let value = self.get(place);
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(number),
            None => wrong(label, value, &format!("a number between {least} and {most}")),
        }
    }

    /// Anything that reads as text; nothing is empty.
    pub fn text(&self, place: usize) -> String {
        match self.get(place) {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// The texts of a list, or one text.
    pub fn texts(&self, place: usize) -> Vec<String> {
        match self.get(place) {
            Value::Array(list) => list
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect(),
            Value::String(text) if !text.is_empty() => vec![text.clone()],
            _ => Vec::new(),
        }
    }

    /// The place among `choices` of one that is named, in any case, or counted from 0.
    ///
    /// # Errors
    /// As [`Self::flag`].
    pub fn choice(&self, place: usize, label: &str, choices: &[&str]) -> Result<usize, Fault> {
        let value = self.get(place);
        let named = value
            .as_str()
            .and_then(|text| choices.iter().position(|known| known.eq_ignore_ascii_case(text.trim())));
        let counted =
            || value.as_u64().map(|number| number as usize).filter(|number| *number < choices.len());
        match named.or_else(counted) {
            Some(found) => Ok(found),
            None => wrong(label, value, &format!("one of {}", choices.join(", "))),
        }
    }
}

fn wrong<T>(label: &str, value: &Value, expected: &str) -> Result<T, Fault> {
    Err(Fault::InvalidInput(format!("{label:?} is {value}; it must be {expected}.")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_in_every_spelling_of_clients() {
        let list = json!([true, "false", 0, null, "2.5", 7, "Linear", 2, ["a", 3], "one", "maybe", 99]);
        let arguments = Arguments(list.as_array().unwrap());
        let flags: Vec<_> = (0..4).map(|place| arguments.flag(place, "x").unwrap()).collect();
        assert_eq!(flags, [true, false, false, false]);
        assert_eq!(
            (arguments.number(4, "x", (0.0, 9.0)), arguments.number(5, "x", (0.0, 9.0))),
            (Ok(2.5), Ok(7.0))
        );
        let curves = ["Aggressive", "Linear", "Lazy"];
        assert_eq!((arguments.choice(6, "x", &curves), arguments.choice(7, "x", &curves)), (Ok(1), Ok(2)));
        assert_eq!(
            (arguments.texts(8), arguments.texts(9), arguments.texts(3)),
            (vec!["a".into(), "3".into()], vec!["one".into()], vec![])
        );
        for refused in [
            arguments.flag(10, "The switch").map(drop),
            arguments.number(11, "The number", (0.0, 9.0)).map(drop),
            arguments.choice(11, "The choice", &curves).map(drop),
            arguments.number(20, "The missing", (0.0, 9.0)).map(drop),
        ] {
            let Err(Fault::InvalidInput(text)) = refused else { panic!("accepted") };
            assert!(text.starts_with("\"The "), "{text}");
        }
    }
}
