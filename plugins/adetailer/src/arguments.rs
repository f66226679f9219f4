//! What a request says under `alwayson_scripts.ADetailer.args`: whether it is on, whether image to image is drawn at all
//! first, and one object for each detector. Names, defaults and ranges are the web UI extension's.

use gesso_plugin::serde_json::{self, Value};
use gesso_plugin::{Fault, Params, lax};
use serde::Deserialize;

/// The name under `alwayson_scripts`.
pub const NAME: &str = "ADetailer";
/// Detectors in one request.
const DETAILS_MAX: usize = 16;

/// One detector, and how what it finds is painted again.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Detail {
    pub ad_model: String,
    /// Names of the classes that count, separated by commas; all where it is empty.
    pub ad_model_classes: String,
    pub ad_tab_enable: bool,
    pub ad_prompt: String,
    pub ad_negative_prompt: String,
    /// The least score, 0 to 1.
    pub ad_confidence: f32,
    pub ad_mask_filter_method: FilterBy,
    /// How many are kept, the largest or surest; 0 keeps all.
    #[serde(alias = "ad_mask_k_largest")]
    pub ad_mask_k: u32,
    /// Shares of the picture's area, 0 to 1.
    pub ad_mask_min_ratio: f32,
    pub ad_mask_max_ratio: f32,
    /// Pixels that masks grow by, or shrink by where it is negative.
    pub ad_dilate_erode: i32,
    /// Pixels that masks move by: to the right, and up.
    pub ad_x_offset: i32,
    pub ad_y_offset: i32,
    pub ad_mask_merge_invert: Merge,
    pub ad_mask_blur: u32,
    pub ad_denoising_strength: f64,
    pub ad_inpaint_only_masked: bool,
    pub ad_inpaint_only_masked_padding: u32,
    pub ad_use_inpaint_width_height: bool,
    /// What is beyond a multiple of 8 is lost, as it is of a request's sides.
    pub ad_inpaint_width: u32,
    pub ad_inpaint_height: u32,
    pub ad_use_steps: bool,
    pub ad_steps: u32,
    pub ad_use_cfg_scale: bool,
    pub ad_cfg_scale: f64,
    pub ad_use_checkpoint: bool,
    pub ad_checkpoint: Option<String>,
    pub ad_use_vae: bool,
    pub ad_vae: Option<String>,
    pub ad_use_sampler: bool,
    pub ad_sampler: String,
    pub ad_scheduler: String,
    pub ad_use_noise_multiplier: bool,
    pub ad_noise_multiplier: f64,
    pub ad_use_clip_skip: bool,
    pub ad_clip_skip: u32,
    pub ad_restore_face: bool,
    pub ad_controlnet_model: String,
    pub ad_controlnet_module: Option<String>,
    pub ad_controlnet_weight: f64,
    pub ad_controlnet_guidance_start: f64,
    pub ad_controlnet_guidance_end: f64,
}

/// What is kept first where only some are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum FilterBy {
    Area,
    Confidence,
}

/// What becomes of several masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Merge {
    None,
    Merge,
    #[serde(rename = "Merge and Invert")]
    MergeAndInvert,
}

impl Merge {
    /// As requests say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Merge => "Merge",
            Self::MergeAndInvert => "Merge and Invert",
        }
    }
}

