//! How much of a softly inpainted picture is to be seen: its alpha, from how far its latent came from what was kept. What
//! distance means is `gesso_core`'s, who lays the picture over the original the server's.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_engine::backend::BackendError;
use gesso_picture::blur::pillow_gaussian;
use gesso_picture::error::PictureError;
use gesso_picture::resize::{Filter, resize};

use crate::failure::device_error;
use crate::pass::Sample;
use crate::source::Differences;

/// Pixels of the bell that takes the steps of latents out of the alpha: half a latent.
const SIGMA: f64 = 4.0;

/// The finished picture of a sample with its alpha; as it is where nothing is inpainted softly.
pub(crate) fn with_alpha(sample: &Sample, picture: Pixels) -> Result<Pixels, BackendError> {
    let Some(kept) = &sample.kept else { return Ok(picture) };
    let differences = sample.result().and_then(|latent| kept.differences(&latent)).map_err(device_error)?;
    let Some(differences) = differences else { return Ok(picture) };
    let alpha = alpha(&differences, &picture)
        .map_err(|error| BackendError::Device(format!("soft inpainting's alpha cannot be made: {error}")))?;
    let (colours, _) = picture.data.as_chunks::<3>();
    let data = colours.iter().zip(&alpha.data).flat_map(|([r, g, b], shown)| [*r, *g, *b, *shown]).collect();
    Ok(Pixels { format: PixelFormat::Rgba8, data, ..picture })
}

/// Grey levels at the size of `picture`.
fn alpha(differences: &Differences, picture: &Pixels) -> Result<Pixels, PictureError> {
    let Differences { soft, distances, repaint, size: (rows, columns) } = differences;
    let small = Pixels {
        width: *columns as u32,
        height: *rows as u32,
        format: PixelFormat::Gray8,
        data: soft.shown_levels(distances, repaint, *columns),
    };
    pillow_gaussian(&resize(&small, picture.width, picture.height, Filter::Bilinear)?, SIGMA)
}

#[cfg(test)]
mod tests {
    use gesso_core::img2img::SoftInpainting;

    use super::*;

    #[test]
    fn the_alpha_is_of_the_pictures_size_and_white_where_much_changed() {
        let distances = (0..64).map(|place| if place % 8 < 4 { 9.0 } else { 0.0 }).collect();
        let differences =
            Differences { soft: SoftInpainting::default(), distances, repaint: vec![1.0; 64], size: (8, 8) };
        let picture = Pixels::new(64, 64, PixelFormat::Rgb8, vec![0; 64 * 64 * 3]).unwrap();
        let alpha = alpha(&differences, &picture).unwrap();
        assert_eq!((alpha.width, alpha.height, alpha.format), (64, 64, PixelFormat::Gray8));
        let row = &alpha.data[32 * 64..33 * 64];
        assert_eq!((row[0], row[63]), (255, 0));
        assert!(row.is_sorted_by(|a, b| a >= b), "{row:?}");
    }
}
