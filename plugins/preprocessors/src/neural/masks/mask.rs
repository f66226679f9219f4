//! One mask: which places of the picture are inside, out of the few numbers that the decoder gives for it. Knows no network.

use std::ops::Range;

use super::SIDE;
use crate::neural::output::between;

/// Rows and columns of what the decoder gives for a mask: above 0 is inside.
pub(super) const MASK_SIDE: usize = 256;
/// A stable mask is nearly the same where this much more or less is inside.
const OFFSET: f32 = 1.0;
const STABLE_MIN: f64 = 0.95;
/// Frames that have more than this part in common are of one thing.
const COMMON_MAX: f64 = 0.7;

/// A thing that was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mask {
    pub(super) sure: f32,
    frame: Frame,
    /// Places inside.
    pub(super) area: usize,
    /// They themselves: stretches of rows, as places of the picture counted row by row.
    pub(super) runs: Vec<Range<usize>>,
}

/// The first and the last column and row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

/// How the places of a picture lie between those of a mask.
#[derive(Debug)]
pub(super) struct Axes {
    columns: Vec<Taps>,
    rows: Vec<Taps>,
}

/// The first of three places beside each other that one of the picture is made of, and how much of each.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Taps {
    first: usize,
    weights: [f32; 3],
}

impl Axes {
    /// Of a picture of `size` that the encoder saw as one of `seen`, width first.
    pub(super) fn new(seen: (usize, usize), size: (u32, u32)) -> Self {
        Self { columns: taps(seen.0, size.0 as usize), rows: taps(seen.1, size.1 as usize) }
    }
}

/// Bilinear twice, between the middles of pixels: from the mask to the square that the encoder sees, and from the picture's part
/// of that to the picture.
fn taps(seen: usize, length: usize) -> Vec<Taps> {
    let tap = |at: usize| {
        let (near, far, share) = between(at as f64, seen, length as f64);
        let of_mask = |pixel: usize| between(pixel as f64, MASK_SIDE, SIDE as f64);
        let first = of_mask(near).0.min(MASK_SIDE - 3);
        let mut weights = [0.0; 3];
        for (pixel, weight) in [(near, 1.0 - share), (far, share)] {
            let (low, high, share) = of_mask(pixel);
            weights[low - first] += weight * (1.0 - share);
            weights[high - first] += weight * share;
        }
        Taps { first, weights }
    };
    (0..length).map(tap).collect()
}

/// Those that read one of the places.
fn reading(taps: &[Taps], places: &Range<usize>) -> Range<usize> {
    let start = taps.partition_point(|tap| tap.first + 2 < places.start);
    start..taps.partition_point(|tap| tap.first < places.end).max(start)
}

/// The rows and columns with a place that may count.
fn touched(logits: &[f32]) -> Option<(Range<usize>, Range<usize>)> {
    let counts = |logit: &f32| *logit > -OFFSET;
    let lines: Vec<&[f32]> = logits.chunks_exact(MASK_SIDE).collect();
    let is_touched = |line: &&[f32]| line.iter().any(counts);
    let rows = lines.iter().position(is_touched)?..lines.iter().rposition(is_touched)? + 1;
    let (mut first, mut end) = (MASK_SIDE, 0);
    for line in &lines[rows.clone()] {
        first = first.min(line.iter().position(counts).unwrap_or(first));
        end = end.max(line.iter().rposition(counts).map_or(end, |last| last + 1));
    }
    Some((rows, first..end))
}

