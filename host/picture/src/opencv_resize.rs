//! OpenCV's `cv2.resize` of 8-bit data with the filters that control maps and the search for faces need, equal to the
//! x86 wheels.
//!
//! Not interchangeable with `resize`, which is Pillow's: OpenCV's cubic has another bell (a = -0.75), does not widen
//! it when it shrinks, and does not clip between rows and columns. Builds without IPP round the cubic weights to
//! 1/2048 and differ from this by one level at a few per cent of the pixels.

use gesso_core::pixels::Pixels;

use crate::error::{PictureError, size, sound};

/// `INTER_NEAREST`, `INTER_CUBIC`, `INTER_AREA` and `INTER_LANCZOS4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpencvFilter {
    Nearest,
    Cubic,
    /// The mean over the covered area when neither side grows, else bilinear with OpenCV's area weights.
    Area,
    /// Eight taps either way, however much it shrinks.
    Lanczos4,
}

/// `picture` at exactly `width` x `height` pixels, each channel on its own.
pub fn opencv_resize(
    picture: &Pixels,
    width: u32,
    height: u32,
    filter: OpencvFilter,
) -> Result<Pixels, PictureError> {
    sound(picture)?;
    let (width, height) = size(u64::from(width), u64::from(height))?;
    if (width, height) == (picture.width, picture.height) {
        return Ok(picture.clone());
    }
    let grows = width > picture.width || height > picture.height;
    let whole = picture.width.is_multiple_of(width) && picture.height.is_multiple_of(height);
    let both = |taps: fn(u32, u32) -> Vec<Taps>| (taps(picture.width, width), taps(picture.height, height));
    let data = match filter {
        OpencvFilter::Nearest => summed(picture, both(nearest_taps)),
        OpencvFilter::Cubic => summed(picture, both(cubic_taps)),
        OpencvFilter::Lanczos4 => fixed(picture, both(lanczos_taps)),
        OpencvFilter::Area if grows => linear(picture, both(area_linear_taps)),
        OpencvFilter::Area if whole => block_means(picture, width, height),
        OpencvFilter::Area => summed(picture, both(area_taps)),
    };
    Ok(Pixels { width, height, format: picture.format, data })
}

/// Which source pixels make a target pixel, and how much of each.
type Taps = Vec<(usize, f32)>;

/// The sum over the taps of `columns`, then of `rows`, in single precision; rounded once at the end, halves to even.
fn summed(picture: &Pixels, (columns, rows): (Vec<Taps>, Vec<Taps>)) -> Vec<u8> {
    let row_bytes = columns.len() * picture.format.channels();
    // Source rows are stretched once, when first needed, and dropped when no later row can need them.
    let mut lines: Vec<Option<Vec<f32>>> = vec![None; picture.height as usize];
    let mut data = Vec::with_capacity(row_bytes * rows.len());
    let mut sums = vec![0.0_f32; row_bytes];
    for taps in &rows {
        sums.fill(0.0);
        for &(row, weight) in taps {
            let line = lines[row].get_or_insert_with(|| summed_row(picture, row, &columns));
            sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += *value * weight);
        }
        data.extend(sums.iter().map(|sum| sum.round_ties_even() as u8));
        let first = taps.iter().map(|tap| tap.0).min().unwrap_or_default();
        // The lines before it were dropped in earlier rounds.
        lines[..first].iter_mut().rev().map_while(Option::take).for_each(drop);
    }
    data
}

fn source_row(picture: &Pixels, row: usize) -> &[u8] {
    let row_bytes = picture.width as usize * picture.format.channels();
    &picture.data[row * row_bytes..(row + 1) * row_bytes]
}

fn summed_row(picture: &Pixels, row: usize, columns: &[Taps]) -> Vec<f32> {
    let channels = picture.format.channels();
    let source = source_row(picture, row);
    let mut line = vec![0.0; columns.len() * channels];
    for (target, taps) in line.chunks_exact_mut(channels).zip(columns) {
        for &(column, weight) in taps {
            let pixel = &source[column * channels..(column + 1) * channels];
            target.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += f32::from(value) * weight);
        }
    }
    line
}

