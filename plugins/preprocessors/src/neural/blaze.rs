//! Where faces or palms are: what MediaPipe's detectors (BlazeFace, Bazarevsky 2019, and what was made of it for palms, Zhang
//! 2020) give of a square picture.
//!
//! Each box belongs to a place of one of two grids and is told by its distance from there, in pixels of what was fed, and so
//! are points of what it is around. Boxes that lie on one thing are one, each counted as much as it is sure of it.

use gesso_picture::pose::Point;
use gesso_plugin::models::Tensor;

use super::output::shapes;

/// Of what two boxes cover together, the part that both cover where they lie on one thing.
const SAME_MIN: f64 = 0.3;

/// The layout of a network's boxes.
#[derive(Debug)]
pub(super) struct Detector {
    /// Pixels along a side of what it sees.
    pub(super) side: u32,
    /// Places along a side of each grid, and the boxes of a place.
    pub(super) grids: [(usize, usize); 2],
    /// Numbers of a box: its middle and its size, then its points, across and down.
    pub(super) numbers: usize,
    /// Where among them the two points are that say how it is turned.
    pub(super) ends: [usize; 2],
}

/// What was found, its places from 0 to 1 along the sides of what was fed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// Top left, bottom right.
    corners: [Point; 2],
    /// The points that say how it is turned.
    pub(super) ends: [Point; 2],
    score: f64,
}

impl Detector {
    /// What the network is at least so sure of, the surest first.
    ///
    /// # Errors
    /// The end of a sentence about the network, for outputs that are no boxes.
    pub(super) fn found(&self, outputs: &[Tensor], sure: f64) -> Result<Vec<Found>, String> {
        let (count, each) = (self.count(), self.numbers);
        let of = |length: usize| outputs.iter().find(|output| output.values.len() == length);
        let (Some(numbers), Some(scores)) = (of(count * each), of(count)) else {
            let given = shapes(outputs);
            return Err(format!("gives {given}, and not [1, {count}, {each}] and [1, {count}, 1]"));
        };
        let boxes = self.anchors().zip(numbers.values.chunks_exact(each)).zip(&scores.values);
        let boxes = boxes.map(|((anchor, numbers), score)| self.read(anchor, numbers, *score));
        Ok(together(boxes.filter(|found| found.score >= sure && found.has_size()).collect()))
    }

    fn count(&self) -> usize {
        self.grids.iter().map(|(side, boxes)| side * side * boxes).sum()
    }

    /// The place that each box belongs to.
    fn anchors(&self) -> impl Iterator<Item = Point> {
        self.grids.into_iter().flat_map(|(side, boxes)| {
            (0..side * side * boxes).map(move |index| {
                let place = index / boxes;
                [place % side, place / side].map(|part| (part as f64 + 0.5) / side as f64)
            })
        })
    }

    fn read(&self, anchor: Point, numbers: &[f32], score: f32) -> Found {
        let pair = |first: usize| {
            [numbers[first], numbers[first + 1]].map(|number| f64::from(number) / f64::from(self.side))
        };
        let place = |first: usize| [0, 1].map(|axis| pair(first)[axis] + anchor[axis]);
        let (middle, size) = (place(0), pair(2));
        Found {
            corners: [-0.5, 0.5].map(|half| [0, 1].map(|axis| middle[axis] + half * size[axis])),
            ends: self.ends.map(place),
            score: 1.0 / (1.0 + (-f64::from(score)).exp()),
        }
    }
}

/// One for each thing, the surest first.
fn together(mut boxes: Vec<Found>) -> Vec<Found> {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut things = Vec::new();
    while let Some(surest) = boxes.first().copied() {
        let (same, others): (Vec<Found>, Vec<Found>) =
            boxes.into_iter().partition(|other| other.overlap(&surest) > SAME_MIN);
        boxes = others;
        let sum: f64 = same.iter().map(|found| found.score).sum();
        let mean =
            |of: &dyn Fn(&Found) -> f64| same.iter().map(|found| of(found) * found.score).sum::<f64>() / sum;
        let point = |of: &dyn Fn(&Found) -> Point| [0, 1].map(|axis| mean(&|found| of(found)[axis]));
        things.push(Found {
            corners: [0, 1].map(|corner| point(&|found| found.corners[corner])),
            ends: [0, 1].map(|end| point(&|found| found.ends[end])),
            score: surest.score,
        });
    }
    things
}

impl Found {
    pub(super) fn middle(&self) -> Point {
        let [least, most] = self.corners;
        [0, 1].map(|axis| f64::midpoint(least[axis], most[axis]))
    }

    /// Across and down.
    pub(super) fn size(&self) -> Point {
        let [least, most] = self.corners;
        [0, 1].map(|axis| most[axis] - least[axis])
    }

    /// Whether it is a box at all, whatever numbers a network gives.
    fn has_size(&self) -> bool {
        let [[left, top], [right, bottom]] = self.corners;
        let is_known = self.corners.iter().chain(&self.ends).flatten().all(|place| place.is_finite());
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
}

#[cfg(test)]
pub(super) mod tests {
    use gesso_plugin::models::Tensor;
    use safetensors::SafeTensors;

    /// What MediaPipe computed, of a file of fixtures.
    pub(in crate::neural) fn fixture(file: &[u8], name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(file).unwrap();
        let tensor = file.tensor(name).unwrap();
        let (numbers, _) = tensor.data().as_chunks::<4>();
        numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    pub(in crate::neural) fn tensor(shape: &[u32], values: Vec<f32>) -> Tensor {
        Tensor { shape: shape.to_vec(), values }
    }

    /// What a detector of so many places gives: for those listed their numbers and their score before the sigmoid.
    pub(in crate::neural) fn boxes_of<const NUMBERS: usize>(
        places: usize,
        boxes: &[(usize, [f32; NUMBERS], f32)],
    ) -> Vec<Tensor> {
        let (mut numbers, mut scores) = (vec![0.0; places * NUMBERS], vec![-100.0; places]);
        for (index, own, score) in boxes {
            numbers[index * NUMBERS..][..NUMBERS].copy_from_slice(own);
            scores[*index] = *score;
        }
        let shape = |last: usize| [1, places as u32, last as u32];
        vec![tensor(&shape(NUMBERS), numbers), tensor(&shape(1), scores)]
    }
}
