//! OpenCV's `GaussianBlur` in single precision. Bytes come out within a level of OpenCV's, which blurs them in fixed
//! point.

use gesso_core::pixels::Pixels;

/// A picture in single precision, its channels interleaved.
pub(crate) struct Floats {
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) values: Vec<f32>,
}

impl Floats {
    pub(crate) fn of(picture: &Pixels) -> Self {
        Self {
            width: picture.width as usize,
            channels: picture.format.channels(),
            values: picture.data.iter().map(|level| f32::from(*level)).collect(),
        }
    }

    /// Blurred by a bell of `sigma` pixels that reaches `reach` pixels; mirrored at the edges without repeating them.
    pub(crate) fn blurred(&self, sigma: f64, reach: usize) -> Self {
        let weights = weights(sigma, reach);
        let row = self.width * self.channels;
        let height = self.values.len() / row.max(1);
        let along = self.convolved(&weights, self.width, |line, place| {
            (line / self.channels) * row + line % self.channels + place * self.channels
        });
        along.convolved(&weights, height, |line, place| line + place * row)
    }

    /// Convolves every line of `length` places: `index` says where a place of a line lies.
    fn convolved(&self, weights: &[f32], length: usize, index: impl Fn(usize, usize) -> usize) -> Self {
        let reach = weights.len() / 2;
        let mut out = vec![0.0; self.values.len()];
        let lines = self.values.len() / length.max(1);
        // The line with its mirrored ends, so that the sum below has no cases.
        let mut wide = vec![0.0; length + 2 * reach];
        for line in 0..lines {
            for (place, value) in wide.iter_mut().enumerate() {
                *value = self.values[index(line, mirrored(place as isize - reach as isize, length))];
            }
            for place in 0..length {
                let window = &wide[place..place + weights.len()];
                out[index(line, place)] =
                    window.iter().zip(weights).map(|(value, weight)| value * weight).sum();
            }
        }
        Self { values: out, ..*self }
    }
}

/// OpenCV's reach for floats: four sigmas either way.
pub(crate) fn float_reach(sigma: f64) -> usize {
    (((sigma * 8.0 + 1.0).round_ties_even() as usize) | 1) / 2
}

/// `GaussianBlur` of bytes, which reaches three sigmas.
pub(crate) fn blurred(picture: &Pixels, sigma: f64) -> Pixels {
    let reach = (((sigma * 6.0 + 1.0).round_ties_even() as usize) | 1) / 2;
    let blurred = Floats::of(picture).blurred(sigma, reach);
    let data = blurred.values.iter().map(|value| value.round_ties_even().clamp(0.0, 255.0) as u8).collect();
    Pixels { data, ..picture.clone() }
}

fn weights(sigma: f64, reach: usize) -> Vec<f32> {
    let reach = reach as isize;
    let bell: Vec<f64> =
        (-reach..=reach).map(|place| (-0.5 * (place as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = bell.iter().sum();
    bell.iter().map(|weight| (weight / sum) as f32).collect()
}

/// The place inside that stands for one outside.
fn mirrored(place: isize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length as isize - 1);
    let place = place.rem_euclid(period);
    place.min(period - place) as usize
}
