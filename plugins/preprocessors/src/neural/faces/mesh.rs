//! Where the points of a face are: what MediaPipe's network for faces with attention (Grishchenko 2020) gives of a square with
//! one. Its coarse points are all over the face; those of the lips, of the eyes with what is around them and of the irises are
//! told once more, finer. Left and right are the person's.

use gesso_picture::pose::Point;
use gesso_plugin::models::Tensor;

use crate::neural::output::shapes;

/// Points of a face: those of the coarse mesh, and five of each iris.
pub(super) const POINTS: usize = 478;
const COARSE: usize = 468;
/// The middles of the irises.
pub(super) const RIGHT_IRIS: usize = COARSE;
pub(super) const LEFT_IRIS: usize = COARSE + 5;

/// Which points the finer outputs tell, in their order.
const FINER: [&[u16]; 5] =
    [&LIPS, &RIGHT_EYE, &LEFT_EYE, &[468, 469, 470, 471, 472], &[473, 474, 475, 476, 477]];
/// Numbers of each output: the coarse points with their depth, the finer ones, and whether there is a face.
const NUMBERS: [usize; 7] = [3 * COARSE, 160, 142, 142, 10, 10, 1];

/// The points of a face, from 0 to 1 along the sides of what was fed, which are `side` pixels long. None where the network
/// rather sees no face.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no face.
pub(super) fn points(outputs: &[Tensor], side: f64) -> Result<Option<Vec<Point>>, String> {
    let is_face = outputs.iter().map(|output| output.values.len()).eq(NUMBERS);
    let ([coarse, finer @ .., there], true) = (outputs, is_face) else {
        let given = shapes(outputs);
        return Err(format!("gives {given}, and not {NUMBERS:?} numbers"));
    };
    // A half, after the sigmoid.
    if !there.values.iter().any(|score| *score > 0.0) {
        return Ok(None);
    }
    let point = |numbers: &[f32]| [numbers[0], numbers[1]].map(|number| f64::from(number) / side);
    let mut points: Vec<Point> = coarse.values.chunks_exact(3).map(point).collect();
    points.resize(POINTS, [0.0; 2]);
    for (places, output) in FINER.into_iter().zip(finer) {
        for (place, numbers) in places.iter().zip(output.values.chunks_exact(2)) {
            points[usize::from(*place)] = point(numbers);
        }
    }
    Ok(Some(points))
}

/// Four rings, each the lower half and then the upper one.
const LIPS: [u16; 80] = [
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88,
    178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415, 76, 77, 90, 180, 85, 16,
    315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408, 62, 96, 89, 179, 86, 15, 316, 403, 319,
    325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407,
];
/// Rings around the eye from the inside to the outside, the outer ones with the eyebrow.
const RIGHT_EYE: [u16; 71] = [
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22,
    26, 112, 243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224,
    223, 222, 221, 189, 35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63,
    105, 66, 107, 55, 193,
];
/// The same, mirrored.
const LEFT_EYE: [u16; 71] = [
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253,
    252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342,
    445, 444, 443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465,
    383, 300, 293, 334, 296, 336, 285, 417,
];
