//! The sky and what is in it.

use super::light::{Light, Time};
use crate::pictures::canvas::{Canvas, Rgb};
use crate::pictures::dice::Dice;

const STAR: Rgb = [245.0, 245.0, 220.0];
const CLOUD: Rgb = [250.0, 250.0, 252.0];

/// Returns what a caption may mention. The sun of morning and evening goes without saying.
pub(super) fn draw(canvas: &mut Canvas, dice: &mut Dice, time: Time, horizon: f32) -> Option<&'static str> {
    let light = Light::of(time);
    let [top, bottom] = light.sky.map(|colour| {
        let shift = dice.between(-12.0, 12.0);
        colour.map(|value| value + shift)
    });
    // The gradient reaches to the bottom of the picture: the land hides the rest of it.
    canvas.fill(top, bottom);
    match time {
        Time::Sunset | Time::Sunrise => {
            disc(canvas, dice, &light, (horizon - 0.12, horizon - 0.02));
            None
        }
        Time::Day => {
            let sun = dice.chance(0.5);
            if sun {
                disc(canvas, dice, &light, (0.12, 0.25));
            }
            let clouds = dice.chance(0.4);
            if clouds {
                (0..3).for_each(|_| cloud(canvas, dice));
            }
            match (sun, clouds) {
                (true, true) => Some("sun and clouds"),
                (true, false) => Some("sun"),
                (false, true) => Some("clouds"),
                (false, false) => None,
            }
        }
        Time::Night => {
            let things = dice.one_of(&["moon", "stars", "moon and stars"]);
            if things.contains("stars") {
                stars(canvas, dice, horizon);
            }
            if things.contains("moon") {
                disc(canvas, dice, &light, (0.12, 0.28));
            }
            Some(things)
        }
    }
}

fn disc(canvas: &mut Canvas, dice: &mut Dice, light: &Light, (highest, lowest): (f32, f32)) {
    let at = (dice.between(0.2, 0.8), dice.between(highest, lowest));
    canvas.circle(at, dice.between(0.06, 0.09), light.disc);
}

fn stars(canvas: &mut Canvas, dice: &mut Dice, horizon: f32) {
    for _ in 0..40 {
        let at = (dice.between(0.0, 1.0), dice.between(0.0, horizon));
        canvas.circle(at, 0.008, STAR);
    }
}

/// Four puffs in a row.
fn cloud(canvas: &mut Canvas, dice: &mut Dice) {
    let (x, y) = (dice.between(0.0, 1.0), dice.between(0.08, 0.3));
    for puff in 0..4 {
        let along = 0.045 * puff as f32 - 0.07;
        canvas.circle((x + along, y), dice.between(0.025, 0.045), CLOUD);
    }
}
