//! Where hands are: the squares around those whose palms MediaPipe's network for palms finds.

use gesso_plugin::models::Tensor;

use super::PALMS_SIDE;
use crate::neural::blaze::{Detector, Found};
use crate::neural::square::Square;

/// Of a palm's seven points the first is the wrist and the third the knuckle of the middle finger.
const DETECTOR: Detector =
    Detector { side: PALMS_SIDE, grids: [(24, 2), (12, 6)], numbers: 18, ends: [4, 8] };
/// How much larger than the palm the square is that the hand's points are looked for in.
const ROOM: f64 = 2.6;

/// The squares around the hands that the network is at least so sure of, the surest first; the palm is below and the fingers
/// are above in them. `fed` is the square of the picture that went in.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no boxes.
pub(super) fn squares(outputs: &[Tensor], sure: f64, fed: Square) -> Result<Vec<Square>, String> {
    let palms = DETECTOR.found(outputs, sure)?;
    Ok(palms.iter().map(|palm| square(palm, fed)).collect())
}

fn square(palm: &Found, fed: Square) -> Square {
    let ([wrist, knuckle], [width, height]) = (palm.ends, palm.size());
    let turn = (knuckle[0] - wrist[0]).atan2(wrist[1] - knuckle[1]);
    let own = Square { middle: fed.place(palm.middle()), side: height * fed.side, turn };
    // The hand's middle is where the fingers begin, on the palm's upper edge.
    Square { middle: own.place([0.5, 0.0]), side: ROOM * width.max(height) * fed.side, turn }
}
