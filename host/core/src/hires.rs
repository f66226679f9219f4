//! The second pass ("hires fix"): a finished latent is enlarged, noised again and redrawn at the larger size. The
//! rules for sizes are the web UIs'. Knows nothing of how anything is enlarged.

use crate::sampler::Sampler;
use crate::schedule::Scheduler;

/// Side of the square of pixels that one element of a latent stands for.
const LATENT_PX: u32 = 8;

/// What the second pass does differently from the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Hires {
    pub size: HiresSize,
    pub upscaler: HiresUpscaler,
    /// 0..=1: how much of the enlarged picture is drawn anew.
    pub denoising_strength: f64,
    /// `None` takes as many as the first pass.
    pub steps: Option<u32>,
    /// `None` is the first pass's sampler, and so on below.
    pub sampler: Option<Sampler>,
    pub scheduler: Option<Scheduler>,
    pub prompt: Option<String>,
    pub negative_prompt: Option<String>,
    /// Another checkpoint, as the client named it.
    pub model: Option<String>,
    /// A picture, which goes beside the request, stands in for the first pass's result: that pass is not drawn.
    pub from_picture: bool,
}

/// How the larger size was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HiresSize {
    /// Times the first pass's size.
    Scale(f64),
    /// Pixels; 0 on one side follows the other by the aspect ratio. Never both 0.
    Resize { width: u32, height: u32 },
}

/// What enlarges the picture between the passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HiresUpscaler {
    /// The latent itself, by interpolation.
    Latent(LatentUpscaler),
    /// The decoded picture, by the upscaler of this name.
    Pixels(String),
}

/// The tiles that upscaling networks work in, so that memory is bounded by a tile and not by the picture. Pixels before
/// enlarging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpscaleTiles {
    /// 0 is as large as tiles may be.
    pub side: u32,
    /// Least overlap of neighbours, blended over; taken as half of the side at most.
    pub overlap: u32,
}

impl Default for UpscaleTiles {
    /// What web UIs begin with.
    fn default() -> Self {
        Self { side: 192, overlap: 8 }
    }
}

impl UpscaleTiles {
    pub const SIDE_MIN: u32 = 16;
    /// Of such a tile, each map of a network that makes sides four times as long is a gigabyte (64 channels of f32), and a
    /// convolution holds two.
    pub const SIDE_MAX: u32 = 512;
    pub const OVERLAP_MAX: u32 = 48;

    /// Pixels: what is asked for, and what 0 stands for.
    pub fn side(self) -> u32 {
        if self.side == 0 { Self::SIDE_MAX } else { self.side }
    }

    /// Tiles that overlap by more than half would be very many.
    pub fn overlap(self) -> u32 {
        self.overlap.min(self.side() / 2)
    }
}

/// Interpolations of a latent, in the order web UIs list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatentUpscaler {
    Bilinear,
    BilinearAntialiased,
    Bicubic,
    BicubicAntialiased,
    Nearest,
    NearestExact,
}

impl LatentUpscaler {
    pub const ALL: [Self; 6] = [
        Self::Bilinear,
        Self::BilinearAntialiased,
        Self::Bicubic,
        Self::BicubicAntialiased,
        Self::Nearest,
        Self::NearestExact,
    ];

    /// The name in requests, lists and infotext.
    pub fn label(self) -> &'static str {
        match self {
            Self::Bilinear => "Latent",
            Self::BilinearAntialiased => "Latent (antialiased)",
            Self::Bicubic => "Latent (bicubic)",
            Self::BicubicAntialiased => "Latent (bicubic antialiased)",
            Self::Nearest => "Latent (nearest)",
            Self::NearestExact => "Latent (nearest-exact)",
        }
    }

    /// By label, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.label().eq_ignore_ascii_case(text.trim()))
    }
}

impl HiresUpscaler {
    pub fn label(&self) -> &str {
        match self {
            Self::Latent(mode) => mode.label(),
            Self::Pixels(name) => name,
        }
    }
}

/// The first pass's size where only the second's is given, as before web UIs asked for both: as many pixels as 512x512, in the
/// shape of the whole. Sides are rounded up to multiples of 64.
pub fn old_first_pass(width: u32, height: u32) -> (u32, u32) {
    const PIXELS: f64 = 512.0 * 512.0;
    let (width, height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let scale = (PIXELS / (width * height)).sqrt();
    let side = |side: f64| (side * scale / 64.0).ceil() as u32 * 64;
    (side(width), side(height))
}

/// The sizes of a second pass, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HiresTarget {
    /// What the picture is enlarged to; covers the target.
    pub enlarged: (u32, u32),
    /// What is left after cropping the latent: width and height of the finished picture.
    pub size: (u32, u32),
}

