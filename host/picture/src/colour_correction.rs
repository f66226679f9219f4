//! Colour correction of an image-to-image result: its colours spread as the init image's are, its light kept.

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::convert::to_rgb;
use crate::error::PictureError;
use crate::lab;

/// `result` with each Lab channel's histogram matched to that of `like` (any size), then given back the luminosity
/// it had. RGB of `result`'s size. Matches scikit-image's `match_histograms` between OpenCV's 8-bit Lab conversions,
/// then the W3C luminosity blend.
pub fn correct(result: &Pixels, like: &Pixels) -> Result<Pixels, PictureError> {
    let original = to_rgb(result)?;
    let lab = in_lab(&original);
    let wanted = in_lab(&to_rgb(like)?);
    let tables: [[u8; 256]; 3] =
        std::array::from_fn(|channel| matching(&histogram(&lab, channel), &histogram(&wanted, channel)));
    let mut data = Vec::with_capacity(original.data.len());
    for (lab, original) in lab.iter().zip(original.data.chunks_exact(3)) {
        let matched: [u8; 3] = std::array::from_fn(|channel| tables[channel][usize::from(lab[channel])]);
        data.extend(with_luminosity_of(lab::to_rgb(matched), [original[0], original[1], original[2]]));
    }
    Ok(Pixels { data, format: PixelFormat::Rgb8, ..original })
}

fn in_lab(rgb: &Pixels) -> Vec<[u8; 3]> {
    rgb.data.chunks_exact(3).map(|pixel| lab::from_rgb([pixel[0], pixel[1], pixel[2]])).collect()
}

fn histogram(pixels: &[[u8; 3]], channel: usize) -> [u64; 256] {
    let mut counts = [0; 256];
    for pixel in pixels {
        counts[usize::from(pixel[channel])] += 1;
    }
    counts
}

/// For each level of `source` the level that has the same share of pixels at or below it in `template`, interpolated
/// between the levels that occur there and cut to a whole number.
fn matching(source: &[u64; 256], template: &[u64; 256]) -> [u8; 256] {
    let source = shares(source);
    let template_shares = shares(template);
    let known: Vec<(f64, f64)> = (0..256)
        .filter(|&level| template[level] > 0)
        .map(|level| (template_shares[level], level as f64))
        .collect();
    source.map(|share| interpolated(share, &known) as u8)
}

fn shares(counts: &[u64; 256]) -> [f64; 256] {
    let total = counts.iter().sum::<u64>() as f64;
    let mut so_far = 0;
    counts.map(|count| {
        so_far += count;
        so_far as f64 / total
    })
}

/// The value at `x` on the line through `points`, which rise in x; flat beyond both ends.
fn interpolated(x: f64, points: &[(f64, f64)]) -> f64 {
    let after = points.partition_point(|point| point.0 <= x);
    let Some(&(x0, y0)) = after.checked_sub(1).and_then(|before| points.get(before)) else {
        return points.first().map_or(0.0, |point| point.1);
    };
    match points.get(after) {
        Some(&(x1, y1)) if x > x0 => (y1 - y0) / (x1 - x0) * (x - x0) + y0,
        _ => y0,
    }
}

fn luminosity(colour: [f64; 3]) -> f64 {
    colour[0] * 0.299 + colour[1] * 0.587 + colour[2] * 0.114
}

/// W3C compositing's SetLum and ClipColor in the range 0 to 1.
fn with_luminosity_of(colour: [u8; 3], light: [u8; 3]) -> [u8; 3] {
    let unit = |levels: [u8; 3]| levels.map(|level| f64::from(level) / 255.0);
    let colour = unit(colour);
    let shift = luminosity(unit(light)) - luminosity(colour);
    let mut moved = colour.map(|channel| channel + shift);
    let middle = luminosity(moved);
    let lowest = moved.into_iter().fold(f64::INFINITY, f64::min);
    let highest = moved.into_iter().fold(f64::NEG_INFINITY, f64::max);
    if lowest < 0.0 {
        moved = moved.map(|channel| middle + (channel - middle) * middle / (middle - lowest));
    }
    if highest > 1.0 {
        moved = moved.map(|channel| middle + (channel - middle) * (1.0 - middle) / (highest - middle));
    }
    // A grey that rounding alone put outside divides by zero; the cast makes that black or white as it should be.
    moved
        .map(|channel| if channel.is_nan() { middle } else { channel })
        .map(|c| (c * 255.0).round_ties_even() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_one_colour_takes_no_harm() {
        for level in [0, 1, 128, 254, 255] {
            let flat = Pixels::new(2, 2, PixelFormat::Gray8, vec![level; 4]).unwrap();
            let white = Pixels::new(1, 1, PixelFormat::Gray8, vec![255]).unwrap();
            let corrected = correct(&flat, &white).unwrap();
            assert!(corrected.data.iter().all(|&found| found.abs_diff(level) <= 1), "{level}: {corrected:?}");
        }
    }
}
