//! Straight lines out of M-LSD's numbers (Gu 2022): each place says how likely it is the middle of a line, and how far from
//! there its ends are.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin::models::Tensor;

/// Planes of the output: the middle before its sigmoid, then across and down to either end.
const PLANES: usize = 5;
/// Lines of one picture, the likeliest.
const LINES_MAX: usize = 200;

/// White lines on black at `size`, width first: those that are likelier than `value` and longer than `distance` places.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no lines.
pub(super) fn drawn(output: &Tensor, size: (u32, u32), value: f64, distance: f64) -> Result<Pixels, String> {
    let (rows, columns) = match *output.shape.as_slice() {
        [1, planes, rows, columns] if planes as usize >= PLANES => (rows as usize, columns as usize),
        _ => (0, 0),
    };
    let plane = rows * columns;
    if plane == 0 || output.values.len() < plane * PLANES {
        return Err(format!(
            "gives {:?}, which is no lines; export it so that it gives the nine planes from the middles on",
            output.shape
        ));
    }
    let middles = &output.values[..plane];
    let is_peak = |place: usize| {
        let (row, column) = (place / columns, place % columns);
        let beside = |at: usize, end: usize| at.saturating_sub(1)..(at + 2).min(end);
        let mut near =
            beside(row, rows).flat_map(|row| beside(column, columns).map(move |x| row * columns + x));
        near.all(|other| middles[place] >= middles[other])
    };
    let mut peaks: Vec<usize> = (0..plane).filter(|place| is_peak(*place)).collect();
    peaks.sort_by(|a, b| middles[*b].total_cmp(&middles[*a]));
    let (width, height) = (size.0 as usize, size.1 as usize);
    let mut data = vec![0; width * height * 3];
    for place in peaks.into_iter().take(LINES_MAX) {
        let likely = 1.0 / (1.0 + (-f64::from(middles[place])).exp());
        let [left, top, right, bottom] =
            [1, 2, 3, 4].map(|index| f64::from(output.values[index * plane + place]));
        let length = (right - left).hypot(bottom - top);
        if likely > value && length > distance {
            let (x, y) = ((place % columns) as f64, (place / columns) as f64);
            let scale = [width as f64 / columns as f64, height as f64 / rows as f64];
            let end = |across: f64, down: f64| [(x + across) * scale[0], (y + down) * scale[1]];
            line(&mut data, (width, height), end(left, top), end(right, bottom));
        }
    }
    Ok(Pixels { width: size.0, height: size.1, format: PixelFormat::Rgb8, data })
}

/// One pixel wide. Ends far outside, or that are no numbers, are a network's mistake and draw nothing.
fn line(data: &mut [u8], (width, height): (usize, usize), from: [f64; 2], to: [f64; 2]) {
    let far = 2.0 * width.max(height) as f64;
    if from.iter().chain(&to).any(|part| !(-far..=far).contains(part)) {
        return;
    }
    let (from, to) = (from.map(f64::trunc), to.map(f64::trunc));
    let [across, down] = [to[0] - from[0], to[1] - from[1]];
    let steps = across.abs().max(down.abs()).max(1.0);
    for step in 0..=steps as usize {
        let share = step as f64 / steps;
        let (x, y) = ((from[0] + across * share).round(), (from[1] + down * share).round());
        if (0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y) {
            data[(y as usize * width + x as usize) * 3..][..3].fill(255);
        }
    }
}
