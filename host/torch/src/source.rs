//! The picture that is drawn over, as a pass needs it: its latent, the mask that keeps parts of it, and what
//! inpainting and edit checkpoints are shown of it. Knows no sampler.

use gesso_core::img2img::{Fill, Img2Img, ResizeMode};
use gesso_engine::Source;
use tch::{Kind, TchError, Tensor};

use crate::compute::send;
use crate::convert;
use crate::networks::Networks;

/// What the VAE's latents are multiplied by to have about unit variance (Rombach et al. 2022).
pub(crate) const LATENT_SCALE: f64 = 0.18215;

/// A pass's source, encoded once for all of its pictures.
pub(crate) struct EncodedSource {
    /// `[1, 4, rows, columns]` each; one for all pictures, or one for each.
    latents: Vec<Tensor>,
    /// 1 where the picture is repainted, `[1, 1, rows, columns]`.
    repaint: Option<Tensor>,
    fill: Fill,
    /// Further channels of the UNet's input, one set for each latent.
    channels: Vec<Tensor>,
}

/// The part of a latent that stays.
pub(crate) struct Kept {
    /// `[1, 1, rows, columns]`, 1 is repainted.
    repaint: Tensor,
    /// What stands where it is 0.
    latent: Tensor,
}

impl Kept {
    /// Puts the kept part back into a latent.
    pub(crate) fn blend(&self, latent: &Tensor) -> Result<Tensor, TchError> {
        let keep = self.repaint.f_mul_scalar(-1.0)?.f_add_scalar(1.0)?;
        latent.f_mul(&self.repaint)?.f_add(&self.latent.f_mul(&keep)?)
    }
}

impl EncodedSource {
    /// Encodes the pictures for a pass whose latents are `rows` x `columns`.
    pub(crate) fn new(
        networks: &Networks,
        settings: &Img2Img,
        source: &Source,
        (rows, columns): (i64, i64),
    ) -> Result<Self, TchError> {
        let mut latents = Vec::new();
        let mut channels = Vec::new();
        for picture in &source.pictures {
            let picture = send(&convert::to_tensor(picture)?, networks.device())?;
            let mut latent = encode(networks, &picture)?;
            if settings.resize_mode == ResizeMode::Latent {
                latent = at_size(latent, rows, columns)?;
            }
            channels.extend(extra_channels(networks, settings, source, &picture, &latent)?);
            latents.push(latent);
        }
        let repaint =
            source.mask.as_ref().map(|mask| latent_mask(&mask.latent, rows, columns)).transpose()?;
        let repaint = repaint.map(|mask| send(&mask, networks.device())).transpose()?;
        let fill = settings.mask.as_ref().map_or(Fill::Original, |mask| mask.fill);
        Ok(Self { latents, repaint, fill, channels })
    }

    /// What picture `index` begins with, and what of it is kept. `noise` lies under a mask that asks for it.
    pub(crate) fn picture(
        &self,
        index: u32,
        noise: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Kept>), TchError> {
        let latent = one_of(&self.latents, index)
            .ok_or_else(|| TchError::Shape("the request has no picture to draw over".into()))?;
        let Some(repaint) = &self.repaint else { return Ok((latent.shallow_clone(), None)) };
        let keep = repaint.f_mul_scalar(-1.0)?.f_add_scalar(1.0)?;
        let filled = match (self.fill, noise) {
            (Fill::Blur | Fill::Original, _) | (Fill::LatentNoise, None) => latent.shallow_clone(),
            (Fill::LatentNoise, Some(noise)) => latent.f_mul(&keep)?.f_add(&noise.f_mul(repaint)?)?,
            (Fill::LatentNothing, _) => latent.f_mul(&keep)?,
        };
        let kept = Kept { repaint: repaint.shallow_clone(), latent: filled.shallow_clone() };
        Ok((filled, Some(kept)))
    }

    /// Further channels of the UNet's input for picture `index`.
    pub(crate) fn channels(&self, index: u32) -> Option<&Tensor> {
        one_of(&self.channels, index)
    }
}

fn one_of(tensors: &[Tensor], index: u32) -> Option<&Tensor> {
    tensors.get(index as usize).or_else(|| tensors.first())
}

/// The mean of the posterior, scaled. Web UIs draw from the posterior instead; its deviation is far below what a
/// picture shows, and a mean is the same every time.
pub(crate) fn encode(networks: &Networks, picture: &Tensor) -> Result<Tensor, TchError> {
    networks.encode_picture(picture)?.f_mul_scalar(LATENT_SCALE)
}

/// What the channels are when there is no picture: an inpainting checkpoint repaints all of a grey one.
pub(crate) fn channels_of_nothing(
    networks: &Networks,
    (rows, columns): (i64, i64),
) -> Result<Option<Tensor>, TchError> {
    let options = (Kind::Float, networks.device());
    match networks.input_channels() {
        INPAINT => {
            let grey = Tensor::f_zeros([1, 3, rows * 8, columns * 8], options)?;
            let latent = encode(networks, &grey)?;
            let mask = Tensor::f_ones([1, 1, rows, columns], options)?;
            Ok(Some(Tensor::f_cat(&[mask, latent], 1)?))
        }
        EDIT => Ok(Some(Tensor::f_zeros([1, 4, rows, columns], options)?)),
        _ => Ok(None),
    }
}

/// Latent, mask and masked latent.
pub(crate) const INPAINT: i64 = 9;
/// Latent and the picture's latent, which is not scaled.
pub(crate) const EDIT: i64 = 8;

fn extra_channels(
    networks: &Networks,
    settings: &Img2Img,
    source: &Source,
    picture: &Tensor,
    latent: &Tensor,
) -> Result<Option<Tensor>, TchError> {
    match networks.input_channels() {
        INPAINT => {
            let (_, _, rows, columns) = latent.size4()?;
            let (_, _, height, width) = picture.size4()?;
            let mask = match &source.mask {
                // A picture that is not resized has another size than the mask.
                Some(mask) => send(&convert::grey_to_tensor(&mask.pixels)?, networks.device())?
                    .f_round()?
                    .f_upsample_nearest2d([height, width], None, None)?,
                None => Tensor::f_ones([1, 1, height, width], (Kind::Float, networks.device()))?,
            };
            let weight = settings.mask.as_ref().map_or(1.0, |mask| mask.conditioning_weight);
            // Hidden pixels are 0, which is mid grey; a weight below 1 lets the picture shine through.
            let hidden = picture.f_mul(&mask.f_mul_scalar(-1.0)?.f_add_scalar(1.0)?)?;
            let shown = picture.f_lerp(&hidden, weight)?;
            let mask = mask.f_upsample_nearest2d([rows, columns], None, None)?;
            let shown = at_size(encode(networks, &shown)?, rows, columns)?;
            Ok(Some(Tensor::f_cat(&[mask, shown], 1)?))
        }
        EDIT => {
            let (_, _, rows, columns) = latent.size4()?;
            Ok(Some(at_size(networks.encode_picture(picture)?, rows, columns)?))
        }
        _ => Ok(None),
    }
}

/// A latent brought to a size, as web UIs do it.
fn at_size(latent: Tensor, rows: i64, columns: i64) -> Result<Tensor, TchError> {
    let (_, _, now_rows, now_columns) = latent.size4()?;
    if (now_rows, now_columns) == (rows, columns) {
        return Ok(latent);
    }
    latent.f_upsample_bilinear2d([rows, columns], false, None, None)
}

fn latent_mask(values: &[f32], rows: i64, columns: i64) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(values)?.f_reshape([1, 1, rows, columns])
}
