//! The map of inpainting networks: the picture, with what is to be repainted hidden.

use gesso_core::pixels::{PixelFormat, Pixels};

/// Masks from here on are repainted.
const HALF: u8 = 128;

/// RGBA, transparent where the mask is white.
///
/// # Errors
/// A sentence for the client, where there is no mask or one of another size.
pub(crate) fn hidden(picture: &Pixels, mask: Option<&Pixels>) -> Result<Pixels, String> {
    let Some(mask) = mask else {
        return Err(
            "mask: it needs a mask; send one with the unit's image, or draw over a masked picture.".into()
        );
    };
    if (mask.width, mask.height) != (picture.width, picture.height) {
        return Err(format!(
            "mask: it has {}x{} pixels and its picture {}x{}; send them in one size.",
            mask.width, mask.height, picture.width, picture.height
        ));
    }
    let (pixels, _) = picture.data.as_chunks::<3>();
    let covered = |level: u8| if level >= HALF { 0 } else { 255 };
    let data = pixels.iter().zip(&mask.data).flat_map(|([r, g, b], level)| [*r, *g, *b, covered(*level)]);
    Ok(Pixels {
        width: picture.width,
        height: picture.height,
        format: PixelFormat::Rgba8,
        data: data.collect(),
    })
}
