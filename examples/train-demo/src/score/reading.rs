//! Reads a picture of one shape back: what is there, in which colours, how large and where.

use super::figure::{Figure, Image};
use super::lab::nearest;
use super::likeness::most_like;
use crate::pictures::{Colour, Place, Shape, Size};

/// What a picture shows; nothing where it shows nothing that has a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) background: Option<Colour>,
    pub(crate) colour: Option<Colour>,
    pub(crate) shape: Option<Shape>,
    pub(crate) place: Option<Place>,
    pub(crate) size: Option<Size>,
}

/// A figure that shares less than this with every shape is none of them.
const LIKE_ENOUGH: f32 = 0.7;
/// From the centre, as a share of the side: half the way to where a shape at an edge is.
const AWAY: f32 = 0.115;
/// Radii as shares of the side: half the way between the sizes.
const SMALL_BELOW: f32 = 0.15;
const LARGE_FROM: f32 = 0.305;

/// Of a picture of any size, in rows of red, green and blue.
pub(crate) fn read(rgb: &[u8], width: u32, height: u32) -> Reading {
    let Some(image) = Image::new(rgb, width as usize, height as usize) else {
        return Reading::default();
    };
    let ground = image.background();
    let background = Some(nearest(ground));
    let Some(figure) = image.figure(ground) else {
        return Reading { background, ..Reading::default() };
    };
    let side = image.width.min(image.height) as f32;
    let likeness = most_like(&figure, &image).filter(|likeness| likeness.overlap >= LIKE_ENOUGH);
    Reading {
        background,
        colour: Some(nearest(figure.colour)),
        shape: likeness.as_ref().map(|likeness| likeness.shape),
        place: Some(place(&figure, &image)),
        size: likeness.map(|likeness| size(likeness.radius / side)),
    }
}

/// Where the middle of the figure is.
fn place(figure: &Figure, image: &Image) -> Place {
    let [left, top, right, bottom] = figure.bounds;
    let from_centre = |low: usize, high: usize, side: usize| (low + high) as f32 / (2 * side) as f32 - 0.5;
    let (x, y) = (from_centre(left, right, image.width), from_centre(top, bottom, image.height));
    match (x.abs() > y.abs(), x > 0.0, y > 0.0) {
        _ if x.abs().max(y.abs()) < AWAY => Place::Centre,
        (true, true, _) => Place::Right,
        (true, false, _) => Place::Left,
        (false, _, true) => Place::Bottom,
        (false, _, false) => Place::Top,
    }
}

