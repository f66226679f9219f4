//! Networks that see what a test says, so that where people are drawn can be told to the pixel.

use std::cell::RefCell;

use gesso_picture::pose::BODY;
use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::json;

use super::scene::{Scene, bell, standing};
use super::*;

/// Networks by their names; what each is fed is kept.
pub(in crate::neural) struct Fake<'a> {
    networks: &'a [Network<'a>],
    pub(in crate::neural) fed: RefCell<Vec<(String, Tensor)>>,
}

impl Look for Fake<'_> {
    fn networks(&self) -> Result<Vec<String>, Fault> {
        Ok(self.networks.iter().map(|(name, _)| (*name).to_owned()).collect())
    }

    fn about(&self, _: &str) -> Result<Option<Value>, Fault> {
        Ok(None)
    }

    fn run(&self, network: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
        let (name, run) = self.networks.iter().find(|(name, _)| *name == network).unwrap();
        let made = run(&inputs[0]);
        self.fed.borrow_mut().extend(inputs.into_iter().map(|input| ((*name).to_owned(), input)));
        Ok(made)
    }
}

pub(in crate::neural) type Network<'a> = (&'a str, &'a dyn Fn(&Tensor) -> Vec<Tensor>);

pub(in crate::neural) fn fake<'a>(networks: &'a [Network<'a>]) -> Fake<'a> {
    Fake { networks, fed: RefCell::default() }
}

pub(in crate::neural) fn at(resolution: u32) -> Settings {
    Settings { resolution, threshold_a: None, threshold_b: None }
}

pub(in crate::neural) fn plain(width: u32, height: u32) -> Pixels {
    let data = [10, 20, 30].repeat((width * height) as usize);
    Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap()
}

pub(in crate::neural) fn pixel(map: &Pixels, x: u32, y: u32) -> [u8; 3] {
    let start = (y * map.width + x) as usize * 3;
    [map.data[start], map.data[start + 1], map.data[start + 2]]
}

fn one_person(_: &Tensor) -> Vec<Tensor> {
    let mut scene = Scene::empty();
    scene.person(&standing(0, &[]), 0.9, 1.0);
    scene.outputs()
}

/// Planes of a square's network, each with a bell in the place that `at` says.
fn points(side: u32, count: usize, at: impl Fn(usize) -> [usize; 2]) -> Vec<Tensor> {
    let places = side as usize / STRIDE;
    let mut values = vec![0.0; count * places * places];
    for (index, plane) in values.chunks_exact_mut(places * places).enumerate() {
        bell(plane, places, at(index), 0.8);
    }
    vec![Tensor { shape: vec![1, count as u32, places as u32, places as u32], values }]
}

fn hand_points(_: &Tensor) -> Vec<Tensor> {
    points(HAND_SIDE, HAND + 1, |index| [4 + index, 20])
}

fn face_points(_: &Tensor) -> Vec<Tensor> {
    points(FACE_SIDE, FACE + 1, |index| [4 + index % 8 * 5, 4 + index / 8 * 4])
}

#[test]
fn people_are_drawn_where_they_are_at_any_size() {
    let networks: [Network<'_>; 1] = [("Body_Pose_Model", &one_person)];
    let fake = fake(&networks);
    let (map, told) = map(figure_of("openpose").unwrap(), &plain(280, 184), at(184), &fake).unwrap();
    assert_eq!((&told["canvas_width"], &told["canvas_height"]), (&json!(280), &json!(184)));
    let person = &told["people"][0];
    assert_eq!(person["pose_keypoints_2d"].as_array().unwrap().len(), 3 * BODY);
    assert!(person["face_keypoints_2d"].is_null() && told["people"].as_array().unwrap().len() == 1);
    assert_eq!((map.width, map.height), (280, 184));
    // Nose, neck, right wrist; the middle of the first limb, and a corner.
    assert_eq!(
        (pixel(&map, 51, 35), pixel(&map, 51, 59), pixel(&map, 27, 107)),
        ([255, 0, 0], [255, 85, 0], [170, 255, 0])
    );
    assert_eq!((pixel(&map, 43, 59), pixel(&map, 200, 100)), ([153, 0, 0], [0; 3]));
    // Half as large: (8 c + 4) / 2 - 1/2.
    let found = bodies(&plain(140, 92), "Body_Pose_Model", &fake).unwrap();
    let [x, y] = found[0][4].unwrap();
    assert!((x - 13.5).abs() < 0.02 && (y - 53.5).abs() < 0.02, "{x} {y}");
    let fed = fake.fed.into_inner();
    assert_eq!(fed[0].1.shape, [1, 3, 184, 280]);
    assert_eq!((fed[0].1.values[0], fed[1].1.values[0]), (30.0 / 256.0 - 0.5, 30.0 / 256.0 - 0.5));
}

#[test]
fn beyond_the_picture_is_grey_and_nobody() {
    let edge = |_: &Tensor| {
        let mut scene = Scene::empty();
        // Of a second figure the left arm is outside.
        scene.person(&standing(0, &[]), 0.9, 1.0);
        scene.person(&standing(25, &[]), 0.9, 1.0);
        scene.outputs()
    };
    let networks: [Network<'_>; 1] = [("openpose_body", &edge)];
    let fake = fake(&networks);
    let found = bodies(&plain(274, 184), "openpose_body", &fake).unwrap();
    assert_eq!(found.len(), 2);
    // The one whose neck is further right.
    let parts = found.iter().max_by(|a, b| a[1].unwrap()[0].total_cmp(&b[1].unwrap()[0])).unwrap();
    let inside = parts.map(|part| part.is_some());
    assert!(inside[2] && inside[5] && !inside[6] && !inside[7], "{parts:?}");
    let fed = fake.fed.into_inner();
    let row = &fed[0].1.values[..280];
    assert_eq!((row[273], &row[274..]), (30.0 / 256.0 - 0.5, &[0.0; 6][..]));
}

#[test]
fn each_module_draws_its_part_of_a_person() {
    let networks: [Network<'_>; 3] =
        [("body_pose_model", &one_person), ("hand_pose_model", &hand_points), ("facenet", &face_points)];
    for (module, figure) in MODULES {
        let fake = fake(&networks);
        let people = people(figure, &plain(280, 184), &fake).unwrap();
        assert_eq!(people.len(), 1, "{module}");
        let person = &people[0];
        assert_eq!(person.body.len(), if module == "openpose_faceonly" { 0 } else { BODY }, "{module}");
        let has_hands = ["openpose_hand", "openpose_full"].contains(&module);
        assert_eq!(person.hands.each_ref().map(Vec::len), [if has_hands { HAND } else { 0 }; 2], "{module}");
        let has_face = ["openpose_face", "openpose_faceonly", "openpose_full"].contains(&module);
        assert_eq!(person.face.len(), if has_face { FACE } else { 0 }, "{module}");
        assert!(person.hands.iter().flatten().chain(&person.face).all(Option::is_some), "{module}");
        let runs: Vec<usize> =
            fake.fed.into_inner().into_iter().map(|(_, fed)| fed.shape[2] as usize).collect();
        let wanted: &[usize] = match (has_hands, has_face) {
            (true, true) => &[184, 368, 368, 384],
            (true, false) => &[184, 368, 368],
            (false, true) => &[184, 384],
            (false, false) => &[184],
        };
        assert_eq!(runs, wanted, "{module}");
    }
}

fn parts_of(places: &[(usize, Point)]) -> Parts {
    let mut parts: Parts = [None; BODY];
    for (part, place) in places {
        parts[*part] = Some(*place);
    }
    parts
}

#[test]
fn hands_are_looked_for_beyond_the_wrist_and_faces_around_the_nose() {
    let arm = [(2, [40.0, 20.0]), (3, [40.0, 60.0]), (4, [40.0, 100.0])];
    let [left, right] = squares::hands(&parts_of(&arm), (400, 400));
    assert_eq!(left, None);
    // 1.5 times the forearm, around a place 13.2 pixels below the wrist.
    assert_eq!(right, Some(Rect { x: 10, y: 83, width: 60, height: 60 }));
    let far = [(5, [40.0, 20.0]), (6, [40.0, 120.0]), (7, [80.0, 120.0])];
    let [left, right] = squares::hands(&parts_of(&far), (400, 400));
    // By the upper arm, which is longer.
    assert_eq!((left, right), (Some(Rect { x: 25, y: 52, width: 135, height: 135 }), None));
    assert_eq!(squares::hands(&parts_of(&arm[..2]), (400, 400)), [None, None]);
    // What is left of it in the picture, and nothing where that is too little.
    assert_eq!(
        squares::hands(&parts_of(&arm), (50, 400))[1],
        Some(Rect { x: 10, y: 83, width: 40, height: 40 })
    );
    assert_eq!(squares::hands(&parts_of(&arm), (29, 400))[1], None);

    let head = [(0, [100.0, 100.0]), (14, [92.0, 90.0]), (17, [125.0, 101.0])];
    // The ear's reach is 37.5, the eye's 30.
    assert_eq!(
        squares::face(&parts_of(&head), (400, 400)),
        Some(Rect { x: 62, y: 62, width: 75, height: 75 })
    );
    assert_eq!(squares::face(&parts_of(&head[..1]), (400, 400)), None);
    assert_eq!(squares::face(&parts_of(&head[1..]), (400, 400)), None);
}

#[test]
fn points_in_a_square_are_the_pictures() {
    let networks: [Network<'_>; 1] = [("hand_pose_model", &|_: &Tensor| {
        let mut planes = points(HAND_SIDE, HAND + 1, |index| [4 + index, 20]);
        // The thumb's end is not seen.
        planes[0].values[4 * 46 * 46..5 * 46 * 46].fill(0.04);
        planes
    })];
    let square = Rect { x: 100, y: 50, width: 92, height: 92 };
    let fake = fake(&networks);
    let found = inside(&plain(280, 184), Some(square), "hand_pose_model", (HAND, HAND_SIDE), &fake).unwrap();
    for (index, point) in found.iter().enumerate() {
        let Some([x, y]) = point else {
            assert_eq!(index, 4);
            continue;
        };
        // A quarter of the network's: (8 c + 4) / 4 - 1/2 from the corner.
        let wanted = [100.0 + 2.0 * (4 + index) as f64 + 0.5, 50.0 + 40.5];
        assert!((x - wanted[0]).abs() < 0.01 && (y - wanted[1]).abs() < 0.01, "{index}: {x} {y}");
    }
    assert_eq!(found.iter().flatten().count(), HAND - 1);
}

#[test]
fn what_is_missing_or_no_pose_is_said_with_its_file() {
    let refused = |module: &str, networks: &[Network<'_>], source: &Pixels| {
        let made = map(figure_of(module).unwrap(), source, at(184), &fake(networks));
        let Err(Fault::InvalidInput(text)) = made else { panic!("{module} is made") };
        text
    };
    let source = plain(280, 184);
    let text = refused("openpose", &[], &source);
    assert!(text.contains("body_pose_model.torchscript or openpose_body.torchscript in the folder networks"));
    let body: Network<'_> = ("body_pose_model", &one_person);
    assert!(refused("openpose_hand", &[body], &source).contains("hand_pose_model.torchscript"));
    assert!(refused("openpose_faceonly", &[body], &source).contains("facenet.torchscript"));
    let wrong: Network<'_> = ("body_pose_model", &hand_points);
    let text = refused("openpose", &[wrong], &source);
    assert!(text.contains("[[1, 22, 46, 46]]") && text.contains("[1, 19, 23, 35]"), "{text}");
    let strip = Pixels::new(40_000, 64, PixelFormat::Rgb8, vec![0; 40_000 * 64 * 3]).unwrap();
    let made = bodies(&strip, "body_pose_model", &fake(&[body]));
    assert!(matches!(made, Err(Fault::InvalidInput(text)) if text.contains("too wide")));
}

#[test]
fn every_module_that_draws_people_is_offered() {
    let manifest: Value = gesso_plugin::serde_json::from_str(include_str!("../../../manifest.json")).unwrap();
    for (module, _) in MODULES {
        let mut offered = manifest["annotators"].as_array().unwrap().iter();
        let is_it = |annotator: &Value| annotator["name"] == module && annotator["types"][0] == "OpenPose";
        assert!(offered.any(is_it), "{module}");
    }
}
