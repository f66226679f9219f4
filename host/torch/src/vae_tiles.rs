//! Encodes and decodes in overlapping tiles, for pictures that take more memory as a whole than there is. The VAE's
//! group normalisations and its attention see a tile instead of the picture, so tones may differ slightly from those of
//! the whole; tiles as large as the pictures that the VAE was trained on keep that small. Called by the backend and its
//! encoder; knows no network.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_engine::backend::BackendError;
use tch::{Kind, TchError, Tensor};

use crate::failure::device_error;
use crate::pass::PIXELS_PER_LATENT;
use crate::upscale::Tiling;
use crate::upscale::tiles::{self, Grid, Spans};

/// Tiles of 512 pixels, which share 128 at least with each neighbour.
pub const VAE_TILING: Tiling = Tiling { tile: 64, overlap: 16 };

/// The picture of `latent` `[1, 4, rows, columns]`. `decode` makes an RGB picture of a part of it; `tiling` counts in
/// latent places. With `wraps`, the latent goes on at its opposite edges where it is cut, so that a seamless picture stays
/// one. A latent of one tile is decoded as a whole.
///
/// # Errors
/// What `decode` says, or what libtorch says of cutting.
pub fn decode_tiled(
    latent: &Tensor,
    tiling: Tiling,
    wraps: bool,
    decode: impl Fn(&Tensor) -> Result<Pixels, BackendError>,
) -> Result<Pixels, BackendError> {
    let (_, _, rows, columns) = latent.size4().map_err(device_error)?;
    let grid = Grid::plan(columns as u32, rows as u32, tiling);
    let is_cut = cut_sides(&grid);
    if wraps && is_cut != [false; 2] {
        return decode_wrapped(latent, tiling, is_cut, decode);
    }
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

/// Whether the rows are cut into tiles, and whether the columns are.
fn cut_sides(grid: &Grid) -> [bool; 2] {
    [&grid.rows, &grid.columns].map(|spans| spans.starts.len() > 1)
}

/// The places that a seamless latent of `sides` (rows, columns) goes on by at each edge. Only along what is cut: in the
/// other direction each tile has both edges, and the network itself goes on at the opposite one.
fn beyond(sides: [i64; 2], tiling: Tiling, is_cut: [bool; 2]) -> [i64; 2] {
    let along = |at: usize| if is_cut[at] { i64::from(tiling.overlap).min(sides[at]) } else { 0 };
    [along(0), along(1)]
}

/// Decodes more than the picture on each side that is cut, and cuts that off.
fn decode_wrapped(
    latent: &Tensor,
    tiling: Tiling,
    is_cut: [bool; 2],
    decode: impl Fn(&Tensor) -> Result<Pixels, BackendError>,
) -> Result<Pixels, BackendError> {
    let widen = || -> Result<(Tensor, [i64; 4]), TchError> {
        let (_, _, rows, columns) = latent.size4()?;
        let [down, across] = beyond([rows, columns], tiling, is_cut);
        let wide = latent.f_pad([across, across, down, down].as_slice(), "circular", None)?;
        Ok((wide, [rows, columns, down, across]))
    };
    let (wide, sizes) = widen().map_err(device_error)?;
    let [rows, columns, down, across] = sizes.map(|places| places as usize * PIXELS_PER_LATENT as usize);
    let picture = decode_tiled(&wide, tiling, false, decode)?;
    let data = tiles::cut(&picture.data, picture.width as usize, (across, down), (columns, rows));
    Ok(Pixels { width: columns as u32, height: rows as u32, format: PixelFormat::Rgb8, data })
}

/// [`PIXELS_PER_LATENT`], where tensors are measured.
const SCALE: i64 = PIXELS_PER_LATENT as i64;

/// The latent of `picture` `[1, 3, height, width]`, an eighth of its size. `encode` makes that of a part of it, in f32;
/// `tiling` counts in latent places. With `wraps`, the picture goes on at its opposite edges where it is cut, so that a
/// seamless one stays one. A picture of one tile is encoded as a whole.
///
/// # Errors
/// What `encode` says, or what libtorch says of cutting.
pub fn encode_tiled(
    picture: &Tensor,
    tiling: Tiling,
    wraps: bool,
    encode: impl Fn(&Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let (_, _, height, width) = picture.size4()?;
    let grid = Grid::plan((width / SCALE) as u32, (height / SCALE) as u32, tiling);
    let is_cut = cut_sides(&grid);
    if is_cut == [false; 2] {
        return encode(picture);
    }
    if wraps {
        return encode_wrapped(picture, tiling, is_cut, encode);
    }
    let fade = i64::from(grid.overlap);
    joined(&grid.rows, 2, fade, |y| {
        let strip = part(picture, &grid.rows, 2, y)?;
        joined(&grid.columns, 3, fade, |x| encode(&part(&strip, &grid.columns, 3, x)?))
    })
}

/// Encodes more than the picture on each side that is cut, and cuts that off.
fn encode_wrapped(
    picture: &Tensor,
    tiling: Tiling,
    is_cut: [bool; 2],
    encode: impl Fn(&Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let (_, _, height, width) = picture.size4()?;
    let [rows, columns] = [height / SCALE, width / SCALE];
    let [down, across] = beyond([rows, columns], tiling, is_cut);
    let pixels = [across, across, down, down].map(|places| places * SCALE);
    let wide = picture.f_pad(pixels.as_slice(), "circular", None)?;
    let latent = encode_tiled(&wide, tiling, false, encode)?;
    latent.f_narrow(2, down, rows)?.f_narrow(3, across, columns)
}

/// The pixels of the tile that begins at a latent place. The last tile has those behind the last place too, which the
/// network leaves out of a whole picture itself.
fn part(picture: &Tensor, spans: &Spans, dimension: i64, start: u32) -> Result<Tensor, TchError> {
    let begin = i64::from(start) * SCALE;
    if spans.starts.last() == Some(&start) {
        return picture.f_slice(dimension, begin, None, 1);
    }
    picture.f_narrow(dimension, begin, i64::from(spans.length) * SCALE)
}

/// The tiles of a latent along a dimension, put together as those of a picture are: each fades in linearly over its
/// first `fade` places, and behind that covers the earlier one.
fn joined(
    spans: &Spans,
    dimension: i64,
    fade: i64,
    tile: impl Fn(u32) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let mut whole: Option<Tensor> = None;
    for &start in &spans.starts {
        let next = tile(start)?;
        whole = Some(match whole {
            None => next,
            Some(before) => laid_over(&before, &next, (start.into(), fade), dimension)?,
        });
    }
    whole.ok_or_else(|| TchError::Shape("a picture without tiles".into()))
}

fn laid_over(
    before: &Tensor,
    tile: &Tensor,
    (start, fade): (i64, i64),
    dimension: i64,
) -> Result<Tensor, TchError> {
    let kept = before.f_narrow(dimension, 0, start)?;
    if fade == 0 {
        return Tensor::f_cat(&[&kept, tile], dimension);
    }
    let opacity = Tensor::f_arange(fade, (Kind::Float, tile.device()))?.f_div_scalar(fade)?;
    let shape = if dimension == 2 { [fade, 1] } else { [1, fade] };
    let (under, over) = (before.f_narrow(dimension, start, fade)?, tile.f_narrow(dimension, 0, fade)?);
    let faded = under.f_lerp_tensor(&over, &opacity.f_reshape(shape)?)?;
    Tensor::f_cat(&[kept, faded, tile.f_slice(dimension, fade, None, 1)?], dimension)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tch::Device;

    use super::*;

    /// Every pixel is another.
    fn picture(height: i64, width: i64) -> Tensor {
        Tensor::arange(3 * height * width, (Kind::Float, Device::Cpu)).reshape([1, 3, height, width])
    }

    /// Stands in for a network that reads nothing around a place: the first pixel of each.
    fn first_pixels(part: &Tensor) -> Tensor {
        let (_, _, height, width) = part.size4().unwrap();
        let whole = part.narrow(2, 0, height / SCALE * SCALE).narrow(3, 0, width / SCALE * SCALE);
        whole.slice(2, None, None, SCALE).slice(3, None, None, SCALE)
    }

    #[test]
    fn tiles_join_exactly_to_what_lies_in_them() {
        for (height, width) in [(512, 520), (640, 960), (203, 1300), (1031, 8), (519, 519)] {
            let picture = picture(height, width);
            for wraps in [false, true] {
                for tiling in [VAE_TILING, Tiling { overlap: 0, ..VAE_TILING }] {
                    let encode = |part: &Tensor| {
                        let sides = part.size();
                        // The last of a row or a column has up to 7 pixels of no place.
                        assert!(sides[2] < 520 && sides[3] < 520, "{sides:?}");
                        Ok(first_pixels(part))
                    };
                    let tiled = encode_tiled(&picture, tiling, wraps, encode).unwrap();
                    assert_eq!(tiled, first_pixels(&picture), "{height}x{width} {wraps} {tiling:?}");
                }
            }
        }
    }

    #[test]
    fn a_picture_of_one_tile_is_given_as_it_is() {
        for (height, width) in [(64, 64), (519, 519), (7, 3)] {
            let picture = picture(height, width);
            let encode = |part: &Tensor| Ok(part.shallow_clone());
            let tiled = encode_tiled(&picture, VAE_TILING, true, encode).unwrap();
            assert_eq!(tiled.data_ptr(), picture.data_ptr(), "{height}x{width}");
            assert_eq!(tiled.size(), picture.size());
        }
    }

    #[test]
    fn a_tile_fades_in_linearly_over_the_overlap() {
        let (long, fade) = (100, 16);
        for (size, dimension) in [([1, 3, 8, long * SCALE], 3), ([1, 3, long * SCALE, 8], 2)] {
            let tiles = Cell::new(0.0);
            let encode = |part: &Tensor| Ok(first_pixels(part).fill(tiles.replace(1.0)));
            let picture = Tensor::zeros(size, (Kind::Float, Device::Cpu));
            let latent = encode_tiled(&picture, VAE_TILING, false, encode).unwrap();
            let along = latent.narrow(1, 0, 1).select(5 - dimension, 0).flatten(0, -1);
            let along: Vec<f32> = Vec::try_from(along).unwrap();
            // The second of two tiles of 64 begins at 36.
            let want = (0..long).map(|place| ((place - 36) as f32 / fade as f32).clamp(0.0, 1.0));
            assert_eq!(along, want.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_seamless_picture_goes_on_where_it_is_cut_and_only_there() {
        let seen = RefCell::new(Vec::new());
        let encode = |part: &Tensor| {
            let (_, _, height, width) = part.size4().unwrap();
            seen.borrow_mut().push((height, width, part.double_value(&[0, 0, 0, 0])));
            Ok(first_pixels(part))
        };
        let _ = encode_tiled(&picture(64, 640), VAE_TILING, true, encode).unwrap();
        // 80 places and 16 on each side in two tiles of 64: 128 pixels before the picture, and 256 behind its edge.
        assert_eq!(seen.into_inner(), [(64, 512, 512.0), (64, 512, 256.0)]);
    }

    #[test]
    fn a_tile_that_cannot_be_encoded_ends_the_picture() {
        let fail = |_: &Tensor| Err(TchError::Shape("no".into()));
        assert!(encode_tiled(&picture(8, 800), VAE_TILING, false, fail).is_err());
    }
}
