//! A decoder that outlines what a test says, so that colours can be told to the pixel.

use std::cell::RefCell;

use gesso_plugin::serde_json::Value;

use super::*;

/// Both networks; what each run is fed is kept.
struct Fake<'a> {
    networks: &'a [&'a str],
    things: &'a [Thing<'a>],
    fed: RefCell<Vec<Vec<Tensor>>>,
}

/// A mask that the decoder gives: of which point of the grid, which of its three, how sure it is, and its levels.
type Thing<'a> = (usize, usize, f32, &'a dyn Fn(&mut [f32]));

const BOTH: &[&str] = &["mobile_sam_encoder", "Mobile_SAM_decoder"];
const PLACES: usize = MASK_SIDE * MASK_SIDE;

impl Look for Fake<'_> {
    fn networks(&self) -> Result<Vec<String>, Fault> {
        Ok(self.networks.iter().map(|name| (*name).to_owned()).collect())
    }

    fn about(&self, _: &str) -> Result<Option<Value>, Fault> {
        Ok(None)
    }

    fn run(&self, network: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
        let mut fed = self.fed.borrow_mut();
        let made = if network == BOTH[0] {
            vec![Tensor { shape: EMBEDDING.to_vec(), values: vec![0.25; 1 << 20] }]
        } else {
            assert_eq!(network, BOTH[1]);
            let first = (fed.len() - 1) * POINTS;
            // What is unsure is not looked at, so that it costs nothing here.
            let mut masks = vec![0.0; POINTS * MASKS * PLACES];
            let mut sure = vec![0.0; POINTS * MASKS];
            for (point, index, how, levels) in self.things {
                if let Some(point) = point.checked_sub(first).filter(|point| *point < POINTS) {
                    let mask = point * MASKS + index;
                    sure[mask] = *how;
                    let mask = &mut masks[mask * PLACES..][..PLACES];
                    mask.fill(-8.0);
                    levels(mask);
                }
            }
            vec![
                Tensor { shape: vec![64, 3, 256, 256], values: masks },
                Tensor { shape: vec![64, 3], values: sure },
            ]
        };
        fed.push(inputs);
        Ok(made)
    }
}

