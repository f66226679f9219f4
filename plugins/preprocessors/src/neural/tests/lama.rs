//! Holes that are filled with one colour.

use gesso_core::pixels::PixelFormat::{Gray8, Rgb8};

use super::*;

/// A picture of (200, 100, 50) and a mask that is white on its left half.
fn half(side: u32) -> (Pixels, Pixels) {
    let count = (side * side) as usize;
    let picture = Pixels::new(side, side, Rgb8, [200, 100, 50].repeat(count)).unwrap();
    let row: Vec<u8> = (0..side).map(|x| if x < side / 2 { 255 } else { 0 }).collect();
    (picture, Pixels::new(side, side, Gray8, row.repeat(side as usize)).unwrap())
}

/// Nothing of red, half of green, all of blue and more.
fn blue(input: &Tensor) -> Vec<Tensor> {
    let (rows, columns) = (input.shape[2], input.shape[3]);
    let plane = (rows * columns) as usize;
    let values = [0.0_f32, 0.5, 1.25].iter().flat_map(|value| vec![*value; plane]).collect();
    vec![Tensor { shape: vec![1, 3, rows, columns], values }]
}

fn made(
    (picture, mask): (&Pixels, Option<&Pixels>),
    network: &dyn Fn(&Tensor) -> Vec<Tensor>,
) -> (Result<Pixels, Fault>, Vec<Tensor>) {
    let fake = Fake { name: "ControlNetLama", about: None, network, fed: RefCell::default() };
    let map = maker_of("inpaint_only+lama").unwrap()(picture, mask, at(512), &fake);
    (map, fake.fed.into_inner())
}

#[test]
fn holes_go_in_black_beside_their_mask_and_are_filled() {
    let (picture, mask) = half(256);
    let (map, fed) = made((&picture, Some(&mask)), &blue);
    assert_eq!(fed[0].shape, [1, 4, 256, 256]);
    let at = |channel: usize, x: usize| fed[0].values[channel * 256 * 256 + 7 * 256 + x];
    assert_eq!([0, 1, 2, 3].map(|channel| at(channel, 127)), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(
        [0, 1, 2, 3].map(|channel| at(channel, 128)),
        [200.0 / 255.0, 100.0 / 255.0, 50.0 / 255.0, 0.0]
    );
    let map = map.unwrap();
    assert_eq!((map.width, map.height, map.format), (256, 256, PixelFormat::Rgba8));
    for (place, pixel) in map.data.as_chunks::<4>().0.iter().enumerate() {
        let want = if place % 256 < 128 { [0, 127, 255, 0] } else { [200, 100, 50, 255] };
        assert_eq!(*pixel, want, "{place}");
    }
}

#[test]
fn large_pictures_are_filled_small_and_stay_sharp_elsewhere() {
    let (mut picture, mask) = half(512);
    // One row of two is black on the right, which no small picture shows.
    for (place, level) in picture.data.iter_mut().enumerate() {
        let (x, y) = (place / 3 % 512, place / 3 / 512);
        if x >= 300 && y % 2 == 0 {
            *level = 0;
        }
    }
    let (map, fed) = made((&picture, Some(&mask)), &blue);
    assert_eq!(fed[0].shape, [1, 4, 256, 256], "whatever processor_res is");
    let map = map.unwrap();
    let at = |x: usize, y: usize| map.data.as_chunks::<4>().0[y * 512 + x];
    assert_eq!((map.width, at(0, 0), at(254, 100)), (512, [0, 127, 255, 0], [0, 127, 255, 0]));
    // A quarter of what lies beside the hole.
    assert_eq!(at(255, 100), [50, 120, 204, 0]);
    assert_eq!(
        (at(256, 100), at(400, 100), at(400, 101)),
        ([200, 100, 50, 255], [0, 0, 0, 255], [200, 100, 50, 255])
    );
}

#[test]
fn what_cannot_be_filled_is_said() {
    let refused = |given: (&Pixels, Option<&Pixels>), network: &dyn Fn(&Tensor) -> Vec<Tensor>| {
        let (map, _) = made(given, network);
        let Err(Fault::InvalidInput(text)) = map else { panic!("{map:?}") };
        text
    };
    let (picture, mask) = half(64);
    assert!(refused((&picture, None), &blue).contains("needs a mask"));
    let small = Pixels::new(2, 2, Gray8, vec![255; 4]).unwrap();
    assert!(refused((&picture, Some(&small)), &blue).contains("2x2"));
    let text = refused((&picture, Some(&mask)), &first);
    assert!(text.contains("the network ControlNetLama gives [1, 1, 256, 256]"), "{text}");
    let fake = Fake { name: "depth", about: None, network: &blue, fed: RefCell::default() };
    let missing = maker_of("inpaint_only+lama").unwrap()(&picture, Some(&mask), at(512), &fake);
    assert!(
        matches!(&missing, Err(Fault::InvalidInput(text)) if text.contains("ControlNetLama.torchscript or lama.torchscript")),
        "{missing:?}"
    );
}
