//! The bodies of the extras routes: pictures that are there already, enlarged and their faces restored. Read by the web UI's table, checked as a
//! whole, turned into an [`ExtrasRequest`]. Which upscalers exist is not known here: see [`crate::extras`].

use gesso_core::hires::UpscaleTiles;
use gesso_core::limits::Limits;
use serde_json::{Map, Value};

use super::fields::{self, Field, FieldProblem, Kind, field};
use super::overrides::Overrides;
use super::problems::{Problems, flag, integer, non_empty, number};

/// Web UIs' sliders end here; more is better done by size.
const FACTOR_MAX: f64 = 8.0;

/// The name of no upscaler.
const NONE: &str = "None";

/// One picture or a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extras {
    Single,
    Batch,
}

/// What is to be done to pictures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExtrasRequest {
    /// The field the pictures came in, for what is wrong with them.
    pub(crate) field: &'static str,
    /// Encoded, as base64 or data URI.
    pub(crate) pictures: Vec<String>,
    pub(crate) size: ExtrasSize,
    /// `None` leaves the pictures as they are, whatever the size says, as web UIs do.
    pub(crate) first: Option<String>,
    /// The upscaler whose result is mixed in, and its share above 0 and up to 1.
    pub(crate) second: Option<(String, f32)>,
    /// What restores faces.
    pub(crate) faces: Vec<FaceStep>,
}

/// Faces restored and mixed into the picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FaceStep {
    pub(crate) restorer: Restorer,
    /// The field that asks for it, for what is wrong with it.
    pub(crate) field: &'static str,
    /// The share of the restored picture, above 0 and up to 1.
    pub(crate) visibility: f32,
    /// CodeFormer's, 0..=1; GFPGAN has none.
    pub(crate) fidelity: f64,
}

/// A network that restores faces, as clients name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restorer {
    CodeFormer,
    Gfpgan,
}

impl Restorer {
    /// In the web UI's order.
    pub(crate) const ALL: [Self; 2] = [Self::CodeFormer, Self::Gfpgan];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CodeFormer => "CodeFormer",
            Self::Gfpgan => "GFPGAN",
        }
    }
}

/// A thing that is done to a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Upscale,
    Restore(Restorer),
}

impl Operation {
    /// In the web UI's order.
    const ALL: [Self; 3] =
        [Self::Upscale, Self::Restore(Restorer::Gfpgan), Self::Restore(Restorer::CodeFormer)];

    fn name(self) -> &'static str {
        match self {
            Self::Upscale => "Upscale",
            Self::Restore(restorer) => restorer.name(),
        }
    }
}

/// How large the result is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ExtrasSize {
    /// Times this, above 0 and up to 8.
    By(f64),
    /// Covering this many pixels, and cut to them from the middle when `crop` is set.
    Cover { width: u32, height: u32, crop: bool },
}

const SHARED: &[Field] = &[
    field(
        "resize_mode",
        Kind::Integer(0),
        "0 by upscaling_resize, 1 to upscaling_resize_w x upscaling_resize_h.",
    ),
    field("show_extras_results", Kind::Boolean(true), "Accepted for compatibility: results are always sent."),
    field("gfpgan_visibility", Kind::Float(0.0), "0..1, the share of the faces that GFPGAN restores."),
    field(
        "codeformer_visibility",
        Kind::Float(0.0),
        "0..1, the share of the faces that CodeFormer restores.",
    ),
    field(
        "codeformer_weight",
        Kind::Float(0.0),
        "0..1: 0 restores the most, 1 stays the nearest to the picture.",
    ),
    field(
        "upscaling_resize",
        Kind::Float(2.0),
        "Above 0, up to 8; sides are rounded down to multiples of 8.",
    ),
    field("upscaling_resize_w", Kind::Integer(512), "Pixels of resize_mode 1."),
    field("upscaling_resize_h", Kind::Integer(512), "Pixels of resize_mode 1."),
    field(
        "upscaling_crop",
        Kind::Boolean(true),
        "Cut to the size from the middle; false keeps what covers it.",
    ),
    field("upscaler_1", Kind::Text(NONE), "See GET /sdapi/v1/upscalers; None leaves the picture as it is."),
    field("upscaler_2", Kind::Text(NONE), "A second upscaler that is mixed in."),
    field("extras_upscaler_2_visibility", Kind::Float(0.0), "0..1, the share of the second upscaler."),
    field(
        "upscale_first",
        Kind::Boolean(false),
        "Accepted for compatibility: the option postprocessing_operation_order says what comes first.",
    ),
];

const SINGLE: &[Field] = &[field("image", Kind::Text(""), "The picture, base64 or data URI.")];

const BATCH: &[Field] =
    &[field("imageList", Kind::List, "The pictures: objects with data (base64 or data URI) and name.")];

