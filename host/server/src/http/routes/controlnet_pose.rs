//! People and animals from their points: ControlNet's route that draws what a pose network reads. How figures look is
//! `gesso-picture`'s.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_picture::pose::{self, ANIMAL, Animal, BODY, FACE, HAND, Person, Point};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::error::WebUiFailure;
use crate::http::extract::RawBody;
use crate::png_file;

/// Pictures of one request; people of one picture, and as many animals.
const CANVASES_MAX: usize = 16;
const FIGURES_MAX: usize = 64;

/// The people of a picture, as OpenPose writes them, and its animals.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PoseCanvas {
    /// Drawn in this order.
    people: Vec<PosePerson>,
    /// Each as three numbers for each of AP-10K's 17 points, as of people. Drawn after them.
    animals: Option<Vec<Vec<f64>>>,
    /// Pixels.
    #[schema(minimum = 1)]
    canvas_width: u32,
    /// Pixels.
    #[schema(minimum = 1)]
    canvas_height: u32,
}

/// One person: three numbers for each point, from the left, from the top, and how sure it is; 0 is not found. In pixels, or
/// in parts of the picture where none of a picture's points is above 1.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct PosePerson {
    /// 18 points of COCO's body.
    pose_keypoints_2d: Option<Vec<f64>>,
    /// 21 points.
    hand_left_keypoints_2d: Option<Vec<f64>>,
    /// 21 points.
    hand_right_keypoints_2d: Option<Vec<f64>>,
    /// 70 points.
    face_keypoints_2d: Option<Vec<f64>>,
}

/// What was drawn.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrawnPoses {
    /// PNG files in base64, one for each entry; missing where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<String>>,
    /// `Success`, or that there was nothing to draw.
    info: &'static str,
}

/// Draws people and animals as coloured figures, which networks for poses read.
#[utoipa::path(post, path = "/controlnet/render_openpose_json", tag = "ControlNet", request_body = Vec<PoseCanvas>,
    responses((status = 200, description = "The figures", body = DrawnPoses),
              (status = 422, description = "Something is wrong with the points or the size")))]
pub(crate) async fn render(
    State(app): State<Arc<App>>,
    RawBody(body): RawBody,
) -> Result<Json<DrawnPoses>, WebUiFailure> {
    let canvases = read(&body)?;
    if canvases.is_empty() {
        return Ok(Json(DrawnPoses { images: None, info: "No pose data detected." }));
    }
    let (side_max, pixels_max) = (app.settings.limits.side_px_max, app.settings.limits.pixels_max);
    // The blocking pool: drawing and compression.
    let images = blocking(move || {
        let drawn =
            canvases.iter().enumerate().map(|(index, canvas)| canvas.drawn(index, (side_max, pixels_max)));
        drawn.collect::<Result<Vec<_>, _>>()
    })
    .await??;
    Ok(Json(DrawnPoses { images: Some(images), info: "Success" }))
}

fn read(body: &[u8]) -> Result<Vec<PoseCanvas>, AppError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let canvases: Vec<PoseCanvas> = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, message) = (error.path().to_string(), error.inner().to_string());
        let field = if path == "." { "body" } else { path.as_str() };
        let expected =
            "send a list of {people, canvas_width, canvas_height}, with animals where there are any";
        AppError::invalid(field, format!("{field}: {message}; {expected}"))
    })?;
    if canvases.len() > CANVASES_MAX {
        return Err(AppError::invalid("body", format!("the list has more than {CANVASES_MAX} pictures")));
    }
    Ok(canvases)
}

