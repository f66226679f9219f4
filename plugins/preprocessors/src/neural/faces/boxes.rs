//! Where faces are: what BlazeFace (Bazarevsky 2019) gives of a square picture, in the layout of MediaPipe's network for faces
//! that are near.
//!
//! Each of 896 boxes belongs to a place of one of two grids and is told by its distance from there, in pixels of what was fed.
//! Boxes that lie on one face are one, each counted as much as it is sure of it.

use gesso_picture::pose::Point;
use gesso_plugin::models::Tensor;

use super::BOXES_SIDE;
use super::square::Square;

/// Places along a side of each grid, and the boxes of a place.
const GRIDS: [(usize, usize); 2] = [(16, 2), (8, 6)];
const COUNT: usize = 896;
/// Of a box: its middle and its size, then six points, across and down. The first two points are the eyes.
const NUMBERS: usize = 16;
const EYES: usize = 4;

/// Of what two boxes cover together, the part that both cover where they lie on one face.
const SAME_MIN: f64 = 0.3;
/// How much larger than the box of a face the square is that its points are looked for in.
const ROOM: f64 = 1.5;

/// A face, its places from 0 to 1 along the sides of what was fed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Face {
    /// Top left, bottom right.
    corners: [Point; 2],
    eyes: [Point; 2],
    score: f64,
}

/// The squares around the faces that the network is at least so sure of, the surest first; eyes are level in them. `fed` is
/// the square of the picture that went in.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no boxes.
pub(super) fn squares(outputs: &[Tensor], sure: f64, fed: Square) -> Result<Vec<Square>, String> {
    let of = |length: usize| outputs.iter().find(|output| output.values.len() == length);
    let (Some(numbers), Some(scores)) = (of(COUNT * NUMBERS), of(COUNT)) else {
        let given: Vec<&Vec<u32>> = outputs.iter().map(|output| &output.shape).collect();
        return Err(format!("gives {given:?}, and not [1, {COUNT}, {NUMBERS}] and [1, {COUNT}, 1]"));
    };
    let (boxes, _) = numbers.values.as_chunks::<NUMBERS>();
    let faces = anchors().zip(boxes).zip(&scores.values);
    let faces = faces.map(|((anchor, numbers), score)| Face::of(anchor, numbers, *score));
    let faces = faces.filter(|face| face.score >= sure && face.has_size()).collect();
    Ok(together(faces).into_iter().map(|face| face.square(fed)).collect())
}

/// The place that each box belongs to.
fn anchors() -> impl Iterator<Item = Point> {
    GRIDS.into_iter().flat_map(|(side, boxes)| {
        (0..side * side * boxes).map(move |index| {
            let place = index / boxes;
            [place % side, place / side].map(|part| (part as f64 + 0.5) / side as f64)
        })
    })
}

/// One for each face, the surest first.
fn together(mut boxes: Vec<Face>) -> Vec<Face> {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut faces = Vec::new();
    while let Some(surest) = boxes.first().copied() {
        let (same, others): (Vec<Face>, Vec<Face>) =
            boxes.into_iter().partition(|other| other.overlap(&surest) > SAME_MIN);
        boxes = others;
        let sum: f64 = same.iter().map(|face| face.score).sum();
        let mean =
            |of: &dyn Fn(&Face) -> f64| same.iter().map(|face| of(face) * face.score).sum::<f64>() / sum;
        let point = |of: &dyn Fn(&Face) -> Point| [0, 1].map(|axis| mean(&|face| of(face)[axis]));
        faces.push(Face {
            corners: [0, 1].map(|corner| point(&|face| face.corners[corner])),
            eyes: [0, 1].map(|eye| point(&|face| face.eyes[eye])),
            score: surest.score,
        });
    }
    faces
}

impl Face {
    fn of(anchor: Point, numbers: &[f32; NUMBERS], score: f32) -> Self {
        let pair = |first: usize| {
            [numbers[first], numbers[first + 1]].map(|number| f64::from(number) / f64::from(BOXES_SIDE))
        };
        let place = |first: usize| [0, 1].map(|axis| pair(first)[axis] + anchor[axis]);
        let (middle, size) = (place(0), pair(2));
        Self {
            corners: [-0.5, 0.5].map(|half| [0, 1].map(|axis| middle[axis] + half * size[axis])),
            eyes: [place(EYES), place(EYES + 2)],
            score: 1.0 / (1.0 + (-f64::from(score)).exp()),
        }
    }

    /// Whether it is a box at all, whatever numbers a network gives.
    fn has_size(&self) -> bool {
        let [[left, top], [right, bottom]] = self.corners;
        let is_known = self.corners.iter().chain(&self.eyes).flatten().all(|place| place.is_finite());
        is_known && left < right && top < bottom
    }

    /// Of what both cover together, the part that each of them covers.
    fn overlap(&self, other: &Self) -> f64 {
        let area = |[least, most]: [Point; 2]| {
            [0, 1].map(|axis| (most[axis] - least[axis]).max(0.0)).iter().product::<f64>()
        };
        let least = [0, 1].map(|axis| self.corners[0][axis].max(other.corners[0][axis]));
        let most = [0, 1].map(|axis| self.corners[1][axis].min(other.corners[1][axis]));
        let shared = area([least, most]);
        shared / (area(self.corners) + area(other.corners) - shared)
    }

    fn square(&self, fed: Square) -> Square {
        let [least, most] = self.corners;
        let [first, second] = self.eyes;
        let side = (most[0] - least[0]).max(most[1] - least[1]);
        Square {
            middle: fed.place([0, 1].map(|axis| f64::midpoint(least[axis], most[axis]))),
            side: ROOM * side * fed.side,
            turn: (second[1] - first[1]).atan2(second[0] - first[0]),
        }
    }
}