impl Default for Detail {
    fn default() -> Self {
        Self {
            ad_model: "None".into(),
            ad_model_classes: String::new(),
            ad_tab_enable: true,
            ad_prompt: String::new(),
            ad_negative_prompt: String::new(),
            ad_confidence: 0.3,
            ad_mask_filter_method: FilterBy::Area,
            ad_mask_k: 0,
            ad_mask_min_ratio: 0.0,
            ad_mask_max_ratio: 1.0,
            ad_dilate_erode: 4,
            ad_x_offset: 0,
            ad_y_offset: 0,
            ad_mask_merge_invert: Merge::None,
            ad_mask_blur: 4,
            ad_denoising_strength: 0.4,
            ad_inpaint_only_masked: true,
            ad_inpaint_only_masked_padding: 32,
            ad_use_inpaint_width_height: false,
            ad_inpaint_width: 512,
            ad_inpaint_height: 512,
            ad_use_steps: false,
            ad_steps: 28,
            ad_use_cfg_scale: false,
            ad_cfg_scale: 7.0,
            ad_use_checkpoint: false,
            ad_checkpoint: None,
            ad_use_vae: false,
            ad_vae: None,
            ad_use_sampler: false,
            ad_sampler: "DPM++ 2M Karras".into(),
            ad_scheduler: "Use same scheduler".into(),
            ad_use_noise_multiplier: false,
            ad_noise_multiplier: 1.0,
            ad_use_clip_skip: false,
            ad_clip_skip: 1,
            ad_restore_face: false,
            ad_controlnet_model: "None".into(),
            ad_controlnet_module: Some("None".into()),
            ad_controlnet_weight: 1.0,
            ad_controlnet_guidance_start: 0.0,
            ad_controlnet_guidance_end: 1.0,
        }
    }
}

/// What a request asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    /// Image to image: what is found is painted over the picture that was sent, which is not drawn over first.
    pub skips_first: bool,
    /// Those that have a detector and are on.
    pub details: Vec<Detail>,
}

impl Asked {
    /// # Errors
    /// [`Fault::InvalidInput`] that names the argument and says what would be right.
    pub fn read(params: &Params) -> Result<Self, Fault> {
        let scripts = params.get("alwayson_scripts").and_then(Value::as_object);
        let own = scripts.and_then(|scripts| scripts.iter().find(|(key, _)| key.eq_ignore_ascii_case(NAME)));
        let args = match own.and_then(|(_, script)| script.get("args")) {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Array(list)) => list.clone(),
            Some(other) => vec![other.clone()],
        };
        let switches: Vec<bool> =
            args.iter().map_while(|value| lax::from_value::<bool>(value).ok()).collect();
        if switches.len() > 2 {
            return wrong("args", "has more than two switches before its objects".into());
        }
        if switches.first() == Some(&false) {
            return Ok(Self::default());
        }
        let mut details = Vec::new();
        for (place, value) in args.iter().skip(switches.len()).filter(|value| !value.is_null()).enumerate() {
            if place >= DETAILS_MAX {
                return wrong("args", format!("has more than {DETAILS_MAX} detectors"));
            }
            if !value.is_object() {
                return wrong("args", format!("has {value} where an object with ad_model is expected"));
            }
            let detail: Detail = lax::from_value(&told(value))
                .or_else(|error| wrong("args", format!("cannot be used: {error}")))?;
            if detail.ad_tab_enable && !detail.ad_model.trim().is_empty() && detail.ad_model != "None" {
                detail.check()?;
                details.push(detail);
            }
        }
        Ok(Self { skips_first: switches.get(1) == Some(&true), details })
    }
}

/// An object with what it says: a null is nothing, and of two spellings of one argument the newer counts.
fn told(value: &Value) -> Value {
    let mut told = value.clone();
    if let Some(fields) = told.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        if fields.contains_key("ad_mask_k") {
            fields.remove("ad_mask_k_largest");
        }
    }
    told
}