impl PoseCanvas {
    /// The PNG in base64.
    fn drawn(&self, index: usize, (side_max, pixels_max): (u32, u64)) -> Result<String, AppError> {
        for (name, side) in [("canvas_width", self.canvas_width), ("canvas_height", self.canvas_height)] {
            if !(1..=side_max).contains(&side) {
                let message = format!("{name} must be from 1 to {side_max}, not {side}");
                return Err(AppError::invalid(&format!("[{index}].{name}"), message));
            }
        }
        let pixels = u64::from(self.canvas_width) * u64::from(self.canvas_height);
        if pixels > pixels_max {
            let message =
                format!("canvas_width times canvas_height must be at most {pixels_max}, not {pixels}");
            return Err(AppError::invalid(&format!("[{index}].canvas_width"), message));
        }
        for (name, count) in [("people", self.people.len()), ("animals", self.animals().len())] {
            if count > FIGURES_MAX {
                let message = format!("{name} has more than {FIGURES_MAX} entries");
                return Err(AppError::invalid(&format!("[{index}].{name}"), message));
            }
        }
        let scale = self.scale();
        let people = self.people.iter().enumerate().map(|(person, points)| {
            points.read(scale).map_err(|(name, message)| {
                AppError::invalid(&format!("[{index}].people[{person}].{name}"), message)
            })
        });
        let people = people.collect::<Result<Vec<_>, _>>()?;
        let animals = self.animals().iter().enumerate().map(|(animal, numbers)| {
            read_points("animals", numbers, ANIMAL, scale)
                .map_err(|(name, message)| AppError::invalid(&format!("[{index}].{name}[{animal}]"), message))
        });
        let animals: Vec<Animal> = animals.collect::<Result<Vec<_>, _>>()?;
        let failed = |error: String| AppError::Internal(format!("a pose could not be drawn: {error}"));
        let mut picture = pose::draw(&people, self.canvas_width, self.canvas_height)
            .map_err(|error| failed(error.to_string()))?;
        pose::draw_animals(&mut picture, &animals);
        let file = png_file::encode_with(&picture, &[]).map_err(|error| failed(error.to_string()))?;
        Ok(BASE64_STANDARD.encode(file))
    }

    fn animals(&self) -> &[Vec<f64>] {
        self.animals.as_deref().unwrap_or_default()
    }

    /// Pixels of a unit, across and down.
    fn scale(&self) -> Point {
        let people = self.people.iter().flat_map(PosePerson::lists).map(|(_, list, _)| list);
        let lists = people.chain(self.animals().iter().map(Vec::as_slice));
        let mut places = lists.flat_map(|list| list.chunks(3)).flat_map(|point| point.iter().take(2));
        if places.any(|place| *place > 1.0) {
            [1.0; 2]
        } else {
            [self.canvas_width, self.canvas_height].map(f64::from)
        }
    }
}

