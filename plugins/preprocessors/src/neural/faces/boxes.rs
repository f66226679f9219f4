//! Where faces are: the squares around those that MediaPipe's network for faces that are near finds.

use gesso_plugin::models::Tensor;

use super::BOXES_SIDE;
use crate::neural::blaze::{Detector, Found};
use crate::neural::square::Square;

/// The first two of a face's six points are the eyes.
const FACES: Detector = Detector { side: BOXES_SIDE, grids: [(16, 2), (8, 6)], numbers: 16, ends: [4, 6] };
/// How much larger than the box of a face the square is that its points are looked for in.
const ROOM: f64 = 1.5;

/// The squares around the faces that the network is at least so sure of, the surest first; eyes are level in them. `fed` is
/// the square of the picture that went in.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no boxes.
pub(super) fn squares(outputs: &[Tensor], sure: f64, fed: Square) -> Result<Vec<Square>, String> {
    let faces = FACES.found(outputs, sure)?;
    Ok(faces.iter().map(|face| square(face, fed)).collect())
}

fn square(face: &Found, fed: Square) -> Square {
    let ([first, second], [width, height]) = (face.ends, face.size());
    Square {
        middle: fed.place(face.middle()),
        side: ROOM * width.max(height) * fed.side,
        turn: (second[1] - first[1]).atan2(second[0] - first[0]),
    }
}
