//! Face restorers: networks that draw a degraded face anew (GFPGAN, CodeFormer), and what brings them the faces of a
//! whole picture: a detector, the turn upright and back, and a parser that says what of a square is the face.

mod align;
mod boxes;
mod codeformer;
mod convolution;
mod detect;
mod face_detector;
mod face_parser;
mod faces;
mod gfpgan;
mod parsenet;
mod retinaface;
mod role;
mod warp;

use std::path::Path;

use gesso_core::pixels::{PixelFormat, Pixels};
use tch::{Device, Kind, TchError, Tensor};

use codeformer::CodeFormer;
use detect::{Found, RestorerLayout};
use gfpgan::Gfpgan;

pub use boxes::Face;
pub use face_detector::FaceDetector;
pub use face_parser::FaceParser;
pub use faces::restore_faces;
pub use role::FaceRole;

use crate::compute::send;
use crate::error::Problem;
use crate::upscale::{PictureError, WeightsFile, from_tensor, refuse, refuse_left_over, rgb, to_tensor};
use crate::weights::Weights;

/// Parts of GFPGAN that only its training used: the pictures on the way up, and the network before the styles.
const TRAINING_ONLY: [&str; 2] = ["toRGB.", "stylegan_decoder.style_mlp."];

/// Counters of batch normalisation, which only training uses.
const IGNORED: [&str; 1] = ["num_batches_tracked"];

/// Opens the detector's or the parser's file; the prefix is that of its tensors.
fn open(path: &Path, role: FaceRole) -> Result<(WeightsFile, String), PictureError> {
    let file = WeightsFile::open(path)?;
    let prefix = role.prefix(&file.outline()).ok_or_else(|| PictureError::File {
        path: path.to_owned(),
        why: format!("it is not {}; use {}", role.noun(), role.published_file()),
    })?;
    Ok((file, prefix))
}

/// One face restorer file's network, in f32. Belongs to the thread that loaded it.
pub struct Restorer {
    network: Network,
    side: u32,
    device: Device,
    bytes: u64,
}

enum Network {
    Gfpgan(Gfpgan),
    CodeFormer(CodeFormer),
}

impl Restorer {
    /// Loads GFPGAN 1.2 to 1.4 (the "clean" form) or CodeFormer, to compute on `device`.
    ///
    /// # Errors
    /// [`PictureError::File`] when the file is neither, is incomplete, or cannot be read.
    pub fn load(path: &Path, device: Device) -> Result<Self, PictureError> {
        let _guard = tch::no_grad_guard();
        let unfit = |why: String| PictureError::File { path: path.to_owned(), why };
        let file = WeightsFile::open(path)?;
        let Found { prefix, layout } = detect::detect(&file.outline()).map_err(unfit)?;
        let load = || -> Result<(Network, u64), Problem> {
            let tensors = file.read(&prefix)?;
            let weights = Weights::of(&tensors).on(device);
            let scope = weights.scope(&prefix, Kind::Float);
            let network = match &layout {
                RestorerLayout::Gfpgan(layout) => Network::Gfpgan(Gfpgan::load(&scope, layout)?),
                RestorerLayout::CodeFormer(layout) => Network::CodeFormer(CodeFormer::load(&scope, layout)?),
            };
            let bytes = weights.bytes();
            refuse_left_over(&tensors, weights, &TRAINING_ONLY)?;
            Ok((network, bytes))
        };
        let (network, bytes) = load().map_err(|problem| refuse(path, layout.kind(), problem))?;
        Ok(Self { network, side: layout.side(), device, bytes })
    }

    /// What its weights take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sides of the face that the network takes and gives; 512 in the published files.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// `[1, 3, side, side]` faces in -1..1, red first, to restored ones, about -1..1. `fidelity` is CodeFormer's
    /// `w` from 0 (the most beautiful face) to 1 (the most like the input); GFPGAN has none and ignores it.
    pub fn forward(&self, face: &Tensor, fidelity: f64) -> Result<Tensor, TchError> {
        match &self.network {
            Network::Gfpgan(network) => network.forward(face),
            Network::CodeFormer(network) => network.forward(face, fidelity),
        }
    }

    /// Restores a face that is aligned as in FFHQ: eyes level, the face in the middle; a square portrait counts as
    /// one. Grey is spread over the colours and alpha is left out; the result is RGB of the same size.
    ///
    /// # Errors
    /// [`PictureError::Request`] when the picture has not [`Restorer::side`] as its sides, or `fidelity` is not in
    /// 0..=1.
    pub fn restore_face(&self, face: &Pixels, fidelity: f64) -> Result<Pixels, PictureError> {
        if (face.width, face.height) != (self.side, self.side) {
            return Err(PictureError::Request(format!(
                "the face has {}x{} pixels; resize it to {side}x{side}",
                face.width,
                face.height,
                side = self.side
            )));
        }
        if !(0.0..=1.0).contains(&fidelity) {
            return Err(PictureError::Request(format!("the fidelity is {fidelity}; choose one from 0 to 1")));
        }
        let _guard = tch::no_grad_guard();
        let x = send(&to_tensor(&rgb(face), face.width, face.height)?, self.device)?;
        let x = x.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
        let restored = self.forward(&x, fidelity)?.f_add_scalar(1.0)?.f_div_scalar(2.0)?;
        let data = from_tensor(&restored)?;
        Ok(Pixels { width: self.side, height: self.side, format: PixelFormat::Rgb8, data })
    }
}
