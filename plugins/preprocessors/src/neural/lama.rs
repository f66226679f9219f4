//! What is to be repainted, filled by LaMa (Suvorov 2022, advimman/lama, Apache-2.0) with what may lie there.

use gesso_core::pixels::Pixels;
use gesso_plugin::Fault;

use super::input::{Feed, is_hole};
use super::output::{Reading, resized};
use super::{Look, Ready, Recipe, recipe};
use crate::{Settings, inpaint, resolution};

const RECIPE: Recipe =
    recipe("inpaint_only+lama", &["ControlNetLama", "lama"], Feed::HOLED, Reading::Colours);
/// Pixels of the short side that the network was trained at; what it fills is enlarged.
const SIDE: u32 = 256;

/// RGBA, filled where the mask is white, and transparent there.
pub(super) fn map(
    source: &Pixels,
    mask: Option<&Pixels>,
    settings: Settings,
    look: &dyn Look,
) -> Result<Pixels, Fault> {
    let mut hidden = inpaint::hidden(source, mask).map_err(Fault::InvalidInput)?;
    let ready = Ready::find(&RECIPE, look)?;
    let small = resolution::at(&hidden, SIDE, |picture| {
        let mut filled = picture.clone();
        let colours = ready.map(picture, settings, |_| Vec::new())?;
        let (colours, _) = colours.data.as_chunks::<3>();
        for (pixel, colour) in filled.data.as_chunks_mut::<4>().0.iter_mut().zip(colours) {
            if is_hole(pixel[3]) {
                pixel[..3].copy_from_slice(colour);
            }
        }
        Ok(filled)
    })?;
    let size = (hidden.width, hidden.height);
    let (pixels, _) = hidden.data.as_chunks_mut::<4>();
    // One channel after the other, which takes a third of the room.
    for channel in 0..3 {
        let levels: Vec<f32> =
            small.data.iter().skip(channel).step_by(4).map(|level| f32::from(*level)).collect();
        let large = resized(&levels, (small.height as usize, small.width as usize), size);
        for (pixel, level) in pixels.iter_mut().zip(large) {
            if is_hole(pixel[3]) {
                pixel[channel] = level.round() as u8;
            }
        }
    }
    Ok(hidden)
}
