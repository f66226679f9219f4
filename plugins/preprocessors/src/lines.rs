//! Maps of light and dark: lines by differences of bells, and a plain threshold. White lines on black.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin::Fault;

use crate::bell::{Floats, float_reach};

/// Differences of a narrow and a wide bell (Winnemöller 2011 calls the family XDoG): what is darker than its
/// surroundings by more than about half of `threshold` is a line.
pub(crate) fn xdog(picture: &Pixels, threshold: f64) -> Result<Pixels, Fault> {
    const NARROW: f64 = 0.5;
    const WIDE: f64 = 5.0;
    let floats = Floats::of(picture)?;
    let blurred = |sigma| floats.blurred(sigma, float_reach(sigma));
    let (narrow, wide) = (blurred(NARROW), blurred(WIDE));
    let least = |place: usize| least_of(&wide.values, &narrow.values, place, floats.channels);
    Ok(grey(picture, |place| {
        let difference = (255.0 - least(place)).clamp(0.0, 255.0) as u8;
        if 2.0 * f64::from(255 - difference) > threshold { 255 } else { 0 }
    }))
}

/// What is darker than its surroundings, in shades.
pub(crate) fn standard(picture: &Pixels) -> Result<Pixels, Fault> {
    const SIGMA: f64 = 6.0;
    const PAPER: f32 = 8.0;
    let shades = shades(picture, SIGMA, PAPER)?;
    Ok(grey(picture, |place| shades[place]))
}

/// How much darker each place is than its surroundings, which are as wide as a bell of `sigma` pixels; brought to a common
/// strength by the median. Differences up to `paper` are paper, and no lines.
pub(crate) fn shades(picture: &Pixels, sigma: f64, paper: f32) -> Result<Vec<u8>, Fault> {
    const STRENGTH_MIN: f32 = 16.0;
    const STRENGTH: f32 = 127.0;
    let floats = Floats::of(picture)?;
    let wide = floats.blurred(sigma, float_reach(sigma));
    let count = floats.values.len() / floats.channels;
    let intensity: Vec<f32> = (0..count)
        .map(|place| least_of(&wide.values, &floats.values, place, floats.channels).clamp(0.0, 255.0))
        .collect();
    let strength = median(intensity.iter().copied().filter(|value| *value > paper).collect());
    let strength = strength.map_or(STRENGTH_MIN, |median| median.max(STRENGTH_MIN));
    let shade = |value: &f32| (value / strength * STRENGTH).clamp(0.0, 255.0) as u8;
    Ok(intensity.iter().map(shade).collect())
}

/// White where every channel is above `level`.
pub(crate) fn threshold(picture: &Pixels, level: f64) -> Pixels {
    let channels = picture.format.channels();
    grey(picture, |place| {
        let pixel = &picture.data[place * channels..(place + 1) * channels];
        if pixel.iter().all(|value| f64::from(*value) > level) { 255 } else { 0 }
    })
}

/// The least of `a - b` over the channels of a place.
fn least_of(a: &[f32], b: &[f32], place: usize, channels: usize) -> f32 {
    let range = place * channels..(place + 1) * channels;
    a[range.clone()].iter().zip(&b[range]).map(|(a, b)| a - b).fold(f32::INFINITY, f32::min)
}

/// The mean of the middle two of an even number; `None` of nothing.
fn median(mut values: Vec<f32>) -> Option<f32> {
    let middle = values.len() / 2;
    values.sort_by(f32::total_cmp);
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some((values[middle - 1] + upper) / 2.0) }
}

/// A grey picture of the size of `picture`.
fn grey(picture: &Pixels, level: impl Fn(usize) -> u8) -> Pixels {
    let count = picture.width as usize * picture.height as usize;
    let data = (0..count).map(level).collect();
    Pixels { width: picture.width, height: picture.height, format: PixelFormat::Gray8, data }
}
