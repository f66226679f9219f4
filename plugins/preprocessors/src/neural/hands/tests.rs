//! Beside what MediaPipe makes of the same numbers (`tests/fixtures/make_hand_fixtures.py`), and by hand where a number decides.

use std::cell::Cell;

use gesso_picture::pose::Point;
use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::{self, Value, json};

use super::super::blaze;
use super::super::blaze::tests::tensor;
use super::super::pose::tests::{Network, at, fake, pixel};
use super::*;

const HANDS: &[u8] = include_bytes!("../../../tests/fixtures/hands.safetensors");

fn fixture(name: &str) -> Vec<f32> {
    blaze::tests::fixture(HANDS, name)
}

fn boxes_of(boxes: &[(usize, [f32; 18], f32)]) -> Vec<Tensor> {
    blaze::tests::boxes_of(2016, boxes)
}

/// A palm of 48 pixels of the 192 that are fed, that far from its place; its knuckles are `fingers` from its wrist.
fn palm([x, y]: [f32; 2], [across, down]: [f32; 2]) -> [f32; 18] {
    let mut numbers = [0.0; 18];
    numbers[..6].copy_from_slice(&[x, y, 48.0, 48.0, x - across / 2.0, y - down / 2.0]);
    numbers[8..10].copy_from_slice(&[x + across / 2.0, y + down / 2.0]);
    numbers
}

/// One of the picture's middle: its place in row 12 and column 12 of 24 is 4 pixels beyond.
fn palm_in_the_middle(_: &Tensor) -> Vec<Tensor> {
    boxes_of(&[(600, palm([-4.0, -4.0], [0.0, -48.0]), 3.0)])
}

/// What the network for points gives of a hand whose points go from one place to another, in pixels of what was fed.
fn points_of(from: [f32; 2], to: [f32; 2], depth: f32, there: f32, right: f32) -> Vec<Tensor> {
    let points = (0..21).flat_map(|point| {
        let share = point as f32 / 20.0;
        [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * share).into_iter().chain([depth])
    });
    let one = |value: f32| tensor(&[1, 1], vec![value]);
    let points = tensor(&[1, 63], points.collect());
    vec![points.clone(), one(there), one(right), points]
}

/// The same by pixels of a picture of 256, which is seen in the square that `palm_in_the_middle` makes: 2.6 times 64 pixels
/// around its middle, half a palm higher.
fn points_at(from: Point, to: Point, depth: f32, right: f32) -> Vec<Tensor> {
    let fed = |place: Point| {
        let middle = [128.0, 96.0];
        [0, 1].map(|axis| (((place[axis] - middle[axis]) / 166.4 + 0.5) * 224.0) as f32)
    };
    points_of(fed(from), fed(to), depth, 0.9, right)
}

/// A square of 80 pixels from column 66 and row 41 on.
fn a_right_hand(_: &Tensor) -> Vec<Tensor> {
    points_at([80.5, 60.5], [130.5, 100.5], 0.0, 0.9)
}

fn mesh_of(vertices: &[[f32; 3]], triangles: &[[f32; 3]]) -> Vec<Tensor> {
    vec![
        tensor(&[1, 3], vec![1.0, 0.0, 0.0]),
        tensor(&[1, vertices.len() as u32, 3], vertices.as_flattened().to_vec()),
        tensor(&[triangles.len() as u32, 3], triangles.as_flattened().to_vec()),
    ]
}

/// How far away the mesh is that a camera of 1 sees.
const AWAY: f32 = 2000.0 / 224.0;

/// From a quarter to three quarters of the square across and from three eighths to three quarters down; its right edge is twice
/// as far away as its left one.
fn slanted() -> Vec<Tensor> {
    let vertices = [[-0.5, -0.25, 0.0], [-0.5, 0.5, 0.0], [1.0, 1.0, AWAY], [1.0, -0.5, AWAY]];
    mesh_of(&vertices, &[[0.0, 1.0, 2.0], [0.0, 2.0, 3.0]])
}

/// Levels of red across and of green down.
fn ramps(side: u32) -> Pixels {
    let data = (0..side).flat_map(|y| (0..side).flat_map(move |x| [x as u8, y as u8, 9])).collect();
    Pixels::new(side, side, PixelFormat::Rgb8, data).unwrap()
}

fn hand_of(points: &[Point], is_left: bool) -> Hand {
    Hand { points: points.to_vec(), remoteness: 0.0, is_left }
}

