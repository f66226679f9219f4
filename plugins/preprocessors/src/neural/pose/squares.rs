//! Where a body says that its hands and its face are: squares of the picture, by the sizes that OpenPose looks with.

use gesso_picture::composite::Rect;
use gesso_picture::pose::Point;

use super::body::Parts;

/// Shoulder, elbow and wrist, the left arm's first.
const ARMS: [[usize; 3]; 2] = [[5, 6, 7], [2, 3, 4]];
const NOSE: usize = 0;
/// What is beside the nose, and how many times its distance the face reaches from there: eyes and ears.
const BESIDE: [(usize, f64); 4] = [(14, 3.0), (15, 3.0), (16, 1.5), (17, 1.5)];

/// Of the forearm, how far the middle of a hand is beyond the wrist.
const BEYOND_WRIST: f64 = 0.33;
/// A hand's square, by the forearm, or by this part of the upper arm where that is longer.
const HAND_BY_ARM: f64 = 1.5;
const UPPER_ARM: f64 = 0.9;
/// Pixels along a side; in smaller ones there is nothing to see.
const SIDE_MIN: f64 = 20.0;

/// Left and right, of those whose arm is whole.
pub(super) fn hands(parts: &Parts, size: (u32, u32)) -> [Option<Rect>; 2] {
    ARMS.map(|arm| {
        let [Some(shoulder), Some(elbow), Some(wrist)] = arm.map(|part| parts[part]) else { return None };
        let distance = |a: Point, b: Point| (a[0] - b[0]).hypot(a[1] - b[1]);
        let side = HAND_BY_ARM * distance(elbow, wrist).max(UPPER_ARM * distance(shoulder, elbow));
        let middle = [0, 1].map(|axis| wrist[axis] + BEYOND_WRIST * (wrist[axis] - elbow[axis]));
        square(middle, side, size)
    })
}

/// Of a face whose nose is seen, and an eye or an ear.
pub(super) fn face(parts: &Parts, size: (u32, u32)) -> Option<Rect> {
    let nose = parts[NOSE]?;
    let reach = |(part, times): (usize, f64)| {
        let at = parts[part]?;
        Some((at[0] - nose[0]).abs().max((at[1] - nose[1]).abs()) * times)
    };
    let reach = BESIDE.into_iter().filter_map(reach).reduce(f64::max)?;
    square(nose, 2.0 * reach, size)
}

/// What of a square is in the picture, made a square again.
fn square([x, y]: Point, side: f64, (width, height): (u32, u32)) -> Option<Rect> {
    let [left, top] = [x, y].map(|middle| (middle - side / 2.0).max(0.0).floor());
    let side = side.round().min(f64::from(width) - left).min(f64::from(height) - top);
    (side >= SIDE_MIN).then(|| {
        let side = side as u32;
        Rect { x: left as u32, y: top as u32, width: side, height: side }
    })
}