/// How networks enlarge pictures, as the options of a body say.
///
/// # Errors
/// Options of another type, or out of their range.
pub(crate) fn upscale_tiles(body: &Map<String, Value>) -> Result<UpscaleTiles, Vec<FieldProblem>> {
    let mut problems = Problems::default();
    let tiles = Overrides::new(body, &mut problems).upscale_tiles(&mut problems);
    problems.into_result(tiles)
}

/// What is done first, and what then, as the options of a body say: what they name goes before what they do not, which keeps
/// the web UI's order.
///
/// # Errors
/// Options of another type.
pub(crate) fn operation_order(body: &Map<String, Value>) -> Result<[Operation; 3], Vec<FieldProblem>> {
    let mut problems = Problems::default();
    let overrides = Overrides::new(body, &mut problems);
    let first = overrides.texts("postprocessing_operation_order", &mut problems).unwrap_or_default();
    let mut order = Operation::ALL;
    let place = |operation: &Operation| first.iter().position(|name| *name == operation.name());
    order.sort_by_key(|operation| place(operation).unwrap_or(usize::MAX));
    problems.into_result(order)
}

impl Extras {
    /// Every field, in the web UI's order.
    pub(crate) fn fields(self) -> impl Iterator<Item = &'static Field> + Clone {
        SHARED.iter().chain(match self {
            Self::Single => SINGLE,
            Self::Batch => BATCH,
        })
    }

    /// Reads a body as a client sent it; all problems at once.
    pub(crate) fn read(
        self,
        body: &Map<String, Value>,
        limits: &Limits,
    ) -> Result<ExtrasRequest, Vec<FieldProblem>> {
        let mut body = fields::read(body, self.fields())?;
        let mut problems = Problems::default();
        let share = number(&body, "extras_upscaler_2_visibility").unwrap_or_default();
        let share = problems.range("extras_upscaler_2_visibility", share, 0.0, 1.0) as f32;
        let request = ExtrasRequest {
            size: size(&body, limits, &mut problems),
            first: upscaler(&body, "upscaler_1"),
            second: upscaler(&body, "upscaler_2").filter(|_| share > 0.0).map(|name| (name, share)),
            faces: faces(&body, &mut problems),
            field: match self {
                Self::Single => "image",
                Self::Batch => "imageList",
            },
            pictures: match self {
                Self::Single => single(&mut body, &mut problems),
                Self::Batch => list(&mut body, limits, &mut problems),
            },
        };
        problems.into_result(request)
    }
}

fn upscaler(body: &Map<String, Value>, name: &str) -> Option<String> {
    non_empty(body, name).filter(|name| *name != NONE).map(str::to_owned)
}

fn size(body: &Map<String, Value>, limits: &Limits, problems: &mut Problems) -> ExtrasSize {
    match integer(body, "resize_mode") {
        0 => {
            let factor = number(body, "upscaling_resize").unwrap_or_default();
            if factor <= 0.0 || factor > FACTOR_MAX {
                problems.add(
                    "upscaling_resize",
                    format!("upscaling_resize is {factor}; it must be above 0 and at most {FACTOR_MAX}"),
                );
            }
            ExtrasSize::By(factor)
        }
        mode => {
            if mode != 1 {
                problems.add("resize_mode", format!("resize_mode is {mode}; it must be 0 or 1"));
            }
            let most = f64::from(limits.max_side_px);
            let mut side = |name| problems.range(name, integer(body, name) as f64, 1.0, most) as u32;
            ExtrasSize::Cover {
                width: side("upscaling_resize_w"),
                height: side("upscaling_resize_h"),
                crop: flag(body, "upscaling_crop"),
            }
        }
    }
}

/// The steps that have a share, in the web UI's order.
fn faces(body: &Map<String, Value>, problems: &mut Problems) -> Vec<FaceStep> {
    let mut share = |name| problems.range(name, number(body, name).unwrap_or_default(), 0.0, 1.0);
    let fidelity = share("codeformer_weight");
    let mut step = |restorer, field, fidelity| {
        let visibility = share(field) as f32;
        (visibility > 0.0).then_some(FaceStep { restorer, field, visibility, fidelity })
    };
    let gfpgan = step(Restorer::Gfpgan, "gfpgan_visibility", 1.0);
    let codeformer = step(Restorer::CodeFormer, "codeformer_visibility", fidelity);
    gfpgan.into_iter().chain(codeformer).collect()
}

fn single(body: &mut Map<String, Value>, problems: &mut Problems) -> Vec<String> {
    match body.remove("image") {
        Some(Value::String(text)) if !text.trim().is_empty() => vec![text],
        _ => {
            problems.add("image", "image must hold a picture as base64 text".into());
            Vec::new()
        }
    }
}

