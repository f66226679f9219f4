//! ControlNet units as clients send them: `alwayson_scripts.controlnet.args`, with the spellings of several years.

use gesso_core::control::{ControlMode, ControlUnit, HighResOption, ResizeMode, names_reference};
use gesso_core::infotext::Infotext;
use serde_json::{Map, Value, json};

use super::fields::{FieldProblem, boolean, integer, number};
use super::infotext;
use super::lists::{ScriptArgumentEntry, ScriptEntry};
use super::problems::Problems;

/// The name under `alwayson_scripts`, in any case.
pub(crate) const SCRIPT: &str = "controlnet";
pub(crate) const FIELD: &str = "alwayson_scripts";
/// Units of one request.
pub(crate) const UNITS_MAX: usize = 10;

/// A unit with its pictures, still encoded.
#[derive(Debug, Clone)]
pub(crate) struct ControlInput {
    /// Its place among the units of the body, of those that do not act too.
    pub(crate) index: usize,
    pub(crate) unit: ControlUnit,
    /// `None` takes the picture that is drawn over.
    pub(crate) image: Option<String>,
    /// What is to be repainted, for modules that read it.
    pub(crate) mask: Option<String>,
    /// Where the unit acts.
    pub(crate) region: Option<String>,
    /// Whether the map is among the pictures of the reply.
    pub(crate) save_map: bool,
    /// Whether only so much of the unit's own picture is read as is drawn of the one that is drawn over.
    pub(crate) is_cropped: bool,
}

/// The units that act; all problems of all of them otherwise.
pub(crate) fn units(body: &Map<String, Value>) -> Result<Vec<ControlInput>, Vec<FieldProblem>> {
    let mut problems = Problems::default();
    let scripts = body.get(FIELD).and_then(Value::as_object);
    let args = scripts
        .and_then(|scripts| scripts.iter().find(|(name, _)| name.eq_ignore_ascii_case(SCRIPT)))
        .and_then(|(_, script)| script.get("args"));
    let args = match args {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(args)) => args,
        Some(_) => {
            problems.add(FIELD, "alwayson_scripts.controlnet.args must be a list of units".into());
            &[][..]
        }
    };
    let mut units = Vec::new();
    for (index, arg) in args.iter().enumerate() {
        // Web UIs skip what is no unit: switches of the old interface, nulls of empty places.
        let Some(fields) = arg.as_object() else { continue };
        units.extend(Unit { fields, index }.read(&mut problems));
    }
    if units.len() > UNITS_MAX {
        let message =
            format!("alwayson_scripts.controlnet has {} units; send at most {UNITS_MAX}", units.len());
        problems.add(FIELD, message);
    }
    problems.into_result(units)
}

/// What is wrong with the unit at a place of the body.
pub(crate) fn fault(index: usize, message: &str) -> FieldProblem {
    FieldProblem {
        field: format!("{FIELD}.{SCRIPT}.args.{index}"),
        message: format!("ControlNet unit {index}: {message}"),
    }
}

/// Whether something stands where an image belongs that is no text, `{image, mask}`, or list of either.
fn is_no_image(value: &Value) -> bool {
    match value {
        Value::Null | Value::String(_) => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::Array(list) => list.iter().any(is_no_image),
        Value::Object(fields) => {
            ["image", "mask"].iter().filter_map(|name| fields.get(*name)).any(is_no_image)
        }
    }
}

/// Fields of a unit that hold pictures.
const PICTURES: [&str; 5] = ["image", "input_image", "mask", "mask_image", "effective_region_mask"];

/// Every text of `alwayson_scripts` that stands for a picture of a unit, whether the unit acts or not.
pub(crate) fn pictures(scripts: &mut Value) -> Vec<&mut String> {
    let mut found = Vec::new();
    let scripts = scripts.as_object_mut().into_iter().flatten();
    for (_, script) in scripts.filter(|(name, _)| name.eq_ignore_ascii_case(SCRIPT)) {
        for unit in script.get_mut("args").and_then(Value::as_array_mut).into_iter().flatten() {
            let fields = unit.as_object_mut().into_iter().flatten();
            let held = fields.filter(|(name, _)| PICTURES.contains(&name.as_str()));
            held.for_each(|(_, value)| texts(value, &mut found));
        }
    }
    found
}

/// A text, `{image, mask}`, or a list of either.
fn texts<'a>(value: &'a mut Value, found: &mut Vec<&'a mut String>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(list) => list.iter_mut().for_each(|value| texts(value, found)),
        Value::Object(fields) => fields.values_mut().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// Pairs of a unit in infotext and fields of a unit in a body.