#[test]
fn hands_are_where_mediapipe_finds_them() {
    let picture = Pixels::new(512, 320, PixelFormat::Rgb8, vec![0; 512 * 320 * 3]).unwrap();
    let palms = |_: &Tensor| {
        let (likely, numbers, scores) = (fixture("likely"), fixture("boxes"), fixture("scores"));
        let boxes = likely.iter().zip(numbers.as_chunks::<18>().0).zip(scores);
        boxes_of(&boxes.map(|((index, own), score)| (*index as usize, *own, score)).collect::<Vec<_>>())
    };
    let squares = palms::squares(&palms(&Tensor::default()), SURE_MIN, Square::around(&picture)).unwrap();
    let wanted = fixture("squares");
    let (wanted, _) = wanted.as_chunks::<4>();
    assert_eq!(squares.len(), wanted.len());
    for (square, wanted) in squares.iter().zip(wanted) {
        let [x, y] = square.middle;
        for (got, want) in [x, y, square.side, square.turn].iter().zip(wanted) {
            assert!((got - f64::from(*want)).abs() < 1e-3, "{square:?} {wanted:?}");
        }
    }
    let before = Cell::new(0);
    let points = |_: &Tensor| {
        let hand = before.replace(before.get() + 1);
        let given = |place: usize| {
            let values = fixture(&format!("points.{hand}.{place}"));
            tensor(&[1, values.len() as u32], values)
        };
        (0..4).map(given).collect::<Vec<Tensor>>()
    };
    let networks: [Network<'_>; 2] = [(PALMS[0], &palms), (POINTS[0], &points)];
    let mut found = hands(&picture, [PALMS[0], POINTS[0]], &fake(&networks)).unwrap();
    let wanted = fixture("points");
    let wanted: Vec<&[[f32; 3]]> = wanted.as_chunks::<3>().0.chunks_exact(21).collect();
    assert!(found[0].remoteness >= found[1].remoteness);
    assert!(wanted[1][9][2] > wanted[0][9][2], "the second one is farther");
    found.reverse();
    for (hand, points) in found.iter().zip(wanted) {
        // MediaPipe makes whole levels of its crop, these numbers are of another one.
        for (got, want) in hand.points.iter().zip(points) {
            let away = (got[0] - f64::from(want[0])).hypot(got[1] - f64::from(want[1]));
            assert!(away < 0.1, "{got:?} {want:?}");
        }
    }
    let is_left: Vec<bool> = fixture("is_left").iter().map(|is_left| *is_left > 0.0).collect();
    assert_eq!(found.iter().map(|hand| hand.is_left).collect::<Vec<_>>(), is_left);
}

#[test]
fn the_square_of_a_hand_is_turned_as_its_fingers_point() {
    let fed = Square { middle: [100.0, 50.0], side: 192.0, turn: 0.0 };
    let half = std::f64::consts::FRAC_PI_2;
    // Half a palm towards the fingers: up, right, down, left.
    let ways = [
        ([0.0, -40.0], [100.0, 26.0], 0.0),
        ([40.0, 0.0], [124.0, 50.0], half),
        ([0.0, 40.0], [100.0, 74.0], 2.0 * half),
        ([-40.0, 0.0], [76.0, 50.0], -half),
    ];
    for (fingers, [x, y], turn) in ways {
        let outputs = boxes_of(&[(600, palm([-4.0, -4.0], fingers), 3.0)]);
        let [square]: [Square; 1] = palms::squares(&outputs, 0.6, fed).unwrap().try_into().unwrap();
        let away = [square.middle[0] - x, square.middle[1] - y, square.side - 2.6 * 48.0, square.turn - turn];
        assert!(away.iter().all(|part| part.abs() < 1e-4), "{square:?}");
    }
}

#[test]
fn a_mesh_is_drawn_where_its_hand_is() {
    for (right, near, far) in [(0.9, 86, 125), (0.1, 125, 86)] {
        let points = move |_: &Tensor| points_at([80.5, 60.5], [130.5, 100.5], 0.0, right);
        let mesh = |_: &Tensor| slanted();
        let networks: [Network<'_>; 3] =
            [(PALMS[0], &palm_in_the_middle), (POINTS[0], &points), (MESHES[0], &mesh)];
        let fake = fake(&networks);
        let map = super::map(&ramps(256), at(256), &fake).unwrap();
        let level = |x: u32, y: u32| {
            let [red, green, blue] = pixel(&map, x, y);
            assert!(red == green && green == blue);
            red
        };
        // Columns 20 to 59 of the square and rows 30 to 59. Truncated levels may be one less or more.
        assert!(level(near, 71) >= 254 && level(near, 100) >= 254, "{right}");
        assert!([50, 51].contains(&level(far, 71)), "{right}");
        // 0.5125 of the way the distance is 1 / (1 - 0.5125 / 2), from 1 / (1 - 0.0125 / 2) to 1 / (1 - 0.9875 / 2).
        let middle = if near < far { 106 } else { 105 };
        assert_eq!(level(middle, 85), 183, "{right}");
        assert_eq!([level(85, 85), level(126, 85), level(middle, 70), level(middle, 101)], [0; 4]);
        let lit = map.data.as_chunks::<3>().0.iter().filter(|pixel| **pixel != [0; 3]).count();
        assert_eq!(lit, 40 * 30);
        // The mesh's network sees a right hand: red grows to the right, or to the left in the mirror.
        let fed = fake.fed.into_inner();
        let (name, fed) = &fed[2];
        assert_eq!((name.as_str(), &fed.shape[..]), (MESHES[0], &[1, 3, 224, 224][..]));
        let red = |x: usize| (fed.values[112 * 224 + x] * 0.229 + 0.485) * 255.0;
        let ends = if right > 0.5 { [66.0, 145.0] } else { [145.0, 66.0] };
        assert!(
            (red(0) - ends[0]).abs() < 1.5 && (red(223) - ends[1]).abs() < 1.5,
            "{} {}",
            red(0),
            red(223)
        );
    }
}

#[test]
fn what_is_seen_from_inside_or_is_no_number_is_left_out() {
    let drawn = |outputs: Vec<Tensor>| {
        let mesh = move |_: &Tensor| outputs.clone();
        let networks: [Network<'_>; 3] =
            [(PALMS[0], &palm_in_the_middle), (POINTS[0], &a_right_hand), (MESHES[0], &mesh)];
        let map = super::map(&ramps(256), at(256), &fake(&networks)).unwrap();
        map.data.as_chunks::<3>().0.iter().filter(|pixel| **pixel != [0; 3]).count()
    };
    let whole = drawn(slanted());
    assert_eq!(whole, 1200);
    let mut inside = slanted();
    inside[2].values = vec![0.0, 2.0, 1.0, 0.0, 3.0, 2.0];
    assert_eq!(drawn(inside), 0);
    // The second triangle alone has the fourth vertex.
    for broken in [f32::NAN, f32::INFINITY, -2.0 * AWAY] {
        let mut outputs = slanted();
        outputs[1].values[11] = broken;
        let left = drawn(outputs);
        assert!((550..650).contains(&left), "{broken}: {left}");
    }
    // A camera that sees nothing in front of it.
    for size in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut outputs = slanted();
        outputs[0].values[0] = size;
        assert_eq!(drawn(outputs), 0, "{size}");
    }
    assert_eq!(drawn(mesh_of(&[], &[])), 0);
    // Half of a square of 40 pixels.
    let flat = [[-0.5, -0.5, 0.0], [-0.5, 0.5, 0.0], [0.5, -0.5, 0.0]];
    assert!((750..850).contains(&drawn(mesh_of(&flat, &[[0.0, 1.0, 2.0]]))));
}

#[test]
fn the_camera_moves_the_mesh() {
    let mut outputs = slanted();
    // Half as large is twice as far away.
    outputs[0].values = vec![0.5, 1.0, -0.5];
    let mesh = Mesh::of(&outputs).unwrap();
    let corners = mesh.corners(80);
    let near = corners[0].unwrap();
    // 80 * 1000 / 224 pixels for what is as far across as away, and it is 2 * AWAY away.
    let per_metre = 80.0 * 1000.0 / 224.0 / (2.0 * f64::from(AWAY));
    for (got, want) in near.at.iter().zip([40.0 + 0.5 * per_metre, 40.0 - 0.75 * per_metre]) {
        assert!((got - want).abs() < 1e-4, "{near:?}");
    }
    assert!((near.nearness * 2.0 * f64::from(AWAY) - 1.0).abs() < 1e-6);
    let far = corners[2].unwrap();
    assert!((far.nearness * 3.0 * f64::from(AWAY) - 1.0).abs() < 1e-6);
    assert!((far.at[0] - (40.0 + 2.0 * per_metre * 2.0 / 3.0)).abs() < 1e-4, "{far:?}");
}

#[test]
fn the_crop_of_a_hand_is_counted_as_handrefiner_counts_it() {
    let picture = ramps(256);
    let of = |points: [Point; 2], is_left: bool| Crop::around(&hand_of(&points, is_left), &picture);
    // 1.6 times 140 pixels around 90 and 170, from one pixel right of the half on.
    let points = [[20.7, 100.2], [160.2, 240.9]];
    let crop = of(points, false).unwrap();
    assert_eq!(crop.side, 224);
    let seen = crop.seen(&picture, 224).unwrap();
    assert_eq!([20, 21, 22].map(|x| pixel(&seen, x, 0)), [[0; 3], [0, 59, 9], [1, 59, 9]]);
    assert_eq!([196, 197].map(|y| pixel(&seen, 22, y)), [[1, 255, 9], [0; 3]]);
    let mirrored = of(points, true).unwrap();
    let seen = mirrored.seen(&picture, 224).unwrap();
    assert_eq!([201, 202, 203].map(|x| pixel(&seen, x, 0)), [[1, 59, 9], [0, 59, 9], [0; 3]]);
    // And back again, nothing but what is there.
    for (crop, column) in [(crop, 22), (mirrored, 201)] {
        let mut map = ramps(256);
        let mut levels = vec![0; 224 * 224];
        (levels[column], levels[0], levels[223]) = (77, 78, 78);
        crop.draw(&mut map, &levels);
        assert_eq!([pixel(&map, 1, 59), pixel(&map, 2, 59)], [[77; 3], [2, 59, 9]]);
    }
    // Whole pixels are counted towards the picture's first one, the middle away from it: of -30 and 21 it is -5.
    let crop = of([[-30.5, 100.0], [21.9, 110.0]], false).unwrap();
    assert_eq!(crop.side, 80);
    let seen = crop.seen(&picture, 80).unwrap();
    assert_eq!([43, 44, 45].map(|x| pixel(&seen, x, 0)), [[0; 3], [0, 66, 9], [1, 66, 9]]);
}

#[test]
fn a_hand_that_cannot_be_seen_is_left_out() {
    let picture = ramps(64);
    let of = |from: Point, to: Point| Crop::around(&hand_of(&[from, to], false), &picture);
    assert!(of([10.0, 10.0], [11.9, 12.0]).is_some());
    assert!(of([10.0, 10.0], [10.9, 10.9]).is_none(), "no extent");
    assert!(of([-2000.0, 10.0], [560.0, 10.0]).is_some(), "4096 pixels");
    assert!(of([-2000.0, 10.0], [562.0, 10.0]).is_none());
    // 64 pixels around 112: from 81 on.
    assert!(of([92.0, 10.0], [132.0, 10.0]).is_none());
    assert!(of([72.0, 10.0], [112.0, 10.0]).is_some());
    for far in [1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert!(of([far, 10.0], [far, 30.0]).is_none(), "{far}");
        assert!(of([far, far], [20.0, 30.0]).is_none(), "{far}");
    }
}

#[test]
fn nearer_hands_are_drawn_over_farther_ones_and_none_twice() {
    // Palms beside each other; the points of each hand come in the order of their scores.
    let palms = |_: &Tensor| {
        let own = palm([-4.0, -4.0], [0.0, -48.0]);
        boxes_of(&[(600, own, 3.0), (600 + 8, own, 2.0), (600 - 16, own, 1.0)])
    };
    let drawn = |second: Vec<Tensor>, first_depth: f32| {
        let (points, meshes) = (Cell::new(0), Cell::new(0));
        let count = |of: &Cell<usize>| of.replace(of.get() + 1);
        let point = |_: &Tensor| {
            if count(&points) == 0 {
                return points_at([80.5, 60.5], [130.5, 100.5], first_depth, 0.9);
            }
            second.clone()
        };
        let mesh = |_: &Tensor| {
            count(&meshes);
            slanted()
        };
        let networks: [Network<'_>; 3] = [(PALMS[0], &palms), (POINTS[0], &point), (MESHES[0], &mesh)];
        let map = super::map(&ramps(256), at(256), &fake(&networks)).unwrap();
        // The second square begins at 99: column 120 is 54 of the first one and 21 of the second.
        (pixel(&map, 120, 85)[0], points.get(), meshes.get())
    };
    // Its palm lies 4 of 24 places, 42.7 pixels, further right, and so does what the network says of its square.
    let second = |depth: f32| points_at([80.5 - 10.0, 60.5], [130.5 - 10.0, 100.5], depth, 0.9);
    let (level, runs, meshes) = drawn(second(0.0), 5.0);
    assert!(level > 230, "the second is nearer: {level}");
    assert_eq!((runs, meshes), (2, 2), "two hands at most");
    assert!(drawn(second(5.0), 0.0).0 < 100, "the first is nearer");
    // In the second square at the place where the first hand is.
    let again = points_at([80.5 - 42.6, 60.5], [130.5 - 42.6, 100.5], 0.0, 0.9);
    assert_eq!(drawn(again, 0.0).2, 1);
    let unsure = points_of([50.0, 50.0], [150.0, 150.0], 0.0, 0.59, 0.9);
    assert_eq!(drawn(unsure, 0.0).2, 1);
}

#[test]
fn what_is_missing_or_no_hand_is_said_with_its_file() {
    let refused = |networks: &[Network<'_>]| {
        let made = super::map(&ramps(64), at(64), &fake(networks));
        let Err(Fault::InvalidInput(text)) = made else { panic!("a map is made") };
        text
    };
    let palms: Network<'_> = (PALMS[0], &palm_in_the_middle);
    let points: Network<'_> = (POINTS[0], &a_right_hand);
    assert!(refused(&[]).contains("palm_detection_full.torchscript in the folder networks"));
    assert!(refused(&[palms]).contains("hand_landmark_full.torchscript"));
    assert!(refused(&[palms, points]).contains("graphormer_hand_state_dict.torchscript or"));

    let mesh = |_: &Tensor| slanted();
    let text = refused(&[(PALMS[0], &mesh), points, (MESHES[0], &mesh)]);
    assert!(text.contains("not [1, 2016, 18] and [1, 2016, 1]; export it"), "{text}");
    let text = refused(&[palms, (POINTS[0], &mesh), (MESHES[0], &mesh)]);
    assert!(text.contains("[63, 1, 1, 63] numbers; export it"), "{text}");
    let text = refused(&[palms, points, (MESHES[0], &palm_in_the_middle)]);
    assert!(text.contains("not [1, 3], [1, 778, 3] and [1538, 3]; export it"), "{text}");
    for (vertices, triangles) in [(779, 1), (4, 1539)] {
        let mesh = move |_: &Tensor| mesh_of(&vec![[0.0; 3]; vertices], &vec![[0.0; 3]; triangles]);
        let text = refused(&[palms, points, (MESHES[0], &mesh)]);
        assert!(text.contains(&format!("gives [[1, 3], [1, {vertices}, 3], [{triangles}, 3]]")), "{text}");
    }
    for (number, told) in [(4.0, "4 of 4"), (-1.0, "-1 of 4"), (0.5, "0.5 of 4"), (f32::NAN, "NaN of 4")] {
        let mesh = move |_: &Tensor| {
            let mut outputs = slanted();
            outputs[2].values[5] = number;
            outputs
        };
        let text = refused(&[palms, points, (MESHES[0], &mesh)]);
        assert!(text.contains(&format!("has a triangle with the vertex {told}; export it")), "{text}");
    }
    let nobody = |_: &Tensor| boxes_of(&[]);
    let networks: [Network<'_>; 3] = [(PALMS[0], &nobody), (POINTS[0], &nobody), (MESHES[0], &nobody)];
    let fake = fake(&networks);
    assert!(super::map(&ramps(64), at(64), &fake).unwrap().data.iter().all(|level| *level == 0));
    assert_eq!(fake.fed.borrow().len(), 1);
}

#[test]
fn it_is_offered_without_sliders() {
    let manifest: Value = serde_json::from_str(include_str!("../../../manifest.json")).unwrap();
    let mut offered = manifest["annotators"].as_array().unwrap().iter();
    let offered = offered.find(|annotator| annotator["name"] == "depth_hand_refiner").unwrap();
    assert_eq!(offered, &json!({"name": "depth_hand_refiner", "types": ["Depth"]}));
}