impl Detail {
    fn check(&self) -> Result<(), Fault> {
        let ranges = [
            ("ad_confidence", f64::from(self.ad_confidence), 0.0, 1.0),
            ("ad_mask_min_ratio", f64::from(self.ad_mask_min_ratio), 0.0, 1.0),
            ("ad_mask_max_ratio", f64::from(self.ad_mask_max_ratio), 0.0, 1.0),
            ("ad_dilate_erode", f64::from(self.ad_dilate_erode), -128.0, 128.0),
            ("ad_x_offset", f64::from(self.ad_x_offset), -4096.0, 4096.0),
            ("ad_y_offset", f64::from(self.ad_y_offset), -4096.0, 4096.0),
            ("ad_mask_blur", f64::from(self.ad_mask_blur), 0.0, 64.0),
            ("ad_denoising_strength", self.ad_denoising_strength, 0.0, 1.0),
            ("ad_noise_multiplier", self.ad_noise_multiplier, 0.5, 1.5),
            ("ad_clip_skip", f64::from(self.ad_clip_skip), 1.0, 12.0),
        ];
        // What is not used may be anything.
        let uses_size = self.ad_use_inpaint_width_height;
        let used = [
            (self.ad_use_steps, ("ad_steps", f64::from(self.ad_steps), 1.0, 150.0)),
            (self.ad_use_cfg_scale, ("ad_cfg_scale", self.ad_cfg_scale, 0.0, 30.0)),
            (uses_size, ("ad_inpaint_width", f64::from(self.ad_inpaint_width), 64.0, 2048.0)),
            (uses_size, ("ad_inpaint_height", f64::from(self.ad_inpaint_height), 64.0, 2048.0)),
        ];
        let used = used.into_iter().filter_map(|(is_used, range)| is_used.then_some(range));
        for (name, value, least, most) in ranges.into_iter().chain(used) {
            if !(least..=most).contains(&value) {
                return wrong(name, format!("is {value}; it takes {least} to {most}"));
            }
        }
        if self.ad_model.starts_with("mediapipe") {
            return wrong(
                "ad_model",
                format!("is {:?}, which is no TorchScript network; take a YOLO detector", self.ad_model),
            );
        }
        Ok(())
    }
}

fn wrong<T>(name: &str, problem: String) -> Result<T, Fault> {
    Err(Fault::InvalidInput(format!("alwayson_scripts.{NAME}: {name} {problem}.")))
}

/// For clients that build a form: names, types and defaults.
pub fn schema() -> Value {
    serde_json::from_str(include_str!("schema.json"))
        .expect("it is a file of this plugin, and a test reads it")
}

#[cfg(test)]
mod tests {
    use gesso_plugin::serde_json::json;

    use super::*;

    fn read(args: Value) -> Result<Asked, Fault> {
        let params = json!({"alwayson_scripts": {"adetailer": {"args": args}}});
        Asked::read(&Params::from_json(&params.to_string()).unwrap())
    }

    #[test]
    fn the_forms_that_clients_send_are_read() {
        let face = json!({"ad_model": "face_yolov8n.pt", "ad_mask_k_largest": 2, "is_api": true});
        for args in [
            json!([face]),
            json!([true, false, face]),
            json!([true, face]),
            json!([1, 0, face]),
            json!(["true", face]),
            face.clone(),
            json!([null, face]),
        ] {
            let asked = read(args.clone()).unwrap();
            assert_eq!((asked.details.len(), asked.skips_first), (1, false), "{args}");
            assert_eq!(
                (asked.details[0].ad_model.as_str(), asked.details[0].ad_mask_k),
                ("face_yolov8n.pt", 2)
            );
        }
        assert!(read(json!([true, true, face])).unwrap().skips_first);
        assert!(read(json!([1, "True", face])).unwrap().skips_first);
        let both = json!([{"ad_model": "x", "ad_mask_k": 3, "ad_mask_k_largest": 1, "ad_prompt": null}]);
        assert_eq!(
            read(both).unwrap().details[0],
            Detail { ad_model: "x".into(), ad_mask_k: 3, ..Detail::default() }
        );
        for off in [
            json!([false, false, face]),
            json!([0, face]),
            json!([]),
            json!(null),
            json!([{}]),
            json!([{"ad_model": "None"}]),
            json!([{"ad_model": "x", "ad_tab_enable": false}]),
        ] {
            assert_eq!(read(off.clone()).unwrap().details, [], "{off}");
        }
        assert_eq!(Asked::read(&Params::from_json("{}").unwrap()).unwrap(), Asked::default());
    }

