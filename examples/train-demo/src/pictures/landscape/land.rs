//! The land below the sky.

use super::light::Light;
use super::ridge::{Ridge, Roughness};
use crate::pictures::canvas::{Canvas, Rgb};
use crate::pictures::dice::Dice;

#[derive(Clone, Copy)]
pub(super) enum Land {
    Mountain,
    Hills,
    Sea,
    Desert,
    Forest,
    City,
}

const MEADOWS: [Rgb; 3] = [[120.0, 170.0, 95.0], [90.0, 150.0, 75.0], [60.0, 125.0, 60.0]];
const DUNES: [Rgb; 3] = [[230.0, 190.0, 120.0], [215.0, 165.0, 95.0], [190.0, 140.0, 75.0]];

impl Land {
    pub(super) const ALL: [Self; 6] =
        [Self::Mountain, Self::Hills, Self::Sea, Self::Desert, Self::Forest, Self::City];

    /// Returns what captions call it.
    pub(super) fn draw(
        self,
        canvas: &mut Canvas,
        dice: &mut Dice,
        light: &Light,
        horizon: f32,
    ) -> &'static str {
        match self {
            Self::Mountain => mountains(canvas, dice, light, horizon),
            Self::Hills => {
                rows(canvas, dice, light, (horizon + 0.06, 0.13), MEADOWS);
                "green hills"
            }
            Self::Sea => {
                sea(canvas, dice, light, horizon);
                "sea"
            }
            Self::Desert => {
                rows(canvas, dice, light, (horizon + 0.05, 0.11), DUNES);
                "desert"
            }
            Self::Forest => {
                forest(canvas, dice, light, horizon);
                "forest"
            }
            Self::City => {
                city(canvas, dice, light, horizon);
                "city skyline"
            }
        }
    }
}

fn mountains(canvas: &mut Canvas, dice: &mut Dice, light: &Light, horizon: f32) -> &'static str {
    let height = dice.between(0.35, 0.5);
    let far = Ridge::new(dice, horizon + 0.08, height, Roughness::Rocky);
    let snow = dice.chance(0.4);
    far.draw(canvas, light.on([105.0, 110.0, 130.0]));
    if snow {
        far.draw_cap(canvas, horizon, light.on([240.0, 245.0, 250.0]));
    }
    Ridge::new(dice, horizon + 0.18, 0.18, Roughness::Rocky).draw(canvas, light.on([70.0, 85.0, 80.0]));
    Ridge::new(dice, 0.92, 0.08, Roughness::Smooth).draw(canvas, light.on([55.0, 95.0, 55.0]));
    match snow {
        true => dice.one_of(&["snowy mountain landscape", "mountain landscape with snow"]),
        false => "mountain landscape",
    }
}

/// Three rows from far to near, 0.13 of the side apart.
fn rows(canvas: &mut Canvas, dice: &mut Dice, light: &Light, (first, height): (f32, f32), colours: [Rgb; 3]) {
    for (row, colour) in colours.into_iter().enumerate() {
        let base = first + 0.13 * row as f32;
        Ridge::new(dice, base, height, Roughness::Smooth).draw(canvas, light.on(colour));
    }
}

fn sea(canvas: &mut Canvas, dice: &mut Dice, light: &Light, horizon: f32) {
    canvas.rectangle((0.0, horizon), (1.0, 1.0), light.on([60.0, 130.0, 190.0]));
    for _ in 0..22 {
        let (left, top) = (dice.between(-0.08, 1.0), dice.between(horizon + 0.01, 1.0));
        let length = dice.between(0.05, 0.2);
        canvas.rectangle((left, top), (left + length, top + 0.008), light.on([150.0, 200.0, 230.0]));
    }
}

fn forest(canvas: &mut Canvas, dice: &mut Dice, light: &Light, horizon: f32) {
    canvas.rectangle((0.0, horizon + 0.1), (1.0, 1.0), light.on([70.0, 120.0, 60.0]));
    // From far to near: fewer and taller.
    for row in 0..3u8 {
        let near = f32::from(row);
        for _ in 0..9 - row {
            let foot = (dice.between(-0.04, 1.04), horizon + 0.12 + 0.1 * near);
            let height = dice.between(0.16, 0.26) * (1.0 + 0.25 * near);
            fir(canvas, dice, light, foot, height);
        }
    }
}

fn fir(canvas: &mut Canvas, dice: &mut Dice, light: &Light, (x, y): (f32, f32), height: f32) {
    let needles = light.on([dice.between(35.0, 47.0), dice.between(95.0, 120.0), 50.0]);
    let (trunk, spread) = (height * 0.036, height * 0.225);
    let bark = light.on([90.0, 60.0, 40.0]);
    canvas.rectangle((x - trunk, y - height * 0.1), (x + trunk, y + height * 0.12), bark);
    for tier in 0..3u8 {
        let tier = f32::from(tier);
        let (half, foot) = (spread * (1.0 - 0.22 * tier), y - height * 0.25 * tier);
        canvas.polygon([(x - half, foot), (x + half, foot), (x, foot - height * 0.5)], needles);
    }
}

fn city(canvas: &mut Canvas, dice: &mut Dice, light: &Light, horizon: f32) {
    canvas.rectangle((0.0, horizon + 0.1), (1.0, 1.0), light.on([70.0, 72.0, 80.0]));
    let mut left = -0.02;
    while left < 1.0 {
        let (width, height) = (dice.between(0.07, 0.13), dice.between(0.15, 0.5));
        let street = horizon + 0.12;
        let wall = light.on([dice.between(95.0, 135.0); 3]);
        canvas.rectangle((left, street - height), (left + width, street), wall);
        windows(canvas, dice, light, (left, street - height), (left + width, horizon + 0.1));
        left += width + dice.between(0.0, 0.024);
    }
}

/// Windows of 3 by 4.5 pixels of 128 in columns and rows, some of them dark.
fn windows(canvas: &mut Canvas, dice: &mut Dice, light: &Light, from: (f32, f32), to: (f32, f32)) {
    const MARGIN: (f32, f32) = (0.02, 0.031);
    const STEP: (f32, f32) = (0.047, 0.0625);
    const SIZE: (f32, f32) = (0.0234, 0.0352);
    let colour = light.windows.unwrap_or_else(|| light.on([190.0, 215.0, 235.0]));
    let mut top = from.1 + MARGIN.1;
    while top < to.1 {
        let mut left = from.0 + MARGIN.0;
        while left < to.0 - 0.027 {
            if dice.chance(0.6) {
                canvas.rectangle((left, top), (left + SIZE.0, top + SIZE.1), colour);
            }
            left += STEP.0;
        }
        top += STEP.1;
    }
}
