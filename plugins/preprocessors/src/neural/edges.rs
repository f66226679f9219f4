//! Soft edges as a scribble: only their ridges, drawn as broad strokes.

use crate::bell::{Floats, float_reach};

/// Pixels of the bells, and how strong a ridge is that counts.
const SIGMA: f64 = 3.0;
const RIDGE: f32 = 127.0;
/// Of a stroke that is spread out, what is still stroke.
const STROKE: f32 = 4.0;
/// Along and across, and along both diagonals.
const DIRECTIONS: [(isize, isize); 4] = [(0, 1), (1, 0), (1, 1), (1, -1)];

/// White where a ridge of the grey edges runs.
pub(super) fn scribbled(edges: &[u8], width: usize) -> Vec<u8> {
    let levels = |values: Vec<f32>| Floats { width, channels: 1, values };
    let soft = levels(edges.iter().map(|level| f32::from(*level)).collect());
    let soft = soft.blurred(SIGMA, float_reach(SIGMA)).values;
    let height = soft.len() / width.max(1);
    let at = |row: isize, column: isize| {
        let is_inside = (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
        if is_inside { soft[row as usize * width + column as usize] } else { f32::NEG_INFINITY }
    };
    let is_ridge = |place: usize| {
        let (row, column) = ((place / width) as isize, (place % width) as isize);
        let level = soft[place];
        let is_highest = |(down, right): (isize, isize)| {
            level >= at(row + down, column + right) && level >= at(row - down, column - right)
        };
        level > RIDGE && DIRECTIONS.into_iter().any(is_highest)
    };
    let ridges = (0..soft.len()).map(|place| if is_ridge(place) { 255.0 } else { 0.0 }).collect();
    // Of bytes, whose bells reach three sigmas.
    let reach = (((SIGMA * 6.0 + 1.0).round_ties_even() as usize) | 1) / 2;
    let strokes = levels(ridges).blurred(SIGMA, reach).values;
    strokes.iter().map(|level| if level.round_ties_even() > STROKE { 255 } else { 0 }).collect()
}
