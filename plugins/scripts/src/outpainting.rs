//! Poor man's outpainting: a picture is given a margin, which is drawn from what lies beside it, in overlapping tiles of the
//! request's size.

use gesso_plugin::{Arguments, Fault, ScriptCall, ScriptOutput};

use crate::drawing::{draw_tiles, frame, through_mask};
use crate::margins::{self, Margins};
use crate::tiles::{DRAWN, KEPT, Pixels, Tiles};

const FILLS: [&str; 4] = ["fill", "original", "latent noise", "latent nothing"];

pub(crate) fn run(mut call: ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let pixels = arguments.number(0, "Pixels to expand", (8.0, 256.0))? as u32;
    let blur = arguments.number(1, "Mask blur", (0.0, 64.0))? as u32;
    let fill = arguments.choice(2, "Masked content", &FILLS)?;
    let directions = arguments.texts(3);
    let Some(source) = call.init_images.first() else {
        return Err(Fault::InvalidInput("Poor man's outpainting needs a picture in init_images.".into()));
    };
    let source = Pixels::read(source)?;
    let (across, down) = margins::around((source.width, source.height), &directions, pixels)?;
    let mut whole = Pixels::filled(across.whole(source.width), down.whole(source.height), 0);
    whole.paste(&source, (across.before, down.before), (0, 0));
    let mask = mask(&whole, (across, down), blur);
    let tiles = Tiles::plan((whole.width, whole.height), frame(&call.params), pixels)?;
    through_mask(&mut call.params, tiles.size, blur, fill);
    let is_drawn = |(x, y): (u32, u32)| {
        !(across.keeps(x, tiles.size.0, whole.width) && down.keeps(y, tiles.size.1, whole.height))
    };
    let (drawn, infotext) = draw_tiles(&call.params, &whole, &mask, &tiles, is_drawn)?;
    let pictures = vec![(drawn.write()?, infotext.unwrap_or_default())];
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
