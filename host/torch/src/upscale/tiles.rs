//! Cuts a picture into overlapping tiles and puts the enlarged tiles together again, as web UIs do, so that
//! memory is bounded by a tile and not by the picture. For upscalers, and for VAEs, which enlarge latents. Pure bytes
//! and arithmetic; knows no network.

use gesso_core::hires::UpscaleTiles;

/// How a picture is cut, in pixels before enlarging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// Side of a tile; 0 leaves the picture whole.
    pub tile: u32,
    /// Least overlap of neighbours, blended over; taken as at most one less than the side.
    pub overlap: u32,
}

impl Tiling {
    /// The whole picture at once.
    pub const WHOLE: Self = Self { tile: 0, overlap: 0 };
}

impl Default for Tiling {
    /// That of a request which says nothing.
    fn default() -> Self {
        let UpscaleTiles { side, overlap } = UpscaleTiles::default();
        Self { tile: side, overlap }
    }
}

/// Where the tiles lie along one side of a picture: each is `length` long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans {
    pub(crate) length: u32,
    pub(crate) starts: Vec<u32>,
}

/// The tiles of a picture, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) columns: Spans,
    pub(crate) rows: Spans,
    pub(crate) overlap: u32,
}

impl Grid {
    /// Tiles that cover `width` x `height` pixels. As few as the overlap allows, spread evenly, so that neighbours
    /// may overlap by more than asked. A side shorter than a tile is one tile of its own length.
    pub(crate) fn plan(width: u32, height: u32, tiling: Tiling) -> Self {
        let Tiling { tile, overlap } = tiling;
        let overlap = overlap.min(tile.saturating_sub(1));
        Self { columns: spans(width, tile, overlap), rows: spans(height, tile, overlap), overlap }
    }
}

impl Spans {
    fn end(&self) -> usize {
        (self.starts.last().map_or(0, |start| start + self.length)) as usize
    }
}

/// The RGB bytes of the whole, `scale` times as large as what `grid` covers. `enlarged` gives those of the tile at a
/// corner (x, y), as much larger.
pub(crate) fn enlarge<E>(
    grid: &Grid,
    scale: usize,
    mut enlarged: impl FnMut((u32, u32)) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let (width, height) = (grid.columns.end() * scale, grid.rows.end() * scale);
    let (tile_width, tile_height) = (grid.columns.length as usize * scale, grid.rows.length as usize * scale);
    let mut canvas = Canvas::new(width, height, tile_height, grid.overlap as usize * scale);
    for &y in &grid.rows.starts {
        for &x in &grid.columns.starts {
            canvas.add_tile(&enlarged((x, y))?, tile_width, x as usize * scale);
        }
        canvas.end_row(y as usize * scale);
    }
    Ok(canvas.into_picture())
}

fn spans(side: u32, tile: u32, overlap: u32) -> Spans {
    if tile == 0 || side <= tile {
        return Spans { length: side, starts: vec![0] };
    }
    let count = (side - overlap).div_ceil(tile - overlap);
    // In floating point, because that decides between two pixels as it does in web UIs; but the last tile ends at
    // the edge, which rounding there can miss by a pixel that stays black.
    let last = side - tile;
    let apart = f64::from(last) / f64::from(count - 1);
    let inner = (0..count - 1).map(|index| (f64::from(index) * apart) as u32);
    let starts = inner.chain([last]).collect();
    Spans { length: tile, starts }
}

/// The RGB bytes of `size` (width, height) pixels at `corner` (x, y) of a picture `width` pixels wide.
pub(crate) fn cut(picture: &[u8], width: usize, corner: (usize, usize), size: (usize, usize)) -> Vec<u8> {
    let lines = picture.chunks(width * CHANNELS).skip(corner.1).take(size.1);
    lines.flat_map(|line| &line[corner.0 * CHANNELS..][..size.0 * CHANNELS]).copied().collect()
}

/// A picture that is being put together from enlarged tiles. Each tile fades in over its first columns and each
/// row of tiles over its first lines; behind that the later one covers the earlier.
struct Canvas {
    width: usize,
    /// RGB of the rows of tiles that are done.
    picture: Vec<u8>,
    /// RGB of the row of tiles under way, `strip_height` lines.
    strip: Vec<u8>,
    strip_height: usize,
    overlap: usize,
}

const CHANNELS: usize = 3;

impl Canvas {
    /// For a picture of `width` x `height` and tiles of `tile_height` lines, all after enlarging.
    fn new(width: usize, height: usize, tile_height: usize, overlap: usize) -> Self {
        Self {
            width,
            picture: vec![0; width * height * CHANNELS],
            strip: vec![0; width * tile_height * CHANNELS],
            strip_height: tile_height,
            overlap,
        }
    }

