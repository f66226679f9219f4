//! Landscapes: one kind of land under the sky of one time of day.

mod land;
mod light;
mod ridge;
mod sky;

use super::Picture;
use super::canvas::Canvas;
use super::dice::Dice;
use land::Land;
use light::{Light, Time};

pub(super) fn draw(side: u32, dice: &mut Dice) -> Picture {
    let (time, land) = (dice.one_of(&Time::ALL), dice.one_of(&Land::ALL));
    let light = Light::of(time);
    let horizon = dice.between(0.55, 0.68);
    let mut canvas = Canvas::new(side);
    let in_the_sky = sky::draw(&mut canvas, dice, time, horizon);
    let name = land.draw(&mut canvas, dice, &light, horizon);
    let caption = caption(dice, name, light.words, in_the_sky);
    Picture { rgb: canvas.into_rgb(), caption, is_plain: false }
}

fn caption(dice: &mut Dice, land: &str, times: &[&str], in_the_sky: Option<&str>) -> String {
    let mut caption = format!("{land} {}", dice.one_of(times));
    if let Some(things) = in_the_sky
        && dice.chance(0.85)
    {
        caption += dice.one_of(&[" with ", ", "]);
        caption += things;
    }
    if dice.chance(0.5) {
        caption.insert_str(0, dice.one_of(&["a ", "A ", "a picture of a ", "painting of a "]));
    } else if dice.chance(0.3) {
        caption[..1].make_ascii_uppercase();
    }
    caption
}
