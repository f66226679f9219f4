//! Beside what MediaPipe makes of the same numbers (`tests/fixtures/make_face_fixtures.py`), and by hand where a number decides.

use std::cell::RefCell;

use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::{self, Value, json};

use super::super::blaze;
use super::super::blaze::tests::tensor;
use super::*;

const FACES: &[u8] = include_bytes!("../../../tests/fixtures/faces.safetensors");
/// Of the picture that the fixtures were made of.
const SIZE: (u32, u32) = (512, 320);

/// Networks by their names, each of which is told how often it was run before; what they are fed is kept.
struct Fake<'a> {
    networks: &'a [Network<'a>],
    fed: RefCell<Vec<(String, Tensor)>>,
}

type Network<'a> = (&'a str, &'a dyn Fn(usize) -> Vec<Tensor>);

impl Look for Fake<'_> {
    fn networks(&self) -> Result<Vec<String>, Fault> {
        Ok(self.networks.iter().map(|(name, _)| (*name).to_owned()).collect())
    }

    fn about(&self, _: &str) -> Result<Option<Value>, Fault> {
        Ok(None)
    }

    fn run(&self, network: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
        let [input]: [Tensor; 1] = inputs.try_into().unwrap();
        let (name, run) = self.networks.iter().find(|(name, _)| *name == network).unwrap();
        let before = self.fed.borrow().iter().filter(|(fed, _)| fed == network).count();
        self.fed.borrow_mut().push(((*name).to_owned(), input));
        Ok(run(before))
    }
}

