//! Cuts a turned square out of a picture and lays it back: bilinear, as OpenCV's `warpAffine` but with exact
//! weights where its older versions round places to 1/32 of a pixel. Pure bytes.

use super::align::Similarity;

const COLOURS: usize = 3;
/// What lies outside of the picture, for a restorer; facexlib's grey.
const OUTSIDE: [f64; COLOURS] = [132.0, 133.0, 135.0];

/// Interleaved RGB bytes.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// The four pixels around a place, each with its weight; `None` for one that lies outside.
fn around([x, y]: [f64; 2], width: usize, height: usize) -> [(Option<usize>, f64); 4] {
    let (left, top) = (x.floor(), y.floor());
    let (right_share, lower_share) = (x - left, y - top);
    let at = |column: f64, row: f64| {
        let inside = column >= 0.0 && row >= 0.0 && column < width as f64 && row < height as f64;
        inside.then(|| row as usize * width + column as usize)
    };
    [
        (at(left, top), (1.0 - right_share) * (1.0 - lower_share)),
        (at(left + 1.0, top), right_share * (1.0 - lower_share)),
        (at(left, top + 1.0), (1.0 - right_share) * lower_share),
        (at(left + 1.0, top + 1.0), right_share * lower_share),
    ]
}

impl View<'_> {
    /// The colour at a place, with `outside` where there is no picture.
    fn colour(&self, place: [f64; 2], outside: [f64; COLOURS]) -> [f64; COLOURS] {
        let mut sum = [0.0; COLOURS];
        for (pixel, weight) in around(place, self.width, self.height) {
            for (channel, sum) in sum.iter_mut().enumerate() {
                let level =
                    pixel.map_or(outside[channel], |pixel| self.data[pixel * COLOURS + channel].into());
                *sum += level * weight;
            }
        }
        sum.map(f64::round_ties_even)
    }

    /// The square of `side` pixels that `upright` brings a part of the picture to.
    pub(crate) fn cut(&self, upright: &Similarity, side: usize) -> Vec<u8> {
        let back = upright.inverse();
        let places = (0..side).flat_map(|row| (0..side).map(move |column| [column as f64, row as f64]));
        places.flat_map(|place| self.colour(back.apply(place), OUTSIDE).map(|level| level as u8)).collect()
    }

    /// Lays this square over a picture of `width` pixels, RGB levels in f32, where `upright` brought it from and as
    /// far as `mask` (0..=1 for each of its pixels) says.
    pub(crate) fn paste(&self, upright: &Similarity, mask: &[f64], canvas: &mut [f32], width: usize) {
        let height = canvas.len() / (COLOURS * width.max(1));
        let back = upright.inverse();
        let (right, bottom) = (self.width as f64, self.height as f64);
        let corners = [[-1.0, -1.0], [right, -1.0], [-1.0, bottom], [right, bottom]].map(|at| back.apply(at));
        let range = |part: usize, end: usize| {
            let parts = corners.map(|corner| corner[part]);
            let least = parts.iter().copied().fold(f64::INFINITY, f64::min);
            let most = parts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (least.floor().max(0.0) as usize).min(end)..((most.ceil() + 1.0).max(0.0) as usize).min(end)
        };
        for row in range(1, height) {
            for column in range(0, width) {
                let place = upright.apply([column as f64, row as f64]);
                let weights = around(place, self.width, self.height);
                let share: f64 =
                    weights.iter().filter_map(|(pixel, weight)| Some(mask[(*pixel)?] * weight)).sum();
                if share <= 0.0 {
                    continue;
                }
                let start = (row * width + column) * COLOURS;
                let levels = &mut canvas[start..start + COLOURS];
                for (level, drawn) in levels.iter_mut().zip(self.colour(place, [0.0; COLOURS])) {
                    // Rounding to f32 keeps what is a whole level but for the last bits of f64 from being cut.
                    *level = (share * drawn + (1.0 - share) * f64::from(*level)) as f32;
                }
            }
        }
    }
}
