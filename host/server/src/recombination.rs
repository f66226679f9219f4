//! What a unit of control does to the pictures that were drawn with it: its map, brought to their size, is put together with
//! each. How is the manifest's word (`Recombine`), the pixels are `gesso-picture`'s.

use gesso_core::pixels::Pixels;
use gesso_picture::control_fit::ControlFit;
use gesso_picture::error::PictureError;
use gesso_picture::recombine;
use gesso_plugin_host::Recombine;

use crate::controls::fitted;
use crate::error::AppError;

/// Pixels of a latent, in which the width of a low-pass is given.
const LATENT_PX: f64 = 8.0;
/// How much of the detail is added for each unit of sharpness.
const SHARPER: f64 = 0.1;

/// A map, and what is to be done with it.
#[derive(Debug)]
pub(crate) struct Recombination {
    pub(crate) how: Recombine,
    /// The annotator's sliders.
    pub(crate) settings: [Option<f64>; 2],
    /// As its annotator made it.
    pub(crate) map: Pixels,
    /// How it is brought to a size.
    pub(crate) fit: ControlFit,
    /// Of the first pass: lengths grow with the picture from there.
    pub(crate) first_width: u32,
}

impl Recombination {
    /// A drawn picture of any size with the map put to it. Resamples: call it where blocking is allowed.
    pub(crate) fn apply(&self, drawn: &Pixels) -> Result<Pixels, AppError> {
        let (map, hidden) = fitted(&self.map, (drawn.width, drawn.height), self.fit)?;
        let combined = match self.how {
            Recombine::Paste => recombine::pasted(drawn, &map, hidden.as_ref()),
            Recombine::Luminance => recombine::with_lightness(drawn, &map),
            Recombine::Value => recombine::with_value(drawn, &map),
            Recombine::LowPass => {
                let [reach, sharpness] = self.settings.map(Option::unwrap_or_default);
                recombine::with_tones(drawn, &map, self.sigma(reach, drawn), 1.0 + SHARPER * sharpness)
            }
        };
        combined.map_err(|error: PictureError| {
            AppError::Internal(format!("a drawn picture could not be put together with its map: {error}"))
        })
    }

    /// Of the bell as wide as a box of `reach` latents either way.
    fn sigma(&self, reach: f64, drawn: &Pixels) -> f64 {
        let scale = f64::from(drawn.width) / f64::from(self.first_width.max(1));
        let sigma = reach * LATENT_PX * scale / 3.0_f64.sqrt();
        // Wider than the picture makes no difference.
        sigma.clamp(0.0, f64::from(drawn.width.max(drawn.height)))
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;

    use super::*;

    fn flat(width: u32, height: u32, colour: [u8; 3]) -> Pixels {
        let data = colour.repeat(width as usize * height as usize);
        Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap()
    }

    fn recombination(how: Recombine, map: Pixels) -> Recombination {
        Recombination {
            how,
            settings: [Some(8.0), Some(2.0)],
            map,
            fit: ControlFit::CropAndResize,
            first_width: 64,
        }
    }

    #[test]
    fn a_map_is_brought_to_the_drawn_size() {
        let drawn = flat(64, 32, [200, 100, 50]);
        for (how, level, wanted) in [
            (Recombine::Value, 100, [100, 50, 25]),
            (Recombine::Paste, 9, [9; 3]),
            (Recombine::LowPass, 77, [77; 3]),
        ] {
            let found = recombination(how, flat(10, 20, [level; 3])).apply(&drawn).unwrap();
            assert_eq!(found, flat(64, 32, wanted), "{how:?}");
        }
    }

    #[test]
    fn a_low_pass_grows_with_the_picture_and_ends_at_its_sides() {
        let map = recombination(Recombine::LowPass, flat(8, 8, [0; 3]));
        let sigma = |reach, width| map.sigma(reach, &flat(width, 8, [0; 3]));
        assert!((sigma(1.0, 64) - 8.0 / 3.0_f64.sqrt()).abs() < 1e-9);
        assert!((sigma(1.0, 128) - 2.0 * sigma(1.0, 64)).abs() < 1e-9);
        assert_eq!(sigma(32.0, 64), 64.0);
    }
}
