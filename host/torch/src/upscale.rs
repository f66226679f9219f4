//! Pixel upscalers: networks that enlarge a picture by a fixed factor (ESRGAN, Real-ESRGAN and its compact form),
//! applied tile by tile. Called for hires fix, for resizing pictures and for the extras routes; knows no request.

mod bytes;
mod compact;
mod detect;
mod error;
mod file;
mod repeat;
mod rrdb;
pub(crate) mod tiles;

use std::path::Path;

use gesso_core::pixels::{PixelFormat, Pixels};
use tch::{Device, Kind, TchError, Tensor};

use compact::Compact;
use detect::{Found, UpscalerLayout};
use rrdb::Rrdb;
use tiles::Grid;

use crate::compute::send_as;
use crate::error::Problem;
use crate::weights::Weights;

pub(crate) use bytes::{from_tensor, rgb, to_tensor};
pub(crate) use detect::COLOURS;
pub use error::PictureError;
pub(crate) use error::refuse;
#[cfg(test)]
pub(crate) use file::outline_of;
pub(crate) use file::{WeightsFile, count, find_network, refuse_left_over};
pub use repeat::upscale_by;
pub(crate) use rrdb::leaky;
pub use tiles::Tiling;

/// Most pixels of a result, 16384 x 16384: 0.8 GB of bytes.
const PIXELS_MAX: u64 = 1 << 28;

/// In which order the network sees the colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelOrder {
    /// Blue first, as the web UIs of the A1111 family feed every upscaler: their pictures come out with this.
    #[default]
    Bgr,
    /// Red first, as the networks were trained, and as ComfyUI feeds them.
    Rgb,
}

/// One upscaler file's network. Belongs to the thread that loaded it.
pub struct Upscaler {
    network: Network,
    scale: u32,
    device: Device,
    kind: Kind,
    order: ChannelOrder,
    bytes: u64,
}

enum Network {
    Rrdb(Rrdb),
    Compact(Compact),
}

impl Upscaler {
    /// Loads an ESRGAN, ESRGAN+, BSRGAN, Real-ESRGAN or Real-ESRGAN compact file. It computes on `device` in `kind`: f32,
    /// or bf16 where the machine is faster in it and a grey level more or less is no matter.
    ///
    /// # Errors
    /// [`PictureError::File`] when the file is none of these, is incomplete, or cannot be read.
    pub fn load(path: &Path, device: Device, kind: Kind, order: ChannelOrder) -> Result<Self, PictureError> {
        let _guard = tch::no_grad_guard();
        let unfit = |why: String| PictureError::File { path: path.to_owned(), why };
        let file = WeightsFile::open(path)?;
        let Found { prefix, layout } = detect::detect(&file.outline()).map_err(unfit)?;
        let load = || -> Result<(Network, u64), Problem> {
            let tensors = file.read(&prefix)?;
            let weights = Weights::of(&tensors).on(device);
            let scope = weights.scope(&prefix, kind);
            let network = match &layout {
                UpscalerLayout::Rrdb(layout) => Network::Rrdb(Rrdb::load(&scope, layout)?),
                UpscalerLayout::Compact(layout) => Network::Compact(Compact::load(&scope, layout)?),
            };
            let bytes = weights.bytes();
            refuse_left_over(&tensors, weights, &[])?;
            Ok((network, bytes))
        };
        let (network, bytes) = load().map_err(|problem| refuse(path, layout.kind(), problem))?;
        Ok(Self { network, scale: layout.scale() as u32, device, kind, order, bytes })
    }

    /// What its weights take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The scale of a file, judged by the names and shapes in it; reads no numbers.
    ///
    /// # Errors
    /// [`PictureError::File`] when no network of this crate can be in it.
    pub fn scale_of(path: &Path) -> Result<u32, PictureError> {
        let unfit = |why: String| PictureError::File { path: path.to_owned(), why };
        let found = detect::detect(&WeightsFile::open(path)?.outline()).map_err(unfit)?;
        Ok(found.layout.scale() as u32)
    }

    /// What one run multiplies each side by: 1 to 16.
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// `[batch, 3, height, width]` in 0..1 and in the network's kind and channel order to
    /// `[batch, 3, scale height, scale width]`, not clipped.
    pub fn forward(&self, pictures: &Tensor) -> Result<Tensor, TchError> {
        match &self.network {
            Network::Rrdb(network) => network.forward(pictures),
            Network::Compact(network) => network.forward(pictures),
        }
    }

    /// Enlarges a picture to RGB bytes; grey is spread over the colours and alpha is left out.
    ///
    /// Besides the result, memory holds one tile in the network and one row of enlarged tiles. `cancelled` is asked before each
    /// tile.
    ///
    /// # Errors
    /// [`PictureError::Cancelled`] when it says so, [`PictureError::Request`] for a picture without pixels or a
    /// result over 2^28 pixels.
    pub fn upscale(
        &self,
        picture: &Pixels,
        tiling: Tiling,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, PictureError> {
        let _guard = tch::no_grad_guard();
        let (width, height) = self.measure(picture)?;
        let scale = self.scale as usize;
        let source = rgb(picture);
        let grid = Grid::plan(picture.width, picture.height, tiling);
        let (columns, rows) = (grid.columns.length, grid.rows.length);
        let data = tiles::enlarge(&grid, scale, |(x, y)| {
            if cancelled() {
                return Err(PictureError::Cancelled);
            }
            let (corner, size) = ((x as usize, y as usize), (columns as usize, rows as usize));
            self.enlarge(&tiles::cut(&source, picture.width as usize, corner, size), columns, rows)
        })?;
        Ok(Pixels { width, height, format: PixelFormat::Rgb8, data })
    }

    /// Width and height of the result.
    fn measure(&self, picture: &Pixels) -> Result<(u32, u32), PictureError> {
        let after = |side: u32| u64::from(side) * u64::from(self.scale);
        let (width, height) = (after(picture.width), after(picture.height));
        match width.checked_mul(height) {
            Some(1..=PIXELS_MAX) => Ok((width as u32, height as u32)),
            _ => Err(PictureError::Request(format!(
                "a picture of {}x{} enlarged by {} has {width}x{height} pixels; use one that leaves from 1 to \
                 {PIXELS_MAX}",
                picture.width, picture.height, self.scale
            ))),
        }
    }

    /// One tile through the network.
    fn enlarge(&self, rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
        // Reversing the channels twice is what the other order is.
        let ordered = |tensor: Tensor| match self.order {
            ChannelOrder::Rgb => Ok(tensor),
            ChannelOrder::Bgr => tensor.f_flip([1]),
        };
        let x = ordered(send_as(&to_tensor(rgb, width, height)?, self.device, self.kind)?)?;
        from_tensor(&ordered(self.forward(&x)?)?)
    }
}
