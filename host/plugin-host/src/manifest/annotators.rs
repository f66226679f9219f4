//! The list `annotators` of a manifest: what a plugin of the world `annotator` can make of a picture, with the sliders
//! that web UIs show for it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ManifestError, wrong};

const FIELD: &str = "annotators";
/// Annotators of one plugin.
const MAX: usize = 128;
/// Thresholds that a request has.
const SLIDERS_MAX: usize = 2;

/// One annotator. Names are those of ControlNet's modules where it is one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotator {
    /// What requests name it by.
    pub name: String,
    /// What people see; the name where it is missing.
    pub label: Option<String>,
    /// Further names, of older clients.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Kinds of control it makes maps for, as web UIs group them: "Canny", "Scribble".
    #[serde(default)]
    pub types: Vec<String>,
    /// Whether its maps are made at a resolution that the request may choose.
    #[serde(default = "yes")]
    pub resolution: bool,
    /// Pixels of the short side that they are made at where the request chooses none.
    #[serde(default = "usual")]
    pub default_resolution: u32,
    /// What `threshold_a` and `threshold_b` set, in this order.
    #[serde(default)]
    pub sliders: Vec<Slider>,
    /// Whether it reads the mask of what is to be repainted.
    #[serde(default)]
    pub mask: bool,
    /// What becomes of the drawn picture and the map.
    #[serde(default)]
    pub recombine: Option<Recombine>,
    /// Whether the map lies under the noise that drawing begins from. Such a map is made of the picture as it lies in the
    /// drawing, where what is added around it is masked.
    #[serde(default)]
    pub underlay: bool,
}

/// How a drawn picture is put together with the map that steered it. The host does it, at the picture's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recombine {
    /// The map is laid over where it is opaque, with a soft edge.
    Paste,
    /// The map is the picture's L of L*a*b*.
    Luminance,
    /// The map is the picture's V of HSV.
    Value,
    /// The picture gets the map's tones. The first slider says how wide they are averaged (latents either way), the
    /// second how much the detail is strengthened.
    LowPass,
}

fn yes() -> bool {
    true
}

fn usual() -> u32 {
    Annotator::RESOLUTION
}

/// A number that a request may set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slider {
    pub name: String,
    /// The value where the request says none, or one that is out of range.
    pub value: f64,
    pub min: f64,
    pub max: f64,
    #[serde(default = "one")]
    pub step: f64,
}

fn one() -> f64 {
    1.0
}

impl Slider {
    /// What a request's number comes to.
    pub fn settle(&self, asked: Option<f64>) -> f64 {
        asked.filter(|asked| (self.min..=self.max).contains(asked)).unwrap_or(self.value)
    }
}

impl Annotator {
    /// Pixels of the short side that maps may be made at, and those where neither a request nor the manifest says another.
    pub const RESOLUTION_MIN: u32 = 64;
    pub const RESOLUTION_MAX: u32 = 2048;
    pub const RESOLUTION: u32 = 512;

    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }

    /// Everything it may be called, in any case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [self.name.as_str(), self.label()].into_iter().chain(self.aliases.iter().map(String::as_str))
    }

    /// What `threshold_a` and `threshold_b` of a request come to; `None` for those that there is no slider for.
    pub fn settle(&self, asked: [Option<f64>; SLIDERS_MAX]) -> [Option<f64>; SLIDERS_MAX] {
        let mut settled = [None; SLIDERS_MAX];
        for ((settled, slider), asked) in settled.iter_mut().zip(&self.sliders).zip(asked) {
            *settled = Some(slider.settle(asked));
        }
        settled
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.names().any(|known| known.eq_ignore_ascii_case(name))
    }
}

