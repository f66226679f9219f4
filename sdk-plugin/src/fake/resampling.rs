//! Pillow's Lanczos, equal to the bit, as a server resizes pictures. `host/picture/src/resize.rs` has it for every filter and says
//! why it is nobody else's; a test holds this one against it. A copy, because the SDK comes without the server's crates.

use std::f64::consts::PI;

/// Bits behind the point of a weight.
const PRECISION: u32 = 22;
/// Source pixels on each side of the centre that count, before the filter is widened to shrink.
const SUPPORT: f64 = 3.0;

/// What makes one target pixel: the first source pixel and the weights from it on.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// A picture of one width and height at others.
pub(super) fn resampled(rows: &[u8], channels: usize, from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let mut data = rows.to_vec();
    if from == to {
        return data;
    }
    let has_alpha = channels == 4;
    if has_alpha {
        premultiply(&mut data);
    }
    if from.0 != to.0 {
        data = across(&data, channels, from.0 as usize, &windows(from.0, to.0));
    }
    if from.1 != to.1 {
        data = down(&data, channels * to.0 as usize, &windows(from.1, to.1));
    }
    if has_alpha {
        unpremultiply(&mut data);
    }
    data
}

fn windows(from: u32, to: u32) -> Vec<Window> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    let window = |target: u32| {
        let centre = (f64::from(target) + 0.5) * scale;
        // Casts cut towards zero and stop at it.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(from as usize);
        let real: Vec<f64> =
            (first..end).map(|source| weight((source as f64 - centre + 0.5) * (1.0 / stretch))).collect();
        let total: f64 = real.iter().sum();
        let share = |weight: f64| if total == 0.0 { weight } else { weight / total };
        let fixed = |weight: f64| (share(weight) * f64::from(1 << PRECISION)).round() as i32;
        Window { first, weights: real.into_iter().map(fixed).collect() }
    };
    (0..to).map(window).collect()
}

fn weight(at: f64) -> f64 {
    if (-SUPPORT..SUPPORT).contains(&at) { sinc(at) * sinc(at / SUPPORT) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

fn across(data: &[u8], channels: usize, width: usize, windows: &[Window]) -> Vec<u8> {
    let mut made = Vec::new();
    for row in data.chunks_exact(width * channels) {
        for Window { first, weights } in windows {
            for channel in 0..channels {
                made.push(level(row[first * channels + channel..].iter().step_by(channels), weights));
            }
        }
    }
    made
}

fn down(data: &[u8], row_bytes: usize, windows: &[Window]) -> Vec<u8> {
    let mut made = Vec::new();
    for Window { first, weights } in windows {
        for place in 0..row_bytes {
            made.push(level(data[first * row_bytes + place..].iter().step_by(row_bytes), weights));
        }
    }
    made
}

fn level<'a>(values: impl Iterator<Item = &'a u8>, weights: &[i32]) -> u8 {
    let sum: i32 = values.zip(weights).map(|(value, weight)| i32::from(*value) * weight).sum();
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}

fn premultiply(data: &mut [u8]) {
    for pixel in data.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        for colour in &mut pixel[..3] {
            let rounded = u32::from(*colour) * alpha + 128;
            *colour = (((rounded >> 8) + rounded) >> 8) as u8;
        }
    }
}

/// As far as eight bits allow; transparent and opaque pixels stay as they are.
fn unpremultiply(data: &mut [u8]) {
    for pixel in data.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        if alpha != 0 && alpha != 255 {
            for colour in &mut pixel[..3] {
                *colour = (u32::from(*colour) * 255 / alpha).min(255) as u8;
            }
        }
    }
}
