//! What is drawn of a face, in the colours that CrucibleAI's network was trained with: outlines two pixels thick along the points
//! of MediaPipe's mesh, and a square for each pupil. Left and right are the person's.

use gesso_core::pixels::Pixels;
use gesso_picture::pose::Point;

use super::mesh::{LEFT_IRIS, RIGHT_IRIS};
use super::stroke::{self, Place};

/// Lines along points of the mesh and their colour, in the order in which they are drawn: the head, the left eye and eyebrow,
/// the right ones, the lips.
const OUTLINES: [(&[&[u16]], [u8; 3]); 6] = [
    (&[&HEAD], [10, 200, 10]),
    (
        &[&[263, 249, 390, 373, 374, 380, 381, 382, 362], &[263, 466, 388, 387, 386, 385, 384, 398, 362]],
        [10, 200, 180],
    ),
    (&[&[276, 283, 282, 295, 285], &[300, 293, 334, 296, 336]], [10, 220, 180]),
    (
        &[&[33, 7, 163, 144, 145, 153, 154, 155, 133], &[33, 246, 161, 160, 159, 158, 157, 173, 133]],
        [180, 200, 10],
    ),
    (&[&[46, 53, 52, 65, 55], &[70, 63, 105, 66, 107]], [180, 220, 10]),
    (
        &[
            &[61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291],
            &[61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291],
            &[78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308],
            &[78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308],
        ],
        [10, 180, 10],
    ),
];
/// All around, from the top of the forehead.
const HEAD: [u16; 37] = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
    149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10,
];
const PUPILS: [(usize, [u8; 3]); 2] = [(RIGHT_IRIS, [250, 200, 10]), (LEFT_IRIS, [10, 200, 250])];
/// Half as wide as the square of a pupil.
const PUPIL: i32 = 2;

/// Draws a face over an RGB picture. A line that ends outside of it is left out.
pub(super) fn draw(picture: &mut Pixels, points: &[Point]) {
    let size = [picture.width, picture.height];
    for (lines, colour) in OUTLINES {
        for ends in lines.iter().flat_map(|line| line.windows(2)) {
            let ends = [ends[0], ends[1]].map(|point| pixel(points[usize::from(point)], size));
            if let [Some(from), Some(to)] = ends {
                stroke::draw(picture, [from, to], colour);
            }
        }
    }
    for (iris, colour) in PUPILS {
        if let Some([x, y]) = pixel(points[iris], size) {
            for row in y - PUPIL..y + PUPIL {
                stroke::fill(picture, row, [x - PUPIL, x + PUPIL - 1], colour);
            }
        }
    }
}

/// The pixel that a point lies on, where it is in the picture.
fn pixel(point: Point, size: [u32; 2]) -> Option<Place> {
    let is_inside = |axis: usize| (0.0..=f64::from(size[axis])).contains(&point[axis]);
    let place = |axis: usize| (point[axis] as i32).min(size[axis] as i32 - 1);
    (is_inside(0) && is_inside(1)).then(|| [0, 1].map(place))
}
