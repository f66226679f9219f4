//! The square of whole pixels around a hand that its mesh is looked for in, and back from there into the map.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::error::PictureError;
use gesso_picture::opencv_resize::{OpencvFilter, opencv_resize};

use super::points::Hand;

/// How much larger than what its points cover.
const ROOM: f64 = 1.6;
/// A square has four bytes a pixel beside the picture; this is as long as the sides of the largest square map.
const SIDE_MAX: f64 = 4096.0;

/// Left hands are mirrored in it: the network knows right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crop {
    /// Where in the picture it begins.
    left: i64,
    top: i64,
    /// An even number.
    pub(super) side: u32,
    is_mirrored: bool,
}

impl Crop {
    /// None where there is nothing to see: the hand has no extent, is larger than any map, or is not in the picture.
    pub(super) fn around(hand: &Hand, picture: &Pixels) -> Option<Self> {
        // Whole pixels as HandRefiner counts them, towards the picture's first one.
        let range = |axis: usize| {
            let places = hand.points.iter().map(|point| point[axis].trunc());
            (places.clone().fold(f64::INFINITY, f64::min), places.fold(f64::NEG_INFINITY, f64::max))
        };
        let ranges = [range(0), range(1)];
        let longest = ranges.iter().map(|(least, most)| most - least).fold(0.0, f64::max);
        let side = (longest * ROOM / 2.0).floor() * 2.0;
        let starts = ranges.map(|(least, most)| ((least + most) / 2.0).floor() - side / 2.0 + 1.0);
        let ends = [picture.width, picture.height].map(f64::from);
        let is_seen = |axis: usize| starts[axis] < ends[axis] && starts[axis] + side > 0.0;
        ((2.0..=SIDE_MAX).contains(&side) && is_seen(0) && is_seen(1)).then(|| Self {
            left: starts[0] as i64,
            top: starts[1] as i64,
            side: side as u32,
            is_mirrored: hand.is_left,
        })
    }

    /// What the network sees of an RGB picture, `side` pixels along a side; beyond the picture is black.
    pub(super) fn seen(self, picture: &Pixels, side: u32) -> Result<Pixels, PictureError> {
        let (pixels, _) = picture.data.as_chunks::<3>();
        let mut data = Vec::with_capacity(3 * self.side as usize * self.side as usize);
        for place in self.places(picture) {
            data.extend(place.map_or([0; 3], |place| pixels[place]));
        }
        let own = Pixels { width: self.side, height: self.side, format: PixelFormat::Rgb8, data };
        let filter = if self.side < side { OpencvFilter::Cubic } else { OpencvFilter::Area };
        opencv_resize(&own, side, side, filter)
    }

    /// Draws levels of the square's pixels over an RGB map; 0 is nothing.
    pub(super) fn draw(self, map: &mut Pixels, levels: &[u8]) {
        let places = self.places(map);
        let (pixels, _) = map.data.as_chunks_mut::<3>();
        for (place, level) in places.zip(levels) {
            if let (Some(place), 1..) = (place, *level) {
                pixels[place] = [*level; 3];
            }
        }
    }

    /// Of the square's pixels, row by row, which of the picture's they are.
    fn places(self, picture: &Pixels) -> impl Iterator<Item = Option<usize>> + use<> {
        let (width, height) = (i64::from(picture.width), i64::from(picture.height));
        let side = i64::from(self.side);
        (0..side).flat_map(move |row| {
            (0..side).map(move |column| {
                let column = self.left + if self.is_mirrored { side - 1 - column } else { column };
                let row = self.top + row;
                let is_inside = (0..width).contains(&column) && (0..height).contains(&row);
                is_inside.then(|| (row * width + column) as usize)
            })
        })
    }
}
