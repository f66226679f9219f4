//! The body of `/controlnet/detect`.

use serde_json::{Map, Value};

use super::fields::{Field, FieldProblem, Kind, field, read};
use crate::annotators::{ArgumentFields, MapSettings};

/// Older clients' name of `controlnet_input_images`.
const IMAGES_OLD: &str = "controlnet_images";
const IMAGES: &str = "controlnet_input_images";
const MASKS: &str = "controlnet_masks";
pub(crate) const MODULE: &str = "controlnet_module";
const RESOLUTION: &str = "controlnet_processor_res";
const THRESHOLD_A: &str = "controlnet_threshold_a";
const THRESHOLD_B: &str = "controlnet_threshold_b";

/// Where a module's arguments stand in the body.
pub(crate) const ARGUMENTS: ArgumentFields = ArgumentFields {
    module: MODULE,
    source: IMAGES,
    mask: MASKS,
    resolution: RESOLUTION,
    threshold_a: THRESHOLD_A,
    threshold_b: THRESHOLD_B,
};

pub(crate) const FIELDS: &[Field] = &[
    field(MODULE, Kind::Text("none"), "See GET /controlnet/module_list."),
    field(IMAGES, Kind::List, "Pictures as base64; controlnet_images is taken too."),
    field(MASKS, Kind::List, "One for each picture, for modules that need one: white is repainted."),
    field(RESOLUTION, Kind::Integer(-1), "Pixels of the short side; what is out of range is the default."),
    field(THRESHOLD_A, Kind::Float(-1.0), "The module's first slider; out of range is its default."),
    field(THRESHOLD_B, Kind::Float(-1.0), "The module's second slider."),
    field("low_vram", Kind::Boolean(false), "Accepted for compatibility."),
];

/// What is asked of a module.
#[derive(Debug)]
pub(crate) struct Detect {
    pub(crate) module: String,
    /// At least one, still encoded.
    pub(crate) images: Vec<Value>,
    pub(crate) masks: Vec<Value>,
    pub(crate) settings: MapSettings,
}

impl Detect {
    /// Of at most `most` pictures.
    ///
    /// # Errors
    /// Every problem of the body.
    pub(crate) fn read(body: &Map<String, Value>, most: u32) -> Result<Self, Vec<FieldProblem>> {
        let read = read(body, FIELDS)?;
        let list = |name: &str| read.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut images = list(IMAGES);
        if images.is_empty() {
            images = body.get(IMAGES_OLD).and_then(Value::as_array).cloned().unwrap_or_default();
        }
        if images.is_empty() {
            let message = format!("No image selected: send {IMAGES}, a list of pictures as base64");
            return Err(vec![FieldProblem { field: IMAGES.into(), message }]);
        }
        if images.len() > most as usize {
            let message = format!("{IMAGES} holds {} pictures; send from 1 to {most}", images.len());
            return Err(vec![FieldProblem { field: IMAGES.into(), message }]);
        }
        let number = |name: &str| read.get(name).and_then(Value::as_f64).filter(|number| *number >= 0.0);
        let settings = MapSettings {
            resolution: number(RESOLUTION).map(|resolution| resolution as u32),
            threshold_a: number(THRESHOLD_A),
            threshold_b: number(THRESHOLD_B),
        };
        let module = read.get(MODULE).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { module, images, masks: list(MASKS), settings })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn more_pictures_than_a_request_may_have_are_refused_by_either_name() {
        for name in [IMAGES, IMAGES_OLD] {
            let of = |count: usize| Detect::read(json!({name: vec!["a"; count]}).as_object().unwrap(), 3);
            assert_eq!(of(3).unwrap().images.len(), 3);
            let problems = of(4).unwrap_err();
            assert_eq!(problems[0].field, IMAGES);
            assert!(problems[0].message.contains("4 pictures; send from 1 to 3"), "{problems:?}");
        }
    }
}
