//! Finds the shape that a figure is most like, by laying every shape over it.

use tiny_skia::{FillRule, Mask, Transform};

use super::figure::{Figure, Image};
use crate::pictures::Shape;

pub(super) struct Likeness {
    pub(super) shape: Shape,
    /// In pixels of the picture, as [`Shape::outline`] counts it.
    pub(super) radius: f32,
    /// What shape and figure share, of what either covers.
    pub(super) overlap: f32,
}

/// Side of the field where figures are compared, whatever size the picture is.
const FIELD: usize = 48;
/// Of the field, taken by the longer side of the figure, so that a shape may reach beyond it.
const FILLED: f32 = 0.75;
/// Radians to either side; a square turned by more is a diamond.
const TURNS: [f32; 5] = [0.0, -0.1, 0.1, -0.2, 0.2];
/// Pixels of the picture. Softer edges than that are something else.
const SOFTEST: f32 = 3.0;

pub(super) fn most_like(figure: &Figure, image: &Image) -> Option<Likeness> {
    let (seen, step) = field(figure, image);
    let softness = softness(&seen).min(SOFTEST / step);
    let candidates = Shape::ALL.into_iter().flat_map(|shape| {
        let turns = if matches!(shape, Shape::Circle | Shape::Ring) { 1 } else { TURNS.len() };
        TURNS[..turns].iter().map(move |&turn| (shape, turn))
    });
    let laid_over = candidates.filter_map(|(shape, turn)| {
        let (radius, overlap) = lay_over(&seen, shape, turn, softness)?;
        Some(Likeness { shape, radius: radius * step, overlap })
    });
    laid_over.max_by(|one, other| one.overlap.total_cmp(&other.overlap))
}

/// The radius at which the shape covers the same area around the same centre of gravity, and what they then share.
fn lay_over(seen: &[f32], shape: Shape, turn: f32, softness: f32) -> Option<(f32, f32)> {
    let target = Moments::of(seen)?;
    let (mut x, mut y, mut radius) = (FIELD as f32 / 2.0, FIELD as f32 / 2.0, FIELD as f32 / 3.0);
    // Once would do if softness did not lift what is thin.
    for _ in 0..2 {
        let now = Moments::of(&drawn(shape, (x, y), radius, turn, softness)?)?;
        let scale = (target.area / now.area).sqrt();
        (x, y) = (target.x + (x - now.x) * scale, target.y + (y - now.y) * scale);
        radius *= scale;
    }
    Some((radius, overlap(seen, &drawn(shape, (x, y), radius, turn, softness)?)))
}

/// The figure in the middle of the field, and how many pixels of the picture a step in the field is.
fn field(figure: &Figure, image: &Image) -> (Vec<f32>, f32) {
    let [left, top, right, bottom] = figure.bounds;
    let step = (right - left).max(bottom - top) as f32 / (FIELD as f32 * FILLED);
    let centre = ((left + right) as f32 / 2.0, (top + bottom) as f32 / 2.0);
    let at = |cell: usize, centre: f32| centre + (cell as f32 + 0.5 - FIELD as f32 / 2.0) * step;
    let cover =
        |cell: usize| sampled(figure, image, (at(cell % FIELD, centre.0), at(cell / FIELD, centre.1)));
    ((0..FIELD * FIELD).map(cover).collect(), step)
}

/// Deviation of the Gaussian that would make a sharp edge as soft as the figure's edges are, in steps of the field.
fn softness(field: &[f32]) -> f32 {
    // Across an edge blurred by a deviation of one, cover × (1 - cover) sums to 1/√π; along it, the slopes sum to
    // its length.
    let between: f32 = field.iter().map(|cover| cover * (1.0 - cover)).sum();
    let slope = |at: usize| (field[at + 1] - field[at]).hypot(field[at + FIELD] - field[at]);
    let length: f32 = (0..FIELD * (FIELD - 1)).filter(|at| at % FIELD + 1 < FIELD).map(slope).sum();
    between * std::f32::consts::PI.sqrt() / length.max(1.0)
}

/// Between the four nearest pixels; nothing is covered outside the picture.
fn sampled(figure: &Figure, image: &Image, (x, y): (f32, f32)) -> f32 {
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let pixel = |x: f32, y: f32| {
        let inside = x >= 0.0 && y >= 0.0 && x < image.width as f32 && y < image.height as f32;
        if inside { figure.cover[y as usize * image.width + x as usize] } else { 0.0 }
    };
    let row = |y: f32, share: f32| pixel(left, y) * (1.0 - share) + pixel(left + 1.0, y) * share;
    row(top, x - left) * (1.0 - (y - top)) + row(top + 1.0, x - left) * (y - top)
}

fn drawn(shape: Shape, (x, y): (f32, f32), radius: f32, turn: f32, softness: f32) -> Option<Vec<f32>> {
    let mut mask = Mask::new(FIELD as u32, FIELD as u32)?;
    let placed = Transform::from_translate(x, y).pre_scale(radius, radius);
    let placed = placed.pre_concat(Transform::from_rotate(turn.to_degrees()));
    mask.fill_path(&shape.outline(), FillRule::EvenOdd, true, placed);
    let sharp: Vec<_> = mask.data().iter().map(|&cover| f32::from(cover) / 255.0).collect();
    let mut soft = blurred(&blurred(&sharp, softness, 1), softness, FIELD);
    // The figure's own cover is a share of its strongest colour.
    let most = soft.iter().copied().fold(f32::EPSILON, f32::max);
    soft.iter_mut().for_each(|cover| *cover /= most);
    Some(soft)
}

/// By a Gaussian, along rows with a stride of one, along columns with a stride of a row. Nothing is outside.
fn blurred(field: &[f32], deviation: f32, stride: usize) -> Vec<f32> {
    let reach = (deviation * 2.5).ceil() as usize;
    let weight = |offset: usize| (-0.5 * (offset as f32 / deviation.max(0.1)).powi(2)).exp();
    let weights: Vec<_> = (0..=reach).map(weight).collect();
    let whole = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    let cell = |at: usize| {
        let place = at / stride % FIELD;
        let sides = weights.iter().enumerate().skip(1).map(|(offset, weight)| {
            let before = if place >= offset { field[at - offset * stride] } else { 0.0 };
            let after = if place + offset < FIELD { field[at + offset * stride] } else { 0.0 };
            weight * (before + after)
        });
        (weights[0] * field[at] + sides.sum::<f32>()) / whole
    };
    (0..field.len()).map(cell).collect()
}

fn overlap(one: &[f32], other: &[f32]) -> f32 {
    let both: f32 = one.iter().zip(other).map(|(a, b)| a.min(*b)).sum();
    let either: f32 = one.iter().zip(other).map(|(a, b)| a.max(*b)).sum();
    both / either.max(1.0)
}

/// Area and centre of gravity.
struct Moments {
    area: f32,
    x: f32,
    y: f32,
}

impl Moments {
    /// Nothing if nothing is covered.
    fn of(field: &[f32]) -> Option<Self> {
        let area: f32 = field.iter().sum();
        let mean = |along: &dyn Fn(usize) -> usize| {
            field.iter().enumerate().map(|(at, cover)| cover * (along(at) as f32 + 0.5)).sum::<f32>() / area
        };
        (area > 0.0).then(|| Self { area, x: mean(&|at| at % FIELD), y: mean(&|at| at / FIELD) })
    }
}