    /// Puts a tile of `width` columns into the row under way, its left edge at `x`.
    fn add_tile(&mut self, tile: &[u8], width: usize, x: usize) {
        let fade = if x == 0 { 0 } else { self.overlap };
        for line in 0..self.strip_height {
            let from = &tile[line * width * CHANNELS..][..width * CHANNELS];
            let to = &mut self.strip[(line * self.width + x) * CHANNELS..][..width * CHANNELS];
            for (column, (to, from)) in to.chunks_mut(CHANNELS).zip(from.chunks(CHANNELS)).enumerate() {
                blend(to, from, opacity(column, fade));
            }
        }
    }

    /// Puts the row under way into the picture, its upper edge at `y`, and begins the next.
    fn end_row(&mut self, y: usize) {
        let fade = if y == 0 { 0 } else { self.overlap };
        let stride = self.width * CHANNELS;
        for (line, from) in self.strip.chunks(stride).enumerate() {
            blend(&mut self.picture[(y + line) * stride..][..stride], from, opacity(line, fade));
        }
    }

    fn into_picture(self) -> Vec<u8> {
        self.picture
    }
}

/// How much of a tile shows at `place` of its first `fade` columns or lines, 0..=255.
fn opacity(place: usize, fade: usize) -> u32 {
    if place < fade { (place * 255 / fade) as u32 } else { 255 }
}

/// `to` becomes `from` as far as `opacity` says, in integers and rounded as Pillow's masked paste does.
fn blend(to: &mut [u8], from: &[u8], opacity: u32) {
    if opacity == 255 {
        to.copy_from_slice(from);
        return;
    }
    for (to, from) in to.iter_mut().zip(from) {
        let sum = u32::from(*to) * (255 - opacity) + u32::from(*from) * opacity + 128;
        // Divides by 255; the sum is at most 255 * 255 + 128, so the result fits a byte.
        *to = (((sum >> 8) + sum) >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tiles_lie_where_web_uis_put_them() {
        for (side, tile, overlap, length, starts) in [
            (100, 0, 0, 100, &[0][..]),
            (100, 192, 8, 100, &[0]),
            (192, 192, 8, 192, &[0]),
            (193, 192, 8, 192, &[0, 1]),
            (376, 192, 8, 192, &[0, 184]),
            (377, 192, 8, 192, &[0, 92, 185]),
            (512, 192, 8, 192, &[0, 160, 320]),
            (1024, 192, 8, 192, &[0, 166, 332, 499, 665, 832]),
            (50, 24, 6, 24, &[0, 13, 26]),
            (281, 139, 70, 139, &[0, 47, 94, 142]),
            (10, 4, 9, 4, &[0, 1, 2, 3, 4, 5, 6]),
            (10, 1, 0, 1, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ] {
            let grid = Grid::plan(side, 1, Tiling { tile, overlap });
            assert_eq!(
                grid.columns,
                Spans { length, starts: starts.to_vec() },
                "{side} in {tile} over {overlap}"
            );
        }
    }

    #[test]
    fn rows_and_columns_are_planned_apart() {
        let grid = Grid::plan(50, 20, Tiling { tile: 24, overlap: 6 });
        assert_eq!(grid.columns.starts.len(), 3);
        assert_eq!(grid.rows, Spans { length: 20, starts: vec![0] });
    }

    #[test]
    fn a_tile_fades_in_linearly_over_the_overlap() {
        let mut canvas = Canvas::new(7, 1, 1, 4);
        canvas.add_tile(&[0; 15], 5, 0);
        canvas.add_tile(&[255; 18], 6, 1);
        canvas.end_row(0);
        let red: Vec<u8> = canvas.into_picture().iter().step_by(3).copied().collect();
        assert_eq!(red, [0, 0, 63, 127, 191, 255, 255]);
    }

    #[test]
    fn a_row_fades_in_linearly_over_the_overlap() {
        let mut canvas = Canvas::new(1, 4, 3, 2);
        canvas.add_tile(&[200; 9], 1, 0);
        canvas.end_row(0);
        canvas.add_tile(&[100; 9], 1, 0);
        canvas.end_row(1);
        let red: Vec<u8> = canvas.into_picture().iter().step_by(3).copied().collect();
        assert_eq!(red, [200, 200, 150, 100]);
    }

    proptest! {
        #[test]
        fn tiles_cover_every_pixel_and_overlap_enough(side in 1u32..3000, tile in 1u32..400, overlap in 0u32..500) {
            let Grid { columns, overlap, .. } = Grid::plan(side, 1, Tiling { tile, overlap });
            prop_assert_eq!(columns.starts[0], 0);
            prop_assert_eq!(columns.starts.last().unwrap() + columns.length, side);
            for pair in columns.starts.windows(2) {
                prop_assert!(pair[0] < pair[1] && pair[1] + overlap <= pair[0] + columns.length);
            }
        }
    }
}