    #[test]
    fn values_are_read_in_every_spelling_of_clients() {
        let spelled = json!([{"ad_model": "x", "ad_steps": "28", "ad_mask_blur": 4.0, "ad_confidence": "0.5",
            "ad_use_steps": 1, "ad_tab_enable": "true", "ad_vae": null}]);
        let wanted =
            Detail { ad_model: "x".into(), ad_confidence: 0.5, ad_use_steps: true, ..Detail::default() };
        assert_eq!(read(spelled).unwrap().details, [wanted]);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (args, says) in [
            (json!([{"ad_model": "x", "ad_confidence": 2}]), "ad_confidence is 2; it takes 0 to 1"),
            (json!([{"ad_model": "x", "ad_steps": "many"}]), "invalid type"),
            (
                json!([{"ad_model": "x", "ad_use_steps": true, "ad_steps": 0}]),
                "ad_steps is 0; it takes 1 to 150",
            ),
            (json!([{"ad_model": "x", "ad_use_steps": true, "ad_steps": 151}]), "ad_steps is 151"),
            (json!([{"ad_model": "x", "ad_use_cfg_scale": true, "ad_cfg_scale": -1}]), "ad_cfg_scale is -1"),
            (
                json!([{"ad_model": "x", "ad_use_cfg_scale": true, "ad_cfg_scale": 30.5}]),
                "ad_cfg_scale is 30.5; it takes 0 to 30",
            ),
            (
                json!([{"ad_model": "x", "ad_use_inpaint_width_height": true, "ad_inpaint_width": 0}]),
                "ad_inpaint_width is 0; it takes 64 to 2048",
            ),
            (
                json!([{"ad_model": "x", "ad_use_inpaint_width_height": true, "ad_inpaint_height": 2056}]),
                "ad_inpaint_height is 2056; it takes 64 to 2048",
            ),
            (json!(["face_yolov8n.pt"]), "an object with ad_model is expected"),
            (json!([2, {"ad_model": "x"}]), "has 2 where an object with ad_model is expected"),
            (json!([{"ad_model": "mediapipe_face_full"}]), "take a YOLO detector"),
            (json!([{"ad_model": "x", "ad_mask_merge_invert": "Both"}]), "Merge and Invert"),
            (json!([true, true, true]), "more than two switches"),
        ] {
            let Err(Fault::InvalidInput(text)) = read(args.clone()) else { panic!("{args} is taken") };
            assert!(text.contains(says), "{text} should say {says}");
        }
    }

    #[test]
    fn what_is_not_used_and_the_ends_of_what_is_are_taken() {
        let unused = json!([{"ad_model": "x", "ad_steps": 0, "ad_cfg_scale": -1, "ad_inpaint_width": 0,
            "ad_inpaint_height": 9999}]);
        assert_eq!(read(unused).unwrap().details.len(), 1);
        for (steps, cfg_scale, side) in [(1, 0, 64), (150, 30, 2048), (28, 7, 500)] {
            let used = json!([{"ad_model": "x", "ad_use_steps": true, "ad_steps": steps, "ad_use_cfg_scale": true,
                "ad_cfg_scale": cfg_scale, "ad_use_inpaint_width_height": true, "ad_inpaint_width": side,
                "ad_inpaint_height": side}]);
            assert_eq!(read(used).unwrap().details.len(), 1, "{steps}, {cfg_scale}, {side}");
        }
    }

    #[test]
    fn the_schema_has_every_argument_with_its_default() {
        let schema = schema();
        let defaults: gesso_plugin::serde_json::Map<_, _> = schema["properties"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, property)| (name.clone(), property["default"].clone()))
            .collect();
        assert_eq!(Detail::deserialize(Value::Object(defaults)).unwrap(), Detail::default());
    }
}
