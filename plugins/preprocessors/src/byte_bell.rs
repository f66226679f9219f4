//! OpenCV's `GaussianBlur` of bytes, equal to the value: weights in 1/256, sums that lose nothing, rounded once at the
//! end. Other numbers are `bell`'s.
//!
//! Everything is summed in 16 bits, eight sums to a vector: the weights add up to 256, so that a sum of weighted bytes
//! fits. What was summed down the columns takes 16 bits itself, and its upper and lower bytes are summed along the row one
//! by one. Columns come first, so that a row is done when it is left and no picture lies between the two.

use gesso_core::pixels::Pixels;

use crate::bell::{bell, mirrored, mirrored_ends};

/// The weights' 1.
const ONE: u16 = 256;
/// Sums that are made at once: eight vectors, which stay in registers while the weights go by.
const BLOCK: usize = 64;

/// Blurred by a bell of `sigma` pixels, which reaches three sigmas; mirrored at the edges without repeating them.
pub(crate) fn blurred(picture: &Pixels, sigma: f64) -> Pixels {
    let reach = (((sigma * 6.0 + 1.0).round_ties_even() as usize) | 1) / 2;
    let weights = weights(sigma, reach);
    let (width, height) = (picture.width as usize, picture.height as usize);
    let channels = picture.format.channels();
    let row = width * channels;
    let along =
        Taps::new(&weights, |distance| [reach - distance, reach + distance].map(|pixel| pixel * channels));
    let ends = mirrored_ends(width, channels, reach);
    // A row with its mirrored ends, so that the sums have no cases.
    let margin = reach * channels;
    let mut wide = vec![0; row + 2 * margin];
    let (mut upper, mut lower) = (vec![0; wide.len()], vec![0; wide.len()]);
    let (mut upper_sums, mut lower_sums) = (vec![0; row], vec![0; row]);
    let mut data = vec![0; picture.data.len()];
    for (y, out) in data.chunks_exact_mut(row).enumerate() {
        let down = Taps::new(&weights, |distance| {
            let (y, distance) = (y as isize, distance as isize);
            [y - distance, y + distance].map(|y| mirrored(y, height) * row)
        });
        add_up(&picture.data, &down, &mut wide[margin..margin + row]);
        ends.iter().for_each(|(place, source)| wide[*place] = wide[*source]);
        for ((sum, upper), lower) in wide.iter().zip(&mut upper).zip(&mut lower) {
            (*upper, *lower) = ((*sum >> 8) as u8, *sum as u8);
        }
        add_up(&upper, &along, &mut upper_sums);
        add_up(&lower, &along, &mut lower_sums);
        for ((level, upper), lower) in out.iter_mut().zip(&upper_sums).zip(&lower_sums) {
            // 256 · upper + lower is the sum in 1/65536, half of one is added; the lowest byte carries nothing.
            *level = ((*upper + (*lower >> 8) + ONE / 2) >> 8) as u8;
        }
    }
    Pixels { data, ..*picture }
}

/// Where the values begin that are weighted and added up.
struct Taps {
    middle: (u16, usize),
    /// Those as far on the one side as on the other have the same weight, and are added before it is put to them.
    pairs: Vec<(u16, [usize; 2])>,
}

impl Taps {
    /// `weights` by their distance from the middle; `at` says where the values of a distance begin.
    fn new(weights: &[u16], at: impl Fn(usize) -> [usize; 2]) -> Self {
        let pairs = weights.iter().enumerate().skip(1).filter(|(_, weight)| **weight > 0);
        Self {
            middle: (weights[0], at(0)[0]),
            pairs: pairs.map(|(distance, weight)| (*weight, at(distance))).collect(),
        }
    }
}

/// A sum for each of `out`, whose values in `levels` are each as far from where the taps begin.
fn add_up(levels: &[u8], taps: &Taps, out: &mut [u16]) {
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let done = blocks.len() * BLOCK;
    for (index, block) in blocks.iter_mut().enumerate() {
        *block = sums(&levels[index * BLOCK..], taps);
    }
    for (index, sum) in rest.iter_mut().enumerate() {
        [*sum] = sums(&levels[done + index..], taps);
    }
}

