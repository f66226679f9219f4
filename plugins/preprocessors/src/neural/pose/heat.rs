//! What the networks give: planes of numbers with a place for every eight pixels along either side of what was fed. Points are
//! in pixels of what was fed, the middle of its first one at 0.

use gesso_picture::pose::Point;
use gesso_plugin::models::Tensor;

use crate::bell::{Floats, float_reach};
use crate::neural::output::shapes;
use crate::shuffle::curve;

/// Pixels fed for each place, along either side.
pub(super) const STRIDE: usize = 8;
/// How high a peak is that counts: of many in a plane, and of the one that is the highest.
const PEAK_MIN: f32 = 0.1;
const HIGHEST_MIN: f32 = 0.05;
/// The bell that takes ripples off a plane: three pixels of a picture 512 high, where 184 are fed.
const SIGMA: f64 = 1.1;
/// Peaks of one plane, the highest: what is compared pair by pair stays bounded whatever a network gives.
const PEAKS_MAX: usize = 96;
/// Places around the highest one that say where between them the peak is.
const AROUND: usize = 2;

/// Planes of one output.
pub(super) struct Planes<'a> {
    columns: usize,
    rows: usize,
    values: &'a [f32],
}

/// Where something may be, and how sure the network is of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Peak {
    pub(super) at: Point,
    pub(super) score: f64,
}

impl<'a> Planes<'a> {
    /// The output of `count` planes for an input of `fed`, width first.
    ///
    /// # Errors
    /// The end of a sentence about the network, where it gives none.
    pub(super) fn of(outputs: &'a [Tensor], count: usize, fed: (u32, u32)) -> Result<Self, String> {
        let [columns, rows] = [fed.0, fed.1].map(|side| side as usize / STRIDE);
        let shape = [1, count, rows, columns].map(|length| length as u32);
        let fits = |output: &&Tensor| output.shape == shape && output.values.len() == count * rows * columns;
        match outputs.iter().find(fits) {
            Some(output) => Ok(Self { columns, rows, values: &output.values }),
            None => {
                let given = shapes(outputs);
                let (width, height) = fed;
                Err(format!(
                    "gives {given} for a picture of {width} x {height}, and nothing of {shape:?}; export it with the \
                     script that the plugin's README names"
                ))
            }
        }
    }

    fn plane(&self, index: usize) -> &'a [f32] {
        let length = self.columns * self.rows;
        &self.values[index * length..][..length]
    }

    /// The places of a plane that are higher than all around them, within `seen` of what was fed; the highest first.
    pub(super) fn peaks(&self, plane: usize, seen: (usize, usize)) -> Vec<Peak> {
        let large = enlarged(self.plane(plane), self.columns);
        let smooth = large.blurred(SIGMA, float_reach(SIGMA));
        let (width, height) = seen;
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let tops = pixels.filter(|pixel| smooth.values[pixel.1 * smooth.width + pixel.0] > PEAK_MIN);
        let mut peaks: Vec<Peak> = tops
            .filter(|pixel| is_top(&smooth, *pixel))
            .map(|(x, y)| {
                let score = f64::from(large.values[y * large.width + x]);
                Peak { at: refined(&smooth, (x, y)), score }
            })
            .collect();
        peaks.sort_by(|a, b| b.score.total_cmp(&a.score));
        peaks.truncate(PEAKS_MAX);
        peaks
    }

    /// The highest place of a plane, where it is high enough.
    pub(super) fn highest(&self, plane: usize) -> Option<Point> {
        let values = self.plane(plane);
        let place = (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]));
        let place = place.filter(|place| values[*place] > HIGHEST_MIN)?;
        let (column, row) = (place % self.columns, place / self.columns);
        let around = |at: usize, end: usize| at.saturating_sub(AROUND)..(at + AROUND + 1).min(end);
        let (columns, rows) = (around(column, self.columns), around(row, self.rows));
        let lines = rows.clone().flat_map(|row| &values[row * self.columns..][columns.clone()]);
        let near: Vec<f32> = lines.copied().collect();
        let large = enlarged(&near, columns.len());
        let [left, top] = [column - columns.start, row - rows.start].map(|place| place * STRIDE);
        let pixels = (top..top + STRIDE).flat_map(|y| (left..left + STRIDE).map(move |x| (x, y)));
        let level = |(x, y): (usize, usize)| large.values[y * large.width + x];
        let peak = pixels.max_by(|a, b| level(*a).total_cmp(&level(*b)))?;
        let [x, y] = refined(&large, peak);
        Some([x + (columns.start * STRIDE) as f64, y + (rows.start * STRIDE) as f64])
    }

    /// The number of a plane at a point, along straight lines between the middles of places.
    pub(super) fn at(&self, plane: usize, [x, y]: Point) -> f64 {
        let values = self.plane(plane);
        let axis = |pixel: f64, length: usize| {
            let place = ((pixel + 0.5) / STRIDE as f64 - 0.5).clamp(0.0, (length - 1) as f64);
            (place as usize, (place as usize + 1).min(length - 1), place.fract())
        };
        let ((left, right, along), (top, bottom, down)) = (axis(x, self.columns), axis(y, self.rows));
        let line = |row: usize| {
            let [first, second] = [left, right].map(|column| f64::from(values[row * self.columns + column]));
            first + (second - first) * along
        };
        line(top) + (line(bottom) - line(top)) * down
    }
}

