//! People as figures of coloured sticks on black, in the colours that pose networks were trained with (OpenPose's 18
//! points of a body, 21 of a hand, 70 of a face).
//!
//! Shapes are filled to the pixel by their equations; OpenCV's, which ControlNet draws with, differ at outlines. Knows
//! where the points are and nothing of how they were found.

mod animals;

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::composite::blank;
use crate::error::PictureError;
pub use animals::{ANIMAL, Animal, draw_animals};

/// Pixels from the left and from the top.
pub type Point = [f64; 2];

/// One person. Points that were not found, and those beyond a list's end, are left out with what ends in them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Person {
    /// Nose, neck, then shoulder, elbow and wrist of the right and of the left, hip, knee and ankle likewise, eyes, ears.
    pub body: Vec<Option<Point>>,
    /// Left and right: the wrist, then four joints of each finger from the thumb on.
    pub hands: [Vec<Option<Point>>; 2],
    pub face: Vec<Option<Point>>,
}

/// Points of a body, a hand and a face.
pub const BODY: usize = 18;
pub const HAND: usize = 21;
pub const FACE: usize = 70;

/// Ends of the limbs, in the order of their colours.
const LIMBS: [(usize, usize); 17] = [
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
];
const FINGERS: usize = 5;
const JOINTS: usize = 4;

/// Half the width of a limb in its middle.
const LIMB_RADIUS: f64 = 4.0;
/// Shorter ones lie below the points at their ends.
const LIMB_MIN: f64 = 1e-3;
const POINT_RADIUS: f64 = 4.0;
const FACE_RADIUS: f64 = 3.0;
const BONE_RADIUS: f64 = 1.0;
/// Shade of a limb, so that the points on it are seen.
const LIMB_SHADE: f64 = 0.6;
const HAND_POINT: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255; 3];

/// Draws `people` one after the other, RGB. What hangs over the edges is cut off; a point that is farther outside than the
/// picture is long counts as not found.
pub fn draw(people: &[Person], width: u32, height: u32) -> Result<Pixels, PictureError> {
    let mut canvas = blank(width, height, PixelFormat::Rgb8, &[0; 3])?;
    for person in people {
        body(&mut canvas, &person.body);
        for points in &person.hands {
            hand(&mut canvas, points);
        }
        for place in 0..FACE {
            if let Some(point) = found(&canvas, &person.face, place) {
                disc(&mut canvas, point, FACE_RADIUS, WHITE);
            }
        }
    }
    Ok(canvas)
}

fn body(canvas: &mut Pixels, points: &[Option<Point>]) {
    for (step, (from, to)) in LIMBS.into_iter().enumerate() {
        if let (Some(from), Some(to)) = (found(canvas, points, from), found(canvas, points, to)) {
            let colour = hue(step, BODY).map(|level| (f64::from(level) * LIMB_SHADE) as u8);
            limb(canvas, from, to, colour);
        }
    }
    for place in 0..BODY {
        if let Some(point) = found(canvas, points, place) {
            disc(canvas, point, POINT_RADIUS, hue(place, BODY));
        }
    }
}

fn hand(canvas: &mut Pixels, points: &[Option<Point>]) {
    for bone in 0..FINGERS * JOINTS {
        // Each finger begins at the wrist.
        let from = if bone % JOINTS == 0 { 0 } else { bone };
        if let (Some(from), Some(to)) = (found(canvas, points, from), found(canvas, points, bone + 1)) {
            line(canvas, from, to, BONE_RADIUS, hue(bone, FINGERS * JOINTS));
        }
    }
    for place in 0..HAND {
        if let Some(point) = found(canvas, points, place) {
            disc(canvas, point, POINT_RADIUS, HAND_POINT);
        }
    }
}

fn found(canvas: &Pixels, points: &[Option<Point>], place: usize) -> Option<Point> {
    let far = f64::from(canvas.width.max(canvas.height));
    let point = (*points.get(place)?)?;
    point.iter().all(|part| (-far..=2.0 * far).contains(part)).then_some(point)
}