impl Mask {
    /// `None` where it is not stable. Places that nothing reaches are not looked at: most things are small.
    pub(super) fn of(logits: &[f32], sure: f32, axes: &Axes) -> Option<Self> {
        let (rows, columns) = touched(logits)?;
        let (ys, xs) = (reading(&axes.rows, &rows), reading(&axes.columns, &columns));
        let (over, under) = (axes.rows[ys.clone()].first()?, axes.rows[ys.clone()].last()?);
        let wide: Vec<f32> = logits[over.first * MASK_SIDE..(under.first + 3) * MASK_SIDE]
            .chunks_exact(MASK_SIDE)
            .flat_map(|line| {
                axes.columns[xs.clone()].iter().map(move |Taps { first, weights }| {
                    line[*first] * weights[0] + line[first + 1] * weights[1] + line[first + 2] * weights[2]
                })
            })
            .collect();
        let width = xs.len();
        let mut mask = Self {
            sure,
            frame: Frame { left: usize::MAX, top: usize::MAX, right: 0, bottom: 0 },
            area: 0,
            runs: Vec::new(),
        };
        let (mut more, mut less) = (0, 0);
        let mut levels = vec![0.0_f32; width];
        for y in ys {
            let Taps { first, weights } = axes.rows[y];
            let [a, b, c] = [0, 1, 2].map(|step| &wide[(first - over.first + step) * width..][..width]);
            for (x, level) in levels.iter_mut().enumerate() {
                *level = a[x] * weights[0] + b[x] * weights[1] + c[x] * weights[2];
            }
            more += levels.iter().filter(|level| **level > -OFFSET).count();
            less += levels.iter().filter(|level| **level > OFFSET).count();
            let mut x = xs.start;
            for run in levels.chunk_by(|one, next| (*one > 0.0) == (*next > 0.0)) {
                if run[0] > 0.0 {
                    mask.take(x..x + run.len(), y, axes.columns.len());
                }
                x += run.len();
            }
        }
        // One that is empty is no number, which is not stable.
        (less as f64 / more as f64 >= STABLE_MIN).then_some(mask)
    }

    /// Columns of a row of a picture that is so wide.
    fn take(&mut self, columns: Range<usize>, row: usize, width: usize) {
        let Frame { left, top, right, bottom } = self.frame;
        self.frame = Frame {
            left: left.min(columns.start),
            top: top.min(row),
            right: right.max(columns.end - 1),
            bottom: bottom.max(row),
        };
        self.area += columns.len();
        self.runs.push(row * width + columns.start..row * width + columns.end);
    }
}

/// Without those whose frames are nearly those of surer ones.
pub(super) fn without_repetition(mut masks: Vec<Mask>) -> Vec<Mask> {
    masks.sort_by(|a, b| b.sure.total_cmp(&a.sure));
    let mut kept: Vec<Mask> = Vec::new();
    for mask in masks {
        if kept.iter().all(|other| mask.frame.common(&other.frame) <= COMMON_MAX) {
            kept.push(mask);
        }
    }
    kept
}

impl Frame {
    /// As its authors count: from the first to the last pixel, so that one pixel alone has no area.
    fn area(&self) -> usize {
        (self.right - self.left) * (self.bottom - self.top)
    }

    /// What is in both, as a part of what is in either.
    fn common(&self, other: &Self) -> f64 {
        let across = self.right.min(other.right).saturating_sub(self.left.max(other.left));
        let down = self.bottom.min(other.bottom).saturating_sub(self.top.max(other.top));
        let both = across * down;
        both as f64 / (self.area() + other.area() - both).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_picture_are_interpolated_twice() {
        let tap = |seen, length, at: usize| {
            let Taps { first, weights } = taps(seen, length)[at];
            (first, weights)
        };
        // Pixel 5 of the square is at 0.875 of the mask, 4 at 0.625 and 6 at 1.125.
        assert_eq!(tap(1024, 1024, 5), (0, [0.125, 0.875, 0.0]));
        assert_eq!(tap(1024, 512, 2), (0, [0.25, 0.75, 0.0]), "halfway between 4 and 5");
        assert_eq!(tap(1024, 2048, 11), (0, [0.09375, 0.875, 0.03125]), "a quarter from 5 to 6");
        // The picture ends within the square: its last pixel is the 512th.
        assert_eq!(tap(512, 1024, 1023), (127, [0.625, 0.375, 0.0]));
        // Beyond the middles of the outermost places.
        assert_eq!((tap(1024, 512, 0), tap(1024, 512, 511)), ((0, [1.0, 0.0, 0.0]), (253, [0.0, 0.0, 1.0])));
    }

    #[test]
    fn only_what_a_mask_reaches_is_looked_at() {
        let mut logits = vec![-8.0; MASK_SIDE * MASK_SIDE];
        assert_eq!(touched(&logits), None);
        logits[3 * MASK_SIDE + 200] = -0.5;
        logits[9 * MASK_SIDE + 7] = 8.0;
        assert_eq!(touched(&logits), Some((3..10, 7..201)));
        let taps = taps(1024, 1024);
        // All pixels one of whose three places is the sixth.
        let read: Vec<usize> =
            (0..1024).filter(|at| (taps[*at].first..=taps[*at].first + 2).contains(&6)).collect();
        assert_eq!(reading(&taps, &(6..7)), read[0]..read[read.len() - 1] + 1);
    }
}
