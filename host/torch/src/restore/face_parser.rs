//! Says where in a restored face the face is, as a soft mask: what is pasted back. Hair, hat, neck and clothes stay
//! the picture's own.

use std::path::Path;

use gesso_core::pixels::Pixels;
use tch::{Device, Kind, TchError, Tensor};

use super::parsenet::ParseNet;
use super::role::FaceRole;
use super::{IGNORED, open};
use crate::compute::send;
use crate::models::layers::{Forward, resize_bilinear};
use crate::upscale::{PictureError, refuse, refuse_left_over, rgb, to_tensor};
use crate::weights::Weights;

/// Side of the face that the network takes and of the mask it makes.
const SIDE: i64 = 512;
/// Which parts are pasted: all but what is no face (0), hat (14), neck ornament (16), neck (17) and cloth (18), in
/// the order of CelebAMask-HQ. facexlib's choice, as are the numbers below.
const PASTED: [f64; 19] = [0., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 0., 1., 0., 0., 0.];
/// The bell that makes the mask's edge soft, used twice.
const BELL_SIGMA: f64 = 11.0;
const BELL_REACH: i64 = 50;
/// Pixels at the edges of the square that are never pasted.
const EDGE: i64 = 10;
/// Names of tensors for the picture that the network could draw too.
const PICTURE_ONLY: &str = "out_img_conv.";

/// The published parser (`parsing_parsenet.pth`), in f32. Belongs to the thread that loaded it.
pub struct FaceParser {
    network: ParseNet,
    device: Device,
    bytes: u64,
}

impl FaceParser {
    /// Loads it, to compute on `device`.
    ///
    /// # Errors
    /// [`PictureError::File`] when the file is another one, is incomplete, or cannot be read.
    pub fn load(path: &Path, device: Device) -> Result<Self, PictureError> {
        let _guard = tch::no_grad_guard();
        let (file, prefix) = open(path, FaceRole::Parser)?;
        let load = || {
            let tensors = file.read(&prefix)?;
            let weights = Weights::of(&tensors).on(device);
            let network = ParseNet::load(&weights.scope(&prefix, Kind::Float))?;
            let bytes = weights.bytes();
            refuse_left_over(&tensors, weights, &[IGNORED[0], PICTURE_ONLY])?;
            Ok((network, bytes))
        };
        let (network, bytes) = load().map_err(|problem| refuse(path, FaceRole::Parser.noun(), problem))?;
        Ok(Self { network, device, bytes })
    }

    /// What its weights take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `[1, 3, rows, columns]` faces in -1..1, red first, sides multiples of 16 from 32, to
    /// `[1, 19, rows, columns]`: the largest is the part a pixel belongs to.
    pub fn forward(&self, face: &Tensor) -> Result<Tensor, TchError> {
        self.network.forward(face)
    }

    /// How much of each pixel of an aligned square face is pasted, 0..=1, row by row.
    pub(crate) fn mask(&self, face: &Pixels) -> Result<Vec<f64>, PictureError> {
        let _guard = tch::no_grad_guard();
        let x = send(&to_tensor(&rgb(face), face.width, face.height)?, self.device)?;
        let x = resize_bilinear(&x, SIDE, SIDE)?.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
        let parts = self.forward(&x)?.f_argmax(1, false)?;
        let mask = send(&Tensor::f_from_slice(&PASTED)?, self.device)?
            .f_index_select(0, &parts.f_flatten(0, -1)?)?;
        let mask = soften(&mask.f_reshape([1, 1, SIDE, SIDE])?)?;
        let mask = resize_bilinear(&mask, face.height.into(), face.width.into())?;
        Ok(Vec::try_from(mask.f_flatten(0, -1)?)?)
    }
}

/// Blurs a mask `[1, 1, SIDE, SIDE]` and takes its edges off. In f64, so that a mask of ones stays one.
fn soften(mask: &Tensor) -> Forward {
    let bell: Vec<f64> =
        (-BELL_REACH..=BELL_REACH).map(|at| (-0.5 * (at as f64 / BELL_SIGMA).powi(2)).exp()).collect();
    let total: f64 = bell.iter().sum();
    let bell = send(&Tensor::f_from_slice(&bell)?, mask.device())?.f_div_scalar(total)?;
    let (along, down) = (bell.f_reshape([1, 1, 1, -1])?, bell.f_reshape([1, 1, -1, 1])?);
    let mut x = mask.shallow_clone();
    for _ in 0..2 {
        let padded = x.f_reflection_pad2d([BELL_REACH; 4])?;
        let blur =
            |x: &Tensor, weight: &Tensor| x.f_conv2d(weight, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1);
        x = blur(&blur(&padded, &along)?, &down)?;
    }
    let inner = SIDE - 2 * EDGE;
    x.f_narrow(2, EDGE, inner)?.f_narrow(3, EDGE, inner)?.f_constant_pad_nd([EDGE; 4])
}
