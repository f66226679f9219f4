//! Two blurs that web UIs depend on: Pillow's `GaussianBlur` and OpenCV's `GaussianBlur` along one axis.
//!
//! They are different filters. Pillow approximates the bell by three passes of a box with fractional edges, the edge
//! pixels repeated outside; OpenCV convolves with a sampled bell, mirrored outside. Both are exact to the bit.

use gesso_core::pixels::Pixels;

use crate::error::{PictureError, in_range, sound};

/// The largest radius or sigma; more than any picture is wide makes no difference.
const RADIUS_MAX: f64 = 4096.0;

/// Passes of the box that make the bell.
const PASSES: u32 = 3;

/// Pillow's `ImageFilter.GaussianBlur(radius)` in every channel. `radius` is the bell's sigma in pixels, 0 to 4096.
pub fn pillow_gaussian(picture: &Pixels, radius: f64) -> Result<Pixels, PictureError> {
    sound(picture)?;
    in_range("The blur radius", radius, 0.0, RADIUS_MAX)?;
    let mut result = picture.clone();
    if radius > 0.0 {
        let weights = BoxWeights::of_sigma(radius as f32);
        let channels = picture.format.channels();
        let row_bytes = picture.width as usize * channels;
        let mut scratch = result.data.clone();
        for _ in 0..PASSES {
            for (from, to) in result.data.chunks_exact(row_bytes).zip(scratch.chunks_exact_mut(row_bytes)) {
                weights.along_row(from, to, channels);
            }
            std::mem::swap(&mut result.data, &mut scratch);
        }
        for _ in 0..PASSES {
            weights.down_columns(&result.data, &mut scratch, row_bytes);
            std::mem::swap(&mut result.data, &mut scratch);
        }
    }
    Ok(result)
}

/// A box of `2 * radius + 1` whole pixels and a fraction of one more at either end, in 8.24 fixed point.
struct BoxWeights {
    radius: usize,
    whole: u32,
    fraction: u32,
}

impl BoxWeights {
    /// The box of which [`PASSES`] passes have the variance of a bell: Gwosdek et al., "Theoretical Foundations of
    /// Gaussian Convolution by Extended Box Filtering", equations 7, 11 and 14. Single precision as in Pillow.
    fn of_sigma(sigma: f32) -> Self {
        let variance = sigma * sigma / PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let mut part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
        part /= 6.0 * (variance - (whole + 1.0) * (whole + 1.0));
        let radius = whole + part;
        let one = (1_u32 << 24) as f32;
        let weight = (one / (radius * 2.0 + 1.0)) as u32;
        let reach = radius as u32;
        Self { radius: reach as usize, whole: weight, fraction: ((1 << 24) - (reach * 2 + 1) * weight) / 2 }
    }

    fn output(&self, sum: u32, before: u8, after: u8) -> u8 {
        let ends = u32::from(before) + u32::from(after);
        // The weights add up to at most 2^24, so the sum stays below 2^32.
        ((sum * self.whole + ends * self.fraction + (1 << 23)) >> 24) as u8
    }

    fn along_row(&self, from: &[u8], to: &mut [u8], channels: usize) {
        let length = from.len() / channels;
        let clamped = |index: isize| index.clamp(0, length as isize - 1) as usize * channels;
        let radius = self.radius as isize;
        for channel in 0..channels {
            let at = |index: isize| from[clamped(index) + channel];
            let mut sum: u32 = (-radius..=radius).map(|index| u32::from(at(index))).sum();
            for index in 0..length as isize {
                let (before, after) = (at(index - radius - 1), at(index + radius + 1));
                to[index as usize * channels + channel] = self.output(sum, before, after);
                sum = sum + u32::from(after) - u32::from(at(index - radius));
            }
        }
    }

