//! Control maps into the size that is drawn at: ControlNet's three resize modes and its "pixel perfect" resolution.
//!
//! A map carries meaning in exact colours and thin lines, which smooth resampling destroys; so a map of few colours
//! is resampled by nearest neighbour and a map of two is made black and white again. Ordinary pictures: `fit`.

use std::collections::HashSet;

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::composite::{Rect, blank, crop, paste};
use crate::convert::{to_rgb, to_rgba};
use crate::error::{PictureError, size, sound};
use crate::opencv_resize::{OpencvFilter, opencv_resize};
use crate::thin::{is_mostly_lines, otsu, thinned};

/// A unit's `resize_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlFit {
    JustResize,
    CropAndResize,
    ResizeAndFill,
}

/// With this many colours a map is shades, with fewer it is labels.
const SHADES: usize = 200;

/// `map` at `width` x `height` pixels, RGB, or RGBA if it came with alpha, which is a mask and becomes 0 or 255.
pub fn control_fit(map: &Pixels, width: u32, height: u32, mode: ControlFit) -> Result<Pixels, PictureError> {
    sound(map)?;
    let (width, height) = size(u64::from(width), u64::from(height))?;
    let map = if map.format == PixelFormat::Rgba8 { map.clone() } else { to_rgb(map)? };
    let across = f64::from(width) / f64::from(map.width);
    let down = f64::from(height) / f64::from(map.height);
    let scaled = |scale: f64| {
        let side = |side: u32| (f64::from(side) * scale).round_ties_even().max(1.0) as u64;
        size(side(map.width), side(map.height))
    };
    match mode {
        ControlFit::JustResize => resized(&map, width, height),
        ControlFit::CropAndResize => {
            let (covering_width, covering_height) = scaled(across.max(down))?;
            let covering = resized(&map, covering_width, covering_height)?;
            let (x, y) =
                ((covering_width.saturating_sub(width)) / 2, covering_height.saturating_sub(height) / 2);
            let rect = Rect { x, y, width: width.min(covering_width), height: height.min(covering_height) };
            crop(&covering, rect)
        }
        ControlFit::ResizeAndFill => {
            let (inner_width, inner_height) = scaled(across.min(down))?;
            let inner = resized(&map, inner_width, inner_height)?;
            let mut filled = blank(width, height, map.format, &border_colour(&map))?;
            let place = |outer: u32, inner: u32| i64::from(outer.saturating_sub(inner) / 2);
            paste(&mut filled, &inner, place(width, inner_width), place(height, inner_height));
            Ok(filled)
        }
    }
}

/// The resolution at which a preprocessor loses nothing for a target of `width` x `height` pixels ("pixel perfect"):
/// the short side of `picture` (width first) times the scale that the mode will apply.
pub fn pixel_perfect(
    picture: (u32, u32),
    width: u32,
    height: u32,
    mode: ControlFit,
) -> Result<u32, PictureError> {
    let picture = size(u64::from(picture.0), u64::from(picture.1))?;
    let (across, down) = (f64::from(width) / f64::from(picture.0), f64::from(height) / f64::from(picture.1));
    let scale = if mode == ControlFit::ResizeAndFill { across.min(down) } else { across.max(down) };
    Ok((scale * f64::from(picture.0.min(picture.1))).round_ties_even() as u32)
}

/// The median of each channel over the outermost rows and columns; a mask's border is white.
fn border_colour(map: &Pixels) -> Vec<u8> {
    let channels = map.format.channels();
    let (width, height) = (map.width as usize, map.height as usize);
    let row = |y: usize| (0..width).map(move |x| (x, y));
    let column = |x: usize| (0..height).map(move |y| (x, y));
    let border: Vec<(usize, usize)> =
        row(0).chain(row(height - 1)).chain(column(0)).chain(column(width - 1)).collect();
    let median = |channel: usize| {
        let mut levels: Vec<u8> =
            border.iter().map(|&(x, y)| map.data[(y * width + x) * channels + channel]).collect();
        levels.sort_unstable();
        // The border always has an even number of pixels.
        ((u16::from(levels[levels.len() / 2 - 1]) + u16::from(levels[levels.len() / 2])) / 2) as u8
    };
    (0..channels).map(|channel| if channel == 3 { 255 } else { median(channel) }).collect()
}

/// `map` resampled by what its colours allow.
fn resized(map: &Pixels, width: u32, height: u32) -> Result<Pixels, PictureError> {
    if (width, height) == (map.width, map.height) {
        return Ok(map.clone());
    }
    let areas = |width: u32, height: u32| u64::from(width) * u64::from(height);
    let (before, after) = (areas(map.width, map.height), areas(width, height));
    let colours = to_rgb(map)?;
    let count = distinct_colours(&colours, SHADES);
    let is_labels = count > 2 && count < SHADES;
    let filter = match after < before {
        _ if is_labels => OpencvFilter::Nearest,
        true => OpencvFilter::Area,
        false => OpencvFilter::Cubic,
    };
    let mut result = opencv_resize(&colours, width, height, filter)?;
    let is_binary = count == 2
        && colours.data.iter().min().is_some_and(|&level| level < 16)
        && colours.data.iter().max().is_some_and(|&level| level > 240);
    if is_binary {
        let lines = is_mostly_lines(&channel_mean(&colours));
        let gray = channel_mean(&result);
        let black_and_white = if lines { thinned(&gray, after > before) } else { otsu(&gray) };
        result = to_rgb(&black_and_white)?;
    }
    if map.format != PixelFormat::Rgba8 {
        return Ok(result);
    }
    let alpha = map.data.chunks_exact(4).map(|pixel| pixel[3]).collect();
    let alpha = Pixels { format: PixelFormat::Gray8, data: alpha, ..*map };
    let alpha = opencv_resize(&alpha, width, height, filter)?;
    let mut result = to_rgba(&result)?;
    for (pixel, level) in result.data.chunks_exact_mut(4).zip(alpha.data) {
        pixel[3] = if level > 127 { 255 } else { 0 };
    }
    Ok(result)
}

/// How many colours an RGB picture has, counted up to `enough`.
fn distinct_colours(rgb: &Pixels, enough: usize) -> usize {
    let mut seen = HashSet::new();
    for pixel in rgb.data.chunks_exact(3) {
        seen.insert([pixel[0], pixel[1], pixel[2]]);
        if seen.len() >= enough {
            break;
        }
    }
    seen.len()
}

/// The mean of the three channels, rounded down.
fn channel_mean(rgb: &Pixels) -> Pixels {
    let mean = |pixel: &[u8]| (pixel.iter().map(|&level| u16::from(level)).sum::<u16>() / 3) as u8;
    Pixels { format: PixelFormat::Gray8, data: rgb.data.chunks_exact(3).map(mean).collect(), ..*rgb }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pixel_perfect_resolution_follows_the_mode() {
        let of = |mode| pixel_perfect((640, 480), 512, 512, mode).unwrap();
        assert_eq!(of(ControlFit::ResizeAndFill), 384);
        assert_eq!(of(ControlFit::CropAndResize), 512);
        assert_eq!(of(ControlFit::JustResize), 512);
        assert!(pixel_perfect((0, 480), 512, 512, ControlFit::JustResize).is_err());
    }
}
