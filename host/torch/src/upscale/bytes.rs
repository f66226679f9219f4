//! Pictures as bytes to tensors and back, with the scale and the rounding of web UIs. Knows no network.

use std::borrow::Cow;

use gesso_core::pixels::{PixelFormat, Pixels};
use tch::{Kind, TchError, Tensor};

use crate::upscale::error::PictureError;

/// The interleaved RGB bytes of a picture; grey is spread and alpha left out, as web UIs do before a network.
pub(crate) fn rgb(picture: &Pixels) -> Cow<'_, [u8]> {
    match picture.format {
        PixelFormat::Rgb8 => Cow::Borrowed(&picture.data),
        PixelFormat::Gray8 => picture.data.iter().flat_map(|grey| [*grey; 3]).collect(),
        PixelFormat::Rgba8 => {
            picture.data.chunks_exact(4).flat_map(|pixel| pixel.iter().take(3)).copied().collect()
        }
    }
}

/// `height * width * 3` RGB bytes to `[1, 3, height, width]` in f32, 0..1.
pub(crate) fn to_tensor(rgb: &[u8], width: u32, height: u32) -> Result<Tensor, TchError> {
    Tensor::f_from_data_size(rgb, &[height.into(), width.into(), 3], Kind::Uint8)?
        .f_permute([2, 0, 1])?
        .f_unsqueeze(0)?
        .f_to_kind(Kind::Float)?
        .f_contiguous()?
        .f_div_scalar(255.0)
}

/// `[1, 3, height, width]` in 0..1 to RGB bytes: clipped, times 255, rounded half to even.
///
/// # Errors
/// [`PictureError::NotANumber`] when a value is none.
pub(crate) fn from_tensor(picture: &Tensor) -> Result<Vec<u8>, PictureError> {
    let picture = picture.f_to_kind(Kind::Float)?;
    if bool::try_from(picture.f_isnan()?.f_any()?)? {
        return Err(PictureError::NotANumber);
    }
    let bytes = picture
        .f_clamp(0.0, 1.0)?
        .f_mul_scalar(255.0)?
        .f_round()?
        .f_to_kind(Kind::Uint8)?
        .f_squeeze_dim(0)?
        .f_permute([1, 2, 0])?
        .f_contiguous()?;
    let mut data = vec![0u8; bytes.numel()];
    bytes.f_copy_data(&mut data, bytes.numel())?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_way_there_and_back() {
        let bytes: Vec<u8> = (0..=255).chain(0..=127).collect();
        let tensor = to_tensor(&bytes, 16, 8).unwrap();
        assert_eq!(tensor.size(), [1, 3, 8, 16]);
        assert_eq!(from_tensor(&tensor).unwrap(), bytes);
    }

    #[test]
    fn values_are_clipped_and_rounded_half_to_even() {
        let values = [-1.0f32, 0.5 / 255.0, 1.5 / 255.0, 2.5 / 255.0, 1.0, 7.0];
        let picture = Tensor::from_slice(&values).reshape([1, 3, 1, 2]);
        assert_eq!(from_tensor(&picture).unwrap(), [0, 2, 255, 0, 2, 255]);
    }

    #[test]
    fn refuses_what_is_no_number() {
        let picture = Tensor::from_slice(&[0.0f32, f32::NAN, 1.0]).reshape([1, 3, 1, 1]);
        assert!(matches!(from_tensor(&picture), Err(PictureError::NotANumber)));
    }

    #[test]
    fn grey_is_spread_and_alpha_left_out() {
        let picture = |format, data: &[u8]| Pixels { width: 2, height: 1, format, data: data.to_vec() };
        assert_eq!(*rgb(&picture(PixelFormat::Gray8, &[7, 9])), [7, 7, 7, 9, 9, 9]);
        assert_eq!(*rgb(&picture(PixelFormat::Rgba8, &[1, 2, 3, 0, 4, 5, 6, 0])), [1, 2, 3, 4, 5, 6]);
    }
}