impl PosePerson {
    /// Each list of numbers with its name and its most points.
    fn lists(&self) -> [(&'static str, &[f64], usize); 4] {
        [
            ("pose_keypoints_2d", self.pose_keypoints_2d.as_deref().unwrap_or_default(), BODY),
            ("hand_left_keypoints_2d", self.hand_left_keypoints_2d.as_deref().unwrap_or_default(), HAND),
            ("hand_right_keypoints_2d", self.hand_right_keypoints_2d.as_deref().unwrap_or_default(), HAND),
            ("face_keypoints_2d", self.face_keypoints_2d.as_deref().unwrap_or_default(), FACE),
        ]
    }

    fn read(&self, scale: Point) -> Result<Person, (&'static str, String)> {
        let mut read: [Vec<Option<Point>>; 4] = Default::default();
        for (points, (name, numbers, most)) in read.iter_mut().zip(self.lists()) {
            *points = read_points(name, numbers, most, scale)?;
        }
        let [body, left, right, face] = read;
        Ok(Person { body, hands: [left, right], face })
    }
}

/// The points of the list `name`, `most` of them at most.
fn read_points(
    name: &'static str,
    numbers: &[f64],
    most: usize,
    [across, down]: Point,
) -> Result<Vec<Option<Point>>, (&'static str, String)> {
    let (triples, rest) = numbers.as_chunks::<3>();
    if !rest.is_empty() || triples.len() > most {
        let count = numbers.len();
        let message =
            format!("{name} must have three numbers for each of at most {most} points, not {count}");
        return Err((name, message));
    }
    Ok(triples.iter().map(|[x, y, sure]| (*sure > 0.0).then_some([x * across, y * down])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        let drawn: Result<Vec<String>, AppError> = read(body.as_bytes()).and_then(|canvases| {
            canvases.iter().enumerate().map(|(at, one)| one.drawn(at, (512, 1 << 17))).collect()
        });
        match drawn {
            Ok(images) => format!("{} pictures", images.len()),
            Err(AppError::Invalid(problems)) => format!("{}: {}", problems[0].field, problems[0].message),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (body, says) in [
            ("{}", "send a list"),
            (r#"[{"people": [], "canvas_width": 8}]"#, "canvas_height"),
            (r#"[{"people": [], "canvas_width": 8, "canvas_height": 513}]"#, "[0].canvas_height: "),
            (r#"[{"people": [], "canvas_width": 512, "canvas_height": 257}]"#, "at most 131072, not 131584"),
            (
                r#"[{"people": [{}, {"face_keypoints_2d": [1, 2]}], "canvas_width": 8, "canvas_height": 8}]"#,
                "[0].people[1].face_keypoints_2d: ",
            ),
            (
                r#"[{"people": [{"pose_keypoints_2d": ["x"]}], "canvas_width": 8, "canvas_height": 8}]"#,
                "[0].people[0].pose_keypoints_2d",
            ),
            (
                r#"[{"people": [{"pose_keypoints_2d": null}], "canvas_width": 8, "canvas_height": 8}]"#,
                "1 pictures",
            ),
            (
                r#"[{"people": [], "animals": [[], [1, 2]], "canvas_width": 8, "canvas_height": 8}]"#,
                "[0].animals[1]: ",
            ),
            (r#"[{"people": [], "animals": null, "canvas_width": 8, "canvas_height": 8}]"#, "1 pictures"),
        ] {
            assert!(refused(body).contains(says), "{}", refused(body));
        }
    }

    #[test]
    fn points_are_in_pixels_or_in_parts_of_the_picture() {
        let of = |numbers: &[f64]| {
            let person = PosePerson { pose_keypoints_2d: Some(numbers.to_vec()), ..PosePerson::default() };
            let canvas =
                PoseCanvas { people: vec![person], animals: None, canvas_width: 100, canvas_height: 50 };
            canvas.people[0].read(canvas.scale()).unwrap().body
        };
        assert_eq!(of(&[30.0, 20.0, 1.0, 0.0, 0.0, 0.0]), [Some([30.0, 20.0]), None]);
        assert_eq!(of(&[0.5, 0.2, 0.7]), [Some([50.0, 10.0])]);
        // Animals say so too.
        let person = PosePerson { pose_keypoints_2d: Some(vec![0.5, 0.2, 1.0]), ..PosePerson::default() };
        let animals = Some(vec![vec![30.0, 20.0, 1.0]]);
        let canvas = PoseCanvas { people: vec![person], animals, canvas_width: 100, canvas_height: 50 };
        assert_eq!(canvas.scale(), [1.0; 2]);
    }

    #[test]
    fn animals_are_drawn_with_the_people() {
        // Neck and root of the tail.
        let mut animal = vec![0.0; 3 * ANIMAL];
        animal[9..15].copy_from_slice(&[8.0, 16.0, 1.0, 24.0, 16.0, 1.0]);
        let animals = Some(vec![animal]);
        let canvas = PoseCanvas { people: Vec::new(), animals, canvas_width: 32, canvas_height: 32 };
        let empty = PoseCanvas { people: Vec::new(), animals: None, canvas_width: 32, canvas_height: 32 };
        let drawn = |canvas: &PoseCanvas| canvas.drawn(0, (512, 1 << 17)).unwrap();
        assert_ne!(drawn(&canvas), drawn(&empty));
    }
}