const PAIRS: &[(&str, &str)] = &[
    ("Module", "module"),
    ("Model", "model"),
    ("Weight", "weight"),
    ("Resize Mode", "resize_mode"),
    ("Processor Res", "processor_res"),
    ("Threshold A", "threshold_a"),
    ("Threshold B", "threshold_b"),
    ("Guidance Start", "guidance_start"),
    ("Guidance End", "guidance_end"),
    ("Pixel Perfect", "pixel_perfect"),
    ("Control Mode", "control_mode"),
    ("Hr Option", "hr_option"),
];

/// Fills the units of a body from the text of a picture: the text's first unit is the first of the body, and what that
/// one says itself stays. Its image is nowhere but in the body.
pub(super) fn fill_from_infotext(body: &mut Map<String, Value>, text: &Infotext) {
    let texts = (0..UNITS_MAX).map_while(|index| text.get(&format!("ControlNet {index}")));
    let found: Vec<_> = texts.map(Infotext::pairs).collect();
    if found.is_empty() {
        return;
    }
    let Some(scripts) = infotext::object(body, FIELD) else { return };
    let name = scripts.keys().find(|name| name.eq_ignore_ascii_case(SCRIPT)).cloned();
    let Some(script) = infotext::object(scripts, name.as_deref().unwrap_or(SCRIPT)) else { return };
    let args = script.entry("args").or_insert_with(|| json!([]));
    if args.is_null() {
        *args = json!([]);
    }
    let Some(args) = args.as_array_mut() else { return };
    let missing = found.len().saturating_sub(args.len());
    args.extend(std::iter::repeat_n(json!({"enabled": true}), missing));
    for (unit, pairs) in args.iter_mut().zip(found) {
        let Some(unit) = unit.as_object_mut() else { continue };
        let get = |key: &str| pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
        let fields = PAIRS.iter().filter_map(|(key, field)| Some((*field, get(key)?.into())));
        let mut fields: Vec<(&str, Value)> = fields.collect();
        // The old name of the same field.
        let says_end = unit.get("guidance").is_some_and(|value| !value.is_null());
        fields.retain(|(field, _)| *field != "guidance_end" || !says_end);
        let factors = get("Advanced Weighting").map(|factors| factors.split(' ').map(Value::from).collect());
        fields.extend(factors.map(|factors| ("advanced_weighting", factors)));
        infotext::fill(unit, fields);
    }
}

/// What it is listed as: a unit for each argument, with what stands where a request leaves a field out.
pub(crate) fn entry(is_img2img: bool) -> ScriptEntry {
    let default = ControlUnit::default();
    let unit = json!({
        "enabled": false,
        "module": default.module,
        "model": "None",
        "weight": default.weight,
        "image": null,
        "mask": null,
        "resize_mode": default.resize_mode.label(),
        "processor_res": -1,
        "threshold_a": -1,
        "threshold_b": -1,
        "guidance_start": default.guidance_start,
        "guidance_end": default.guidance_end,
        "pixel_perfect": default.pixel_perfect,
        "control_mode": default.mode.label(),
        "hr_option": default.hr_option.label(),
        "inpaint_crop_input_image": true,
        "save_detected_map": true,
        "advanced_weighting": null,
        "effective_region_mask": null,
    });
    let args = (0..UNITS_MAX)
        .map(|index| ScriptArgumentEntry::object(format!("ControlNet Unit {index}"), unit.clone()))
        .collect();
    ScriptEntry::always_on(SCRIPT, is_img2img, args)
}

struct Unit<'a> {
    fields: &'a Map<String, Value>,
    index: usize,
}

