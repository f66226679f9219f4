//! The picture's colours without its content: every pixel is fetched from a place that smooth noise names (Zhang 2023,
//! "shuffle").

use gesso_core::pixels::Pixels;
use gesso_plugin::{Fault, Random};

use crate::resolution;

/// The short side of what is shuffled.
const RESOLUTION: u32 = 512;
/// Pixels from one of the noise's random places to the next.
const CELL: usize = 256;

pub(crate) fn shuffled(picture: &Pixels, random: &mut Random) -> Result<Pixels, Fault> {
    let scaled = resolution::scaled(picture, RESOLUTION)?;
    let picture: &Pixels = &scaled;
    let (width, height) = (picture.width as usize, picture.height as usize);
    let (across, down) = (noise(width, height, random), noise(width, height, random));
    let channels = picture.format.channels();
    let mut data = Vec::with_capacity(picture.data.len());
    for (x, y) in across.iter().zip(&down) {
        let (x, y) = (x * (width - 1) as f32, y * (height - 1) as f32);
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
        let (along, below) = (x - left as f32, y - top as f32);
        for channel in 0..channels {
            let at = |x: usize, y: usize| f32::from(picture.data[(y * width + x) * channels + channel]);
            let upper = at(left, top) * (1.0 - along) + at(right, top) * along;
            let lower = at(left, bottom) * (1.0 - along) + at(right, bottom) * along;
            data.push((upper * (1.0 - below) + lower * below).round_ties_even() as u8);
        }
    }
    Ok(Pixels { data, ..*picture })
}

/// Smooth numbers that reach from 0 to 1, one for each place: random ones `CELL` apart with cubic curves between.
fn noise(width: usize, height: usize, random: &mut Random) -> Vec<f32> {
    // One more cell on every side than the picture covers, and the curve's four points.
    let (columns, rows) = (width / CELL + 5, height / CELL + 5);
    let points: Vec<f32> = (0..columns * rows).map(|_| random.unit() as f32).collect();
    let mut values = Vec::with_capacity(width * height);
    for y in 0..height {
        let (row, down) = (y / CELL, curve((y % CELL) as f32 / CELL as f32));
        for x in 0..width {
            let (column, along) = (x / CELL, curve((x % CELL) as f32 / CELL as f32));
            let point = |i: usize, j: usize| points[(row + j) * columns + column + i];
            let line = |j: usize| (0..4).map(|i| point(i, j) * along[i]).sum::<f32>();
            values.push((0..4).map(|j| line(j) * down[j]).sum::<f32>());
        }
    }
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let span = (most - least).max(f32::MIN_POSITIVE);
    values.iter().map(|value| ((value - least) / span).clamp(0.0, 1.0)).collect()
}

/// Weights of four points for a place between the middle two (Keys 1981, a = -0.75).
pub(crate) fn curve(t: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}
