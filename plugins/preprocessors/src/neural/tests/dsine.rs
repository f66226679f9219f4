//! What goes in beside the picture.

use super::*;

/// 96 by 64, which is padded to 128 by 64.
fn wide() -> Pixels {
    Pixels::new(96, 64, PixelFormat::Rgb8, vec![51; 96 * 64 * 3]).unwrap()
}

/// Surfaces that face right and the camera, everywhere.
fn flat(input: &Tensor) -> Vec<Tensor> {
    let (rows, columns) = (input.shape[2], input.shape[3]);
    let plane = (rows * columns) as usize;
    let values = [0.6_f32, 0.0, 0.8].iter().flat_map(|value| vec![*value; plane]).collect();
    vec![Tensor { shape: vec![1, 3, rows, columns], values }]
}

fn made(about: Option<Value>, fov: Option<f64>, iterations: Option<f64>) -> (Pixels, Vec<Tensor>) {
    let fake = Fake { name: "dsine", about, network: &flat, fed: RefCell::default() };
    let settings = Settings { threshold_a: fov, threshold_b: iterations, ..at(64) };
    let map = maker_of("normal_dsine").unwrap()(&wide(), None, settings, &fake).unwrap();
    (map, fake.fed.into_inner())
}

#[test]
fn the_network_is_told_the_camera_and_how_often_to_refine() {
    let (map, fed) = made(None, None, None);
    let shapes: Vec<&[u32]> = fed.iter().map(|tensor| tensor.shape.as_slice()).collect();
    assert_eq!(shapes, [&[1, 3, 64, 128][..], &[1, 3, 3], &[1]]);
    assert!((fed[0].values[0] - (0.2 - 0.485) / 0.229).abs() < 1e-5);
    // 48 pixels at half of 60 degrees.
    let focal = 48.0 * 3.0_f32.sqrt();
    assert_camera(&fed[1], [focal, 0.0, 47.5, 0.0, focal, 31.5, 0.0, 0.0, 1.0]);
    assert_eq!(fed[2].values, [5.0]);
    assert_eq!((map.width, map.height), (96, 64));
    assert!(map.data.as_chunks::<3>().0.iter().all(|pixel| *pixel == [204, 127, 229]));

    let (_, fed) = made(None, Some(90.0), Some(12.0));
    assert_camera(&fed[1], [48.0, 0.0, 47.5, 0.0, 48.0, 31.5, 0.0, 0.0, 1.0]);
    assert_eq!(fed[2].values, [12.0]);
}

#[test]
fn where_a_file_asks_for_a_size_the_camera_is_stretched_as_the_picture_is() {
    let (map, fed) = made(Some(json!({"imgsz": [32, 256]})), Some(90.0), None);
    assert_eq!(fed[0].shape, [1, 3, 32, 256]);
    assert_camera(&fed[1], [96.0, 0.0, 95.5, 0.0, 24.0, 15.5, 0.0, 0.0, 1.0]);
    assert_eq!((map.width, map.height), (96, 64));
}

#[test]
fn every_angle_that_the_slider_has_is_a_cameras() {
    for fov in [0.0, 180.0, 270.0, 360.0] {
        let (_, fed) = made(None, Some(fov), None);
        let focal = fed[1].values[0];
        assert!(focal > 0.4 && focal < 5501.0, "{fov}: {focal}");
    }
}

#[track_caller]
fn assert_camera(got: &Tensor, want: [f32; 9]) {
    let is_near = got.values.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-3);
    assert!(is_near && got.values.len() == 9, "{:?} is not {want:?}", got.values);
}