fn nearest_taps(from: u32, to: u32) -> Vec<Taps> {
    let step = f64::from(from) / f64::from(to);
    let source = |target: u32| ((f64::from(target) * step) as usize).min(from as usize - 1);
    (0..to).map(|target| vec![(source(target), 1.0)]).collect()
}

fn cubic_taps(from: u32, to: u32) -> Vec<Taps> {
    const A: f32 = -0.75;
    let step = f64::from(from) / f64::from(to);
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    (0..to)
        .map(|target| {
            let centre = ((f64::from(target) + 0.5) * step - 0.5) as f32;
            let first = centre.floor();
            let x = centre - first;
            let mut weights = [far(x + 1.0), near(x), near(1.0 - x), 0.0];
            weights[3] = 1.0 - weights[0] - weights[1] - weights[2];
            let at = |tap: usize| (first as i64 + tap as i64 - 1).clamp(0, i64::from(from) - 1) as usize;
            weights.iter().enumerate().map(|(tap, &weight)| (at(tap), weight)).collect()
        })
        .collect()
}

/// Lanczos's bell over four pixels either way, its weights in 1/2048.
fn lanczos_taps(from: u32, to: u32) -> Vec<Taps> {
    use std::f64::consts::PI;
    const REACH: i64 = 4;
    let step = f64::from(from) / f64::from(to);
    let weight = |x: f64| match x.abs() {
        near if near < 1e-6 => 1.0,
        _ => (PI * x).sin() * (PI * x / REACH as f64).sin() * REACH as f64 / (PI * x).powi(2),
    };
    (0..to)
        .map(|target| {
            // Single precision, as in OpenCV.
            let centre = ((f64::from(target) + 0.5) * step - 0.5) as f32;
            let first = centre.floor();
            let x = f64::from(centre - first);
            let weights = (1 - REACH..=REACH).map(|tap| (tap, weight(tap as f64 - x)));
            let total: f64 = weights.clone().map(|(_, weight)| weight).sum();
            let at = |tap: i64| (first as i64 + tap).clamp(0, i64::from(from) - 1) as usize;
            weights.map(|(tap, weight)| (at(tap), (weight / total) as f32)).collect()
        })
        .collect()
}

/// The sum over the taps in OpenCV's fixed point: weights in 1/2048, rounded half up once at the end.
fn fixed(picture: &Pixels, (columns, rows): (Vec<Taps>, Vec<Taps>)) -> Vec<u8> {
    let weights = |taps: Vec<Taps>| -> Vec<Vec<(usize, i32)>> {
        let fixed = |(at, weight): (usize, f32)| (at, (weight * 2048.0).round_ties_even() as i32);
        taps.into_iter().map(|taps| taps.into_iter().map(fixed).collect()).collect()
    };
    let (columns, rows) = (weights(columns), weights(rows));
    let channels = picture.format.channels();
    let stretch = |row: usize| -> Vec<i32> {
        let source = source_row(picture, row);
        let value = |taps: &[(usize, i32)], channel: usize| {
            taps.iter().map(|&(at, weight)| i32::from(source[at * channels + channel]) * weight).sum()
        };
        columns.iter().flat_map(|taps| (0..channels).map(move |channel| value(taps, channel))).collect()
    };
    // Source rows are stretched once, when first needed, and dropped when no later row can need them.
    let mut lines: Vec<Option<Vec<i32>>> = vec![None; picture.height as usize];
    let row_bytes = columns.len() * channels;
    let mut data = Vec::with_capacity(row_bytes * rows.len());
    let mut sums = vec![0_i32; row_bytes];
    for taps in &rows {
        // Half of the last place.
        sums.fill(1 << 21);
        for &(row, weight) in taps {
            let line = lines[row].get_or_insert_with(|| stretch(row));
            sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += *value * weight);
        }
        data.extend(sums.iter().map(|sum| (sum >> 22).clamp(0, 255) as u8));
        let first = taps.iter().map(|tap| tap.0).min().unwrap_or_default();
        lines[..first].iter_mut().rev().map_while(Option::take).for_each(drop);
    }
    data
}

/// Overlaps below this much of a pixel are dropped.
const SLIVER: f64 = 1e-3;