fn sums<const COUNT: usize>(levels: &[u8], taps: &Taps) -> [u16; COUNT] {
    let mut sums = [0; COUNT];
    let (weight, middle) = taps.middle;
    let middle = &levels[middle..][..COUNT];
    for at in 0..COUNT {
        sums[at] = weight * u16::from(middle[at]);
    }
    for &(weight, [before, behind]) in &taps.pairs {
        let (before, behind) = (&levels[before..][..COUNT], &levels[behind..][..COUNT]);
        for at in 0..COUNT {
            sums[at] += weight * (u16::from(before[at]) + u16::from(behind[at]));
        }
    }
    sums
}

/// By their distance from the middle, each outer one standing for two; together they are 1. What rounding takes from a
/// weight its neighbour gets, from the outermost to the middle, as OpenCV has it.
fn weights(sigma: f64, reach: usize) -> Vec<u16> {
    let bell = bell(sigma, reach);
    let (mut owed, mut rest) = (0.0, ONE);
    let mut weights = vec![0; reach + 1];
    for distance in (1..=reach).rev() {
        let exact = bell[reach + distance] * f64::from(ONE) + owed;
        let rounded = exact.round_ties_even();
        owed = exact - rounded;
        weights[distance] = rounded as u16;
        rest -= 2 * weights[distance];
    }
    weights[0] = rest;
    weights
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;
    use gesso_plugin::Random;

    use super::*;

    /// Every place by itself, over both directions at once.
    fn blurred_by_hand(picture: &Pixels, sigma: f64) -> Vec<u8> {
        let reach = (((sigma * 6.0 + 1.0).round_ties_even() as usize) | 1) / 2;
        let weights = weights(sigma, reach);
        let (width, height) = (picture.width as usize, picture.height as usize);
        let channels = picture.format.channels();
        let (far, mut data) = (reach as isize, Vec::new());
        for place in 0..picture.data.len() {
            let (x, y, channel) = (place / channels % width, place / channels / width, place % channels);
            let mut sum = 0_u32;
            for below in -far..=far {
                for right in -far..=far {
                    let (x, y) = (x as isize + right, y as isize + below);
                    let source = mirrored(y, height) * width + mirrored(x, width);
                    let weight = [below, right].map(|step| u32::from(weights[step.unsigned_abs()]));
                    sum += weight[0] * weight[1] * u32::from(picture.data[source * channels + channel]);
                }
            }
            data.push(((sum + (1 << 15)) >> 16) as u8);
        }
        data
    }

    #[test]
    fn sums_in_sixteen_bits_are_those_of_whole_products() {
        let mut random = Random::new(3, 0);
        for (width, height, format) in [
            (1, 1, PixelFormat::Rgb8),
            (1, 9, PixelFormat::Gray8),
            (70, 2, PixelFormat::Gray8),
            (23, 12, PixelFormat::Rgb8),
            (17, 5, PixelFormat::Rgba8),
        ] {
            let count = width as usize * height as usize * format.channels();
            // Only the brightest show a sum that is too large.
            for levels in [256, 1] {
                let data = (0..count).map(|_| 255 - random.below(levels) as u8).collect();
                let picture = Pixels { width, height, format, data };
                for sigma in [0.01, 0.7, 2.0, 9.0] {
                    let by_hand = blurred_by_hand(&picture, sigma);
                    assert_eq!(blurred(&picture, sigma).data, by_hand, "{width}x{height}, {sigma}");
                }
            }
        }
    }

    #[test]
    fn weights_are_opencvs_and_together_they_are_one() {
        assert_eq!(weights(2.0, 3), [56, 48, 34, 18]);
        for tenths in 1..=640 {
            let sigma = f64::from(tenths) / 10.0;
            let weights = weights(sigma, (sigma * 3.0).ceil() as usize);
            assert_eq!(weights[0] + 2 * weights[1..].iter().sum::<u16>(), ONE, "{sigma}");
        }
    }
}
