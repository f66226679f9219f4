//! Tells what it found beside the map, which is the picture: one person, something that no host knows, a list in place of an
//! object, more than is taken.

use gesso_plugin::serde_json::json;
use gesso_plugin::{Annotated, Annotation, Annotator, Fault};

struct Tells;

impl Annotator for Tells {
    fn annotate(module: &str, annotation: Annotation) -> Result<Annotated, Fault> {
        let desc = annotation.source.desc();
        let (width, height) = (desc.width, desc.height);
        let data = match module {
            "openpose_told" => {
                let nose = [f64::from(width) / 2.0, f64::from(height) / 4.0, 1.0];
                let people = json!([{"pose_keypoints_2d": nose}]);
                json!({
                    "pose": {"people": people, "canvas_width": width, "canvas_height": height},
                    "horizon": 0.5,
                })
            }
            "told_in_a_list" => json!(["a pose"]),
            "told_too_much" => json!({"pose": "x".repeat(1 << 20)}),
            _ => json!({"horizon": 0.5}),
        };
        Ok(Annotated { picture: annotation.source, data: Some(data) })
    }
}

gesso_plugin::annotator!(Tells, manifest = "manifest.json");
