//! What a network's file says of itself in `extra/config.txt`, and a picture as such a network is fed it. Knows no file and no
//! engine.

use gesso_core::numbers::Numbers;
use gesso_core::pixels::Pixels;
use gesso_picture::convert::flatten;
use gesso_picture::error::PictureError;
use gesso_picture::fit::{FitMode, fit};
use serde::Deserialize;

use crate::sources::BACKGROUND;

/// The longest side that a file may ask for.
const SIDE_MAX: u32 = 2048;

/// The words of detectors' files where they have one: `imgsz`, `names`.
#[derive(Debug, Deserialize)]
pub(super) struct About {
    imgsz: Size,
    #[serde(default)]
    layout: Layout,
    #[serde(default)]
    channels: Channels,
    /// What white is fed as.
    #[serde(default = "one")]
    scale: f32,
    /// The tags of its scores, in order, as boorus write them: underscores for spaces, ratings as `rating:…`.
    #[serde(default)]
    pub(super) names: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "imgsz must be a side in pixels, or height and width")]
enum Size {
    Square(u32),
    /// Height and width.
    Sides([u32; 2]),
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Layout {
    #[default]
    Nchw,
    Nhwc,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Channels {
    #[default]
    Rgb,
    Bgr,
}

fn one() -> f32 {
    1.0
}

impl About {
    /// # Errors
    /// A sentence's end, for a file that says nothing or what cannot be.
    pub(super) fn read(text: Option<&str>) -> Result<Self, String> {
        let text = text.ok_or(
            "it says nothing of itself; export it with an extra file config.txt that has imgsz, and names for tags",
        )?;
        let about: Self =
            serde_json::from_str(text).map_err(|error| format!("its config.txt does not read: {error}"))?;
        let (width, height) = about.size();
        if ![width, height].iter().all(|side| (1..=SIDE_MAX).contains(side)) {
            return Err(format!(
                "its config.txt asks for {width} x {height} pixels; a side has 1 to {SIDE_MAX}"
            ));
        }
        Ok(about)
    }

    /// Width and height.
    fn size(&self) -> (u32, u32) {
        match self.imgsz {
            Size::Square(side) => (side, side),
            Size::Sides([height, width]) => (width, height),
        }
    }

    /// The picture at the network's size, one in a batch.
    pub(super) fn fed(&self, picture: &Pixels, mode: FitMode) -> Result<Numbers, PictureError> {
        let (width, height) = self.size();
        let fitted = fit(&flatten(picture, BACKGROUND)?, width, height, mode)?;
        let (pixels, _) = fitted.data.as_chunks::<3>();
        let number = |level: u8| f32::from(level) * self.scale / 255.0;
        let order: [usize; 3] = match self.channels {
            Channels::Rgb => [0, 1, 2],
            Channels::Bgr => [2, 1, 0],
        };
        let (shape, values) = match self.layout {
            Layout::Nchw => {
                let plane = |channel: usize| pixels.iter().map(move |pixel| number(pixel[channel]));
                (vec![1, 3, height, width], order.into_iter().flat_map(plane).collect())
            }
            Layout::Nhwc => {
                let numbers = |pixel: &[u8; 3]| order.map(|channel| number(pixel[channel]));
                (vec![1, height, width, 3], pixels.iter().flat_map(numbers).collect())
            }
        };
        Ok(Numbers { shape, values })
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;

    use super::*;

    #[test]
    fn pictures_are_fed_as_the_file_says() {
        let picture = Pixels::new(2, 1, PixelFormat::Rgb8, vec![255, 51, 0, 0, 102, 255]).unwrap();
        let fed = |about: &str| About::read(Some(about)).unwrap().fed(&picture, FitMode::Stretch).unwrap();
        let plain = fed(r#"{"imgsz": [1, 2]}"#);
        assert_eq!((plain.shape, plain.values), (vec![1, 3, 1, 2], vec![1.0, 0.0, 0.2, 0.4, 0.0, 1.0]));
        let levels =
            fed(r#"{"imgsz": [1, 2], "layout": "nhwc", "channels": "bgr", "scale": 255, "stride": 3}"#);
        assert_eq!(
            (levels.shape, levels.values),
            (vec![1, 1, 2, 3], vec![0.0, 51.0, 255.0, 255.0, 102.0, 0.0])
        );
    }

    #[test]
    fn what_a_file_cannot_mean_is_named() {
        for (text, word) in [
            (None, "extra file config.txt"),
            (Some("{}"), "imgsz"),
            (Some(r#"{"imgsz": "large"}"#), "imgsz must be"),
            (Some(r#"{"imgsz": 0}"#), "0 x 0"),
            (Some(r#"{"imgsz": 9000}"#), "1 to 2048"),
            (Some(r#"{"imgsz": 8, "layout": "chw"}"#), "nchw"),
        ] {
            let problem = About::read(text).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
