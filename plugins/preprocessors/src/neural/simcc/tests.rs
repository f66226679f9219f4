//! A detector that finds what a test says, and networks that are sure where it says.

use gesso_core::pixels::PixelFormat;
use gesso_picture::pose::BODY;
use gesso_plugin::serde_json::json;

use super::super::boxes::tests::{Told, outputs};
use super::super::pose::tests::{Network, at, fake, pixel, plain};
use super::*;

/// In the middle of a picture of 640 x 640, its sides `width` and `height` times 32.
fn in_the_middle(class: usize, width: f32, height: f32) -> Told {
    (32, [10, 10], [0.0, 0.0, width.ln(), height.ln()], 0.9, class)
}

/// What a network gives for each of `batch` pictures: positions of a point, and how sure it is of them.
fn positions(
    of: &Positions,
    batch: usize,
    at: impl Fn(usize, usize) -> ([usize; 2], [f32; 2]),
) -> Vec<Tensor> {
    let lengths = of.size.map(|side| side as usize * 2);
    let axis = |axis: usize| {
        let mut values = vec![0.0; batch * of.points * lengths[axis]];
        for (row, values) in values.chunks_exact_mut(lengths[axis]).enumerate() {
            let (positions, sure) = at(row / of.points, row % of.points);
            // A lower one before it, and an equal one behind it.
            values[positions[axis] - 1] = sure[axis] / 2.0;
            values[positions[axis]..positions[axis] + 2].fill(sure[axis]);
        }
        let shape = [batch, of.points, lengths[axis]].map(|length| length as u32).to_vec();
        Tensor { shape, values }
    };
    vec![axis(0), axis(1)]
}

#[track_caller]
fn assert_near(found: Option<Point>, wanted: Point) {
    let found = found.unwrap();
    let is_near = [0, 1].into_iter().all(|axis| (found[axis] - wanted[axis]).abs() < 1e-3);
    assert!(is_near, "{found:?} is not {wanted:?}");
}

