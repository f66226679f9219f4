//! Detectors that see what a test says, their numbers laid out by hand.

use super::super::pose::tests::{Network, fake, plain};
use super::*;

/// A box as the detector tells it: the grid by its stride, the column and row there, how far the middle is from there and the
/// logarithms of the sides, how sure it is that there is something, and the class it is surely of.
pub(in crate::neural) type Told = (usize, [usize; 2], [f32; 4], f32, usize);

/// What the detector gives of a picture in which there is nothing else.
pub(in crate::neural) fn outputs(told: &[Told]) -> Vec<Tensor> {
    let mut values = vec![0.0; 8400 * 85];
    for &(stride, [column, row], area, sure, class) in told {
        let place = match stride {
            8 => row * 80 + column,
            16 => 6400 + row * 40 + column,
            _ => 8000 + row * 20 + column,
        };
        let numbers = &mut values[place * 85..][..85];
        numbers[..4].copy_from_slice(&area);
        (numbers[4], numbers[5 + class]) = (sure, 1.0);
    }
    vec![Tensor { shape: vec![1, 8400, 85], values }]
}

#[track_caller]
fn assert_areas(found: &[Area], wanted: &[Area]) {
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (found, wanted) in found.iter().zip(wanted) {
        let is_near = found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-3);
        assert!(is_near, "{found:?} is not {wanted:?}");
    }
}

#[test]
fn boxes_of_each_grid_are_in_pixels_of_the_picture() {
    let run = |_: &Tensor| {
        outputs(&[
            (16, [10, 5], [0.5, -0.25, 2.0_f32.ln(), 0.0], 0.9, 0),
            (8, [79, 0], [0.0, 0.5, 0.0, 0.0], 0.8, 0),
            (32, [3, 9], [0.0, 0.0, 0.0, 3.0_f32.ln()], 0.7, 0),
            (32, [0, 0], [0.0; 4], 0.25, 0),
            (32, [1, 1], [0.0; 4], 0.9, 1),
            (32, [2, 2], [f32::NAN, 0.0, 0.0, 0.0], 0.9, 0),
        ])
    };
    let networks: [Network<'_>; 1] = [("yolox_l", &run)];
    // Twice as large in the input.
    let found = boxes(&plain(320, 160), "yolox_l", &(0..1), &fake(&networks)).unwrap();
    // ((10 + 1/2) 16, (5 - 1/4) 16) is the first one's middle, and its sides are 32 and 16.
    let wanted = [[76.0, 34.0, 92.0, 42.0], [314.0, 0.0, 318.0, 4.0], [40.0, 120.0, 56.0, 168.0]];
    assert_areas(&found, &wanted);
    let found = boxes(&plain(320, 160), "yolox_l", &(1..3), &fake(&networks)).unwrap();
    assert_areas(&found, &[[8.0, 8.0, 24.0, 24.0]]);
}

#[test]
fn the_picture_is_in_the_corner_blue_first_and_grey_beyond() {
    let nothing = |_: &Tensor| outputs(&[]);
    let networks: [Network<'_>; 1] = [("yolox_l", &nothing)];
    let fed = |width: u32, height: u32| {
        let fake = fake(&networks);
        assert_eq!(boxes(&plain(width, height), "yolox_l", &(0..1), &fake).unwrap(), [[0.0; 4]; 0]);
        fake.fed.into_inner().remove(0).1
    };
    let wide = fed(320, 160);
    assert_eq!(wide.shape, [1, 3, 640, 640]);
    assert_eq!((wide.values[0], wide.values[640 * 640], wide.values[2 * 640 * 640]), (30.0, 20.0, 10.0));
    assert_eq!((wide.values[319 * 640 + 639], wide.values[320 * 640]), (30.0, 114.0));
    // 3.2 times as large.
    let high = fed(100, 200);
    assert_eq!((high.values[319], high.values[320], high.values[639 * 640]), (30.0, 114.0, 30.0));
    // Never nothing.
    let strip = fed(2000, 1);
    assert_eq!((strip.values[639], strip.values[640]), (30.0, 114.0));
}

#[test]
fn of_boxes_around_one_thing_the_surest_stays() {
    let find = |area: Area, score: f32, class: usize| Find { area, score, class };
    // Of 100 by 100 pixels, 46 and 45 hundredths.
    let finds = vec![
        find([0.0, 0.0, 99.0, 45.0], 0.7, 0),
        find([0.0, 0.0, 99.0, 44.0], 0.6, 0),
        find([0.0, 0.0, 99.0, 99.0], 0.9, 0),
        find([0.0, 0.0, 99.0, 99.0], 0.8, 1),
        find([200.0, 0.0, 299.0, 99.0], 0.5, 0),
    ];
    let scores: Vec<f32> = kept(finds).into_iter().map(|find| find.score).collect();
    assert_eq!(scores, [0.9, 0.8, 0.6, 0.5]);
    let apart = |place: usize| find([place as f64 * 10.0, 0.0, place as f64 * 10.0 + 5.0, 5.0], 0.5, 0);
    assert_eq!(kept((0..100).map(apart).collect()).len(), 64);
}

#[test]
fn outputs_of_other_detectors_are_refused_with_a_remedy() {
    let refused = |outputs: &[Tensor]| finds(outputs, &(0..1)).unwrap_err();
    assert!(refused(&[]).contains("gives []"));
    let text = refused(&[Tensor { shape: vec![1, 84, 8400], values: vec![0.0; 84 * 8400] }]);
    assert!(text.contains("[[1, 84, 8400]]") && text.contains("not [1, 8400, 85]"), "{text}");
    assert!(refused(&[Tensor { shape: vec![1, 8400, 85], values: vec![0.0; 85] }]).contains("8400"));
    let pixels = outputs(&[(8, [0, 0], [300.0, 200.0, 90.0, 180.0], 0.9, 0)]);
    assert!(refused(&pixels).contains("decode_in_inference"));
}
