//! Stripes on paper, whose shades are told by hand.

use super::*;

/// Two black stripes, one that is a fifth as dark, and a black pixel, each farther from the others than the bell reaches.
fn stripes() -> Pixels {
    let level = |x: usize, y: usize| match (x, y) {
        (12 | 28, _) | (56, 32) => 0,
        (44, _) => 204,
        _ => 255,
    };
    let data = (0..64).flat_map(|y| (0..64).flat_map(move |x| [level(x, y); 3])).collect();
    Pixels::new(64, 64, PixelFormat::Rgb8, data).unwrap()
}

#[test]
fn lines_lie_over_the_edges_of_the_network() {
    // A sigmoid of 0.269.
    let faint = |_: &Tensor| {
        let plane = |value: f32| Tensor { shape: vec![1, 1, 64, 64], values: vec![value; 64 * 64] };
        vec![plane(-1.5), plane(-0.5)]
    };
    let made = |steps: Option<f64>| {
        let fake = Fake { name: "mteed", about: None, network: &faint, fed: RefCell::default() };
        let settings = Settings { threshold_a: steps, ..at(64) };
        let map = maker_of("softedge_anyline").unwrap()(&stripes(), None, settings, &fake).unwrap();
        let fed = fake.fed.into_inner();
        assert_eq!((fed.len(), fed[0].shape.as_slice()), (1, &[1, 3, 64, 64][..]));
        assert_eq!(fed[0].values[11..13], [255.0, 0.0]);
        map
    };
    // Most of what is darker is a black stripe, which the median so makes 127, and the other one a fifth of it.
    for (steps, [paper, black, grey]) in [(None, [0, 127, 25]), (Some(0.0), [68, 161, 86])] {
        let map = made(steps);
        for (place, pixel) in map.data.as_chunks::<3>().0.iter().enumerate() {
            let want = match place % 64 {
                12 | 28 => black,
                44 => grey,
                // The one pixel is a speck.
                _ => paper,
            };
            assert_eq!(*pixel, [want; 3], "{steps:?} at {}, {}", place % 64, place / 64);
        }
    }
}

#[test]
fn a_place_that_is_darker_in_one_colour_alone_is_no_line() {
    let black = |_: &Tensor| vec![Tensor { shape: vec![1, 1, 64, 64], values: vec![-9.0; 64 * 64] }];
    let fake = Fake { name: "softedge_anyline", about: None, network: &black, fed: RefCell::default() };
    let source = stripes();
    let red = source.data.iter().enumerate().map(|(at, level)| if at % 3 == 0 { 255 } else { *level });
    let source = Pixels { data: red.collect(), ..source };
    let map = maker_of("softedge_anyline").unwrap()(&source, None, at(64), &fake).unwrap();
    assert!(map.data.iter().all(|level| *level == 0));
}
