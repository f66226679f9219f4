//! People as OpenPose writes them, and animals beside, which `/controlnet/detect` answers and `/controlnet/render_openpose_json` draws.

use gesso_picture::pose::{Animal, Person, Point};
use gesso_plugin::serde_json::{Value, json};

/// `width` and `height` are those of the picture that the points lie in.
pub(in crate::neural) fn told(people: &[Person], (width, height): (u32, u32)) -> Value {
    json!({
        "people": people.iter().map(person).collect::<Vec<_>>(),
        "canvas_width": width,
        "canvas_height": height,
    })
}

/// The same of animals, where no people were looked for.
pub(in crate::neural) fn told_animals(animals: &[Animal], size: (u32, u32)) -> Value {
    let mut told = told(&[], size);
    told["animals"] = json!(animals.iter().map(|animal| points(animal)).collect::<Vec<_>>());
    told
}

fn person(person: &Person) -> Value {
    let [left, right] = &person.hands;
    json!({
        "pose_keypoints_2d": points(&person.body),
        "face_keypoints_2d": points(&person.face),
        "hand_left_keypoints_2d": points(left),
        "hand_right_keypoints_2d": points(right),
    })
}

/// Three numbers for each point, the last of which says whether it was found; none where nothing was looked for.
fn points(points: &[Option<Point>]) -> Option<Vec<f64>> {
    let numbers = |point: &Option<Point>| point.map_or([0.0; 3], |[x, y]| [x, y, 1.0]);
    (!points.is_empty()).then(|| points.iter().flat_map(numbers).collect())
}
