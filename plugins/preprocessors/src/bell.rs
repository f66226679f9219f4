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
        let mut across = vec![0.0; self.values.len()];
        // A row with its mirrored ends, so that the sums have no cases.
        let mut wide = vec![0.0; row + 2 * reach * self.channels];
        for (line, out) in self.values.chunks_exact(row).zip(across.chunks_exact_mut(row)) {
            for (place, pixel) in wide.chunks_exact_mut(self.channels).enumerate() {
                let from = mirrored(place as isize - reach as isize, self.width) * self.channels;
                pixel.copy_from_slice(&line[from..from + self.channels]);
            }
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
