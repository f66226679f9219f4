//! The resize modes of image-to-image requests: a picture of any shape into a frame of an asked size.
//!
//! The arithmetic of places ([`placement`]) is apart from the resampling, so that a caller with an upscaler of its
//! own resizes as it likes and lets [`place`] do the rest. Maps of ControlNet have rules of their own:
//! `control_fit`.

use gesso_core::pixels::Pixels;

use crate::composite::{blank, paste};
use crate::error::{PictureError, size, sound};
use crate::resize::{Filter, resize};

/// How a picture of another shape gets into the frame; the numbers are those of the web UIs' `resize_mode`.
/// Their mode 3 resizes the latent instead and never comes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FitMode {
    /// 0: each side on its own; the shape changes.
    Stretch,
    /// 1: covers the frame; what hangs over is cut off evenly.
    Cover,
    /// 2: inside the frame; the bars at two edges repeat the picture's outermost rows or columns.
    Contain,
}

/// Which edges a contained picture leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bars {
    None,
    TopAndBottom,
    LeftAndRight,
}

/// Where a picture goes in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Resize the picture to this, width first.
    pub resize_to: (u32, u32),
    /// Its left top corner in the frame; negative when it hangs over.
    pub corner: (i64, i64),
    /// The frame, width first.
    pub frame: (u32, u32),
    bars: Bars,
}

/// The size and place of a picture of `from` pixels in a frame of `frame` pixels, both width first. All divisions
/// round down; a side that would vanish is one pixel.
pub fn placement(mode: FitMode, from: (u32, u32), frame: (u32, u32)) -> Result<Placement, PictureError> {
    let (from_width, from_height) = size(u64::from(from.0), u64::from(from.1))?;
    let (width, height) = size(u64::from(frame.0), u64::from(frame.1))?;
    // frame.0 / frame.1 against from.0 / from.1, without a fraction.
    let ratio = u64::from(width) * u64::from(from_height);
    let source_ratio = u64::from(from_width) * u64::from(height);
    let by_height = u64::from(from_width) * u64::from(height) / u64::from(from_height);
    let by_width = u64::from(from_height) * u64::from(width) / u64::from(from_width);
    let ((resized_width, resized_height), bars) = match mode {
        FitMode::Stretch => ((u64::from(width), u64::from(height)), Bars::None),
        FitMode::Cover if ratio > source_ratio => ((u64::from(width), by_width), Bars::None),
        FitMode::Cover => ((by_height, u64::from(height)), Bars::None),
        FitMode::Contain if ratio < source_ratio => ((u64::from(width), by_width), Bars::TopAndBottom),
        FitMode::Contain if ratio > source_ratio => ((by_height, u64::from(height)), Bars::LeftAndRight),
        FitMode::Contain => ((u64::from(width), u64::from(height)), Bars::None),
    };
    let resize_to = size(resized_width.max(1), resized_height.max(1))?;
    let half = |side: u32| i64::from(side / 2);
    let corner = (half(width) - half(resize_to.0), half(height) - half(resize_to.1));
    Ok(Placement { resize_to, corner, frame: (width, height), bars })
}

/// Puts a picture that already has the size `placement.resize_to` into its frame and fills the bars.
pub fn place(resized: &Pixels, placement: &Placement) -> Result<Pixels, PictureError> {
    sound(resized)?;
    let (found, wanted) = ((resized.width, resized.height), placement.resize_to);
    if found != wanted {
        return Err(PictureError::SizesDiffer { what: "The resized picture", found, wanted });
    }
    if wanted == placement.frame {
        return Ok(resized.clone());
    }
    let black = [0, 0, 0, 255];
    let (width, height) = placement.frame;
    let mut framed = blank(width, height, resized.format, &black[..resized.format.channels()])?;
    paste(&mut framed, resized, placement.corner.0, placement.corner.1);
    match placement.bars {
        Bars::None => {}
        Bars::TopAndBottom => fill_top_and_bottom(&mut framed, resized, placement.corner.1),
        Bars::LeftAndRight => fill_left_and_right(&mut framed, resized, placement.corner.0),
    }
    Ok(framed)
}