fn size(radius: f32) -> Size {
    match radius {
        _ if radius < SMALL_BELOW => Size::Small,
        _ if radius < LARGE_FROM => Size::Medium,
        _ => Size::Large,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::{Dice, Mix, held_out_scenes, sample};
    use crate::score::Score;

    const SIDE: usize = 128;

    /// Draws scenes, spoils the pictures and counts what is still read.
    fn score(side: usize, spoil: impl Fn(&mut [u8], &mut Dice)) -> Score {
        let mut score = Score::default();
        for (seed, scene) in held_out_scenes(120, 11).iter().enumerate() {
            let mut dice = Dice::new(seed as u64);
            let mut rgb = scene.draw(side as u32, &mut dice);
            spoil(&mut rgb, &mut dice);
            let reading = read(&rgb, side as u32, side as u32);
            score.add(scene, &reading);
        }
        score
    }

    fn all_are_over(score: &Score, percent: usize) -> bool {
        let parts = [score.colour, score.shape, score.place, score.background, score.size, score.together];
        parts.iter().all(|right| right * 100 >= percent * score.pictures)
    }

    /// Three box blurs each way, which is nearly a Gaussian; its deviation is `reach` plus a half, about.
    fn blur(rgb: &mut [u8], side: usize, reach: usize) {
        for stride in [3, 3 * side].repeat(3) {
            let before = rgb.to_vec();
            for (at, value) in rgb.iter_mut().enumerate() {
                let place = (at / stride) % side;
                let (from, to) = (place.saturating_sub(reach), (place + reach).min(side - 1));
                let line = at - place * stride;
                let sum: usize = (from..=to).map(|place| usize::from(before[line + place * stride])).sum();
                *value = (sum as f32 / (to - from + 1) as f32).round() as u8;
            }
        }
    }

    /// What JPEG does, without its colour spaces: blocks of eight keep coarse steps of their frequencies.
    fn coarsen(rgb: &mut [u8], side: usize) {
        let wave = |at: usize, frequency: usize| {
            let scale = if frequency == 0 { 0.125f32.sqrt() } else { 0.5 };
            scale * (std::f32::consts::PI * (at as f32 + 0.5) * frequency as f32 / 8.0).cos()
        };
        let waves: [[f32; 8]; 8] =
            std::array::from_fn(|at| std::array::from_fn(|frequency| wave(at, frequency)));
        let cells = || (0..64).map(|cell| (cell % 8, cell / 8));
        let corners = (0..side).step_by(8).flat_map(|y| (0..side).step_by(8).map(move |x| y * side + x));
        for corner in corners {
            for channel in 0..3 {
                let at = |x: usize, y: usize| (corner + y * side + x) * 3 + channel;
                let weight = |(x, y): (usize, usize), (u, v): (usize, usize)| waves[x][u] * waves[y][v];
                let frequencies: Vec<f32> = cells()
                    .map(|(u, v)| {
                        let sum: f32 =
                            cells().map(|(x, y)| f32::from(rgb[at(x, y)]) * weight((x, y), (u, v))).sum();
                        let step = 16.0 + 10.0 * (u + v) as f32;
                        (sum / step).round() * step
                    })
                    .collect();
                for (x, y) in cells() {
                    let value: f32 =
                        cells().zip(&frequencies).map(|(place, amount)| amount * weight((x, y), place)).sum();
                    rgb[at(x, y)] = value.round() as u8;
                }
            }
        }
    }

    #[test]
    fn reads_what_was_drawn() {
        let score = score(SIDE, |_, _| ());
        assert!(all_are_over(&score, 99), "{score}");
    }

    #[test]
    fn reads_pictures_of_other_sizes() {
        for side in [64, 192, 512] {
            let score = score(side, |_, _| ());
            assert!(all_are_over(&score, 98), "{side}\n{score}");
        }
    }

    #[test]
    fn reads_blurred_pictures() {
        for reach in [1, 2] {
            let score = score(SIDE, |rgb, _| blur(rgb, SIDE, reach));
            assert!(all_are_over(&score, 98), "{score}");
        }
    }

    #[test]
    fn reads_coarse_and_noisy_pictures() {
        let score = score(SIDE, |rgb, dice| {
            blur(rgb, SIDE, 1);
            rgb.iter_mut().for_each(|value| *value = (f32::from(*value) + dice.between(-12.0, 12.0)) as u8);
            coarsen(rgb, SIDE);
        });
        assert!(all_are_over(&score, 98), "{score}");
    }

    #[test]
    fn reads_no_shape_from_an_empty_picture() {
        let grey = [130; SIDE * SIDE * 3];
        let empty = read(&grey, SIDE as u32, SIDE as u32);
        assert_eq!(empty, Reading { background: Some(Colour::Gray), ..Reading::default() });
        assert_eq!(read(&grey, 7, 7), Reading::default());
        assert_eq!(read(&[], 0, 0), Reading::default());
    }

    #[test]
    fn seldom_takes_a_landscape_for_a_shape_but_for_its_sun() {
        let times = ["sunset", "sunrise", "day", "night"];
        let landscapes = (0..200)
            .map(|seed| sample(Mix::default(), seed))
            .filter(|picture| times.iter().any(|time| picture.caption.contains(time)));
        let readings: Vec<_> =
            landscapes.map(|picture| read(&picture.rgb, SIDE as u32, SIDE as u32)).collect();
        let shapes = readings
            .iter()
            .filter(|reading| reading.shape.is_some_and(|shape| shape != Shape::Circle))
            .count();
        assert!(shapes * 10 < readings.len(), "{shapes} of {}", readings.len());
    }
}
