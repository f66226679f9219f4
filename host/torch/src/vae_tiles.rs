//! Decodes a latent in overlapping tiles, for pictures that take more memory as a whole than there is. The VAE's group
//! normalisations and its attention see a tile instead of the picture, so tones may differ slightly from a whole decode;
//! tiles as large as the pictures that the VAE was trained on keep that small. Called by the backend; knows no network.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_engine::backend::BackendError;
use tch::{TchError, Tensor};

use crate::failure::device_error;
use crate::pass::PIXELS_PER_LATENT;
use crate::upscale::Tiling;
use crate::upscale::tiles::{self, Grid};

/// Tiles of 512 pixels, which share 128 at least with each neighbour.
pub const VAE_TILING: Tiling = Tiling { tile: 64, overlap: 16 };

/// The picture of `latent` `[1, 4, rows, columns]`. `decode` makes an RGB picture of a part of it; `tiling` counts in
/// latent places. With `wraps`, the latent goes on at its opposite edges, so that a seamless picture stays one.
///
/// # Errors
/// What `decode` says, or what libtorch says of cutting.
pub fn decode_tiled(
    latent: &Tensor,
    tiling: Tiling,
    wraps: bool,
    decode: impl Fn(&Tensor) -> Result<Pixels, BackendError>,
) -> Result<Pixels, BackendError> {
    if wraps {
        return decode_wrapped(latent, tiling, decode);
    }
    let (_, _, rows, columns) = latent.size4().map_err(device_error)?;
    let grid = Grid::plan(columns as u32, rows as u32, tiling);
    let cut = |x: u32, y: u32| {
        latent.f_narrow(2, y.into(), grid.rows.length.into())?.f_narrow(
            3,
            x.into(),
            grid.columns.length.into(),
        )
    };
    let data = tiles::enlarge(&grid, PIXELS_PER_LATENT as usize, |(x, y)| {
        decode(&cut(x, y).map_err(device_error)?).map(|picture| picture.data)
    })?;
    let (width, height) = (columns as u32 * PIXELS_PER_LATENT, rows as u32 * PIXELS_PER_LATENT);
    Ok(Pixels { width, height, format: PixelFormat::Rgb8, data })
}

/// Decodes more than the picture on each side, and cuts that off.
fn decode_wrapped(
    latent: &Tensor,
    tiling: Tiling,
    decode: impl Fn(&Tensor) -> Result<Pixels, BackendError>,
) -> Result<Pixels, BackendError> {
    let widen = || -> Result<(Tensor, [i64; 4]), TchError> {
        let (_, _, rows, columns) = latent.size4()?;
        let [down, across] = [rows, columns].map(|side| i64::from(tiling.overlap).min(side));
        let wide = latent.f_pad([across, across, down, down].as_slice(), "circular", None)?;
        Ok((wide, [rows, columns, down, across]))
    };
    let (wide, sizes) = widen().map_err(device_error)?;
    let [rows, columns, down, across] = sizes.map(|places| places as usize * PIXELS_PER_LATENT as usize);
    let picture = decode_tiled(&wide, tiling, false, decode)?;
    let data = tiles::cut(&picture.data, picture.width as usize, (across, down), (columns, rows));
    Ok(Pixels { width: columns as u32, height: rows as u32, format: PixelFormat::Rgb8, data })
}
