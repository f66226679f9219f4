//! Noise that looks like a part of a picture without showing anything of it: a random phase texture (Galerne, Gousseau and
//! Morel, "Random Phase Textures", 2011). The part's spectrum keeps its magnitudes and gets random phases, and the noise then
//! gets the part's own levels. Knows nothing of where the noise goes.

use std::f64::consts::TAU;

use gesso_plugin::Random;
use rustfft::num_complex::Complex32;
use rustfft::{FftDirection, FftPlanner};

use crate::tiles::{CHANNELS, Pixels};

/// How noise differs from the part of a picture that it is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Texture {
    /// Of the magnitudes, which fall off with frequency: 1 for the part's own, less for finer noise, more for smoother.
    pub(crate) exponent: f32,
    /// How far the phases of a channel stray from those that all share: at 0 colours go together as in the part, at 1 each
    /// channel goes its own way.
    pub(crate) colour_variation: f32,
}

impl Texture {
    /// Noise of the size of `part`, with as many pixels of each level as `part` has in each channel. It can be repeated
    /// without a seam, since a discrete spectrum is that of something periodic.
    pub(crate) fn like(self, part: &Pixels, random: &mut Random) -> Pixels {
        let (width, height) = (part.width as usize, part.height as usize);
        let shared = phases(width, height, random);
        let mut noise = part.clone();
        for channel in 0..CHANNELS {
            let levels: Vec<u8> = part.data.iter().skip(channel).step_by(CHANNELS).copied().collect();
            let own = phases(width, height, random);
            let phases = shared.iter().zip(own).map(|(shared, own)| shared + self.colour_variation * own);
            let shaped = shaped(&windowed(&levels, width), width, self.exponent, phases);
            for (pixel, level) in noise.data.chunks_exact_mut(CHANNELS).zip(matched(&shaped, levels)) {
                pixel[channel] = level;
            }
        }
        noise
    }
}

/// Levels around their mean, under a Hann window: the jump from one edge to the other is none of the texture.
fn windowed(levels: &[u8], width: usize) -> Vec<f32> {
    let mean = levels.iter().map(|level| f64::from(*level)).sum::<f64>() / levels.len() as f64;
    let window = |length: usize| -> Vec<f64> {
        (0..length).map(|place| (TAU / 2.0 * (place as f64 + 0.5) / length as f64).sin().powi(2)).collect()
    };
    let (across, down) = (window(width), window(levels.len() / width));
    let window = down.iter().flat_map(|row| across.iter().map(move |column| row * column));
    levels.iter().zip(window).map(|(level, window)| ((f64::from(*level) - mean) * window) as f32).collect()
}

/// An angle for each frequency, from -π to π, and its opposite at the opposite frequency: what is real stays real.
fn phases(width: usize, height: usize, random: &mut Random) -> Vec<f32> {
    let mut phases = vec![0.0; width * height];
    for place in 0..phases.len() {
        let (x, y) = (place % width, place / width);
        let opposite = (height - y) % height * width + (width - x) % width;
        if place < opposite {
            let angle = ((random.unit() - 0.5) * TAU) as f32;
            phases[place] = angle;
            phases[opposite] = -angle;
        }
    }
    phases
}

/// The signal with each of its magnitudes to the power of `exponent` and each of its phases moved.
fn shaped(signal: &[f32], width: usize, exponent: f32, phases: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut spectrum = spectrum(signal, width);
    for (value, phase) in spectrum.iter_mut().zip(phases) {
        *value = Complex32::from_polar(value.norm().powf(exponent), value.arg() + phase);
    }
    let back = transform(spectrum, width, FftDirection::Inverse);
    let count = signal.len() as f32;
    back.into_iter().map(|value| value.re / count).collect()
}

fn spectrum(signal: &[f32], width: usize) -> Vec<Complex32> {
    let signal = signal.iter().map(|value| Complex32::new(*value, 0.0)).collect();
    transform(signal, width, FftDirection::Forward)
}

/// The transform in two dimensions: of each row, then of each column.
fn transform(mut values: Vec<Complex32>, width: usize, direction: FftDirection) -> Vec<Complex32> {
    let height = values.len() / width;
    let mut planner = FftPlanner::<f32>::new();
    planner.plan_fft(width, direction).process(&mut values);
    let mut columns = transposed(&values, width);
    planner.plan_fft(height, direction).process(&mut columns);
    transposed(&columns, height)
}

fn transposed(values: &[Complex32], width: usize) -> Vec<Complex32> {
    (0..width).flat_map(|x| values[x..].iter().step_by(width).copied()).collect()
}

