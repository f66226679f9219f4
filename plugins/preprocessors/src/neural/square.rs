//! A turned square of a picture, and what a network of MediaPipe sees of it.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::pose::Point;

/// In pixels of the picture, the corner of its first one at 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Square {
    pub(super) middle: Point,
    pub(super) side: f64,
    /// Clockwise, in radians.
    pub(super) turn: f64,
}

/// What is beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    Black,
    /// Its last pixels, repeated.
    Edge,
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
        let (pixels, _) = picture.data.as_chunks::<3>();
        let (width, height) = (picture.width as isize, picture.height as isize);
        let at = |column: isize, row: isize| {
            let is_inside = (0..width).contains(&column) && (0..height).contains(&row);
            if beyond == Beyond::Black && !is_inside {
                return [0.0; 3];
            }
            let (column, row) = (column.clamp(0, width - 1), row.clamp(0, height - 1));
            pixels[(row * width + column) as usize].map(f64::from)
        };
        let mut data = Vec::with_capacity(side as usize * side as usize * 3);
        for y in 0..side {
            for x in 0..side {
                let [across, down] = self.place([x, y].map(|part| f64::from(part) / f64::from(side)));
                // Far outside all places are alike, and these fit every machine's whole numbers.
                let whole = |place: f64, end: isize| place.floor().clamp(-2.0, end as f64 + 1.0) as isize;
                let (column, row) = (whole(across, width), whole(down, height));
                let (right, below) = (across - across.floor(), down - down.floor());
                let [above_left, above_right] = [at(column, row), at(column + 1, row)];
                let [below_left, below_right] = [at(column, row + 1), at(column + 1, row + 1)];
                data.extend([0, 1, 2].map(|channel| {
                    let line = |first: [f64; 3], second: [f64; 3]| {
                        first[channel] + (second[channel] - first[channel]) * right
                    };
                    let (above, under) = (line(above_left, above_right), line(below_left, below_right));
                    (above + (under - above) * below).round() as u8
                }));
            }
        }
        Pixels { width: side, height: side, format: PixelFormat::Rgb8, data }
    }
}