fn area_taps(from: u32, to: u32) -> Vec<Taps> {
    let step = f64::from(from) / f64::from(to);
    (0..to)
        .map(|target| {
            let (start, end) = (f64::from(target) * step, f64::from(target) * step + step);
            let cell = step.min(f64::from(from) - start);
            let last_whole = (end.floor() as usize).min(from as usize - 1);
            let first_whole = (start.ceil() as usize).min(last_whole);
            let mut taps = Taps::new();
            if first_whole as f64 - start > SLIVER {
                taps.push((first_whole - 1, ((first_whole as f64 - start) / cell) as f32));
            }
            taps.extend((first_whole..last_whole).map(|whole| (whole, (1.0 / cell) as f32)));
            let rest = end - last_whole as f64;
            if rest > SLIVER {
                taps.push((last_whole, (rest.min(1.0).min(cell) / cell) as f32));
            }
            taps
        })
        .collect()
}

/// Blocks of whole pixels: OpenCV sums integers, and rounds the mean of 2 x 2 half up but any other half to even.
fn block_means(picture: &Pixels, width: u32, height: u32) -> Vec<u8> {
    let channels = picture.format.channels();
    let (across, down) = ((picture.width / width) as usize, (picture.height / height) as usize);
    let share = 1.0 / (across * down) as f32;
    let mut data = Vec::with_capacity(width as usize * height as usize * channels);
    let mut sums = vec![0_u32; width as usize * channels];
    for target_row in 0..height as usize {
        sums.fill(0);
        for row in target_row * down..(target_row + 1) * down {
            let blocks = source_row(picture, row).chunks_exact(across * channels);
            for (sums, block) in sums.chunks_exact_mut(channels).zip(blocks) {
                for pixel in block.chunks_exact(channels) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u32::from(value));
                }
            }
        }
        let mean = |&sum: &u32| match (across, down) {
            (2, 2) => ((sum + 2) >> 2) as u8,
            _ => (sum as f32 * share).round_ties_even() as u8,
        };
        data.extend(sums.iter().map(mean));
    }
    data
}

/// What OpenCV makes of `INTER_AREA` when a side grows: every source pixel keeps its area, and only target pixels
/// that straddle two of them are mixed.
fn area_linear_taps(from: u32, to: u32) -> Vec<Taps> {
    let step = f64::from(from) / f64::from(to);
    let inverse = f64::from(to) / f64::from(from);
    (0..to)
        .map(|target| {
            let first = (f64::from(target) * step).floor();
            let share = (f64::from(target + 1) - (first + 1.0) * inverse) as f32;
            let share = if share <= 0.0 { 0.0 } else { share - share.floor() };
            let last = from as usize - 1;
            let first = (first as usize).min(last);
            vec![(first, 1.0 - share), ((first + 1).min(last), share)]
        })
        .collect()
}

/// Two taps either way in OpenCV's fixed point: weights in 1/2048, the product cut back to 16 bits on the way.
fn linear(picture: &Pixels, (columns, rows): (Vec<Taps>, Vec<Taps>)) -> Vec<u8> {
    let fixed = |weight: f32| (weight * 2048.0).round_ties_even() as i32;
    let channels = picture.format.channels();
    let stretched = |row: usize| -> Vec<i32> {
        let source = source_row(picture, row);
        let value = |taps: &Taps, channel: usize| {
            taps.iter().map(|&(at, weight)| i32::from(source[at * channels + channel]) * fixed(weight)).sum()
        };
        columns.iter().flat_map(|taps| (0..channels).map(move |channel| value(taps, channel))).collect()
    };
    let mut data = Vec::with_capacity(rows.len() * columns.len() * channels);
    let mut last: Option<(usize, Vec<i32>, Vec<i32>)> = None;
    for taps in &rows {
        let [(first, first_weight), (second, second_weight)] = [taps[0], taps[1]];
        if last.as_ref().is_none_or(|last| last.0 != first) {
            last = Some((first, stretched(first), stretched(second)));
        }
        let (first_weight, second_weight) = (fixed(first_weight), fixed(second_weight));
        let part = |value: i32, weight: i32| (weight * (value >> 4)) >> 16;
        if let Some((_, above, below)) = &last {
            let mixed = above.iter().zip(below).map(|(&a, &b)| {
                ((part(a, first_weight) + part(b, second_weight) + 2) >> 2).clamp(0, 255) as u8
            });
            data.extend(mixed);
        }
    }
    data
}
