//! What a picture has to go by: edges. How large it may be seen depends on how far apart they are, and which parts are worth a
//! closer look on how many are there. Knows no network.

use std::cmp::Reverse;

use gesso_core::pixels::Pixels;
use gesso_picture::composite::Rect;

use super::{CLOSE, TRAINED};

/// An edge is where the picture changes by more than this part of its strongest change.
const EDGE_MIN: f32 = 0.4;
/// Part of the picture that may be without an edge in sight when it is seen larger.
const UNSEEN_MAX: f64 = 0.2;
/// The largest square that LeReS is given, and the steps to it, which are those of its halvings.
const SIDE_MAX: u32 = 1600;
const STEP: usize = 32;
/// Parts of one picture, those with most edges. Each takes four runs of a network, and a call has 256 and some seconds.
const SQUARES_MAX: usize = 24;
/// A part grows by this part of its side.
const GROWTH: u32 = 8;

/// Where the edges of a picture are.
#[derive(Debug)]
pub(super) struct Context {
    width: usize,
    height: usize,
    /// For each corner of a pixel, how many edges are above it and to the left.
    sums: Vec<u32>,
}

impl Context {
    /// Of an RGB picture.
    pub(super) fn of(picture: &Pixels) -> Self {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let (pixels, _) = picture.data.as_chunks::<3>();
        let bright: Vec<f32> =
            pixels.iter().map(|pixel| pixel.iter().copied().map(f32::from).sum()).collect();
        let change = |place: usize| {
            let (x, y) = (place % width, place / width);
            let along = |first: usize, second: usize| (bright[second] - bright[first]).abs();
            let row = y * width;
            along(row + x.saturating_sub(1), row + (x + 1).min(width - 1))
                + along(y.saturating_sub(1) * width + x, (y + 1).min(height - 1) * width + x)
        };
        let changes: Vec<f32> = (0..width * height).map(change).collect();
        let least = changes.iter().copied().fold(0.0, f32::max) * EDGE_MIN;
        let mut sums = vec![0; (width + 1) * (height + 1)];
        for (place, change) in changes.into_iter().enumerate() {
            let corner = (place / width + 1) * (width + 1) + place % width + 1;
            let above = corner - (width + 1);
            sums[corner] = sums[corner - 1] + sums[above] - sums[above - 1] + u32::from(change > least);
        }
        Self { width, height, sums }
    }

    /// Edges in a box, its right and bottom outside.
    fn edges(&self, [left, top, right, bottom]: [usize; 4]) -> u32 {
        let sum = |x: usize, y: usize| self.sums[y * (self.width + 1) + x];
        sum(right, bottom) + sum(left, top) - sum(left, bottom) - sum(right, top)
    }

    /// For each pixel of a box how much of an edge it is.
    fn density(&self, square: Rect) -> f64 {
        let [left, top, width, height] =
            [square.x, square.y, square.width, square.height].map(|side| side as usize);
        f64::from(self.edges([left, top, left + width, top + height])) / (width * height) as f64
    }

    /// The part of the picture that has no edge in sight, seen as a square of `side` pixels: half of what LeReS was trained with
    /// is as far as it looks.
    fn unseen(&self, side: u32) -> f64 {
        let around = |length: usize| -> Vec<(usize, usize)> {
            let reach = (f64::from(TRAINED / 2) * length as f64 / f64::from(side)).round() as usize;
            (0..length).map(|at| (at.saturating_sub(reach), (at + reach + 1).min(length))).collect()
        };
        let (columns, rows) = (around(self.width), around(self.height));
        let is_unseen = |top: usize, bottom: usize, left: usize, right: usize| {
            self.edges([left, top, right, bottom]) == 0
        };
        let unseen: usize = rows
            .iter()
            .map(|(top, bottom)| {
                columns.iter().filter(|(left, right)| is_unseen(*top, *bottom, *left, *right)).count()
            })
            .sum();
        unseen as f64 / (self.width * self.height) as f64
    }

    /// Pixels along the sides of the largest square that the picture may be seen as.
    pub(super) fn side(&self) -> u32 {
        let sides: Vec<u32> = (TRAINED..=SIDE_MAX).step_by(STEP).collect();
        let fitting = sides.partition_point(|side| self.unseen(*side) <= UNSEEN_MAX);
        sides[fitting.saturating_sub(1)]
    }

