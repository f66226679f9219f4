//! Which way surfaces face, told from how near they are: what ControlNet's first annotator makes of MiDaS' depth
//! (lllyasviel/ControlNet, Apache-2.0). Asked by `output`; knows no network.

use super::output::range;
use crate::bell::mirrored;

/// How far every direction points at the camera, beside what Sobel's operator makes of the network's numbers.
const TOWARDS: f32 = 2.0 * std::f32::consts::PI;

/// Colours of three bytes: red for towards the camera, green for down and blue for across, as the network for these maps
/// is fed. What is farther than `background`, a share of the picture's range, faces the camera.
pub(super) fn coloured(nearness: &[f32], width: usize, background: f32) -> Vec<u8> {
    let height = nearness.len() / width.max(1);
    let (least, most) = range(nearness);
    let span = (most - least).max(f32::MIN_POSITIVE);
    let around = |place: isize, length: usize| [-1, 0, 1].map(|step| mirrored(place + step, length));
    let columns: Vec<[usize; 3]> = (0..width as isize).map(|column| around(column, width)).collect();
    let mut colours = Vec::with_capacity(3 * nearness.len());
    for row in 0..height as isize {
        let [above, here, below] = around(row, height).map(|row| &nearness[row * width..][..width]);
        for &[left, middle, right] in &columns {
            let is_far = (here[middle] - least) / span < background;
            let [across, down] = if is_far {
                [0.0; 2]
            } else {
                let along = |row: &[f32]| row[right] - row[left];
                let change = |column: usize| below[column] - above[column];
                [
                    along(above) + 2.0 * along(here) + along(below),
                    change(left) + 2.0 * change(middle) + change(right),
                ]
            };
            let length = (across * across + down * down + TOWARDS * TOWARDS).sqrt();
            // Truncated, as numpy's `astype` has it.
            colours.extend([TOWARDS, down, across].map(|part| (part / length * 127.5 + 127.5) as u8));
        }
    }
    colours
}