/// The colour at `step` of `of` equal steps around the wheel from red on, as bright and as full as can be.
fn hue(step: usize, of: usize) -> [u8; 3] {
    let turn = 6.0 * step as f64 / of as f64;
    // How far each channel's own place of the wheel is away, in sixths of it.
    [0.0, 2.0, 4.0].map(|own: f64| {
        let away = (turn - own).abs();
        let away = away.min(6.0 - away);
        ((2.0 - away).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
    })
}

fn disc(canvas: &mut Pixels, middle: Point, radius: f64, colour: [u8; 3]) {
    ellipse(canvas, middle, [radius; 2], [1.0, 0.0], colour);
}

/// An ellipse from end to end. There is none of a length whose square may be zero: its equation has no solutions.
fn limb(canvas: &mut Pixels, from: Point, to: Point, colour: [u8; 3]) {
    let [across, down] = [to[0] - from[0], to[1] - from[1]];
    let length = across.hypot(down);
    if length > LIMB_MIN {
        let middle = [f64::midpoint(from[0], to[0]), f64::midpoint(from[1], to[1])];
        let direction = [across / length, down / length];
        ellipse(canvas, middle, [length / 2.0, LIMB_RADIUS], direction, colour);
    }
}

/// Discs in a row.
fn line(canvas: &mut Pixels, from: Point, to: Point, radius: f64, colour: [u8; 3]) {
    let [across, down] = [to[0] - from[0], to[1] - from[1]];
    let steps = across.abs().max(down.abs()).ceil().max(1.0);
    for step in 0..=steps as u32 {
        let share = f64::from(step) / steps;
        disc(canvas, [from[0] + across * share, from[1] + down * share], radius, colour);
    }
}

/// A filled ellipse: half its length and half its width, and the direction of the length. Row by row between the two
/// solutions of its equation, so that a long thin one costs what it covers.
fn ellipse(
    canvas: &mut Pixels,
    [x, y]: Point,
    [length, width]: [f64; 2],
    [cos, sin]: Point,
    colour: [u8; 3],
) {
    let square = |value: f64| value * value;
    let along = square(cos / length) + square(sin / width);
    let slanted = cos * sin * (1.0 / square(length) - 1.0 / square(width));
    let upright = square(sin / length) + square(cos / width);
    let reach = length.max(width);
    let (columns, rows) = (f64::from(canvas.width), f64::from(canvas.height));
    let (top, bottom) = ((y - reach).ceil().max(0.0), (y + reach).floor().min(rows - 1.0));
    if top > bottom {
        return;
    }
    for row in top as usize..=bottom as usize {
        let below = row as f64 - y;
        let middle = -slanted * below / along;
        let half = square(middle) - (upright * square(below) - 1.0) / along;
        if half < 0.0 {
            continue;
        }
        let half = half.sqrt();
        let left = (x + middle - half).ceil().max(0.0);
        let right = (x + middle + half).floor().min(columns - 1.0);
        if left > right {
            continue;
        }
        let start = row * canvas.width as usize;
        let pixels = &mut canvas.data[(start + left as usize) * 3..=(start + right as usize) * 3 + 2];
        pixels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(points: &[(usize, Point)]) -> Person {
        let mut body = vec![None; BODY];
        for (place, point) in points {
            body[*place] = Some(*point);
        }
        Person { body, ..Person::default() }
    }

    fn at(picture: &Pixels, x: u32, y: u32) -> [u8; 3] {
        let start = (y * picture.width + x) as usize * 3;
        [picture.data[start], picture.data[start + 1], picture.data[start + 2]]
    }

    #[test]
    fn colours_go_around_the_wheel() {
        let colours = [0, 1, 2, 3, 4, 6, 9, 12, 17].map(|step| hue(step, BODY));
        let wanted = [
            [255, 0, 0],
            [255, 85, 0],
            [255, 170, 0],
            [255, 255, 0],
            [170, 255, 0],
            [0, 255, 0],
            [0, 255, 255],
            [0, 0, 255],
            [255, 0, 85],
        ];
        assert_eq!(colours, wanted);
    }

    #[test]
    fn a_limb_is_a_thin_ellipse_between_its_points() {
        // Neck and right shoulder: the first limb, in a shade of red.
        let person = body_of(&[(1, [20.0, 30.0]), (2, [80.0, 30.0])]);
        let picture = draw(&[person], 100, 60).unwrap();
        assert_eq!(at(&picture, 50, 30), [153, 0, 0]);
        assert_eq!((at(&picture, 50, 34), at(&picture, 50, 35)), ([153, 0, 0], [0; 3]));
        assert_eq!((at(&picture, 35, 33), at(&picture, 35, 34)), ([153, 0, 0], [0; 3]));
        assert_eq!((at(&picture, 20, 30), at(&picture, 80, 34)), ([255, 85, 0], [255, 170, 0]));
        assert_eq!((at(&picture, 16, 30), at(&picture, 15, 30)), ([255, 85, 0], [0; 3]));
    }

    #[test]
    fn a_slanted_limb_covers_what_the_same_one_does_upright() {
        let count = |from: Point, to: Point| {
            let picture = draw(&[body_of(&[(1, from), (2, to)])], 200, 200).unwrap();
            picture.data.chunks_exact(3).filter(|pixel| *pixel == [153, 0, 0]).count() as f64
        };
        let (flat, upright) = (count([50.0, 100.0], [150.0, 100.0]), count([100.0, 50.0], [100.0, 150.0]));
        let slanted = count([70.0, 60.0], [130.0, 140.0]);
        assert_eq!(flat, upright);
        assert!((slanted - flat).abs() / flat < 0.05, "{slanted} {flat}");
    }

    #[test]
    fn a_limb_without_length_is_no_more_than_its_points() {
        for far in [0.0, 1e-200, 5e-324, 1e-9] {
            let person = body_of(&[(1, [0.0, 8.0]), (2, [far, 8.0])]);
            let picture = draw(&[person], 64, 16).unwrap();
            assert_eq!(
                (at(&picture, 4, 8), at(&picture, 5, 8), at(&picture, 63, 8)),
                ([255, 170, 0], [0; 3], [0; 3])
            );
        }
    }

    #[test]
    fn hands_have_blue_joints_and_faces_white_points() {
        let mut hand = vec![None; HAND];
        (hand[0], hand[5]) = (Some([10.0, 10.0]), Some([50.0, 10.0]));
        let person =
            Person { hands: [hand, Vec::new()], face: vec![None, Some([30.0, 40.0])], ..Person::default() };
        let picture = draw(&[person], 64, 64).unwrap();
        assert_eq!((at(&picture, 10, 10), at(&picture, 50, 10)), (HAND_POINT, HAND_POINT));
        assert_eq!((at(&picture, 30, 10), at(&picture, 30, 12)), (hue(4, 20), [0; 3]));
        assert_eq!((at(&picture, 33, 40), at(&picture, 34, 40)), (WHITE, [0; 3]));
    }

    #[test]
    fn what_is_missing_or_outside_leaves_no_trace() {
        let empty = draw(&[], 8, 8).unwrap();
        for points in [
            &[(1, [4.0, 4e9]), (2, [f64::NAN, 0.0])][..],
            &[(1, [4.0, -7.0])],
            &[(1, [f64::INFINITY, f64::NEG_INFINITY])],
        ] {
            assert_eq!(draw(&[body_of(points)], 8, 8).unwrap(), empty, "{points:?}");
        }
        let near = draw(&[body_of(&[(0, [-2.0, 4.0])])], 8, 8).unwrap();
        assert_eq!((at(&near, 2, 4), at(&near, 3, 4)), (hue(0, BODY), [0; 3]));
        assert!(draw(&[], 0, 8).is_err());
    }
}