/// Brings a picture to a size, width first.
pub type Resize<'a, E> = &'a mut dyn FnMut(&Pixels, (u32, u32)) -> Result<Pixels, E>;

/// Resampling by Lanczos, as web UIs do without an upscaler.
pub fn lanczos(picture: &Pixels, size: (u32, u32)) -> Result<Pixels, PictureError> {
    resize(picture, size.0, size.1, Filter::Lanczos)
}

/// `picture` in a frame of `width` x `height` pixels, resampled by [`lanczos`].
pub fn fit(picture: &Pixels, width: u32, height: u32, mode: FitMode) -> Result<Pixels, PictureError> {
    fit_by(picture, (width, height), mode, &mut lanczos)
}

/// [`fit`] with a way of the caller's own to bring the picture to its size in the frame.
pub fn fit_by<E: From<PictureError>>(
    picture: &Pixels,
    frame: (u32, u32),
    mode: FitMode,
    resize: Resize<'_, E>,
) -> Result<Pixels, E> {
    sound(picture)?;
    let placement = placement(mode, (picture.width, picture.height), frame)?;
    let resized = resize(picture, placement.resize_to)?;
    Ok(place(&resized, &placement)?)
}

/// What Pillow's bicubic filter makes of a box of no height at the edge: it reaches past the edge, so the two
/// outermost pixels count 9/8 and -1/8.
fn beyond(edge: u8, inner: u8) -> u8 {
    ((9 * i32::from(edge) - i32::from(inner) + 4) >> 3).clamp(0, 255) as u8
}

/// Web UIs leave the last row black when the frame is odd and the picture even; here the bar goes on to the edge.
fn fill_top_and_bottom(framed: &mut Pixels, resized: &Pixels, top: i64) {
    let row_bytes = resized.width as usize * resized.format.channels();
    let row = |index: usize| &resized.data[index * row_bytes..(index + 1) * row_bytes];
    let last = resized.height as usize - 1;
    let stretched = |edge: usize, inner: usize| -> Vec<u8> {
        row(edge).iter().zip(row(inner)).map(|(&edge, &inner)| beyond(edge, inner)).collect()
    };
    let (above, below) = (stretched(0, 1.min(last)), stretched(last, last.saturating_sub(1)));
    let top = top.max(0) as usize;
    for (index, target) in framed.data.chunks_exact_mut(row_bytes).enumerate() {
        if index < top {
            target.copy_from_slice(&above);
        } else if top > 0 && index > top + last {
            target.copy_from_slice(&below);
        }
    }
}

fn fill_left_and_right(framed: &mut Pixels, resized: &Pixels, left: i64) {
    let channels = resized.format.channels();
    let last = resized.width as usize - 1;
    let left = left.max(0) as usize;
    let frame_bytes = framed.width as usize * channels;
    let rows = framed.data.chunks_exact_mut(frame_bytes);
    for (target, source) in rows.zip(resized.data.chunks_exact(resized.width as usize * channels)) {
        let stretched = |edge: usize, inner: usize, channel: usize| {
            beyond(source[edge * channels + channel], source[inner * channels + channel])
        };
        for (index, pixel) in target.chunks_exact_mut(channels).enumerate() {
            let (edge, inner) = match index {
                _ if index < left => (0, 1.min(last)),
                _ if left > 0 && index > left + last => (last, last.saturating_sub(1)),
                _ => continue,
            };
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = stretched(edge, inner, channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_and_contains_with_divisions_that_round_down() {
        let cover = placement(FitMode::Cover, (640, 427), (512, 512)).unwrap();
        assert_eq!((cover.resize_to, cover.corner), ((767, 512), (256 - 383, 0)));
        let contain = placement(FitMode::Contain, (640, 427), (512, 512)).unwrap();
        assert_eq!((contain.resize_to, contain.corner), ((512, 341), (0, 256 - 170)));
    }

    #[test]
    fn a_picture_too_thin_for_its_frame_keeps_one_pixel() {
        let contain = placement(FitMode::Contain, (4000, 1), (8, 8)).unwrap();
        assert_eq!(contain.resize_to, (8, 1));
    }
}