pub(super) fn read(fields: &Map<String, Value>) -> Result<Vec<Annotator>, ManifestError> {
    let items = match fields.get(FIELD) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= MAX => items,
        Some(_) => return wrong(FIELD, format!("is not a list of at most {MAX} annotators")),
    };
    let mut names = BTreeSet::new();
    let mut annotators = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let annotator: Annotator = match serde_json::from_value(item.clone()) {
            Ok(annotator) => annotator,
            Err(error) => return wrong(FIELD, format!("at place {index}: {error}")),
        };
        let at = |problem: String| wrong(FIELD, format!("at place {index}: {problem}"));
        if annotator.names().any(|name| name.trim().is_empty() || name.len() > 64) {
            return at("a name has 1 to 64 bytes".into());
        }
        let own: BTreeSet<String> = annotator.names().map(str::to_lowercase).collect();
        if let Some(name) = own.iter().find(|name| names.contains(*name)) {
            return at(format!("{name:?} names another annotator already"));
        }
        names.extend(own);
        if annotator.sliders.len() > SLIDERS_MAX {
            return at(format!("it has more than {SLIDERS_MAX} sliders"));
        }
        let is_bad = |slider: &&Slider| {
            !(slider.min <= slider.value && slider.value <= slider.max && slider.step > 0.0)
        };
        if let Some(slider) = annotator.sliders.iter().find(is_bad) {
            return at(format!(
                "the slider {:?} has no value between min and max, or no step above 0",
                slider.name
            ));
        }
        let (least, most) = (Annotator::RESOLUTION_MIN, Annotator::RESOLUTION_MAX);
        if !(least..=most).contains(&annotator.default_resolution) {
            return at(format!("default_resolution is {least} to {most}"));
        }
        if annotator.recombine == Some(Recombine::LowPass) && annotator.sliders.is_empty() {
            return at("low-pass takes a slider, which says how wide the tones are averaged".into());
        }
        annotators.push(annotator);
    }
    Ok(annotators)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(annotators: Value) -> Result<Vec<Annotator>, String> {
        read(json!({"annotators": annotators}).as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let read = parse(
            json!([{"name": "canny", "sliders": [{"name": "Low", "value": 100, "min": 1, "max": 255}]}]),
        );
        let read = &read.unwrap()[0];
        assert_eq!(
            (read.label(), read.resolution, read.mask, read.sliders[0].step),
            ("canny", true, false, 1.0)
        );
        assert_eq!(read.sliders[0].settle(Some(7.0)), 7.0);
        assert_eq!([None, Some(-1.0), Some(256.0)].map(|asked| read.sliders[0].settle(asked)), [100.0; 3]);
        assert_eq!(read.settle([Some(7.0), Some(1.0)]), [Some(7.0), None]);
        assert_eq!((read.recombine, read.default_resolution, read.underlay), (None, 512, false));
        let paste = parse(json!([{"name": "a", "recombine": "paste"}])).unwrap();
        assert_eq!(paste[0].recombine, Some(Recombine::Paste));
        assert_eq!(parse(Value::Null), Ok(Vec::new()));
    }

    #[test]
    fn names_are_told_apart_in_any_case() {
        let error = parse(json!([{"name": "a", "label": "B"}, {"name": "c", "aliases": ["b"]}])).unwrap_err();
        assert!(error.contains("\"b\" names another"), "{error}");
        assert!(parse(json!([{"name": "a", "label": "A"}])).unwrap()[0].is_named("a"));
    }

    #[test]
    fn a_wrong_annotator_is_named_by_its_place() {
        for (annotator, says) in [
            (json!({}), "missing field `name`"),
            (json!({"name": ""}), "1 to 64 bytes"),
            (json!({"name": "a", "colour": 1}), "unknown field `colour`"),
            (json!({"name": "a", "recombine": "glue"}), "unknown variant `glue`"),
            (json!({"name": "a", "recombine": "low-pass"}), "takes a slider"),
            (json!({"name": "a", "default_resolution": 63}), "is 64 to 2048"),
            (json!({"name": "a", "default_resolution": 2049}), "is 64 to 2048"),
            (
                json!({"name": "a", "sliders": [{"name": "s", "value": 3, "min": 0, "max": 2}]}),
                "between min and max",
            ),
        ] {
            let error = parse(json!([{"name": "good"}, annotator])).unwrap_err();
            assert!(error.contains("at place 1") && error.contains(says), "{error}");
        }
        let slider = json!({"name": "s", "value": 1, "min": 0, "max": 2});
        assert!(parse(json!([{"name": "a", "sliders": [slider, slider, slider]}])).is_err());
    }
}