fn list(body: &mut Map<String, Value>, limits: &Limits, problems: &mut Problems) -> Vec<String> {
    let Some(Value::Array(items)) = body.remove("imageList") else { return Vec::new() };
    if items.is_empty() || items.len() > limits.max_images as usize {
        problems.add(
            "imageList",
            format!("imageList holds {} pictures; send from 1 to {}", items.len(), limits.max_images),
        );
    }
    let mut pictures = Vec::new();
    for mut item in items {
        match item.get_mut("data").map(Value::take) {
            Some(Value::String(text)) if !text.trim().is_empty() => pictures.push(text),
            _ => problems.add(
                "imageList",
                format!(
                    "picture {} of imageList has no data; send {{\"data\": base64 text}}",
                    pictures.len() + 1
                ),
            ),
        }
    }
    pictures
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(extras: Extras, body: Value) -> Result<ExtrasRequest, Vec<String>> {
        extras
            .read(body.as_object().unwrap(), &Limits::default())
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn a_picture_alone_is_left_as_it_is() {
        let request = read(Extras::Single, json!({"image": "abc", "upscaler_2": "Lanczos"})).unwrap();
        assert_eq!((request.pictures, request.size), (vec!["abc".to_owned()], ExtrasSize::By(2.0)));
        assert_eq!((request.first, request.second, request.faces), (None, None, Vec::new()));
    }

    #[test]
    fn faces_are_restored_by_gfpgan_before_codeformer() {
        let body = json!({
            "image": "abc", "codeformer_visibility": "0.25", "codeformer_weight": 0.5, "gfpgan_visibility": 1,
        });
        let faces = read(Extras::Single, body).unwrap().faces;
        let steps: Vec<_> =
            faces.iter().map(|step| (step.restorer, step.visibility, step.fidelity)).collect();
        assert_eq!(steps, [(Restorer::Gfpgan, 1.0, 1.0), (Restorer::CodeFormer, 0.25, 0.5)]);
    }

    #[test]
    fn what_the_option_names_goes_before_the_rest() {
        let order = |names: Value| {
            let body = json!({"override_settings": {"postprocessing_operation_order": names}});
            operation_order(body.as_object().unwrap()).map(|order| order.map(Operation::name))
        };
        assert_eq!(order(json!(null)).unwrap(), ["Upscale", "GFPGAN", "CodeFormer"]);
        assert_eq!(order(json!(["CodeFormer"])).unwrap(), ["CodeFormer", "Upscale", "GFPGAN"]);
        assert_eq!(
            order(json!(["Caption", "GFPGAN", "CodeFormer", "Upscale"])).unwrap(),
            ["GFPGAN", "CodeFormer", "Upscale"]
        );
        let problems = order(json!("GFPGAN")).unwrap_err();
        let sentence = "postprocessing_operation_order must be a list";
        assert!(problems[0].message.contains(sentence), "{problems:?}");
    }

    #[test]
    fn takes_numbers_as_strings_and_covers_a_size() {
        let body = json!({
            "imageList": [{"data": "abc", "name": "a.png"}, {"data": "def"}], "resize_mode": "1",
            "upscaling_resize_w": "64", "upscaling_resize_h": 32.0, "upscaling_crop": 0, "upscaler_1": "Lanczos",
            "upscaler_2": "Nearest", "extras_upscaler_2_visibility": "0.25",
        });
        let request = read(Extras::Batch, body).unwrap();
        assert_eq!(request.size, ExtrasSize::Cover { width: 64, height: 32, crop: false });
        assert_eq!(request.pictures, ["abc", "def"]);
        assert_eq!(request.second, Some(("Nearest".into(), 0.25)));
    }

    #[test]
    fn names_all_bad_fields_at_once() {
        let body = json!({
            "image": " ", "upscaling_resize": 8.5, "gfpgan_visibility": 1.5, "codeformer_visibility": -1,
            "codeformer_weight": 2, "extras_upscaler_2_visibility": 1.5,
        });
        let mut problems = read(Extras::Single, body).unwrap_err();
        problems.sort();
        let all = [
            "codeformer_visibility",
            "codeformer_weight",
            "extras_upscaler_2_visibility",
            "gfpgan_visibility",
            "image",
            "upscaling_resize",
        ];
        assert_eq!(problems, all);
    }

    #[test]
    fn refuses_sizes_modes_and_lists_that_cannot_be() {
        let one = |changes: Value| {
            let mut body = json!({"image": "abc"});
            body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            read(Extras::Single, body).unwrap_err()
        };
        assert_eq!(one(json!({"upscaling_resize": 0})), ["upscaling_resize"]);
        assert_eq!(one(json!({"resize_mode": 2})), ["resize_mode"]);
        let sides = one(json!({"resize_mode": 1, "upscaling_resize_w": 0, "upscaling_resize_h": 1e9}));
        assert_eq!(sides, ["upscaling_resize_w", "upscaling_resize_h"]);
        for pictures in
            [json!([]), json!([{"name": "a"}]), json!(["abc"]), json!([{"data": "abc"}, {"data": 1}])]
        {
            assert_eq!(read(Extras::Batch, json!({"imageList": pictures})).unwrap_err(), ["imageList"]);
        }
    }
}