fn fake<'a>(things: &'a [Thing<'a>]) -> Fake<'a> {
    Fake { networks: BOTH, things, fed: RefCell::default() }
}

fn plain(width: u32, height: u32) -> Pixels {
    let data = [10, 20, 30].repeat((width * height) as usize);
    Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap()
}

/// The map of a picture 64 pixels high, whose colours are those of seed 1.
fn made(width: u32, things: &[Thing<'_>]) -> Pixels {
    let settings = Settings { resolution: 64, threshold_a: None, threshold_b: None };
    map(&plain(width, 64), settings, &mut Random::new(1, 0), &fake(things)).unwrap()
}

/// The colours of seed 1, in the order in which things are drawn.
fn colours() -> [[u8; 3]; 2] {
    let mut random = Random::new(1, 0);
    [(); 2].map(|()| [(); 3].map(|()| random.below(255) as u8))
}

/// Levels that are 8 in some columns and rows of a mask.
fn block(columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> impl Fn(&mut [f32]) {
    move |levels| {
        for line in levels.chunks_exact_mut(MASK_SIDE).skip(rows.start).take(rows.len()) {
            line[columns.clone()].fill(8.0);
        }
    }
}

fn pixels(map: &Pixels) -> &[[u8; 3]] {
    map.data.as_chunks::<3>().0
}

#[test]
fn things_have_colours_and_small_ones_lie_over_large_ones() {
    // A pixel of 64 is halfway between the second and the third of four places.
    let (left, across) = (block(0..128, 0..256), block(64..192, 64..128));
    let (all, doubtful) = (block(0..256, 0..256), |levels: &mut [f32]| levels.fill(0.5));
    let things: [Thing<'_>; 4] =
        [(0, 0, 0.9, &left), (5, 1, 0.88, &all), (700, 0, 0.99, &doubtful), (1023, 2, 0.95, &across)];
    let map = made(64, &things);
    let [large, small] = colours();
    for (place, pixel) in pixels(&map).iter().enumerate() {
        let (x, y) = (place % 64, place / 64);
        let wanted = match (x, y) {
            (16..48, 16..32) => small,
            (0..32, _) => large,
            _ => [0; 3],
        };
        assert_eq!(*pixel, wanted, "{x}, {y}");
    }
    assert_ne!(large, small);
    assert!(pixels(&made(64, &[])).iter().all(|pixel| *pixel == [0; 3]), "where nothing is found");
}

#[test]
fn the_picture_is_seen_at_the_top_left_and_asked_about_in_a_grid() {
    let lower = block(0..256, 64..256);
    let things: [Thing<'_>; 1] = [(0, 0, 0.9, &lower)];
    let fake = fake(&things);
    let settings = Settings { resolution: 64, threshold_a: None, threshold_b: None };
    let map = map(&plain(128, 64), settings, &mut Random::new(1, 0), &fake).unwrap();
    let fed = fake.fed.borrow();
    assert_eq!(fed.len(), 1 + 16);

    let [picture] = fed[0].as_slice() else { panic!("the encoder sees a picture alone") };
    assert_eq!(picture.shape, [1, 3, 1024, 1024]);
    for (channel, (mean, deviation)) in
        [(123.675, 58.395), (116.28, 57.12), (103.53, 57.375)].into_iter().enumerate()
    {
        let level = [10.0, 20.0, 30.0][channel];
        let plane = &picture.values[channel << 20..][..1 << 20];
        let close = |number: &f32| (number - (level - mean) / deviation).abs() < 1e-5;
        assert!(plane[..512 * 1024].iter().all(close), "{channel}");
        assert!(plane[512 * 1024..].iter().all(|number| *number == 0.0), "{channel}");
    }

    for (batch, inputs) in fed[1..].iter().enumerate() {
        let [embedding, points] = inputs.as_slice() else { panic!("the decoder takes two") };
        assert_eq!((&embedding.shape[..], embedding.values[0]), (&EMBEDDING[..], 0.25));
        assert_eq!(points.shape, [64, 2]);
        // Two rows of the grid.
        let row = 32.0 * batch as f32 + 8.0;
        assert_eq!(points.values[..4], [16.0, row, 48.0, row]);
        assert_eq!(
            (&points.values[62..66], points.values[127]),
            (&[1008.0, row, 16.0, row + 16.0][..], row + 16.0)
        );
    }

    // Half of the square is picture, and half of that is above the thing.
    assert_eq!((map.width, map.height), (128, 64));
    let [colour, _] = colours();
    for (place, pixel) in pixels(&map).iter().enumerate() {
        assert_eq!(*pixel, if place / 128 < 32 { [0; 3] } else { colour }, "{place}");
    }
}

#[test]
fn of_masks_with_nearly_one_frame_the_surest_is_drawn() {
    let count = |columns: usize| {
        let (whole, part) = (block(0..128, 0..256), block(0..columns, 0..256));
        // Drawn first or last, if at all.
        let things: [Thing<'_>; 2] = [(3, 0, 0.9, &whole), (900, 1, 0.95, &part)];
        let map = made(64, &things);
        let lit: Vec<[u8; 3]> =
            pixels(&map)[..64].iter().filter(|pixel| **pixel != [0; 3]).copied().collect();
        (lit.len(), lit.chunk_by(|one, next| one == next).count())
    };
    // Frames are 31 and 30 pixels wide: of the whole, 97 % are the part.
    assert_eq!(count(124), (31, 1), "the part alone");
    // 22 of 31 are more than 70 %, and 21 are less.
    assert_eq!(count(92), (23, 1));
    assert_eq!(count(88), (32, 2), "both");
}

#[test]
fn a_mask_that_hangs_on_its_threshold_is_left_out() {
    let lit = |unsure: usize| {
        let levels = |levels: &mut [f32]| {
            for pixel in 0..100 {
                let (x, y) = (pixel % 50 * 4, pixel / 50 * 4);
                let level = if pixel < unsure { 0.5 } else { 8.0 };
                (y..y + 4).for_each(|row| levels[row * MASK_SIDE + x..][..4].fill(level));
            }
        };
        let map = made(64, &[(0, 0, 0.9, &levels)]);
        pixels(&map).iter().filter(|pixel| **pixel != [0; 3]).count()
    };
    assert_eq!((lit(5), lit(6)), (100, 0));
}

#[test]
fn masks_that_are_full_of_holes_are_refused_before_they_take_all_room() {
    // Every other pixel of 128 across and 64 down, for every mask there is.
    let holes: &dyn Fn(&mut [f32]) = &|levels: &mut [f32]| {
        levels.as_chunks_mut::<4>().0.iter_mut().for_each(|pixels| pixels[..2].fill(8.0));
    };
    let things: Vec<Thing<'_>> =
        (0..1024).flat_map(|point| [0, 1, 2].map(|index| (point, index, 0.9, holes))).collect();
    let settings = Settings { resolution: 64, threshold_a: None, threshold_b: None };
    let made = |things: &[Thing<'_>]| {
        map(&plain(128, 64), settings, &mut Random::new(1, 0), &fake(things)).map(|map| map.width)
    };
    let Err(Fault::InvalidInput(text)) = made(&things) else { panic!("it is made") };
    assert!(text.contains("128 x 64 pixels") && text.contains("a smaller processor_res"), "{text}");
    assert_eq!(made(&things[..64]), Ok(128));
}

#[test]
fn what_is_missing_or_no_mask_is_said_with_its_file() {
    let refused = |look: &dyn Look| {
        let settings = Settings { resolution: 64, threshold_a: None, threshold_b: None };
        let made = map(&plain(64, 64), settings, &mut Random::new(1, 0), look);
        let Err(Fault::InvalidInput(text)) = made else { panic!("it is made") };
        text
    };
    for (there, missing) in [(BOTH[0], "mobile_sam_decoder"), (BOTH[1], "mobile_sam_encoder")] {
        let look = Fake { networks: &[there], things: &[], fed: RefCell::default() };
        assert!(refused(&look).contains(&format!("{missing}.torchscript in the folder networks")), "{there}");
        assert!(look.fed.borrow().is_empty(), "before anything is run");
    }

    /// Gives the picture back, whatever is asked.
    struct Echo;
    impl Look for Echo {
        fn networks(&self) -> Result<Vec<String>, Fault> {
            Ok(BOTH.iter().map(|name| (*name).to_owned()).collect())
        }
        fn about(&self, _: &str) -> Result<Option<Value>, Fault> {
            Ok(None)
        }
        fn run(&self, _: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
            Ok(inputs)
        }
    }
    let text = refused(&Echo);
    assert!(text.contains("mobile_sam_encoder gives [1, 3, 1024, 1024] for a picture"), "{text}");

    let one = Tensor { shape: vec![64, 1, 256, 256], values: vec![0.0; 64 * PLACES] };
    let sure = Tensor { shape: vec![64, 3], values: vec![0.0; 192] };
    assert_eq!(
        told(&[one, sure], 64).unwrap_err(),
        "gives [[64, 1, 256, 256], [64, 3]] for 64 points, not [[64, 3, 256, 256], [64, 3]]"
    );
}
