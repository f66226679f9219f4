//! Pictures to tensors and back, by the web UIs' rules. Knows no network.

use gesso_core::pixels::{PixelFormat, Pixels};
use tch::{Kind, TchError, Tensor};

/// An RGB picture as `[1, 3, height, width]` in -1..1, f32.
///
/// # Errors
/// [`TchError::Shape`] for a picture of another format.
pub(crate) fn to_tensor(picture: &Pixels) -> Result<Tensor, TchError> {
    if picture.format != PixelFormat::Rgb8 {
        return Err(TchError::Shape(format!("a picture must be RGB here, not {:?}", picture.format)));
    }
    let shape = [1, i64::from(picture.height), i64::from(picture.width), 3];
    let bytes = Tensor::f_from_data_size(&picture.data, &shape, Kind::Uint8)?;
    let unit = bytes.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?;
    unit.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?.f_contiguous()
}

/// A grey picture as `[1, 1, height, width]` in 0..1, f32.
///
/// # Errors
/// [`TchError::Shape`] for a picture of another format.
pub(crate) fn grey_to_tensor(picture: &Pixels) -> Result<Tensor, TchError> {
    if picture.format != PixelFormat::Gray8 {
        return Err(TchError::Shape(format!("a mask must be grey here, not {:?}", picture.format)));
    }
    let shape = [1, 1, i64::from(picture.height), i64::from(picture.width)];
    Tensor::f_from_data_size(&picture.data, &shape, Kind::Uint8)?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)
}

/// `[height, width, 3]` in -1..1 to bytes, truncated as web UIs do.
pub(crate) fn to_pixels(picture: &Tensor) -> Result<Pixels, TchError> {
    let (height, width, _) = picture.size3()?;
    let bytes = picture.f_add_scalar(1.0)?.f_div_scalar(2.0)?.f_clamp(0.0, 1.0)?.f_mul_scalar(255.0)?;
    let bytes = bytes.f_to_kind(Kind::Uint8)?.f_contiguous()?;
    let mut data = vec![0u8; bytes.numel()];
    bytes.f_copy_data(&mut data, bytes.numel())?;
    Pixels::new(width as u32, height as u32, PixelFormat::Rgb8, data)
        .ok_or_else(|| TchError::Shape(format!("a picture has the shape {:?}", picture.size())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_truncated_and_clamped() {
        let picture = Tensor::from_slice(&[-2.0f32, 0.999, 2.0]).reshape([1, 1, 3]);
        assert_eq!(to_pixels(&picture).unwrap().data, [0, 254, 255]);
    }

    #[test]
    fn a_picture_survives_the_way_to_a_tensor_and_back_within_a_level() {
        let data: Vec<u8> = (0..=255).flat_map(|level| [level, 255 - level, 7]).collect();
        let picture = Pixels::new(16, 16, PixelFormat::Rgb8, data).unwrap();
        let tensor = to_tensor(&picture).unwrap();
        assert_eq!(tensor.size(), [1, 3, 16, 16]);
        let back = to_pixels(&tensor.squeeze_dim(0).permute([1, 2, 0])).unwrap();
        assert!(back.data.iter().zip(&picture.data).all(|(back, was)| back.abs_diff(*was) <= 1));
    }

    #[test]
    fn refuses_a_picture_of_another_format() {
        let grey = Pixels::new(1, 1, PixelFormat::Gray8, vec![7]).unwrap();
        assert!(to_tensor(&grey).is_err());
        assert_eq!(grey_to_tensor(&grey).unwrap().size(), [1, 1, 1, 1]);
    }
}
