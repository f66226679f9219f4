//! Finds the faces of a picture. Called before a restorer, which wants them one by one; what is done to them is not
//! known here.

use std::path::Path;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::opencv_resize::{OpencvFilter, opencv_resize};
use tch::{Device, Kind, Tensor};

use super::boxes::{Face, anchors, choose, decode};
use super::retinaface::{Heads, RetinaFace};
use super::role::FaceRole;
use super::{IGNORED, open};
use crate::compute::send;
use crate::upscale::{PictureError, refuse, refuse_left_over, rgb};
use crate::weights::Weights;

/// Mean of the pictures the network was trained with, blue first.
const MEAN: [f32; 3] = [104.0, 117.0, 123.0];
/// Faces that overlap by more are one face.
const OVERLAP_MAX: f32 = 0.4;
/// Less certain ones are none; facexlib's number, as are the others below.
const CONFIDENCE: f32 = 0.97;
/// The shorter side of what is searched.
const SHORTER_SIDE: u32 = 640;
/// The longer side of what is searched, so that a thin strip does not become a huge picture. Only pictures that are
/// 6.4 times as long as wide feel it; facexlib has no limit.
const LONGER_SIDE_MAX: u32 = 4096;
/// Faces with eyes nearer to each other, in pixels of the picture, are too small or seen from the side.
const EYE_DISTANCE_MIN: f32 = 5.0;

/// The published detector (`detection_Resnet50_Final.pth`), in f32. Belongs to the thread that loaded it.
pub struct FaceDetector {
    network: RetinaFace,
    device: Device,
    bytes: u64,
}

impl FaceDetector {
    /// Loads it, to compute on `device`.
    ///
    /// # Errors
    /// [`PictureError::File`] when the file is another one, is incomplete, or cannot be read.
    pub fn load(path: &Path, device: Device) -> Result<Self, PictureError> {
        let _guard = tch::no_grad_guard();
        let (file, prefix) = open(path, FaceRole::Detector)?;
        let load = || {
            let tensors = file.read(&prefix)?;
            let weights = Weights::of(&tensors).on(device);
            let network = RetinaFace::load(&weights.scope(&prefix, Kind::Float))?;
            let bytes = weights.bytes();
            refuse_left_over(&tensors, weights, &IGNORED)?;
            Ok((network, bytes))
        };
        let (network, bytes) = load().map_err(|problem| refuse(path, FaceRole::Detector.noun(), problem))?;
        Ok(Self { network, device, bytes })
    }

    /// What its weights take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The faces of a picture, the most certain first.
    ///
    /// # Errors
    /// [`PictureError::Request`] for a picture without pixels; [`PictureError::Device`].
    pub fn detect(&self, picture: &Pixels) -> Result<Vec<Face>, PictureError> {
        let (width, height) = searched_size(picture.width, picture.height);
        let searched = opencv_resize(picture, width, height, OpencvFilter::Lanczos4)
            .map_err(|error| PictureError::Request(error.to_string()))?;
        let factor = picture.width.min(picture.height) as f32 / width.min(height) as f32;
        let mut faces = self.find(&searched, CONFIDENCE)?;
        faces = faces.into_iter().map(|face| face.scaled(factor)).collect();
        faces.retain(|face| face.eye_distance() >= EYE_DISTANCE_MIN);
        Ok(faces)
    }

    /// The faces that are more certain than `confidence` in a picture as it is.
    ///
    /// # Errors
    /// [`PictureError::Device`].
    pub fn find(&self, picture: &Pixels, confidence: f32) -> Result<Vec<Face>, PictureError> {
        let _guard = tch::no_grad_guard();
        let Heads { boxes, scores, landmarks } =
            self.network.forward(&send(&input(picture)?, self.device)?)?;
        let scores = Vec::<f32>::try_from(scores)?;
        let boxes = Vec::<f32>::try_from(boxes.f_flatten(0, -1)?)?;
        let landmarks = Vec::<f32>::try_from(landmarks.f_flatten(0, -1)?)?;
        let (boxes, landmarks) = (boxes.as_chunks::<4>().0, landmarks.as_chunks::<10>().0);
        let all = anchors(picture.width, picture.height).zip(scores).zip(boxes).zip(landmarks);
        let likely = all.filter(|(((_, score), _), _)| *score > confidence);
        let found = likely
            .map(|(((anchor, score), offsets), points)| decode(anchor, score, *offsets, *points))
            .collect();
        Ok(choose(found, OVERLAP_MAX))
    }

    /// What the network says about each anchor: boxes `[anchors, 4]`, scores `[anchors]`, landmarks `[anchors, 10]`.
    ///
    /// # Errors
    /// [`PictureError::Device`].
    pub fn heads(&self, picture: &Pixels) -> Result<[Tensor; 3], PictureError> {
        let _guard = tch::no_grad_guard();
        let Heads { boxes, scores, landmarks } =
            self.network.forward(&send(&input(picture)?, self.device)?)?;
        Ok([boxes, scores, landmarks])
    }
}

/// `[1, 3, rows, columns]`, blue first, less the mean.
fn input(picture: &Pixels) -> Result<Tensor, PictureError> {
    let shape = [picture.height.into(), picture.width.into(), PixelFormat::Rgb8.channels() as i64];
    let bytes = Tensor::f_from_data_size(&rgb(picture), &shape, Kind::Uint8)?;
    let planes = bytes.f_permute([2, 0, 1])?.f_flip([0])?.f_to_kind(Kind::Float)?;
    let mean = Tensor::f_from_slice(&MEAN)?.f_reshape([3, 1, 1])?;
    Ok(planes.f_sub(&mean)?.f_unsqueeze(0)?.f_contiguous()?)
}

/// Width and height that a picture is searched at.
fn searched_size(width: u32, height: u32) -> (u32, u32) {
    let (shorter, longer) = (width.min(height).max(1), width.max(height).max(1));
    let scale = f64::from(shorter) / f64::from(SHORTER_SIDE);
    let scale = scale.max(f64::from(longer) / f64::from(LONGER_SIDE_MAX));
    let side = |side: u32| ((f64::from(side) / scale) as u32).max(1);
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_side_is_searched_at_640_and_strips_are_bounded() {
        assert_eq!(searched_size(512, 768), (640, 960));
        assert_eq!(searched_size(1920, 1080), (1137, 640));
        assert_eq!(searched_size(64, 64), (640, 640));
        assert_eq!(searched_size(2048, 2), (4096, 4));
    }
}
