//! Poor man's outpainting: a picture is given a margin, which is drawn from what lies beside it, in overlapping tiles of the
//! request's size.

use gesso_plugin::{Fault, ScriptCall, ScriptOutput, inference};
use serde_json::Value;

use crate::arguments::Arguments;
use crate::drawing::{in_turn, pictures};
use crate::tiles::{Pixels, Tiles};

const FILLS: [&str; 4] = ["fill", "original", "latent noise", "latent nothing"];
const DIRECTIONS: [&str; 4] = ["left", "right", "up", "down"];
/// Sides of the result are multiples of this.
const STEP: u32 = 64;
const DRAWN: u8 = 255;
const KEPT: u8 = 0;

pub(crate) fn run(mut call: ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let pixels = arguments.number(0, "Pixels to expand", (8.0, 256.0))? as u32;
    let blur = arguments.number(1, "Mask blur", (0.0, 64.0))? as u32;
    let fill = arguments.choice(2, "Masked content", &FILLS)?;
    let directions = arguments.texts(3);
    if let Some(other) = directions.iter().find(|given| !DIRECTIONS.contains(&given.as_str())) {
        return Err(Fault::InvalidInput(format!(
            "\"Outpainting direction\" has {other:?}; it must be a list of {}.",
            DIRECTIONS.join(", ")
        )));
    }
    let Some(source) = call.init_images.first() else {
        return Err(Fault::InvalidInput("Poor man's outpainting needs a picture in init_images.".into()));
    };
    let source = Pixels::read(source)?;
    let asked = |direction: &str| if directions.iter().any(|given| given == direction) { pixels } else { 0 };
    let across = Margins::of(source.width, asked("left"), asked("right"));
    let down = Margins::of(source.height, asked("up"), asked("down"));
    let mut whole = Pixels::filled(across.whole(source.width), down.whole(source.height), 0);
    whole.paste(&source, (across.before, down.before), (0, 0));
    let mask = mask(&whole, (across, down), blur);

    let side = |field: &str| call.params.get(field).and_then(Value::as_u64).unwrap_or(512) as u32;
    let tiles = Tiles::plan((whole.width, whole.height), (side("width"), side("height")), pixels)?;
    for (field, value) in [
        ("width", tiles.size.0),
        ("height", tiles.size.1),
        ("batch_size", 1),
        ("n_iter", 1),
        ("mask_blur", blur),
        ("inpainting_fill", fill as u32),
    ] {
        call.params.set(field, value);
    }
    call.params.set("inpaint_full_res", false);
    // The mask is this script's own.
    call.params.set("inpainting_mask_invert", 0);
    let is_drawn = |(x, y): &(u32, u32)| {
        !(across.keeps(*x, tiles.size.0, whole.width) && down.keeps(*y, tiles.size.1, whole.height))
    };
    let jobs = tiles.places().filter(is_drawn).map(|place| {
        let (tile, mask) = (whole.cut(place, tiles.size).write()?, mask.cut(place, tiles.size).write()?);
        inference::generate(&call.params, std::slice::from_ref(&tile), Some(&mask))
    });
    let mut drawn = in_turn(jobs)?.into_iter();
    let mut pasted = whole.clone();
    let mut infotext = None;
    for place in tiles.places() {
        let tile = if is_drawn(&place) {
            let first = drawn.next().and_then(|drawn| pictures(drawn).next());
            let (picture, text) = first.ok_or_else(|| Fault::Other("The host drew no tile.".into()))?;
            infotext = infotext.or(Some(text));
            Pixels::read(&picture)?
        } else {
            whole.cut(place, tiles.size)
        };
        pasted.paste(&tile, place, tiles.fades(place));
    }
    let pictures = vec![(pasted.write()?, infotext.unwrap_or_default())];
    Ok(ScriptOutput { pictures, index_of_first_image: 0 })
}

/// White where the whole is drawn: its margins, and a band beside them twice as wide as the blur.
fn mask(whole: &Pixels, (across, down): (Margins, Margins), blur: u32) -> Pixels {
    let mut mask = Pixels::filled(whole.width, whole.height, DRAWN);
    let ((left, right), (top, bottom)) =
        (across.kept(whole.width, 2 * blur), down.kept(whole.height, 2 * blur));
    if left < right && top < bottom {
        mask.paste(&Pixels::filled(right - left, bottom - top, KEPT), (left, top), (0, 0));
    }
    mask
}

/// Pixels added before and behind, along one side.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Margins {
    before: u32,
    behind: u32,
}

impl Margins {
    /// What is asked for and what makes the whole a multiple of [`STEP`], spread as it was asked for.
    fn of(side: u32, before: u32, behind: u32) -> Self {
        let added = (side + before + behind).next_multiple_of(STEP) - side;
        match before + behind {
            // Nothing asked for: what is missing goes behind.
            0 => Self { before: 0, behind: added },
            asked => {
                let before = before * added / asked;
                Self { before, behind: added - before }
            }
        }
    }

    fn whole(self, side: u32) -> u32 {
        self.before + side + self.behind
    }

    /// Where the picture is kept, from and to, with a band off each side that has a margin.
    fn kept(self, whole: u32, band: u32) -> (u32, u32) {
        let band = |margin: u32| if margin > 0 { margin + band } else { 0 };
        (band(self.before), whole.saturating_sub(band(self.behind)))
    }

    /// Whether a tile has nothing of the margins.
    fn keeps(self, start: u32, tile: u32, whole: u32) -> bool {
        start >= self.before && start + tile <= whole - self.behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_make_the_whole_a_multiple_of_64() {
        for (side, before, behind, margins) in [
            (512, 128, 128, (128, 128)),
            (500, 128, 0, (140, 0)),
            (500, 0, 128, (0, 140)),
            (500, 64, 64, (70, 70)),
            (512, 0, 0, (0, 0)),
            (500, 0, 0, (0, 12)),
        ] {
            let found = Margins::of(side, before, behind);
            assert_eq!((found.before, found.behind), margins, "{side} {before} {behind}");
            assert_eq!(found.whole(side) % STEP, 0);
        }
    }

    #[test]
    fn the_mask_covers_the_margins_and_a_band_beside_them() {
        let (across, down) = (Margins { before: 64, behind: 0 }, Margins { before: 0, behind: 0 });
        let mask = mask(&Pixels::filled(128, 64, 0), (across, down), 4);
        let row: Vec<u8> = mask.data[..128 * 3].iter().step_by(3).copied().collect();
        assert_eq!(row.iter().filter(|level| **level == DRAWN).count(), 64 + 8);
        assert!(row[..72].iter().all(|level| *level == DRAWN));
        let narrow = super::mask(&Pixels::filled(128, 64, 0), (across, down), 64);
        assert!(narrow.data.iter().all(|level| *level == DRAWN));
    }

    #[test]
    fn only_tiles_without_margins_are_kept() {
        let margins = Margins { before: 64, behind: 64 };
        let kept: Vec<_> = [0, 64, 96, 128].into_iter().filter(|x| margins.keeps(*x, 64, 256)).collect();
        assert_eq!(kept, [64, 96, 128]);
    }
}
