//! Drawing over a picture: what of it is kept, what is repainted, and how the picture meets the asked-for size. The
//! pictures themselves go beside the request; this file knows only the settings.

mod soft;

pub use soft::{SOFT_ENABLED, SOFT_SETTINGS, SoftInpainting, SoftSetting};

/// How a picture is drawn over.
#[derive(Debug, Clone, PartialEq)]
pub struct Img2Img {
    /// 0..=1: 0 keeps the picture, 1 draws it anew.
    pub denoising_strength: f64,
    /// Run as many steps as were asked for instead of the share that the strength leaves.
    pub exact_steps: bool,
    pub resize_mode: ResizeMode,
    /// Guidance by the picture itself, of which 1 is none; only edit checkpoints ("instruct pix2pix") read it.
    pub image_cfg_scale: f64,
    /// Match the result's colours to the picture's.
    pub colour_correction: bool,
    pub mask: Option<Mask>,
    pub pictures: PictureOptions,
}

/// What happens to the pictures that are sent and those that come back, beside the drawing itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureOptions {
    /// Seen through transparent parts of what is sent.
    pub background: [u8; 3],
    /// What brings a picture that is smaller than the asked-for size to it, by the name of an upscaler; `None`
    /// resamples it.
    pub upscaler: Option<String>,
    /// Lay what the mask keeps over what was drawn. Without it the drawn part comes back as it is.
    pub overlay: bool,
    /// Show the mask behind the pictures too, and what was drawn under it.
    pub show_mask: bool,
    pub show_masked_part: bool,
}

impl Default for PictureOptions {
    /// As web UIs have them.
    fn default() -> Self {
        Self {
            background: [255; 3],
            upscaler: None,
            overlay: true,
            show_mask: false,
            show_masked_part: false,
        }
    }
}

/// How a picture of another size becomes the asked-for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResizeMode {
    #[default]
    Stretch,
    /// Cover the size and cut off what is over.
    Crop,
    /// Fit inside and fill the bars by stretching the outermost rows or columns.
    Fill,
    /// Encode at the picture's own size and interpolate the latent.
    Latent,
}

impl ResizeMode {
    /// In the order of their numbers on the wire.
    pub const ALL: [Self; 4] = [Self::Stretch, Self::Crop, Self::Fill, Self::Latent];

    /// By the number on the wire.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The name people read, and the one in infotext.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stretch => "Just resize",
            Self::Crop => "Crop and resize",
            Self::Fill => "Resize and fill",
            Self::Latent => "Just resize (latent upscale)",
        }
    }
}

/// Which part is repainted, and what it starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    /// Standard deviation of the blur of the mask's edge, pixels.
    pub blur: (u32, u32),
    /// Repaint what is black instead of what is white.
    pub invert: bool,
    pub fill: Fill,
    /// `Some(padding)` draws only the masked part, enlarged to the whole size, with so many pixels around it.
    pub only_masked: Option<u32>,
    /// Round the mask to kept or repainted in the latent; soft inpainting does not.
    pub round: bool,
    /// Draw half-covered places softly; the mask is not rounded then.
    pub soft: Option<SoftInpainting>,
    /// Share of the masked picture that inpainting checkpoints do not see; 1 hides it all.
    pub conditioning_weight: f64,
}

/// What lies under the mask when drawing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// Colours from around the mask.
    #[default]
    Blur,
    Original,
    LatentNoise,
    LatentNothing,
}

impl Fill {
    /// In the order of their numbers on the wire.
    pub const ALL: [Self; 4] = [Self::Blur, Self::Original, Self::LatentNoise, Self::LatentNothing];

    /// By the number on the wire.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// As infotext names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Blur => "fill",
            Self::Original => "original",
            Self::LatentNoise => "latent noise",
            Self::LatentNothing => "latent nothing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_the_wire_are_the_web_uis() {
        assert_eq!(ResizeMode::from_number(2), Some(ResizeMode::Fill));
        assert_eq!(Fill::from_number(1), Some(Fill::Original));
        for number in [-1, 4, i64::MAX] {
            assert_eq!((ResizeMode::from_number(number), Fill::from_number(number)), (None, None));
        }
    }
}
