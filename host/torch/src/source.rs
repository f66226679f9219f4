//! The picture that is drawn over, as a pass needs it: its latent, the mask that keeps parts of it, and what
//! inpainting and edit checkpoints are shown of it. Knows no sampler.

use gesso_core::img2img::{Fill, Img2Img, ResizeMode, SoftInpainting};
use gesso_engine::Source;
use tch::{Kind, TchError, Tensor};

use crate::compute::send;
use crate::convert;
use crate::encoder::Encoder;
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
    soft: Option<SoftInpainting>,
    /// Further channels of the UNet's input, one set for each latent.
    channels: Vec<Tensor>,
}

/// The part of a latent that stays.
pub(crate) struct Kept {
    /// `[1, 1, rows, columns]`, 1 is repainted.
    repaint: Tensor,
    /// What stands where it is 0.
    latent: Tensor,
    /// What is done where it is neither; without it both are mixed by it.
    soft: Option<SoftInpainting>,
}

/// How far a finished latent is from what was kept, place by place; both row by row.
pub(crate) struct Differences {
    pub(crate) soft: SoftInpainting,
    /// Euclidean, over the latent's channels.
    pub(crate) distances: Vec<f32>,
    pub(crate) repaint: Vec<f32>,
    /// Of the latent.
    pub(crate) size: (usize, usize),
}

impl Kept {
    /// Puts the kept part back into a latent at a noise level.
    pub(crate) fn blend(&self, latent: &Tensor, sigma: f64) -> Result<Tensor, TchError> {
        match &self.soft {
            None => self.mixed(latent, &self.repaint),
            Some(soft) => self.softly(latent, soft, sigma),
        }
    }

    /// Puts it back into a finished latent, of which soft inpainting keeps everything that a mask covers at all.
    pub(crate) fn settle(&self, latent: &Tensor) -> Result<Tensor, TchError> {
        match &self.soft {
            None => self.mixed(latent, &self.repaint),
            Some(_) => self.mixed(latent, &self.covered()?),
        }
    }

    /// What tells, of a latent that is settled, how much of the drawing is to be seen; `None` where the mask alone does.
    pub(crate) fn differences(&self, latent: &Tensor) -> Result<Option<Differences>, TchError> {
        let Some(soft) = self.soft else { return Ok(None) };
        let (_, _, rows, columns) = self.repaint.size4()?;
        let distances = length(&latent.f_sub(&self.latent)?)?;
        Ok(Some(Differences {
            soft,
            distances: Vec::try_from(&distances.f_flatten(0, -1)?)?,
            repaint: Vec::try_from(&self.repaint.f_flatten(0, -1)?)?,
            size: (rows as usize, columns as usize),
        }))
    }

    /// `share` is how much of the latent there is.
    fn mixed(&self, latent: &Tensor, share: &Tensor) -> Result<Tensor, TchError> {
        let keep = share.f_mul_scalar(-1.0)?.f_add_scalar(1.0)?;
        latent.f_mul(share)?.f_add(&self.latent.f_mul(&keep)?)
    }

    /// A mean of two vectors that point in different directions is shorter than both, which shows as grey. So the mean of
    /// each place is brought to the length that lies between theirs: the power mean, which is nearer to the longer one
    /// the greater the power. Powers of lengths leave the range of f32.
    fn softly(&self, latent: &Tensor, soft: &SoftInpainting, sigma: f64) -> Result<Tensor, TchError> {
        // Nothing to the power of nothing is 1.
        let share = self.repaint.f_pow_tensor_scalar(soft.exponent(sigma))?.f_mul(&self.covered()?)?;
        let mean = self.mixed(latent, &share)?;
        let power = soft.contrast_boost;
        let powered = |vectors: &Tensor, share: &Tensor| {
            length(vectors)?.f_to_kind(Kind::Double)?.f_pow_tensor_scalar(power)?.f_mul(share)
        };
        let share = share.f_to_kind(Kind::Double)?;
        let keep = share.f_mul_scalar(-1.0)?.f_add_scalar(1.0)?;
        let wanted = powered(latent, &share)?.f_add(&powered(&self.latent, &keep)?)?;
        let wanted = wanted.f_pow_tensor_scalar(1.0 / power)?;
        let now = length(&mean)?.f_to_kind(Kind::Double)?.f_clamp_min(SHORTEST)?;
        mean.f_mul(&wanted.f_div(&now)?.f_to_kind(mean.kind())?)
    }

