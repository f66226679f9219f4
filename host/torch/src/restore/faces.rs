//! Restores the faces of a whole picture: each is turned upright, cut out, restored, parsed, and laid back where its
//! mask says. What restores is the caller's; which faces there are too.

use gesso_core::pixels::{PixelFormat, Pixels};

use super::align::Similarity;
use super::boxes::Face;
use super::face_parser::FaceParser;
use super::warp::View;
use crate::upscale::{PictureError, rgb};

/// `picture` with each of `faces` restored: `restore` is given upright RGB squares of `side` pixels and answers with
/// such. Faces that overlap are laid over each other in their order. Alpha stays as it is and grey becomes RGB;
/// without a face the picture is unchanged.
///
/// # Errors
/// Those of `restore`; [`PictureError::Device`].
pub fn restore_faces(
    picture: &Pixels,
    faces: &[Face],
    parser: &FaceParser,
    side: u32,
    restore: &mut dyn FnMut(&Pixels) -> Result<Pixels, PictureError>,
) -> Result<Pixels, PictureError> {
    if faces.is_empty() {
        return Ok(picture.clone());
    }
    let data = rgb(picture);
    let (width, height) = (picture.width as usize, picture.height as usize);
    let whole = View { data: &data, width, height };
    let mut canvas: Vec<f32> = data.iter().map(|level| f32::from(*level)).collect();
    for face in faces {
        // A face without a size has nothing to restore.
        let Some(upright) = Similarity::of_face(&face.landmarks, side) else { continue };
        let cut = whole.cut(&upright, side as usize);
        let cut = Pixels { width: side, height: side, format: PixelFormat::Rgb8, data: cut };
        let restored = restore(&cut)?;
        let mask = parser.mask(&restored)?;
        let drawn =
            View { data: &restored.data, width: restored.width as usize, height: restored.height as usize };
        drawn.paste(&upright, &mask, &mut canvas, width);
    }
    Ok(with_colours(picture, &canvas))
}

/// The picture with these colours, cut to whole levels, and its own alpha.
fn with_colours(picture: &Pixels, colours: &[f32]) -> Pixels {
    let levels = colours.as_chunks::<3>().0.iter().map(|pixel| pixel.map(|level| level as u8));
    let (format, data) = match picture.format {
        PixelFormat::Rgba8 => {
            let alphas = picture.data.as_chunks::<4>().0.iter().map(|pixel| pixel[3]);
            let pixels = levels.zip(alphas).flat_map(|([red, green, blue], alpha)| [red, green, blue, alpha]);
            (PixelFormat::Rgba8, pixels.collect())
        }
        PixelFormat::Rgb8 | PixelFormat::Gray8 => (PixelFormat::Rgb8, levels.flatten().collect()),
    };
    Pixels { width: picture.width, height: picture.height, format, data }
}
