//! Soft edges as a scribble: only their ridges, drawn as broad strokes.

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::bell::{Floats, float_reach};
use crate::byte_bell;

/// Pixels of the bells, and how strong a ridge is that counts.
const SIGMA: f64 = 3.0;
const RIDGE: f32 = 127.0;
/// Of a stroke that is spread out, what is still stroke.
const STROKE: u8 = 4;
/// Along and across, and along both diagonals.
const DIRECTIONS: [(isize, isize); 4] = [(0, 1), (1, 0), (1, 1), (1, -1)];

/// White where a ridge of the grey edges runs.
pub(super) fn scribbled(edges: &[u8], width: usize) -> Vec<u8> {
    let soft = Floats { width, channels: 1, values: edges.iter().map(|level| f32::from(*level)).collect() };
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
    let data = (0..soft.len()).map(|place| if is_ridge(place) { 255 } else { 0 }).collect();
    let ridges = Pixels { width: width as u32, height: height as u32, format: PixelFormat::Gray8, data };
    let strokes = byte_bell::blurred(&ridges, SIGMA).data;
    strokes.iter().map(|level| if *level > STROKE { 255 } else { 0 }).collect()
}
