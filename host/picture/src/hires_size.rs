//! The size of the second pass (hires fix): how far the first pass is enlarged and what is then cut off.
//!
//! Pure integer rules of web UIs; knows nothing of pictures or latents.

use crate::error::{PictureError, in_range, size};

/// Pixels of one side of a latent pixel.
const LATENT_PIXEL: u32 = 8;

/// What a request says of the second pass's size. Zero for a side means "not given".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HiresTarget {
    /// Used when both sides are zero.
    pub scale: f64,
    pub resize_width: u32,
    pub resize_height: u32,
}

/// Latent pixels to cut off at each edge after enlarging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatentCrop {
    pub left: u32,
    pub top: u32,
    pub right: u32,
    pub bottom: u32,
}

/// Where the second pass draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HiresSize {
    /// Pixels, width first; it covers the target, and the crop makes it equal.
    pub upscale_to: (u32, u32),
    pub crop: LatentCrop,
}

/// The enlarged size and its crop for a first pass of `width` x `height` pixels.
///
/// Errors: a zero side, a scale that is not from 0.01 to 64, or a result that no picture can have.
pub fn hires_size(width: u32, height: u32, target: HiresTarget) -> Result<HiresSize, PictureError> {
    let first = size(u64::from(width), u64::from(height))?;
    let (width, height) = (u64::from(first.0), u64::from(first.1));
    let (want_width, want_height) = (u64::from(target.resize_width), u64::from(target.resize_height));
    let mut crop = LatentCrop::default();
    let upscale_to = match (want_width, want_height) {
        (0, 0) => {
            in_range("The hires scale", target.scale, 0.01, 64.0)?;
            let scaled = |side: u64| (side as f64 * target.scale) as u64;
            size(scaled(width), scaled(height))?
        }
        (_, 0) => size(want_width, want_width * height / width)?,
        (0, _) => size(want_height * width / height, want_height)?,
        _ => {
            // Compared as fractions, so that no rounding decides which side is cut.
            let covering = if width * want_height < want_width * height {
                size(want_width, want_width * height / width)?
            } else {
                size(want_height * width / height, want_height)?
            };
            let cut = |covering: u32, want: u32| covering.saturating_sub(want) / LATENT_PIXEL;
            let (across, down) =
                (cut(covering.0, target.resize_width), cut(covering.1, target.resize_height));
            crop = LatentCrop {
                left: across / 2,
                top: down / 2,
                right: across.div_ceil(2),
                bottom: down.div_ceil(2),
            };
            covering
        }
    };
    Ok(HiresSize { upscale_to, crop })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(width: u32, height: u32, scale: f64, resize_width: u32, resize_height: u32) -> HiresSize {
        hires_size(width, height, HiresTarget { scale, resize_width, resize_height }).unwrap()
    }

    #[test]
    fn without_a_size_both_sides_are_scaled_and_cut_to_whole_pixels() {
        assert_eq!(of(512, 768, 1.55, 0, 0).upscale_to, (793, 1190));
        assert_eq!(of(512, 768, 2.0, 0, 0).crop, LatentCrop::default());
    }

    #[test]
    fn one_side_follows_the_other_by_the_ratio_of_the_first_pass() {
        assert_eq!(of(512, 768, 9.0, 1000, 0).upscale_to, (1000, 1500));
        assert_eq!(of(500, 768, 9.0, 0, 1000).upscale_to, (651, 1000));
    }

    #[test]
    fn both_sides_cover_the_target_and_the_odd_latent_pixel_is_cut_from_the_far_edge() {
        let wide = of(512, 512, 2.0, 1024, 776);
        assert_eq!(wide.upscale_to, (1024, 1024));
        assert_eq!(wide.crop, LatentCrop { left: 0, top: 15, right: 0, bottom: 16 });
        let tall = of(512, 512, 2.0, 776, 1024);
        assert_eq!(tall.upscale_to, (1024, 1024));
        assert_eq!(tall.crop, LatentCrop { left: 15, top: 0, right: 16, bottom: 0 });
    }

    #[test]
    fn refuses_sizes_that_no_picture_has() {
        let target = |scale| HiresTarget { scale, resize_width: 0, resize_height: 0 };
        assert!(hires_size(0, 512, target(2.0)).is_err());
        assert!(hires_size(512, 512, target(f64::NAN)).is_err());
        assert!(hires_size(512, 512, target(-1.0)).is_err());
        assert!(hires_size(65536, 1, target(64.0)).is_err());
        let thin = HiresTarget { scale: 1.0, resize_width: 8, resize_height: 0 };
        assert!(hires_size(4096, 8, thin).is_err(), "the other side would be zero");
    }
}
