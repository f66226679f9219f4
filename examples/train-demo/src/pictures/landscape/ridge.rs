//! The line where land meets sky.

use crate::pictures::canvas::{Canvas, Rgb};
use crate::pictures::dice::Dice;

/// Spans between two neighbouring heights.
const SPANS: usize = 128;

#[derive(Clone, Copy)]
pub(super) enum Roughness {
    Smooth,
    Rocky,
}

pub(super) struct Ridge {
    /// From the left edge to the right, as shares of the side from the top.
    heights: Vec<f32>,
}

impl Ridge {
    /// Between `base` and `height` above it; rocks may reach somewhat beyond.
    pub(super) fn new(dice: &mut Dice, base: f32, height: f32, roughness: Roughness) -> Self {
        let mut course = wander(dice, 9, 1.0);
        match roughness {
            Roughness::Smooth => course = smoothed(&course),
            Roughness::Rocky => {
                for knots in [19, 37] {
                    let detail = wander(dice, knots, 5.0 / knots as f32);
                    course.iter_mut().zip(detail).for_each(|(value, more)| *value += more);
                }
            }
        }
        Self { heights: course.into_iter().map(|value| base - height * (0.5 + 0.5 * value)).collect() }
    }

    /// Everything below it.
    pub(super) fn draw(&self, canvas: &mut Canvas, colour: Rgb) {
        canvas.polygon(self.line().chain([(1.0, 1.0), (0.0, 1.0)]), colour);
    }

    /// The summits: deeper the higher they are above the horizon.
    pub(super) fn draw_cap(&self, canvas: &mut Canvas, horizon: f32, colour: Rgb) {
        let lower = self.line().rev().map(|(x, y)| (x, y + 0.35 * (horizon - y).max(0.0)));
        canvas.polygon(self.line().chain(lower), colour);
    }

    fn line(&self) -> impl DoubleEndedIterator<Item = (f32, f32)> {
        self.heights.iter().enumerate().map(|(at, &y)| (at as f32 / SPANS as f32, y))
    }
}

/// Straight lines between chance values from -`reach` to `reach`.
fn wander(dice: &mut Dice, knots: usize, reach: f32) -> Vec<f32> {
    let values: Vec<_> = (0..knots).map(|_| dice.between(-reach, reach)).collect();
    let between = |at: usize| {
        let along = at as f32 / SPANS as f32 * (knots - 1) as f32;
        let left = (along as usize).min(knots - 2);
        let share = along - left as f32;
        values[left] * (1.0 - share) + values[left + 1] * share
    };
    (0..=SPANS).map(between).collect()
}

/// Weighted by a raised cosine over a sixteenth of the width; the ends go on level.
fn smoothed(course: &[f32]) -> Vec<f32> {
    const REACH: isize = 8;
    let weight = |offset: isize| 0.5 + 0.5 * (std::f32::consts::PI * offset as f32 / REACH as f32).cos();
    let whole: f32 = (-REACH..=REACH).map(weight).sum();
    let last = course.len() as isize - 1;
    let around = |at: isize| {
        let weighted = |offset: isize| weight(offset) * course[(at + offset).clamp(0, last) as usize];
        (-REACH..=REACH).map(weighted).sum::<f32>() / whole
    };
    (0..=last).map(around).collect()
}
