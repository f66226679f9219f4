//! Numbers of a picture's places, and what merging does with them. Knows no network.

use gesso_picture::composite::Rect;

use crate::neural::output::{range, resized};

/// Part of a part's side over which it goes over into what it is laid on.
const MARGIN: f32 = 1.0 / 6.0;

/// A number for every place, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

impl Field {
    pub(super) fn resized(&self, width: u32, height: u32) -> Self {
        let values = resized(&self.values, (self.height, self.width), (width, height));
        Self { width: width as usize, height: height as usize, values }
    }

    /// Stretched so that the least number is `low` and the greatest `high`; all are `low` where there is one number.
    pub(super) fn between(mut self, low: f32, high: f32) -> Self {
        let (least, most) = range(&self.values);
        let span = (most - least).max(f32::MIN_POSITIVE);
        self.values.iter_mut().for_each(|value| *value = (*value - least) / span * (high - low) + low);
        self
    }

    pub(super) fn part(&self, square: Rect) -> Self {
        let (width, height) = (square.width as usize, square.height as usize);
        let rows = self.values.chunks_exact(self.width).skip(square.y as usize).take(height);
        let values = rows.flat_map(|row| &row[square.x as usize..][..width]).copied().collect();
        Self { width, height, values }
    }

    /// Times a number and plus another, so that it is as near to `other` as that can be (least squares).
    pub(super) fn fitted(mut self, other: &Self) -> Self {
        let mean = |field: &Self| {
            field.values.iter().copied().map(f64::from).sum::<f64>() / field.values.len() as f64
        };
        let (own_mean, mean) = (mean(&self), mean(other));
        let (mut both, mut square) = (0.0, 0.0);
        for (own, other) in self.values.iter().zip(&other.values) {
            let away = f64::from(*own) - own_mean;
            both += away * (f64::from(*other) - mean);
            square += away * away;
        }
        let slope = if square > 0.0 { both / square } else { 0.0 };
        for value in &mut self.values {
            *value = ((f64::from(*value) - own_mean) * slope + mean) as f32;
        }
        self
    }

    /// Lays a part where it belongs. Its edges go over into what is there, but for those that are the picture's.
    pub(super) fn lay(&mut self, part: &Self, square: Rect) {
        let (left, top) = (square.x as usize, square.y as usize);
        let across = weights(left, part.width, self.width);
        let down = weights(top, part.height, self.height);
        let rows = self.values.chunks_exact_mut(self.width).skip(top);
        for ((row, part), down) in rows.zip(part.values.chunks_exact(part.width)).zip(down) {
            for ((value, part), across) in row[left..].iter_mut().zip(part).zip(&across) {
                *value += (part - *value) * down * across;
            }
        }
    }
}

/// How much of a part is seen along one side, where it starts there and is so long, of a picture of `whole`.
fn weights(start: usize, length: usize, whole: usize) -> Vec<f32> {
    let weight = |at: usize| {
        let before = if start == 0 { f32::INFINITY } else { at as f32 + 0.5 };
        let after = if start + length == whole { f32::INFINITY } else { (length - at) as f32 - 0.5 };
        let share = (before.min(after) / (length as f32 * MARGIN)).min(1.0);
        share * share * (3.0 - 2.0 * share)
    };
    (0..length).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Field {
        Field { width: values.len(), height: 1, values: values.to_vec() }
    }

    #[test]
    fn numbers_are_stretched_and_fitted() {
        assert_eq!(row(&[3.0, 5.0, 7.0]).between(-1.0, 1.0), row(&[-1.0, 0.0, 1.0]));
        assert_eq!(row(&[3.0, 3.0]).between(0.0, 1.0), row(&[0.0, 0.0]));
        let line = row(&[1.0, 3.0, 5.0, 7.0]);
        assert_eq!(row(&[3.0, 2.0, 1.0, 0.0]).fitted(&line), line);
        assert_eq!(row(&[0.0, 0.0, 1.0, 1.0]).fitted(&line), row(&[2.0, 2.0, 6.0, 6.0]));
        assert_eq!(row(&[9.0; 4]).fitted(&line), row(&[4.0; 4]));
    }

    #[test]
    fn a_part_is_cut_out_and_goes_over_into_the_rest() {
        let rect = |x: u32, width: u32| Rect { x, y: 0, width, height: 1 };
        let laid = |x: u32| {
            let mut whole = row(&[0.0; 24]);
            whole.lay(&row(&[1.0; 12]), rect(x, 12));
            whole.values
        };
        // Over two of its twelve: at a quarter and at three quarters of the way.
        let ramp = [0.15625, 0.84375];
        let mut wanted = [0.0_f32; 24];
        wanted[8..16].fill(1.0);
        (wanted[6], wanted[7], wanted[16], wanted[17]) = (ramp[0], ramp[1], ramp[1], ramp[0]);
        assert_eq!(laid(6), wanted);
        // From the picture's edge on it is there.
        wanted = [0.0; 24];
        wanted[..10].fill(1.0);
        (wanted[10], wanted[11]) = (ramp[1], ramp[0]);
        assert_eq!(laid(0), wanted);
        wanted.reverse();
        assert_eq!(laid(12), wanted);

        let square = Field { width: 3, height: 3, values: (0..9).map(|value| value as f32).collect() };
        let part = square.part(Rect { x: 1, y: 1, width: 2, height: 2 });
        assert_eq!(part, Field { width: 2, height: 2, values: vec![4.0, 5.0, 7.0, 8.0] });
        let mut whole = Field { values: vec![0.0; 9], ..square };
        whole.lay(
            &Field { width: 3, height: 1, values: vec![1.0; 3] },
            Rect { x: 0, y: 2, width: 3, height: 1 },
        );
        // Half a pixel is more than the margin of a single row.
        assert_eq!(whole.values, [[0.0; 3], [0.0; 3], [1.0; 3]].concat());
    }
}