    /// All columns at once, a row at a time, so that memory is read in order.
    fn down_columns(&self, from: &[u8], to: &mut [u8], row_bytes: usize) {
        let rows = from.len() / row_bytes;
        let row = |index: isize| {
            let start = index.clamp(0, rows as isize - 1) as usize * row_bytes;
            &from[start..start + row_bytes]
        };
        let radius = self.radius as isize;
        let mut sums = vec![0_u32; row_bytes];
        for index in -radius..=radius {
            sums.iter_mut().zip(row(index)).for_each(|(sum, &value)| *sum += u32::from(value));
        }
        for (index, target) in to.chunks_exact_mut(row_bytes).enumerate() {
            let index = index as isize;
            let ends = row(index - radius - 1).iter().zip(row(index + radius + 1)).zip(row(index - radius));
            for ((sum, target), ((&before, &after), &first)) in sums.iter_mut().zip(target).zip(ends) {
                *target = self.output(*sum, before, after);
                *sum = *sum + u32::from(after) - u32::from(first);
            }
        }
    }
}

/// An axis of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    Horizontal,
    Vertical,
}

/// OpenCV's `GaussianBlur` of 8-bit data along one axis: sigma in pixels (above 0, at most 4096), a kernel of
/// `2 * int(2.5 * sigma + 0.5) + 1` taps in 8-bit fixed point, mirrored without repeating the edge (reflect-101).
pub fn opencv_gaussian(picture: &Pixels, sigma: f64, axis: Axis) -> Result<Pixels, PictureError> {
    sound(picture)?;
    in_range("The mask blur", sigma, f64::MIN_POSITIVE, RADIUS_MAX)?;
    let taps = bell_taps(sigma);
    let channels = picture.format.channels();
    let (length, step, lines, line_step) = match axis {
        Axis::Horizontal => (picture.width, channels, picture.height, picture.width as usize * channels),
        Axis::Vertical => (picture.height, picture.width as usize * channels, 1, 0),
    };
    let length = length as usize;
    let mut result = picture.clone();
    // Vertically the "pixel" is a whole row: the same walk with a longer step.
    for line in 0..lines as usize {
        let start = line * line_step;
        let source = &picture.data[start..];
        let mut sums = vec![0_u32; step];
        for index in 0..length {
            sums.fill(1 << 7);
            for (tap, &weight) in taps.iter().enumerate() {
                let at = mirrored(index as isize + tap as isize - taps.len() as isize / 2, length);
                let values = &source[at * step..(at + 1) * step];
                sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += u32::from(value) * weight);
            }
            let target = &mut result.data[start + index * step..start + (index + 1) * step];
            target.iter_mut().zip(&sums).for_each(|(target, sum)| *target = (sum >> 8).min(255) as u8);
        }
    }
    Ok(result)
}

/// Reflection at the outermost pixels, as often as needed: `dcb|abcd|cba`.
fn mirrored(index: isize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let last = length as isize - 1;
    let wrapped = index.rem_euclid(2 * last);
    wrapped.min(2 * last - wrapped) as usize
}

/// The sampled bell in 1/256, each rounding error carried to the next tap and the rest given to the middle.
fn bell_taps(sigma: f64) -> Vec<u32> {
    let half = (2.5 * sigma + 0.5) as usize;
    let count = 2 * half + 1;
    let bell: Vec<f64> = (0..count)
        .map(|tap| {
            let x = tap as f64 - half as f64;
            (-0.5 / (sigma * sigma) * x * x).exp()
        })
        .collect();
    let total = 1.0 / bell.iter().sum::<f64>();
    let mut taps = vec![0; count];
    let (mut error, mut used) = (0.0, 0);
    for tap in 0..half {
        let wanted = bell[tap] * total * 256.0 + error;
        let rounded = wanted.round_ties_even();
        error = wanted - rounded;
        taps[tap] = rounded as u32;
        taps[count - 1 - tap] = rounded as u32;
        used += 2 * rounded as u32;
    }
    taps[half] = 256_u32.saturating_sub(used);
    taps
}
