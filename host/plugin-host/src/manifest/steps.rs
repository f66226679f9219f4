//! The field `steps` of a manifest: where within a sampler's steps a plugin of the world `step-hook` acts.

use gesso_core::step_hook::Point;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::scripts::{ARGUMENTS_MAX, ScriptArgument, settle};
use super::{ManifestError, wrong};

const FIELD: &str = "steps";

/// When it is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// What a request names it by under `alwayson_scripts`, beside the plugin's id and title; infotexts say it too.
    pub title: String,
    pub points: Vec<StepPoint>,
    /// Shares of the steps, 0 to 1: the first that it acts in, and the first behind it that it does not.
    #[serde(default)]
    pub from: f64,
    #[serde(default = "one")]
    pub to: f64,
    /// It acts in every so many steps, from the first one on.
    #[serde(default = "every")]
    pub every: u32,
    /// In the order of the request's `args`.
    #[serde(default)]
    pub args: Vec<ScriptArgument>,
}

/// As a manifest spells [`Point`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepPoint {
    Latent,
    Predicted,
    Guided,
}

impl From<StepPoint> for Point {
    fn from(point: StepPoint) -> Self {
        match point {
            StepPoint::Latent => Self::Latent,
            StepPoint::Predicted => Self::Predicted,
            StepPoint::Guided => Self::Guided,
        }
    }
}

fn one() -> f64 {
    1.0
}

fn every() -> u32 {
    1
}

impl Steps {
    /// Whether it acts in step `step` of `steps`, at that point.
    pub fn covers(&self, point: Point, step: u32, steps: u32) -> bool {
        let at = |share: f64| (share * f64::from(steps)).round() as u32;
        let (first, end) = (at(self.from), at(self.to));
        let is_in = (first..end).contains(&step) && (step - first).is_multiple_of(self.every);
        is_in && self.points.iter().any(|wanted| Point::from(*wanted) == point)
    }

    /// A value for each argument, as for scripts.
    ///
    /// # Errors
    /// A sentence for the client.
    pub fn settle(&self, given: &Value) -> Result<Vec<Value>, String> {
        settle(&self.title, &self.args, given)
    }
}

pub(super) fn read(fields: &Map<String, Value>) -> Result<Option<Steps>, ManifestError> {
    let item = match fields.get(FIELD) {
        None | Some(Value::Null) => return Ok(None),
        Some(item) => item,
    };
    let steps: Steps = match serde_json::from_value(item.clone()) {
        Ok(steps) => steps,
        Err(error) => return wrong(FIELD, format!("is no description of steps: {error}")),
    };
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b" -/".contains(&byte);
    let title = &steps.title;
    if !(1..=64).contains(&title.len()) || title.trim() != title || !title.bytes().all(is_letter) {
        return wrong(
            FIELD,
            format!("has the title {title:?}; 1 to 64 letters, digits, blanks, - and / are one"),
        );
    }
    if steps.points.is_empty() {
        return wrong(FIELD, "has no points; name some of latent, predicted and guided".into());
    }
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    if !is_share(steps.from) || !is_share(steps.to) || steps.from >= steps.to {
        return wrong(FIELD, "has a `from` and a `to` that are not shares, 0 to 1, in this order".into());
    }
    if steps.every == 0 || steps.args.len() > ARGUMENTS_MAX {
        return wrong(FIELD, format!("has `every` of 0 or more than {ARGUMENTS_MAX} arguments"));
    }
    Ok(Some(steps))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(steps: &Value) -> Result<Option<Steps>, String> {
        read(json!({"steps": steps}).as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn acts_in_the_steps_that_it_names() {
        let steps = json!({"title": "A", "points": ["guided", "latent"], "from": 0.2, "to": 0.8, "every": 2});
        let steps = parse(&steps).unwrap().unwrap();
        let acts = |steps_in_all: u32| {
            (0..steps_in_all)
                .filter(|step| steps.covers(Point::Guided, *step, steps_in_all))
                .collect::<Vec<_>>()
        };
        assert_eq!(acts(10), [2, 4, 6]);
        assert_eq!(acts(1), [0]);
        assert!(!steps.covers(Point::Predicted, 2, 10) && steps.covers(Point::Latent, 2, 10));
        let plain = parse(&json!({"title": "A", "points": ["guided"]})).unwrap().unwrap();
        assert!((0..7).all(|step| plain.covers(Point::Guided, step, 7)));
    }

    #[test]
    fn a_wrong_description_says_what_is_wrong() {
        let good = json!({"title": "A", "points": ["guided"]});
        for (field, value, says) in [
            ("title", json!("a: b"), "1 to 64 letters"),
            ("points", json!([]), "has no points"),
            ("points", json!(["between"]), "unknown variant `between`"),
            ("from", json!(1), "shares, 0 to 1, in this order"),
            ("to", json!(1.5), "shares, 0 to 1, in this order"),
            ("every", json!(0), "`every` of 0"),
            ("colour", json!(1), "unknown field `colour`"),
        ] {
            let mut steps = good.clone();
            steps[field] = value;
            let error = parse(&steps).unwrap_err();
            assert!(error.contains("`steps`") && error.contains(says), "{error}");
        }
        assert_eq!(parse(&Value::Null), Ok(None));
    }
}
