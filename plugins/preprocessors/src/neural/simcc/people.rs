//! A person of OpenPose out of the 133 points of COCO-WholeBody (Jin 2020), which have no neck and two points less of a face.

use std::ops::Range;

use gesso_picture::pose::{BODY, Person, Point};

/// 17 of the body, 6 of the feet, which OpenPose's 18 points of a body have not, 68 of the face, and 21 of either hand.
pub(super) const POINTS: usize = 133;
const FACE: Range<usize> = 23..91;
/// Left and right.
const HANDS: [Range<usize>; 2] = [91..112, 112..133];

/// Which point each part of OpenPose's body is. The neck, the second one, is in the middle of the shoulders.
const PARTS: [Option<usize>; BODY] = [
    Some(0),
    None,
    Some(6),
    Some(8),
    Some(10),
    Some(5),
    Some(7),
    Some(9),
    Some(12),
    Some(14),
    Some(16),
    Some(11),
    Some(13),
    Some(15),
    Some(2),
    Some(1),
    Some(4),
    Some(3),
];
const SHOULDERS: [usize; 2] = [5, 6];
/// Of OpenPose's body, what the last two points of its face are here: the eyes, for their pupils.
const EYES: [usize; 2] = [14, 15];

/// Hands and faces of which nothing was found are none.
pub(super) fn person(points: &[Option<Point>]) -> Person {
    let neck = match SHOULDERS.map(|shoulder| points[shoulder]) {
        [Some(left), Some(right)] => Some([0, 1].map(|axis| f64::midpoint(left[axis], right[axis]))),
        _ => None,
    };
    let body: Vec<Option<Point>> =
        PARTS.iter().map(|part| part.map_or(neck, |point| points[point])).collect();
    let found = |range: Range<usize>| {
        let part = &points[range];
        if part.iter().any(Option::is_some) { part.to_vec() } else { Vec::new() }
    };
    let mut face = found(FACE);
    if !face.is_empty() {
        face.extend(EYES.map(|eye| body[eye]));
    }
    Person { body, hands: HANDS.map(found), face }
}