impl Unit<'_> {
    fn read(&self, problems: &mut Problems) -> Option<ControlInput> {
        let image = self.image();
        let model = self.text(&["model"]).unwrap_or_default();
        let has_model = !model.is_empty() && !model.eq_ignore_ascii_case("none");
        // Clients of some versions leave `enabled` out and expect the unit to act.
        let enabled = match self.get(&["enabled"]) {
            Some(value) => boolean(value).and_then(|flag| flag.as_bool()).unwrap_or(false),
            None => image.is_some() || has_model,
        };
        if !enabled {
            return None;
        }
        let module = self.text(&["module"]).unwrap_or_else(|| "none".into());
        // One that is named is of no use to it, as in web UIs.
        let model = if names_reference(&module) { "None".into() } else { model };
        let default = ControlUnit::default();
        let unit = ControlUnit {
            module,
            model,
            weight: self.number(&["weight"], default.weight, problems),
            guidance_start: self.number(&["guidance_start"], default.guidance_start, problems),
            guidance_end: self.number(&["guidance_end", "guidance"], default.guidance_end, problems),
            mode: self.choice("control_mode", ControlMode::parse, ControlMode::from_number, problems),
            resize_mode: self.choice(
                "resize_mode",
                ResizeMode::parse,
                |number| Some(ResizeMode::from_number(number)),
                problems,
            ),
            pixel_perfect: self.flag("pixel_perfect", false),
            processor_res: self.slider("processor_res").map(|res| res as u32),
            threshold_a: self.slider("threshold_a"),
            threshold_b: self.slider("threshold_b"),
            hr_option: self.choice("hr_option", HighResOption::parse, HighResOption::from_number, problems),
            advanced_weighting: self.weights(problems),
        };
        for problem in unit.problems() {
            self.refuse(problems, &problem.message);
        }
        if self.picture(&["mask"]).is_some() && self.picture(&["mask_image"]).is_some() {
            self.refuse(problems, "mask and mask_image are two names of one field; send one of them");
        }
        self.check_pictures(problems);
        Some(ControlInput {
            index: self.index,
            unit,
            image,
            mask: self.mask(),
            region: self.text(&["effective_region_mask"]),
            save_map: self.flag("save_detected_map", true),
            is_cropped: self.flag("inpaint_crop_input_image", true),
        })
    }

    /// What stands under the first of the names that says something: clients send null for nothing.
    fn get(&self, names: &[&str]) -> Option<&Value> {
        names.iter().filter_map(|name| self.fields.get(*name)).find(|value| !value.is_null())
    }

    /// The same of a picture, for none of which clients send an empty text too.
    fn picture(&self, names: &[&str]) -> Option<&Value> {
        names.iter().filter_map(|name| self.get(&[*name])).find(|value| value.as_str() != Some(""))
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        self.get(names)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// What is no picture is not taken for none.
    fn check_pictures(&self, problems: &mut Problems) {
        let is_no_text = |value: &Value| !value.is_string();
        let wrong = [
            ("image", self.picture(&["image", "input_image"]).is_some_and(is_no_image)),
            ("mask", self.picture(&["mask", "mask_image"]).is_some_and(is_no_text)),
            ("effective_region_mask", self.get(&["effective_region_mask"]).is_some_and(is_no_text)),
        ];
        for (name, _) in wrong.iter().filter(|(_, is_wrong)| *is_wrong) {
            self.refuse(problems, &format!("{name} must be a picture as base64 text, a path or an address"));
        }
    }

    /// A text, `{image, mask}`, or a list that begins with either.
    fn image(&self) -> Option<String> {
        let value = self.picture(&["image", "input_image"])?;
        let first = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        let text = first.get("image").unwrap_or(first);
        text.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// A field of its own, or beside the image.
    fn mask(&self) -> Option<String> {
        let image = self.picture(&["image", "input_image"]);
        let first = image.and_then(Value::as_array).and_then(|list| list.first()).or(image);
        let beside = first.and_then(|image| image.get("mask"));
        let second = image.and_then(Value::as_array).and_then(|list| list.get(1));
        let own = self.picture(&["mask", "mask_image"]);
        let texts = own.into_iter().chain(beside).chain(second).filter_map(Value::as_str);
        texts.filter(|text| !text.is_empty()).map(str::to_owned).next()
    }

    fn number(&self, names: &[&str], default: f64, problems: &mut Problems) -> f64 {
        let Some(value) = self.get(names) else { return default };
        number(value).unwrap_or_else(|| {
            self.refuse(problems, &format!("{} must be a number", names[0]));
            default
        })
    }

    /// Below 0 is the module's default.
    fn slider(&self, name: &str) -> Option<f64> {
        number(self.get(&[name])?).filter(|value| *value >= 0.0)
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.get(&[name]).and_then(boolean).and_then(|flag| flag.as_bool()).unwrap_or(default)
    }

    fn choice<T: Default>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        from_number: impl Fn(i64) -> Option<T>,
        problems: &mut Problems,
    ) -> T {
        let Some(value) = self.get(&[name]) else { return T::default() };
        let number = || integer(value)?.as_i64().and_then(&from_number);
        value.as_str().and_then(&parse).or_else(number).unwrap_or_else(|| {
            self.refuse(problems, &format!("{name} is not one of ControlNet's"));
            T::default()
        })
    }

    fn weights(&self, problems: &mut Problems) -> Option<Vec<f64>> {
        let list = self.get(&["advanced_weighting"])?.as_array().map(Vec::as_slice);
        let numbers: Option<Vec<f64>> = list.unwrap_or_default().iter().map(number).collect();
        if numbers.as_ref().is_none_or(Vec::is_empty) {
            self.refuse(problems, "advanced_weighting must be a list of numbers");
            return None;
        }
        numbers
    }

    fn refuse(&self, problems: &mut Problems, message: &str) {
        let FieldProblem { field, message } = fault(self.index, message);
        problems.add(&field, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: Value) -> Result<Vec<ControlInput>, Vec<String>> {
        let body = json!({"alwayson_scripts": {"ControlNet": {"args": args}}});
        units(body.as_object().unwrap())
            .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn the_unit_that_is_listed_is_one_that_can_be_sent_and_does_nothing() {
        let listed = json!(entry(false));
        assert_eq!(listed["args"].as_array().unwrap().len(), UNITS_MAX);
        let mut unit = listed["args"][0]["value"].clone();
        assert_eq!(read(json!([unit])).unwrap().len(), 0);
        (unit["enabled"], unit["model"]) = (true.into(), "canny".into());
        let read = read(json!([unit])).unwrap();
        assert_eq!(read[0].unit, ControlUnit { model: "canny".into(), ..ControlUnit::default() });
        assert!(read[0].save_map && read[0].is_cropped && read[0].image.is_none());
    }

    #[test]
    fn a_unit_of_a_current_client_is_read() {
        let units = read(json!([{
            "enabled": true, "module": "none", "model": "canny [d14c016b]", "weight": 0.5, "image": {"image": "abc"},
            "resize_mode": "Resize and Fill", "control_mode": "ControlNet is more important", "guidance_end": 0.8,
            "processor_res": -1, "threshold_a": 64, "hr_option": "High res only", "pixel_perfect": true,
        }]));
        let units = units.unwrap();
        let unit = &units[0].unit;
        assert_eq!((unit.weight, unit.guidance_end, unit.processor_res), (0.5, 0.8, None));
        assert_eq!((unit.mode, unit.resize_mode), (ControlMode::Control, ResizeMode::ResizeAndFill));
        assert_eq!((unit.hr_option, unit.threshold_a), (HighResOption::HighResOnly, Some(64.0)));
        assert_eq!(units[0].image.as_deref(), Some("abc"));
    }

    #[test]
    fn old_spellings_and_switched_off_units_are_understood() {
        let units = read(json!([
            null, "x", {"enabled": false, "model": "a"}, {"model": "None", "image": ""},
            {"model": "b", "input_image": ["img", "mask"], "resize_mode": 0, "control_mode": 1, "guidance": 0.5},
        ]));
        let units = units.unwrap();
        assert_eq!(units.len(), 1);
        assert_eq!((units[0].image.as_deref(), units[0].unit.guidance_end), (Some("img"), 0.5));
        assert_eq!(
            (units[0].unit.mode, units[0].unit.resize_mode),
            (ControlMode::Prompt, ResizeMode::JustResize)
        );
    }

    #[test]
    fn a_reference_needs_no_model() {
        let units = read(json!([
            {"module": "Reference_only", "image": "a", "threshold_a": 0.75},
            {"module": "reference_only", "image": "b", "model": "canny"},
        ]));
        let units = units.unwrap();
        assert!(units.iter().all(|unit| unit.unit.is_reference() && unit.unit.model == "None"));
        assert_eq!((units[0].unit.style_fidelity(), units[1].unit.style_fidelity()), (0.75, 0.5));
    }

    #[test]
    fn a_mask_stands_alone_or_beside_its_image() {
        for unit in [
            json!({"model": "a", "image": "img", "mask": "mask"}),
            json!({"model": "a", "image": "img", "mask_image": "mask"}),
            json!({"model": "a", "image": {"image": "img", "mask": "mask"}}),
            json!({"model": "a", "image": [{"image": "img", "mask": "mask"}]}),
            json!({"model": "a", "image": ["img", "mask"], "mask": ""}),
        ] {
            let units = read(json!([unit])).unwrap();
            assert_eq!(
                (units[0].image.as_deref(), units[0].mask.as_deref()),
                (Some("img"), Some("mask")),
                "{unit}"
            );
        }
        assert_eq!(read(json!([{"model": "a", "image": "img"}])).unwrap()[0].mask, None);
    }

    #[test]
    fn what_is_null_or_empty_hides_no_other_name_and_numbers_may_have_a_point() {
        for nothing in [json!(null), json!("")] {
            let unit = json!({
                "model": "a", "image": nothing, "input_image": "img", "mask": nothing, "mask_image": "mask",
                "guidance_end": null, "guidance": 0.5, "resize_mode": 2.0, "control_mode": "1",
            });
            let units = read(json!([unit])).unwrap();
            assert_eq!((units[0].image.as_deref(), units[0].mask.as_deref()), (Some("img"), Some("mask")));
            let unit = &units[0].unit;
            assert_eq!((unit.guidance_end, unit.mode), (0.5, ControlMode::Prompt));
            assert_eq!(unit.resize_mode, ResizeMode::ResizeAndFill);
        }
    }

    #[test]
    fn what_cannot_be_served_is_said_by_unit() {
        for (unit, word) in [
            (json!({"model": "a", "weight": "heavy"}), "weight"),
            (json!({"model": "a", "weight": 9}), "weight"),
            (json!({"model": "a", "control_mode": "mine"}), "control_mode"),
            (json!({"enabled": true, "image": "abc"}), "model"),
            (json!({"model": "a", "advanced_weighting": ["x"]}), "advanced_weighting"),
            (json!({"model": "a", "mask": "m", "mask_image": "m"}), "mask_image"),
            (json!({"model": "a", "image": 5}), "image must be"),
            (json!({"model": "a", "image": {"image": true}}), "image must be"),
            (json!({"model": "a", "input_image": ["m", 5]}), "image must be"),
            (json!({"model": "a", "mask": 5}), "mask must be"),
            (json!({"model": "a", "effective_region_mask": 5}), "effective_region_mask must be"),
        ] {
            let problems = read(json!([unit])).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with("ControlNet unit 0: "), "{problems:?}");
            assert!(problems[0].contains(word), "{problems:?}");
        }
        assert!(read(json!({})).is_err());
        for image in [json!(""), json!({"image": null, "mask": null}), json!([null]), json!([])] {
            assert_eq!(read(json!([{"model": "a", "image": image}])).unwrap()[0].image, None, "{image}");
        }
    }

    #[test]
    fn a_pictures_own_text_is_the_units_but_for_their_images() {
        let args = json!([
            {"model": "canny [d14c016b]", "weight": 0.5, "image": "a", "resize_mode": 2, "control_mode": 1,
             "guidance_start": 0.1, "guidance_end": 0.8, "processor_res": 512, "threshold_a": 64.5, "pixel_perfect": true},
            {"model": "depth", "image": "b", "hr_option": "High res only", "advanced_weighting": [1, 0.5, 0]},
        ]);
        let was: Vec<_> = read(args).unwrap().into_iter().map(|input| input.unit).collect();
        let with = gesso_core::infotext::DrawnWith { control: &was, ..Default::default() };
        let text = gesso_core::infotext::of(&gesso_core::request::GenerateRequest::default(), 0, &with);
        let again = |scripts: Value| {
            let mut body = json!({"alwayson_scripts": scripts}).as_object().unwrap().clone();
            fill_from_infotext(&mut body, &Infotext::parse(&text));
            units(&body).unwrap()
        };
        let images = |units: &[ControlInput]| units.iter().map(|unit| unit.image.clone()).collect::<Vec<_>>();
        let read = again(json!({"ControlNet": {"args": [{"image": "c"}, {"image": "d", "weight": 2}]}}));
        assert_eq!(images(&read), [Some("c".to_owned()), Some("d".to_owned())]);
        assert_eq!(read[0].unit, was[0]);
        assert_eq!(read[1].unit, ControlUnit { weight: 2.0, ..was[1].clone() });
        let ends = again(json!({"controlnet": {"args": [{"guidance": null}, {"guidance": 0.5}]}}));
        assert_eq!([0, 1].map(|unit| ends[unit].unit.guidance_end), [0.8, 0.5]);
        for scripts in [json!(null), json!({}), json!({"controlnet": {"args": null}})] {
            let read = again(scripts);
            assert_eq!(images(&read), [None, None]);
            assert_eq!(read.into_iter().map(|input| input.unit).collect::<Vec<_>>(), was);
        }
    }

    #[test]
    fn a_body_without_units_has_none() {
        assert!(units(&Map::new()).unwrap().is_empty());
        assert!(read(json!([])).unwrap().is_empty());
    }
}
