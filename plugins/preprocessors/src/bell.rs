//! OpenCV's `GaussianBlur` in single precision, and the bell of it. Pictures of bytes are `byte_bell`'s.

use gesso_core::pixels::Pixels;
use gesso_plugin::Fault;

use crate::resolution::check_room;

/// Pixels of a colour picture in single precision: four of them are there at one time, in 48 bytes a pixel.
const PIXELS_MAX: u64 = 1 << 23;

/// A picture in single precision, its channels interleaved.
pub(crate) struct Floats {
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) values: Vec<f32>,
}

impl Floats {
    /// # Errors
    /// [`Fault::InvalidInput`] of a picture that leaves no room for what is made of it.
    pub(crate) fn of(picture: &Pixels) -> Result<Self, Fault> {
        check_room(picture.width, picture.height, PIXELS_MAX)?;
        Ok(Self {
            width: picture.width as usize,
            channels: picture.format.channels(),
            values: picture.data.iter().map(|level| f32::from(*level)).collect(),
        })
    }

    /// Blurred by a bell of `sigma` pixels that reaches `reach` pixels; mirrored at the edges without repeating them.
    pub(crate) fn blurred(&self, sigma: f64, reach: usize) -> Self {
        let weights: Vec<f32> = bell(sigma, reach).iter().map(|weight| *weight as f32).collect();
        let row = self.width * self.channels;
        let height = self.values.len() / row.max(1);
        let mut across = vec![0.0; self.values.len()];
        // A row with its mirrored ends, so that the sums have no cases.
        let margin = reach * self.channels;
        let mut wide = vec![0.0; row + 2 * margin];
        let ends = mirrored_ends(self.width, self.channels, reach);
        for (line, out) in self.values.chunks_exact(row).zip(across.chunks_exact_mut(row)) {
            wide[margin..margin + row].copy_from_slice(line);
            ends.iter().for_each(|(place, source)| wide[*place] = wide[*source]);
            add_all(out, &weights, |step| &wide[step * self.channels..]);
        }
        let mut values = vec![0.0; self.values.len()];
        for (line, out) in values.chunks_exact_mut(row).enumerate() {
            add_all(out, &weights, |step| {
                let from = mirrored(line as isize + step as isize - reach as isize, height) * row;
                &across[from..]
            });
        }
        Self { values, ..*self }
    }
}

/// Adds up weighted rows, the `step`th weight's from where `row` says; whole rows at a time, which is what compilers make
/// vectors of, and four of them in one go, so that sums stay in registers.
fn add_all<'a>(out: &mut [f32], weights: &[f32], row: impl Fn(usize) -> &'a [f32]) {
    let (fours, rest) = weights.as_chunks::<4>();
    for (index, [a, b, c, d]) in fours.iter().enumerate() {
        let rows = [0, 1, 2, 3].map(|step| &row(4 * index + step)[..out.len()]);
        for (at, sum) in out.iter_mut().enumerate() {
            *sum = *sum + rows[0][at] * a + rows[1][at] * b + rows[2][at] * c + rows[3][at] * d;
        }
    }
    for (step, weight) in (4 * fours.len()..).zip(rest) {
        out.iter_mut().zip(row(step)).for_each(|(sum, value)| *sum += value * weight);
    }
}

/// OpenCV's reach for floats: four sigmas either way.
pub(crate) fn float_reach(sigma: f64) -> usize {
    (((sigma * 8.0 + 1.0).round_ties_even() as usize) | 1) / 2
}

/// The weights of the places up to `reach` pixels from the middle one; together they are 1.
pub(crate) fn bell(sigma: f64, reach: usize) -> Vec<f64> {
    let reach = reach as isize;
    let bell: Vec<f64> =
        (-reach..=reach).map(|place| (-0.5 * (place as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = bell.iter().sum();
    bell.iter().map(|weight| weight / sum).collect()
}

/// The places of a row with `reach` more pixels at both ends that are outside of the picture, and which place of the
/// same row stands for each.
pub(crate) fn mirrored_ends(width: usize, channels: usize, reach: usize) -> Vec<(usize, usize)> {
    let outside = (0..reach).chain(reach + width..width + 2 * reach);
    let pairs = outside.map(|pixel| (pixel, reach + mirrored(pixel as isize - reach as isize, width)));
    let values = pairs.flat_map(|(pixel, source)| {
        (0..channels).map(move |channel| (pixel * channels + channel, source * channels + channel))
    });
    values.collect()
}

/// The place inside that stands for one outside.
pub(crate) fn mirrored(place: isize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length as isize - 1);
    let place = place.rem_euclid(period);
    place.min(period - place) as usize
}