/// The levels in the order of the noise: its darkest place gets the lowest of them, and so on. This is histogram matching
/// without interpolation, which two signals of one length do not need.
fn matched(noise: &[f32], mut levels: Vec<u8>) -> Vec<u8> {
    levels.sort_unstable();
    let mut places: Vec<usize> = (0..noise.len()).collect();
    places.sort_unstable_by(|a, b| noise[*a].total_cmp(&noise[*b]));
    let mut matched = vec![0; noise.len()];
    for (place, level) in places.into_iter().zip(levels) {
        matched[place] = level;
    }
    matched
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waves in one direction with something finer, each channel its own.
    fn part(width: u32, height: u32) -> Pixels {
        let level = |x: u32, y: u32, channel: u32| {
            let wave = (f64::from(x + 2 * y) * 0.4 + f64::from(channel)).sin() * 60.0;
            (120.0 + wave + f64::from((x * 7 + y * 13 + channel * 5) % 11)) as u8
        };
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data = places.flat_map(|(x, y)| (0..3).map(move |channel| level(x, y, channel))).collect();
        Pixels { width, height, data }
    }

    fn channel(picture: &Pixels, channel: usize) -> Vec<u8> {
        picture.data.iter().skip(channel).step_by(CHANNELS).copied().collect()
    }

    const OWN: Texture = Texture { exponent: 1.0, colour_variation: 0.05 };

    #[test]
    fn noise_keeps_the_magnitudes_of_the_spectrum_and_not_the_signal() {
        // Sides with and without a middle frequency, and one that is a prime.
        for (width, height) in [(24, 16), (15, 9), (8, 13)] {
            let signal = windowed(&channel(&part(width, height), 0), width as usize);
            let (width, height) = (width as usize, height as usize);
            let phases = phases(width, height, &mut Random::new(3, 0));
            let noise = shaped(&signal, width, 1.0, phases.into_iter());
            let magnitudes = |signal: &[f32]| -> Vec<f32> {
                spectrum(signal, width).iter().map(|value| value.norm()).collect()
            };
            let (before, after) = (magnitudes(&signal), magnitudes(&noise));
            let most = before.iter().copied().fold(0.0, f32::max);
            assert!(most > 100.0, "{most}");
            for (place, (before, after)) in before.iter().zip(&after).enumerate() {
                assert!((before - after).abs() < most * 1e-4, "{width}x{height} {place}: {before} {after}");
            }
            let moved = signal.iter().zip(&noise).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(moved > 10.0, "{moved}");
        }
    }

    #[test]
    fn without_phases_the_signal_comes_back() {
        let signal = windowed(&channel(&part(12, 10), 1), 12);
        let back = shaped(&signal, 12, 1.0, std::iter::repeat_n(0.0, 120));
        for (place, (before, after)) in signal.iter().zip(&back).enumerate() {
            assert!((before - after).abs() < 1e-2, "{place}: {before} {after}");
        }
    }

    #[test]
    fn noise_has_the_levels_of_the_part_in_other_places() {
        let part = part(20, 14);
        let noise = OWN.like(&part, &mut Random::new(5, 0));
        assert_eq!((noise.width, noise.height), (20, 14));
        for index in 0..CHANNELS {
            let (mut before, mut after) = (channel(&part, index), channel(&noise, index));
            assert_ne!(before, after);
            before.sort_unstable();
            after.sort_unstable();
            assert_eq!(before, after);
        }
    }

    #[test]
    fn noise_is_that_of_its_seed() {
        let part = part(16, 16);
        let noise = |seed, stream| OWN.like(&part, &mut Random::new(seed, stream));
        assert_eq!(noise(1, 0), noise(1, 0));
        assert_ne!(noise(1, 0), noise(2, 0));
        assert_ne!(noise(1, 0), noise(1, 1));
    }

    #[test]
    fn what_is_grey_stays_grey_unless_colours_may_stray() {
        let mut grey = part(16, 16);
        for pixel in grey.data.chunks_exact_mut(CHANNELS) {
            let level = pixel[0];
            pixel.fill(level);
        }
        let coloured = |colour_variation: f32| {
            let noise = Texture { exponent: 1.0, colour_variation }.like(&grey, &mut Random::new(1, 0));
            let apart = noise.data.chunks_exact(CHANNELS).map(|pixel| u32::from(pixel[0].abs_diff(pixel[1])));
            apart.sum::<u32>()
        };
        assert_eq!(coloured(0.0), 0);
        assert!(coloured(0.1) > 0 && coloured(1.0) > 2 * coloured(0.1));
    }

    #[test]
    fn a_higher_exponent_makes_smoother_noise() {
        let part = part(32, 32);
        let roughness = |exponent: f32| {
            let noise = Texture { exponent, colour_variation: 0.0 }.like(&part, &mut Random::new(1, 0));
            let levels = channel(&noise, 0);
            levels.windows(2).map(|pair| u32::from(pair[0].abs_diff(pair[1]))).sum::<u32>()
        };
        assert!(roughness(0.0) > roughness(1.0) && roughness(0.0) > roughness(4.0));
    }

    #[test]
    fn one_colour_is_noise_of_one_colour() {
        let plain = Pixels::filled(8, 8, 77);
        assert_eq!(OWN.like(&plain, &mut Random::new(1, 0)), plain);
    }
}