#[test]
fn points_are_where_positions_are_surest_in_pixels_of_the_picture() {
    // 614.4 high and a quarter more is 768, twice what the network sees.
    let detect = |_: &Tensor| outputs(&[in_the_middle(0, 4.0, 19.2)]);
    let tell = |_: &Tensor| {
        positions(&PEOPLE, 1, |_, point| {
            let sure = match point {
                40 => [0.9, 0.29],
                41 => [0.29, 0.9],
                42 => [f32::NAN, 0.9],
                _ => [0.3, 0.9],
            };
            ([100 + point, 200 + 2 * point], sure)
        })
    };
    let networks: [Network<'_>; 2] = [("yolox_l", &detect), ("dw-ll_ucoco_384", &tell)];
    let fake = fake(&networks);
    let found = PEOPLE.found(&plain(640, 640), &fake).unwrap();
    assert_eq!(found.len(), 1);
    for (point, at) in found[0].iter().enumerate() {
        if (40..43).contains(&point) {
            assert_eq!(*at, None, "{point}");
        } else {
            // Two positions are a pixel of the network's, which is two of the picture's, from (320 - 288, 320 - 384) on.
            assert_near(*at, [132.0 + point as f64, 136.0 + 2.0 * point as f64]);
        }
    }
    let fed = &fake.fed.into_inner()[1].1;
    assert_eq!(fed.shape, [1, 3, 384, 288]);
    let of = |level: f32| (level / 255.0 - 0.485) / 0.229;
    let near = |place: usize, level: f32| (fed.values[place] - of(level)).abs() < 1e-4;
    // Red first; 64 rows of the picture's are above it.
    assert!(near(31 * 288 + 100, 0.0) && near(33 * 288 + 100, 10.0), "{:?}", &fed.values[..4]);
    assert!((fed.values[(384 + 100) * 288 + 100] - (20.0 / 255.0 - 0.456) / 0.224).abs() < 1e-4);
}

#[test]
fn a_window_is_a_quarter_larger_and_has_the_shape_of_the_input() {
    let around = |area: Area| Window::around(&area, [288, 384]);
    // By the width, and by the height.
    assert_eq!(around([0.0, 0.0, 288.0, 30.0]), Window { corner: [144.0 - 180.0, 15.0 - 240.0], step: 1.25 });
    let high = around([100.0, 0.0, 120.0, 768.0]);
    assert_eq!(high, Window { corner: [110.0 - 360.0, 384.0 - 480.0], step: 2.5 });
    assert_eq!(high.place([144.0, 192.0]), [110.0, 384.0]);
}

#[test]
fn between_pixels_a_window_sees_what_is_between_and_black_beyond() {
    let two = Pixels::new(2, 1, PixelFormat::Rgb8, vec![40, 0, 0, 100, 0, 0]).unwrap();
    let red = |corner: Point, size: [u32; 2]| {
        let seen = Window { corner, step: 1.0 }.seen(&two, size);
        assert_eq!((seen.width, seen.height), (size[0], size[1]));
        seen.data.as_chunks::<3>().0.iter().map(|pixel| pixel[0]).collect::<Vec<_>>()
    };
    assert_eq!(red([0.0, 0.0], [2, 2]), [40, 100, 0, 0]);
    // Half of 70, of 40 and nothing, of 100 and nothing.
    assert_eq!(red([-0.5, -0.5], [3, 1]), [10, 35, 25]);
    assert_eq!(red([-0.5, 0.5], [3, 1]), [10, 35, 25]);
    assert_eq!(red([2.0, 0.0], [1, 1]), [0]);
    let wide = Window { corner: [0.25, 0.0], step: 0.5 }.seen(&two, [2, 1]);
    assert_eq!((wide.data[0], wide.data[3]), (55, 85));
}

#[test]
fn networks_that_take_several_pictures_are_given_as_many() {
    let detect = |_: &Tensor| {
        let person =
            |column: usize, sure: f32| -> Told { (32, [column, 10], [0.0, 0.0, 0.0, 9.6_f32.ln()], sure, 0) };
        outputs(&(0..6).map(|index| person(3 * index + 2, 0.9 - 0.1 * index as f32)).collect::<Vec<_>>())
    };
    let tell =
        |_: &Tensor| positions(&PEOPLE, 5, |picture, point| ([288 + 10 * picture, 384 + point], [0.9; 2]));
    let networks: [Network<'_>; 2] = [("yolox_l", &detect), ("dw-ll_ucoco_384_bs5", &tell)];
    let fake = fake(&networks);
    let found = PEOPLE.found(&plain(640, 640), &fake).unwrap();
    assert_eq!(found.len(), 6);
    for (index, points) in found.iter().enumerate() {
        // The middle of each, and five pixels more for each picture of its run.
        let middle = 32.0 * (3 * index + 2) as f64;
        assert_near(points[0], [middle + 5.0 * (index % 5) as f64, 320.0]);
        assert_near(points[100], [middle + 5.0 * (index % 5) as f64, 370.0]);
    }
    let fed = fake.fed.borrow();
    assert_eq!((fed.len(), &fed[2].1.shape), (3, &vec![5, 3, 384, 288]));
    let picture = 3 * 384 * 288;
    assert!(fed[2].1.values[..picture].iter().any(|value| *value != 0.0));
    assert!(fed[2].1.values[picture..].iter().all(|value| *value == 0.0));
    assert_eq!(["a_bs5", "a_bs9", "a_bs0", "a_bsx", "a"].map(batch_of), [5, 1, 1, 1, 1]);
}

#[test]
fn a_person_of_openpose_is_made_of_the_points_of_the_whole_body() {
    let mut points: Points = (0..133).map(|point| Some([f64::from(point), 1000.0])).collect();
    let person = people::person(&points);
    let columns =
        |points: &[Option<Point>]| points.iter().map(|point| point.unwrap()[0]).collect::<Vec<f64>>();
    let body =
        [0.0, 5.5, 6.0, 8.0, 10.0, 5.0, 7.0, 9.0, 12.0, 14.0, 16.0, 11.0, 13.0, 15.0, 2.0, 1.0, 4.0, 3.0];
    assert_eq!(columns(&person.body), body);
    let numbers = |from: u32, to: u32| (from..to).map(f64::from).collect::<Vec<f64>>();
    assert_eq!(columns(&person.face), [numbers(23, 91), vec![2.0, 1.0]].concat());
    let [left, right] = &person.hands;
    assert_eq!((columns(left), columns(right)), (numbers(91, 112), numbers(112, 133)));
    // Without a shoulder there is no neck; without a point there is no hand and no face.
    points[6] = None;
    points[23..112].fill(None);
    let person = people::person(&points);
    assert_eq!((person.body[1], person.body[5]), (None, Some([5.0, 1000.0])));
    assert_eq!((person.face.len(), person.hands[0].len(), person.hands[1].len()), (0, 0, 21));
}

#[test]
fn people_are_drawn_and_told_and_nobody_is_black() {
    let detect = |input: &Tensor| {
        // Of a dark picture nothing; and an animal is nobody.
        let person = if input.values[0] < 5.0 { vec![] } else { vec![in_the_middle(0, 4.0, 9.6)] };
        outputs(&[person, vec![(32, [2, 2], [0.0; 4], 0.9, 16)]].concat())
    };
    // Both shoulders, 40 and 120 pixels from the left of what the network sees, at its hundredth row.
    let tell = |_: &Tensor| {
        positions(&PEOPLE, 1, |_, point| match point {
            5 => ([240, 200], [0.9; 2]),
            6 => ([80, 200], [0.9; 2]),
            _ => ([1, 1], [0.1; 2]),
        })
    };
    let networks: [Network<'_>; 2] = [("yolox_l", &detect), ("dw_openpose_full", &tell)];
    let subject = subject_of("dw_openpose_full").unwrap();
    let fakes = fake(&networks);
    let (map, told) = self::map(subject, &plain(640, 640), at(640), &fakes).unwrap();
    // From (320 - 144, 320 - 192) on: right shoulder, neck, and the limb between them.
    assert_eq!((pixel(&map, 216, 228), pixel(&map, 256, 228)), ([255, 170, 0], [255, 85, 0]));
    assert_eq!((pixel(&map, 236, 228), pixel(&map, 400, 400)), ([153, 0, 0], [0; 3]));
    let person = &told["people"][0];
    assert_eq!(person["pose_keypoints_2d"].as_array().unwrap().len(), 3 * BODY);
    assert!(person["face_keypoints_2d"].is_null() && told["animals"].is_null());
    assert_eq!((&told["canvas_width"], told["people"].as_array().unwrap().len()), (&json!(640), 1));

    let dark = Pixels::new(640, 640, PixelFormat::Rgb8, vec![0; 640 * 640 * 3]).unwrap();
    let fakes = fake(&networks);
    let (map, told) = self::map(subject, &dark, at(640), &fakes).unwrap();
    assert!(map.data.iter().all(|level| *level == 0));
    assert_eq!((&told["people"], fakes.fed.into_inner().len()), (&json!([]), 1));
}

#[test]
fn animals_are_drawn_and_told_with_their_own_points() {
    // A person and a dog, 204.8 wide.
    let detect = |_: &Tensor| outputs(&[(32, [2, 2], [0.0; 4], 0.9, 0), in_the_middle(16, 6.4, 1.0)]);
    let tell = |_: &Tensor| {
        positions(&ANIMALS, 1, |_, point| match point {
            3 => ([64, 128], [0.9; 2]),
            4 => ([320, 128], [0.9; 2]),
            _ => ([1, 1], [0.1; 2]),
        })
    };
    let networks: [Network<'_>; 2] = [("yolox", &detect), ("rtmpose-m_ap10k_256", &tell)];
    let fake = fake(&networks);
    let (map, told) =
        self::map(subject_of("animal_openpose").unwrap(), &plain(640, 640), at(640), &fake).unwrap();
    // From (320 - 128, 320 - 128) on: the back, from neck to tail.
    assert_eq!(
        (pixel(&map, 224, 256), pixel(&map, 288, 257), pixel(&map, 352, 255)),
        ([255, 0, 255], [255, 0, 255], [255, 0, 255])
    );
    assert_eq!((pixel(&map, 288, 260), pixel(&map, 360, 256)), ([0; 3], [0; 3]));
    assert_eq!(fake.fed.borrow()[1].1.shape, [1, 3, 256, 256]);
    assert_eq!((&told["people"], told["animals"].as_array().unwrap().len()), (&json!([]), 1));
    let numbers: Vec<f64> =
        told["animals"][0].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
    assert_eq!((numbers.len(), numbers[11], numbers[14]), (51, 1.0, 1.0));
    let wanted = [224.0, 256.0, 1.0, 352.0, 256.0];
    assert!(
        numbers[9..14].iter().zip(wanted).all(|(number, wanted)| (number - wanted).abs() < 1e-3),
        "{numbers:?}"
    );
    assert!(numbers[..9].iter().chain(&numbers[15..]).all(|number| *number == 0.0), "{numbers:?}");
}

#[test]
fn what_is_missing_or_tells_no_positions_is_said_with_its_file() {
    let refused = |module: &str, networks: &[Network<'_>]| {
        let made = map(subject_of(module).unwrap(), &plain(640, 640), at(640), &fake(networks));
        let Err(Fault::InvalidInput(text)) = made else { panic!("{module} is made") };
        text
    };
    let detect = |_: &Tensor| outputs(&[in_the_middle(0, 4.0, 9.6)]);
    let detector: Network<'_> = ("yolox_l", &detect);
    assert!(refused("dw_openpose_full", &[]).contains("yolox_l.torchscript or yolox.torchscript"));
    assert!(refused("dw_openpose_full", &[detector]).contains("dw-ll_ucoco_384.torchscript"));
    assert!(refused("animal_openpose", &[detector]).contains("animal_openpose.torchscript"));
    let told = || positions(&PEOPLE, 1, |_, _| ([1, 1], [0.9; 2]));
    let swapped = |_: &Tensor| told().into_iter().rev().collect::<Vec<_>>();
    let network: Network<'_> = ("dw-ll_ucoco_384", &swapped);
    let text = refused("dw_openpose_full", &[detector, network]);
    assert!(text.contains("the network dw-ll_ucoco_384 gives [[1, 133, 768], [1, 133, 576]]"), "{text}");
    assert!(
        text.contains("[1, 3, 384, 288]") && text.contains("not [[1, 133, 576], [1, 133, 768]]"),
        "{text}"
    );
    let one = |_: &Tensor| told()[..1].to_vec();
    let network: Network<'_> = ("dw-ll_ucoco_384", &one);
    assert!(refused("dw_openpose_full", &[detector, network]).contains("gives [[1, 133, 576]]"));
}

#[test]
fn every_module_of_positions_is_offered() {
    let manifest: Value = gesso_plugin::serde_json::from_str(include_str!("../../../manifest.json")).unwrap();
    for (module, _) in MODULES {
        let mut offered = manifest["annotators"].as_array().unwrap().iter();
        let is_it = |annotator: &Value| annotator["name"] == module && annotator["types"][0] == "OpenPose";
        assert!(offered.any(is_it), "{module}");
    }
}
