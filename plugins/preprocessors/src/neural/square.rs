//! A turned square of a picture, and what a network of MediaPipe sees of it.

use gesso_core::pixels::Pixels;
use gesso_picture::pose::Point;

use crate::neural::sampling::{Beyond, sampled};

/// In pixels of the picture, the corner of its first one at 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Square {
    pub(super) middle: Point,
    pub(super) side: f64,
    /// Clockwise, in radians.
    pub(super) turn: f64,
}

impl Square {
    /// The one that the whole picture lies in the middle of.
    pub(super) fn around(picture: &Pixels) -> Self {
        let [width, height] = [picture.width, picture.height].map(f64::from);
        Self { middle: [width / 2.0, height / 2.0], side: width.max(height), turn: 0.0 }
    }

    /// Where in the picture a place of the square is, which has 0 and 1 for its edges.
    pub(super) fn place(self, at: Point) -> Point {
        let [across, down] = at.map(|part| (part - 0.5) * self.side);
        let (sin, cos) = self.turn.sin_cos();
        let [x, y] = self.middle;
        [x + cos * across - sin * down, y + sin * across + cos * down]
    }

    /// The square at `side` pixels: the corner of each is asked for, between the corners of the picture's, as MediaPipe does.
    pub(super) fn seen(self, picture: &Pixels, side: u32, beyond: Beyond) -> Pixels {
        sampled(picture, [side; 2], beyond, |at| self.place(at.map(|part| part / f64::from(side))))
    }
}