impl HiresTarget {
    /// Rows and columns of the latent that is cut off before the second pass begins: `(from the top, from the left)`.
    pub fn crop_origin(&self) -> (u32, u32) {
        let cut = |enlarged: u32, size: u32| (enlarged / LATENT_PX).saturating_sub(size / LATENT_PX) / 2;
        (cut(self.enlarged.1, self.size.1), cut(self.enlarged.0, self.size.0))
    }
}

impl HiresSize {
    /// The sizes a first pass of `width` x `height` (neither 0) is taken to. Sides that are no multiple of 8 lose
    /// the remainder when they become a latent, as in web UIs.
    pub fn target(self, width: u32, height: u32) -> HiresTarget {
        let by_ratio = |side: u32, times: u32, over: u32| {
            u32::try_from(u64::from(side) * u64::from(times) / u64::from(over.max(1))).unwrap_or(u32::MAX)
        };
        let whole = |enlarged: (u32, u32), size: (u32, u32)| {
            let floor =
                |(width, height): (u32, u32)| (width / LATENT_PX * LATENT_PX, height / LATENT_PX * LATENT_PX);
            HiresTarget { enlarged: floor(enlarged), size: floor(size) }
        };
        match self {
            Self::Scale(scale) => {
                let size = ((f64::from(width) * scale) as u32, (f64::from(height) * scale) as u32);
                whole(size, size)
            }
            Self::Resize { width: 0, height: target } => {
                let size = (by_ratio(target, width, height), target);
                whole(size, size)
            }
            Self::Resize { width: target, height: 0 } => {
                let size = (target, by_ratio(target, height, width));
                whole(size, size)
            }
            Self::Resize { width: x, height: y } => {
                let is_narrower = u64::from(width) * u64::from(y) < u64::from(x) * u64::from(height);
                let enlarged = if is_narrower {
                    (x, by_ratio(x, height, width))
                } else {
                    (by_ratio(y, width, height), y)
                };
                whole(enlarged, (x, y))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_follow_the_web_uis_rules() {
        let resize = |width, height| HiresSize::Resize { width, height };
        for (size, first, enlarged, target) in [
            (HiresSize::Scale(2.0), (512, 768), (1024, 1536), (1024, 1536)),
            (HiresSize::Scale(1.3), (512, 512), (664, 664), (664, 664)),
            (resize(0, 1024), (512, 768), (680, 1024), (680, 1024)),
            (resize(1024, 0), (512, 768), (1024, 1536), (1024, 1536)),
            (resize(1024, 1024), (512, 768), (1024, 1536), (1024, 1024)),
            (resize(1024, 1024), (768, 512), (1536, 1024), (1024, 1024)),
            (resize(1024, 1024), (512, 512), (1024, 1024), (1024, 1024)),
        ] {
            assert_eq!(
                size.target(first.0, first.1),
                HiresTarget { enlarged, size: target },
                "{size:?} {first:?}"
            );
        }
    }

    #[test]
    fn the_crop_is_centred_with_the_odd_row_at_the_end() {
        let target = HiresTarget { enlarged: (1024, 1544), size: (1024, 1024) };
        assert_eq!(target.crop_origin(), (32, 0));
    }

    #[test]
    fn tiles_are_bounded_in_size_and_number() {
        let meant = |side, overlap| {
            let tiles = UpscaleTiles { side, overlap };
            (tiles.side(), tiles.overlap())
        };
        assert_eq!((meant(192, 8), meant(0, 48), meant(16, 48)), ((192, 8), (512, 48), (16, 8)));
    }

    #[test]
    fn parses_every_latent_upscaler_in_any_case() {
        for mode in LatentUpscaler::ALL {
            assert_eq!(LatentUpscaler::parse(&mode.label().to_uppercase()), Some(mode));
        }
        assert_eq!(LatentUpscaler::parse("Latent (lanczos)"), None);
    }

    proptest! {
        #[test]
        fn the_enlarged_picture_covers_the_target(
            width in 1u32..4096, height in 1u32..4096, x in 1u32..4096, y in 1u32..4096,
        ) {
            let target = HiresSize::Resize { width: x, height: y }.target(width, height);
            prop_assert!(target.enlarged.0 + 8 > target.size.0 && target.enlarged.1 + 8 > target.size.1);
            let (top, left) = target.crop_origin();
            prop_assert!(top * 8 <= target.enlarged.1 && left * 8 <= target.enlarged.0);
        }
    }
}