    /// The parts that have more edges than the picture has on average, each as large as it still has more; large ones first.
    /// `side` is what the whole was seen as.
    pub(super) fn squares(&self, side: u32) -> Vec<Rect> {
        let (width, height) = (self.width as u32, self.height as u32);
        let short = width.min(height);
        let tile = (f64::from(short) * f64::from(TRAINED) / f64::from(side)).round() as u32;
        if tile == 0 || tile >= short {
            return Vec::new();
        }
        let whole = self.density(Rect { x: 0, y: 0, width, height });
        let mut found: Vec<(f64, Rect)> = Vec::new();
        for y in starts(height, tile) {
            for x in starts(width, tile) {
                let first = Rect { x, y, width: tile, height: tile };
                let density = self.density(first);
                if density >= whole {
                    let square = self.grown(first, whole, short);
                    if found.iter().all(|(_, other)| *other != square) {
                        found.push((density, square));
                    }
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.truncate(SQUARES_MAX);
        found.sort_by_key(|(_, square)| Reverse(square.width));
        found.into_iter().map(|(_, square)| square).collect()
    }

    /// Around its middle, and within the picture, until it has no more edges than the whole, or would be seen no larger.
    fn grown(&self, first: Rect, whole: f64, short: u32) -> Rect {
        let step = (first.width / GROWTH).max(1);
        let most = short.min(first.width * (CLOSE / TRAINED));
        let mut square = first;
        while self.density(square) > whole && square.width + step < most {
            let side = square.width + step;
            let start = |start: u32, length: usize| {
                (start + first.width / 2).saturating_sub(side / 2).min(length as u32 - side)
            };
            let (x, y) = (start(first.x, self.width), start(first.y, self.height));
            square = Rect { x, y, width: side, height: side };
        }
        square
    }
}

/// Where tiles begin that overlap by a third, the last one at the end.
fn starts(length: u32, tile: u32) -> Vec<u32> {
    let last = length - tile;
    let mut starts: Vec<u32> = (0..last).step_by((tile * 2 / 3).max(1) as usize).collect();
    starts.push(last);
    starts
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;

    use super::*;

    /// A picture 64 pixels high, white where it is said.
    fn context(width: u32, is_white: impl Fn(u32, u32) -> bool) -> Context {
        let places = (0..64).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data = places.flat_map(|(x, y)| if is_white(x, y) { [255; 3] } else { [0; 3] }).collect();
        Context::of(&Pixels::new(width, 64, PixelFormat::Rgb8, data).unwrap())
    }

    fn square(x: u32, y: u32, side: u32) -> Rect {
        Rect { x, y, width: side, height: side }
    }

    #[test]
    fn a_picture_is_seen_as_large_as_its_edges_are_in_sight() {
        // One edge from top to bottom, in the columns 31 and 32.
        let halves = context(64, |x, _| x >= 32);
        assert_eq!(halves.edges([0, 0, 64, 64]), 128);
        assert_eq!(halves.edges([31, 5, 32, 9]), 4);
        assert_eq!(halves.edges([33, 0, 64, 64]), 0);
        // As far as 32 pixels, and as 16: columns 0 to 14 and 49 to 63 see none.
        assert_eq!((halves.unseen(448), halves.unseen(896)), (0.0, 30.0 / 64.0));
        // 25 pixels leave 12 of 64 columns, and 24 leave 14.
        assert_eq!((halves.unseen(576), halves.unseen(608)), (12.0 / 64.0, 14.0 / 64.0));
        assert_eq!(halves.side(), 576);
        // Without any edge, and with edges everywhere.
        assert_eq!(context(64, |_, _| true).side(), 448);
        assert_eq!(context(64, |x, y| (x / 2 + y / 2) % 2 == 0).side(), 1600);
    }

    #[test]
    fn parts_with_many_edges_grow_until_they_have_as_many_as_the_whole() {
        let halves = context(64, |x, _| x >= 32);
        // Tiles of 50 pixels; two columns of 62 are still more than two of 64, and 68 do not fit.
        let wanted = [(0, 0), (2, 0), (0, 2), (2, 2)].map(|(x, y)| square(x, y, 62));
        assert_eq!(halves.squares(576), wanted);
        // One of the tiles of 32 pixels has edges, and 64 would be seen no larger than the whole.
        assert_eq!(context(128, |x, y| x < 8 && y < 8).squares(896), [square(0, 0, 60)]);
        // Half of the picture is edges: of a tile that is full of them, 44 pixels are more than half, and 48 are less.
        let is_dark = |x: u32, y: u32| (x / 2 + y / 2) % 2 == 0;
        let parts = context(192, |x, y| is_dark(x, y) && (x >= 112 || x < 32 && y < 32)).squares(896);
        assert!(parts.contains(&square(0, 0, 48)), "{parts:?}");
        assert!(parts.is_sorted_by(|one, next| one.width >= next.width));
        // As small as the whole was seen.
        assert!(halves.squares(448).is_empty());
    }

    #[test]
    fn tiles_overlap_by_a_third_and_reach_the_end() {
        assert_eq!(starts(64, 50), [0, 14]);
        assert_eq!(starts(64, 24), [0, 16, 32, 40]);
        assert_eq!(starts(24, 24), [0]);
    }
}
