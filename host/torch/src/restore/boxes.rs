//! From what the detector says about its anchors to faces: anchors, decoding, and the choice among overlapping
//! boxes (non-maximum suppression). Pure numbers; knows no network and no file.

/// Distance of a level's places in pixels, and the sides of the two square anchors at each: RetinaFace's.
const LEVELS: [(u32, [f32; 2]); 3] = [(8, [16.0, 32.0]), (16, [64.0, 128.0]), (32, [256.0, 512.0])];
/// What the network's numbers are scaled by: places by the first, sizes by the second (SSD's variances).
const PLACE: f32 = 0.1;
const SIZE: f32 = 0.2;

/// A face in a picture, in pixels from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    /// Left, top, right, bottom; may lie outside of the picture.
    pub corners: [f32; 4],
    /// Probability that it is one.
    pub confidence: f32,
    /// x and y of the left eye, the right eye (as seen), the nose, and the left and right corner of the mouth.
    pub landmarks: [[f32; 2]; 5],
}

impl Face {
    /// The same face in a picture that is `factor` times as large.
    pub(crate) fn scaled(self, factor: f32) -> Self {
        Self {
            corners: self.corners.map(|side| side * factor),
            landmarks: self.landmarks.map(|point| point.map(|part| part * factor)),
            ..self
        }
    }

    /// Pixels between the eyes.
    pub(crate) fn eye_distance(&self) -> f32 {
        let [left, right, ..] = self.landmarks;
        (left[0] - right[0]).hypot(left[1] - right[1])
    }

    fn area(&self) -> f32 {
        let [left, top, right, bottom] = self.corners;
        (right - left) * (bottom - top)
    }

    /// Common area over the area of both.
    fn overlap(&self, other: &Self) -> f32 {
        let ([left, top, right, bottom], [left2, top2, right2, bottom2]) = (self.corners, other.corners);
        let width = (right.min(right2) - left.max(left2)).max(0.0);
        let height = (bottom.min(bottom2) - top.max(top2)).max(0.0);
        let common = width * height;
        common / (self.area() + other.area() - common)
    }
}

/// A square the network was asked about, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Anchor {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) side: f32,
}

/// All anchors of a picture: level by level, row by row, the smaller one first.
pub(crate) fn anchors(width: u32, height: u32) -> impl Iterator<Item = Anchor> {
    LEVELS.into_iter().flat_map(move |(step, sides)| {
        let (rows, columns) = (height.div_ceil(step), width.div_ceil(step));
        let places = (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)));
        let middle = move |index: u32| (index as f32 + 0.5) * step as f32;
        places.flat_map(move |(row, column)| {
            sides.map(|side| Anchor { x: middle(column), y: middle(row), side })
        })
    })
}

/// What the network says about an anchor, as a face.
pub(crate) fn decode(anchor: Anchor, confidence: f32, offsets: [f32; 4], landmarks: [f32; 10]) -> Face {
    let Anchor { x, y, side } = anchor;
    let [dx, dy, dw, dh] = offsets;
    let (width, height) = (side * (dw * SIZE).exp(), side * (dh * SIZE).exp());
    let (left, top) = (x + dx * PLACE * side - width / 2.0, y + dy * PLACE * side - height / 2.0);
    let point =
        |index: usize| [x + landmarks[2 * index] * PLACE * side, y + landmarks[2 * index + 1] * PLACE * side];
    Face {
        corners: [left, top, left + width, top + height],
        confidence,
        landmarks: [point(0), point(1), point(2), point(3), point(4)],
    }
}

/// Keeps of faces that overlap by more than `overlap_max` the most certain; the most certain come first.
pub(crate) fn choose(mut faces: Vec<Face>, overlap_max: f32) -> Vec<Face> {
    faces.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let mut chosen: Vec<Face> = Vec::new();
    for face in faces {
        if chosen.iter().all(|other| other.overlap(&face) <= overlap_max) {
            chosen.push(face);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_cover_edges_that_are_no_whole_step() {
        let all: Vec<_> = anchors(40, 33).collect();
        // 5x5, 3x3 and 2x2 places.
        assert_eq!(all.len(), 2 * (25 + 9 + 4));
        assert_eq!(all[1], Anchor { x: 4.0, y: 4.0, side: 32.0 });
        assert_eq!(all[2], Anchor { x: 12.0, y: 4.0, side: 16.0 });
        assert_eq!(all[all.len() - 1], Anchor { x: 48.0, y: 48.0, side: 512.0 });
    }

    #[test]
    fn the_more_certain_of_two_overlapping_faces_stays() {
        let face = |left: f32, confidence: f32| Face {
            corners: [left, 0.0, left + 10.0, 10.0],
            confidence,
            landmarks: [[0.0; 2]; 5],
        };
        // Overlaps of 8/12, 3/17 and none.
        let chosen = choose(vec![face(0.0, 0.98), face(2.0, 0.99), face(9.0, 0.97), face(50.0, 0.975)], 0.4);
        let lefts: Vec<_> = chosen.iter().map(|face| face.corners[0]).collect();
        assert_eq!(lefts, [2.0, 50.0, 9.0]);
    }
}