/// Every pixel fed, by cubic curves between the middles of places; the last places are repeated beyond the edges.
fn enlarged(values: &[f32], columns: usize) -> Floats {
    let taps = |length: usize| -> Vec<([usize; 4], [f32; 4])> {
        let taps = |pixel: usize| {
            let place = (pixel as f32 + 0.5) / STRIDE as f32 - 0.5;
            let near = |step: isize| (place.floor() as isize + step).clamp(0, length as isize - 1) as usize;
            ([-1, 0, 1, 2].map(near), curve(place - place.floor()))
        };
        (0..length * STRIDE).map(taps).collect()
    };
    let (across, down) = (taps(columns), taps(values.len() / columns));
    let width = across.len();
    let mut wide = Vec::with_capacity(values.len() * STRIDE);
    for row in values.chunks_exact(columns) {
        wide.extend(across.iter().map(|(places, weights)| {
            places.iter().zip(weights).map(|(place, weight)| row[*place] * weight).sum::<f32>()
        }));
    }
    let mut large = Vec::with_capacity(wide.len() * STRIDE);
    for (places, weights) in &down {
        let lines = places.map(|place| &wide[place * width..][..width]);
        large.extend(
            (0..width).map(|x| lines.iter().zip(weights).map(|(line, weight)| line[x] * weight).sum::<f32>()),
        );
    }
    Floats { width, channels: 1, values: large }
}

/// Whether no pixel around is higher; of several that are level, the first is it.
fn is_top(plane: &Floats, (x, y): (usize, usize)) -> bool {
    let height = plane.values.len() / plane.width;
    let level = plane.values[y * plane.width + x];
    let beside = |at: usize, end: usize| at.saturating_sub(1)..(at + 2).min(end);
    let mut around =
        beside(y, height).flat_map(|row| beside(x, plane.width).map(move |column| (row, column)));
    around.all(|(row, column)| {
        let other = plane.values[row * plane.width + column];
        if (row, column) < (y, x) { level > other } else { level >= other }
    })
}

/// The top of the parabola through a pixel and the two beside it, along either side.
fn refined(plane: &Floats, (x, y): (usize, usize)) -> Point {
    let (width, height) = (plane.width, plane.values.len() / plane.width);
    let at = |x: usize, y: usize| f64::from(plane.values[y * width + x]);
    let top = |place: usize, end: usize, level: &dyn Fn(usize) -> f64| {
        if place == 0 || place + 1 >= end {
            return place as f64;
        }
        let [before, here, after] = [place - 1, place, place + 1].map(level);
        let bend = 2.0 * here - before - after;
        let off = (after - before) / (2.0 * bend);
        let off = if bend > 0.0 && off.is_finite() { off.clamp(-0.5, 0.5) } else { 0.0 };
        place as f64 + off
    };
    [top(x, width, &|x| at(x, y)), top(y, height, &|y| at(x, y))]
}