fn fake<'a>(networks: &'a [Network<'a>]) -> Fake<'a> {
    Fake { networks, fed: RefCell::default() }
}

fn at(resolution: u32, most: f64, sure: f64) -> Settings {
    Settings { resolution, threshold_a: Some(most), threshold_b: Some(sure) }
}

fn fixture(name: &str) -> Vec<f32> {
    blaze::tests::fixture(FACES, name)
}

fn boxes_of(boxes: &[(usize, [f32; 16], f32)]) -> Vec<Tensor> {
    blaze::tests::boxes_of(896, boxes)
}

/// A box by its distance from its place, its size, and the first eye, which the second one mirrors.
fn a_box([x, y]: [f32; 2], [width, height]: [f32; 2], [eye_x, eye_y]: [f32; 2]) -> [f32; 16] {
    let mut numbers = [0.0; 16];
    numbers[..8].copy_from_slice(&[x, y, width, height, eye_x, eye_y, -eye_x, -eye_y]);
    numbers
}

fn mediapipes_boxes(_: usize) -> Vec<Tensor> {
    let (likely, numbers, scores) = (fixture("likely"), fixture("boxes"), fixture("scores"));
    let (numbers, _) = numbers.as_chunks::<16>();
    let boxes = likely.iter().zip(numbers).zip(scores);
    let boxes: Vec<_> = boxes.map(|((index, own), score)| (*index as usize, *own, score)).collect();
    boxes_of(&boxes)
}

fn mediapipes_mesh(face: usize) -> Vec<Tensor> {
    let given = |place: usize| {
        let values = fixture(&format!("mesh.{face}.{place}"));
        tensor(&[1, 1, 1, values.len() as u32], values)
    };
    (0..7).map(given).collect()
}

/// A mesh whose coarse points all lie in a corner but for one that is as far from there as it is told.
fn mesh_of(far: f32) -> Vec<Tensor> {
    let mut given: Vec<Tensor> = [1404, 160, 142, 142, 10, 10, 1]
        .map(|count| tensor(&[1, 1, 1, count], vec![0.0; count as usize]))
        .into();
    // Of those that are told once.
    given[0].values[3..5].fill(far);
    given[6].values[0] = 9.0;
    given
}

fn black(width: u32, height: u32) -> Pixels {
    Pixels::new(width, height, PixelFormat::Rgb8, vec![0; (width * height * 3) as usize]).unwrap()
}

/// Red from left to right, four levels a pixel.
fn ramp(width: u32, height: u32) -> Pixels {
    let data = (0..height).flat_map(|_| (0..width).flat_map(|x| [(x * 4 % 256) as u8, 100, 0])).collect();
    Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap()
}

fn red(picture: &Pixels, x: u32, y: u32) -> u8 {
    picture.data[((y * picture.width + x) * 3) as usize]
}

#[test]
fn faces_are_where_mediapipe_finds_them() {
    let picture = black(SIZE.0, SIZE.1);
    let squares = boxes::squares(&mediapipes_boxes(0), 0.5, Square::around(&picture)).unwrap();
    let wanted = fixture("squares");
    let (wanted, _) = wanted.as_chunks::<4>();
    assert_eq!(squares.len(), wanted.len());
    for (square, wanted) in squares.iter().zip(wanted) {
        let [x, y] = square.middle;
        for (got, want) in [x, y, square.side, square.turn].iter().zip(wanted) {
            assert!((got - f64::from(*want)).abs() < 1e-3, "{square:?} {wanted:?}");
        }
    }
    let networks: [Network<'_>; 2] = [(BOXES[0], &mediapipes_boxes), (MESHES[0], &mediapipes_mesh)];
    let found = faces(&picture, at(320, 2.0, 0.5), [BOXES[0], MESHES[0]], &fake(&networks)).unwrap();
    let wanted = fixture("points");
    let (wanted, _) = wanted.as_chunks::<2>();
    assert_eq!(found.concat().len(), wanted.len());
    // MediaPipe makes whole levels of its crop, these numbers are of another one.
    for (index, (got, want)) in found.concat().iter().zip(wanted).enumerate() {
        let away = (got[0] - f64::from(want[0])).hypot(got[1] - f64::from(want[1]));
        assert!(away < 0.1, "{index}: {got:?} {want:?}");
    }
}

/// Pixels that are not as MediaPipe draws them.
fn apart(map: &Pixels) -> usize {
    let mut wanted = black(SIZE.0, SIZE.1);
    let (pixels, _) = wanted.data.as_chunks_mut::<3>();
    let drawn = fixture("drawn");
    for [place, colour @ ..] in drawn.as_chunks::<4>().0 {
        pixels[*place as usize] = colour.map(|level| level as u8);
    }
    let (got, want) = (map.data.as_chunks::<3>().0, wanted.data.as_chunks::<3>().0);
    got.iter().zip(want).filter(|(got, want)| got != want).count()
}

#[test]
fn faces_are_drawn_as_the_network_for_control_was_trained_with() {
    let points = fixture("points");
    let points: Vec<Point> = points.as_chunks::<2>().0.iter().map(|point| point.map(f64::from)).collect();
    let mut map = black(SIZE.0, SIZE.1);
    for face in points.chunks_exact(mesh::POINTS) {
        outlines::draw(&mut map, face);
    }
    let lit = map.data.as_chunks::<3>().0.iter().filter(|pixel| **pixel != [0; 3]).count();
    assert!((4650..4750).contains(&lit) && apart(&map) <= 2, "{lit} {}", apart(&map));

    let networks: [Network<'_>; 2] = [(BOXES[0], &mediapipes_boxes), (MESHES[0], &mediapipes_mesh)];
    let map = super::map(&black(SIZE.0, SIZE.1), at(320, 2.0, 0.5), &fake(&networks)).unwrap();
    // A point that is a hundredth of a pixel away may be in the next one.
    assert!(apart(&map) < 100, "{}", apart(&map));
}

#[test]
fn a_line_that_ends_outside_is_left_out_with_nothing_else() {
    let face = |forehead: Point| {
        let mut points = vec![[0.0; 2]; mesh::POINTS];
        // Three points of the head in a row, and a pupil.
        (points[109], points[10], points[338]) = ([20.0, 20.0], forehead, [40.0, 20.0]);
        (points[297], points[mesh::RIGHT_IRIS]) = ([40.0, 40.0], [60.9, 60.9]);
        let mut map = black(64, 64);
        outlines::draw(&mut map, &points);
        map.data.as_chunks::<3>().0.to_vec()
    };
    let inside = face([30.0, 20.0]);
    assert_eq!((inside[20 * 64 + 25], inside[20 * 64 + 35]), ([10, 200, 10], [10, 200, 10]));
    assert_eq!((inside[30 * 64 + 40], inside[30 * 64 + 43]), ([10, 200, 10], [0; 3]));
    let pupil = [250, 200, 10];
    assert_eq!(
        [57, 58, 61, 62].map(|x| (inside[60 * 64 + x], inside[x * 64 + 60])),
        [([0; 3], [0; 3]), (pupil, pupil), (pupil, pupil), ([0; 3], [0; 3])]
    );
    for outside in [[30.0, -0.1], [64.1, 20.0], [f64::NAN, 20.0], [30.0, f64::INFINITY]] {
        let map = face(outside);
        assert_eq!((map[20 * 64 + 25], map[20 * 64 + 35]), ([0; 3], [0; 3]), "{outside:?}");
        assert_eq!(map[30 * 64 + 40], [10, 200, 10], "{outside:?}");
    }
}

#[test]
fn lines_are_opencvs() {
    let drawn = |ends: [stroke::Place; 2]| {
        let mut map = black(16, 12);
        stroke::draw(&mut map, ends, [255; 3]);
        let (pixels, _) = map.data.as_chunks::<3>();
        let row = |row: &[[u8; 3]]| {
            row.iter().map(|pixel| if pixel[0] > 0 { '#' } else { '.' }).collect::<String>()
        };
        pixels.chunks_exact(16).map(row).collect::<Vec<String>>()
    };
    let slanted = [
        ".....#..........",
        "....####........",
        ".....#####......",
        "......######....",
        "........#####...",
        "..........####..",
        "............#...",
    ];
    assert_eq!(drawn([[5, 5], [12, 9]])[4..11], slanted);
    assert_eq!(drawn([[12, 9], [5, 5]])[4..11], slanted);
    let diagonal = [
        ".....##.........",
        "....####........",
        "....#####.......",
        ".....#####......",
        "......####......",
        ".......##.......",
    ];
    assert_eq!(drawn([[5, 5], [8, 8]])[4..10], diagonal);
    let point = [".....#..........", "....###.........", ".....#.........."];
    assert_eq!(drawn([[5, 5], [5, 5]])[4..7], point);
    // What hangs over an edge is cut off.
    assert_eq!(drawn([[0, 0], [2, 0]])[..3], ["####............", "###.............", "................"]);
    assert_eq!(drawn([[15, 11], [15, 11]])[10..], ["...............#", "..............##"]);
}

#[test]
fn boxes_on_one_face_are_one_by_how_sure_each_is() {
    let level = [-16.0, 0.0];
    // Three quarters and one quarter sure, before the sigmoid.
    let sure = 3.0_f32.ln();
    let outputs = boxes_of(&[
        // Two boxes of the place in row 8 and column 8 of sixteen, moved by 12 pixels of 64.
        (272, a_box([0.0, 0.0], [64.0, 32.0], [-16.0, -16.0]), sure),
        (273, a_box([12.0, 0.0], [64.0, 32.0], [-16.0, -16.0]), -sure),
        // Too little in common with the first: 40 pixels further right of the same place's next one.
        (274, a_box([32.0, 0.0], [64.0, 32.0], level), 0.0),
        // The first place of the coarser grid, whose boxes are told after all of the finer one's.
        (512, a_box([0.0, 0.0], [32.0, 32.0], level), -0.5),
        // Not sure enough, and no boxes at all.
        (600, a_box([0.0, 0.0], [32.0, 32.0], level), -2.0),
        (700, a_box([0.0, 0.0], [-32.0, 32.0], level), 9.0),
        (701, a_box([0.0, 0.0], [f32::NAN, 32.0], level), 9.0),
        (702, a_box([f32::INFINITY, 0.0], [32.0, 32.0], level), 9.0),
        (703, a_box([0.0, 0.0], [1e-30, 1e-30], level), 9.0),
    ]);
    let fed = Square { middle: [100.0, 50.0], side: 256.0, turn: 0.0 };
    let squares = boxes::squares(&outputs, 0.2, fed).unwrap();
    // Two pixels for each that was fed; (8.5 / 16 - 1/2) * 128 = 4 of them from the middle, and a quarter of 12.
    let quarter = std::f64::consts::FRAC_PI_4;
    let wanted = [
        ([114.0, 58.0], 192.0, quarter),
        ([100.0 + 2.0 * (4.0 + 8.0 + 32.0), 58.0], 192.0, 0.0),
        ([100.0 - 2.0 * 56.0, 50.0 - 2.0 * 56.0], 96.0, 0.0),
    ];
    assert_eq!(squares.len(), wanted.len(), "{squares:?}");
    for (square, ([x, y], side, turn)) in squares.iter().zip(wanted) {
        let away = [square.middle[0] - x, square.middle[1] - y, square.side - side, square.turn - turn];
        assert!(away.iter().all(|part| part.abs() < 1e-4), "{square:?}");
    }
    assert_eq!(boxes::squares(&outputs, 0.6, fed).unwrap().len(), 1);
}

#[test]
fn the_whole_picture_goes_in_with_black_around_it() {
    let nothing = |_: usize| boxes_of(&[]);
    let networks: [Network<'_>; 2] = [(BOXES[0], &nothing), (MESHES[0], &nothing)];
    let fake = fake(&networks);
    let map = super::map(&ramp(128, 64), at(64, 1.0, 0.5), &fake).unwrap();
    assert_eq!(map, black(128, 64), "nobody is there");
    let fed = fake.fed.into_inner();
    assert_eq!((fed.len(), &fed[0].1.shape[..]), (1, &[1, 3, 128, 128][..]));
    let level = |channel: usize, x: usize, y: usize| fed[0].1.values[(channel * 128 + y) * 128 + x];
    assert_eq!(
        [31, 32, 95, 96].map(|y| level(1, 5, y)),
        [-1.0, 100.0 / 127.5 - 1.0, 100.0 / 127.5 - 1.0, -1.0]
    );
    assert_eq!([0, 1, 63].map(|x| level(0, x, 40)), [-1.0, 4.0 / 127.5 - 1.0, 252.0 / 127.5 - 1.0]);
    // Between the corners of pixels, where it is enlarged; beyond the last one is black, or the last one again.
    let small = ramp(64, 64);
    let whole = Square::around(&small);
    let (black, edge) = (whole.seen(&small, 128, Beyond::Black), whole.seen(&small, 128, Beyond::Edge));
    assert_eq!([0, 1, 2, 126, 127].map(|x| red(&black, x, 9)), [0, 2, 4, 252, 126]);
    assert_eq!([0, 1, 2, 126, 127].map(|x| red(&edge, x, 9)), [0, 2, 4, 252, 252]);
}

#[test]
fn a_turned_face_goes_in_upright() {
    let picture = ramp(64, 64);
    // Down in the square is to the left in the picture.
    let square = Square { middle: [32.0, 32.0], side: 64.0, turn: std::f64::consts::FRAC_PI_2 };
    let seen = square.seen(&picture, 64, Beyond::Edge);
    assert_eq!([0, 1, 2, 33, 63].map(|y| red(&seen, 7, y)), [252, 252, 248, 124, 4]);
    let [x, y] = square.place([0.25, 0.75]);
    assert!((x - 16.0).abs() < 1e-9 && (y - 16.0).abs() < 1e-9, "{x} {y}");
    // Wherever a network says that it is, there are pixels.
    for far in [1e300, -1e300, f64::NAN, f64::INFINITY] {
        let square = Square { middle: [far, 32.0], side: far, turn: 0.3 };
        assert_eq!(square.seen(&picture, 4, Beyond::Edge).data.len(), 48);
    }
    let box_on_the_left = |_: usize| {
        // Its place is at 60 of 128, and so its middle at 32; both eyes are in one column.
        boxes_of(&[(270, a_box([-28.0, 0.0], [32.0, 32.0], [0.0, -8.0]), 9.0)])
    };
    let networks: [Network<'_>; 2] = [(BOXES[0], &box_on_the_left), (MESHES[0], &|_: usize| mesh_of(0.0))];
    let fake = fake(&networks);
    faces(&picture, at(64, 1.0, 0.5), [BOXES[0], MESHES[0]], &fake).unwrap();
    let fed = &fake.fed.into_inner()[1].1;
    assert_eq!(fed.shape, [1, 3, 192, 192]);
    // 24 pixels of the picture, the first of them to the right of its middle: 16 + 12 - y / 8.
    let level = |y: usize| fed.values[y * 192 + 20];
    assert_eq!([0, 8, 96].map(level), [112.0, 108.0, 64.0].map(|level: f32| level / 255.0));
}

#[test]
fn finer_points_take_the_place_of_coarse_ones() {
    let mut outputs = mesh_of(0.0);
    for (place, output) in outputs.iter_mut().enumerate().take(6) {
        let numbers = if place == 0 { 3 } else { 2 };
        for (index, value) in output.values.iter_mut().enumerate() {
            *value = (1000 * place + index / numbers) as f32 + [0.0, 0.5, 7.0][index % numbers];
        }
    }
    let points = mesh::points(&outputs, 2.0).unwrap().unwrap();
    assert_eq!(points.len(), mesh::POINTS);
    let told = |point: usize| points[point][0] * 2.0;
    // Coarse ones are their own number; lips, the right eye, the left one, the irises.
    assert_eq!([1, 2, 146, 467].map(told), [1.0, 2.0, 1001.0, 3025.0]);
    assert_eq!(
        [61, 291, 407, 33, 193, 263, 417].map(told),
        [1000.0, 1010.0, 1079.0, 2000.0, 2070.0, 3000.0, 3070.0]
    );
    assert_eq!([468, 472, 473, 477].map(told), [4000.0, 4004.0, 5000.0, 5004.0]);
    assert!(points.iter().all(|[x, y]| y - x == 0.25));
    for (score, is_face) in [(0.01, true), (0.0, false), (-1.0, false), (f32::NAN, false)] {
        outputs[6].values[0] = score;
        assert_eq!(mesh::points(&outputs, 2.0).unwrap().is_some(), is_face, "{score}");
    }
}

#[test]
fn no_more_faces_than_asked_for_and_none_that_are_too_small() {
    let found = |most: f64, sure: f64, far: f32| {
        // In 128 pixels three faces of 64, the squares around them of 96.
        let sides = [64.0, 64.0];
        let boxes = |_: usize| {
            let of = |index: usize, score: f32| (index, a_box([0.0, 0.0], sides, [-8.0, 0.0]), score);
            boxes_of(&[of(0, 2.0), of(272, 3.0), of(510, 1.0)])
        };
        let mesh = |_: usize| mesh_of(far);
        let networks: [Network<'_>; 2] = [(BOXES[0], &boxes), (MESHES[0], &mesh)];
        let fake = fake(&networks);
        let found = faces(&black(128, 128), at(128, most, sure), [BOXES[0], MESHES[0]], &fake).unwrap();
        (found.len(), fake.fed.into_inner().len() - 1)
    };
    assert_eq!((found(1.0, 0.5, 192.0), found(10.0, 0.5, 192.0)), ((1, 1), (3, 3)));
    // Of 0.95, 0.88 and 0.73.
    assert_eq!((found(10.0, 0.8, 192.0), found(10.0, 0.99, 192.0)), ((2, 2), (0, 0)));
    // 64.5 pixels of the picture, and 63.5.
    assert_eq!((found(10.0, 0.5, 129.0), found(10.0, 0.5, 127.0)), ((3, 3), (0, 3)));
}

#[test]
fn what_is_missing_or_no_face_is_said_with_its_file() {
    let refused = |networks: &[Network<'_>]| {
        let made = super::map(&black(64, 64), at(64, 1.0, 0.5), &fake(networks));
        let Err(Fault::InvalidInput(text)) = made else { panic!("a map is made") };
        text
    };
    let face = |_: usize| boxes_of(&[(272, a_box([0.0, 0.0], [64.0, 64.0], [-8.0, 0.0]), 9.0)]);
    let mesh = |_: usize| mesh_of(0.0);
    assert!(refused(&[]).contains("face_detection_short_range.torchscript in the folder networks"));
    assert!(refused(&[(BOXES[0], &face)]).contains("face_landmark_with_attention.torchscript"));
    let text = refused(&[(BOXES[0], &mesh), (MESHES[0], &mesh)]);
    assert!(text.contains("not [1, 896, 16] and [1, 896, 1]; export it"), "{text}");
    let text = refused(&[(BOXES[0], &face), (MESHES[0], &face)]);
    assert!(text.contains("[1404, 160, 142, 142, 10, 10, 1] numbers; export it"), "{text}");
}

#[test]
fn it_is_offered_with_its_sliders() {
    let manifest: Value = serde_json::from_str(include_str!("../../../manifest.json")).unwrap();
    let mut offered = manifest["annotators"].as_array().unwrap().iter();
    let sliders = &offered.find(|annotator| annotator["name"] == "mediapipe_face").unwrap()["sliders"];
    assert_eq!(sliders[0], json!({"name": "Max Faces", "value": 1, "min": 1, "max": 10}));
    let sure = json!({"name": "Min Face Confidence", "value": 0.5, "min": 0.01, "max": 1, "step": 0.01});
    assert_eq!(sliders[1], sure);
}