    /// 1 where the mask is not black.
    fn covered(&self) -> Result<Tensor, TchError> {
        self.repaint.f_gt(0.0)?.f_to_kind(self.repaint.kind())
    }
}

/// A mean that is shorter points nowhere: it stays shorter than it should be, and none at all stays none.
const SHORTEST: f64 = 1e-6;

/// Of the vector at each place: `[1, channels, rows, columns]` to `[1, 1, rows, columns]`.
fn length(vectors: &Tensor) -> Result<Tensor, TchError> {
    vectors.f_square()?.f_sum_dim_intlist([1].as_slice(), true, vectors.kind())?.f_sqrt()
}

impl EncodedSource {
    /// Encodes the pictures for a pass whose latents are `rows` x `columns`.
    pub(crate) fn new(
        encoder: &mut Encoder<'_>,
        settings: &Img2Img,
        source: &Source,
        (rows, columns): (i64, i64),
    ) -> Result<Self, TchError> {
        let device = encoder.networks().device();
        let mut latents = Vec::new();
        let mut channels = Vec::new();
        for picture in &source.pictures {
            let picture = send(&convert::to_tensor(picture)?, device)?;
            let mut latent = encoder.latent(&picture)?;
            if settings.resize_mode == ResizeMode::Latent {
                latent = at_size(latent, rows, columns)?;
            }
            channels.extend(extra_channels(encoder, settings, source, &picture, &latent)?);
            latents.push(latent);
        }
        let repaint =
            source.mask.as_ref().map(|mask| latent_mask(&mask.latent, rows, columns)).transpose()?;
        let repaint = repaint.map(|mask| send(&mask, device)).transpose()?;
        let fill = settings.mask.as_ref().map_or(Fill::Original, |mask| mask.fill);
        let soft = settings.mask.as_ref().and_then(|mask| mask.soft);
        Ok(Self { latents, repaint, fill, soft, channels })
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
        let kept = Kept { repaint: repaint.shallow_clone(), latent: filled.shallow_clone(), soft: self.soft };
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

/// What the channels are when there is no picture: an inpainting checkpoint repaints all of a grey one.
pub(crate) fn channels_of_nothing(
    encoder: &mut Encoder<'_>,
    (rows, columns): (i64, i64),
) -> Result<Option<Tensor>, TchError> {
    let networks = encoder.networks();
    let options = (Kind::Float, networks.device());
    match networks.input_channels() {
        INPAINT => {
            let grey = Tensor::f_zeros([1, 3, rows * 8, columns * 8], options)?;
            let latent = encoder.latent(&grey)?;
            let mask = Tensor::f_ones([1, 1, rows, columns], options)?;
            Ok(Some(Tensor::f_cat(&[mask, latent], 1)?))
        }
        EDIT => Ok(Some(Tensor::f_zeros([1, 4, rows, columns], options)?)),
        _ => Ok(None),
    }
}

/// What the channels are of a picture that is all there and stays so: the mask hides nothing of it.
pub(crate) fn channels_of_whole(networks: &Networks, latent: &Tensor) -> Result<Option<Tensor>, TchError> {
    match networks.input_channels() {
        INPAINT => {
            let mask = latent.f_narrow(1, 0, 1)?.f_zeros_like()?;
            Ok(Some(Tensor::f_cat(&[&mask, latent], 1)?))
        }
        EDIT => Ok(Some(latent.f_div_scalar(LATENT_SCALE)?)),
        _ => Ok(None),
    }
}

/// The latent alone.
pub(crate) const LATENT: i64 = 4;
/// Latent, mask and masked latent.
pub(crate) const INPAINT: i64 = 9;
/// Latent and the picture's latent, which is not scaled.
pub(crate) const EDIT: i64 = 8;

fn extra_channels(
    encoder: &mut Encoder<'_>,
    settings: &Img2Img,
    source: &Source,
    picture: &Tensor,
    latent: &Tensor,
) -> Result<Option<Tensor>, TchError> {
    let networks = encoder.networks();
    match networks.input_channels() {
        INPAINT => {
            let (_, _, rows, columns) = latent.size4()?;
            let (_, _, height, width) = picture.size4()?;
            let rounds = settings.mask.as_ref().is_none_or(|mask| mask.round);
            let mask = match &source.mask {
                Some(mask) => {
                    let grey = send(&convert::grey_to_tensor(&mask.pixels)?, networks.device())?;
                    let mask = if rounds { grey.f_round()? } else { grey };
                    // A picture that is not resized has another size than the mask.
                    mask.f_upsample_nearest2d([height, width], None, None)?
                }
                None => Tensor::f_ones([1, 1, height, width], (Kind::Float, networks.device()))?,
            };
            let weight = settings.mask.as_ref().map_or(1.0, |mask| mask.conditioning_weight);
            // Hidden pixels are 0, which is mid grey; a weight below 1 lets the picture shine through.
            let hidden = picture.f_mul(&mask.f_mul_scalar(-1.0)?.f_add_scalar(1.0)?)?;
            let shown = picture.f_lerp(&hidden, weight)?;
            let mask = mask.f_upsample_nearest2d([rows, columns], None, None)?;
            let shown = at_size(encoder.latent(&shown)?, rows, columns)?;
            Ok(Some(Tensor::f_cat(&[mask, shown], 1)?))
        }
        EDIT => {
            let (_, _, rows, columns) = latent.size4()?;
            Ok(Some(at_size(encoder.mean(picture)?, rows, columns)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Two places: kept ones of (3, 0, 0, 0), under a mask of these levels.
    fn kept(mask: [f32; 2], soft: SoftInpainting) -> Kept {
        Kept {
            repaint: Tensor::from_slice(&mask).reshape([1, 1, 1, 2]),
            latent: Tensor::from_slice(&[3.0f32, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).reshape([1, 4, 1, 2]),
            soft: Some(soft),
        }
    }

    /// Of (0, 4, 0, 0) at both places.
    fn drawn() -> Tensor {
        Tensor::from_slice(&[0.0f32, 0.0, 4.0, 4.0, 0.0, 0.0, 0.0, 0.0]).reshape([1, 4, 1, 2])
    }

    #[track_caller]
    fn check(got: &Tensor, want: [f32; 4]) {
        let got: Vec<f32> = Vec::try_from(&got.flatten(0, -1)).unwrap();
        // Both places of the first two channels; the others are zero.
        assert!(got[4..].iter().all(|value| *value == 0.0), "{got:?}");
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{got:?} is not {want:?}");
    }

    #[test]
    fn half_covered_places_are_means_of_the_length_between() {
        let of = |contrast_boost| SoftInpainting { preservation: 1.0, contrast_boost, ..Default::default() };
        let blend =
            |contrast_boost, sigma| kept([0.5, 0.5], of(contrast_boost)).blend(&drawn(), sigma).unwrap();
        // The mean (1.5, 2) is 2.5 long and becomes 3.5, the mean of 3 and 4.
        check(&blend(1.0, 1.0), [2.1, 2.1, 2.8, 2.8]);
        // The root of 12.5.
        check(&blend(2.0, 1.0), [2.12132, 2.12132, 2.828427, 2.828427]);
        // A quarter of what is drawn at twice the noise, none of what is kept without any.
        let quarter = 3.25 / (2.25f32 * 2.25 + 1.0).sqrt();
        check(&blend(1.0, 2.0), [2.25 * quarter, 2.25 * quarter, quarter, quarter]);
        check(&blend(1.0, 0.0), [0.0, 0.0, 4.0, 4.0]);
    }

    #[test]
    fn black_is_kept_and_white_is_drawn_at_every_level() {
        let kept = kept([0.0, 1.0], SoftInpainting::default());
        for sigma in [f64::INFINITY, 14.6, 1.0, 0.0] {
            check(&kept.blend(&drawn(), sigma).unwrap(), [3.0, 0.0, 0.0, 4.0]);
        }
        check(&kept.settle(&drawn()).unwrap(), [3.0, 0.0, 0.0, 4.0]);
    }

    #[test]
    fn differences_are_euclidean_and_only_soft_ones_are_told() {
        let mut kept = kept([0.25, 0.0], SoftInpainting::default());
        let settled = kept.settle(&drawn()).unwrap();
        check(&settled, [0.0, 3.0, 4.0, 0.0]);
        let differences = kept.differences(&settled).unwrap().unwrap();
        assert_eq!((differences.distances, differences.repaint), (vec![5.0, 0.0], vec![0.25, 0.0]));
        assert_eq!(differences.size, (1, 2));
        kept.soft = None;
        assert!(kept.differences(&settled).unwrap().is_none());
    }
}
