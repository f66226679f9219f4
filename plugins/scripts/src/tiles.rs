//! A picture in overlapping tiles, and back. Places and bytes; knows nothing of drawing.

use gesso_plugin::{Fault, Image, ImageDesc, PixelFormat};

const CHANNELS: usize = 3;
/// Sides of a tile are multiples of this.
const STEP: u32 = 8;

/// Where tiles lie: as few as the overlap allows, spread evenly.
#[derive(Debug, PartialEq)]
pub(crate) struct Tiles {
    pub(crate) size: (u32, u32),
    columns: Vec<u32>,
    rows: Vec<u32>,
    overlap: u32,
}

impl Tiles {
    /// For a whole of this size and tiles of at most this one.
    ///
    /// # Errors
    /// Tiles that are no larger than what they overlap by.
    pub(crate) fn plan(whole: (u32, u32), tile: (u32, u32), overlap: u32) -> Result<Self, Fault> {
        let size = (tile.0.min(whole.0) / STEP * STEP, tile.1.min(whole.1) / STEP * STEP);
        if size.0 <= overlap || size.1 <= overlap {
            return Err(Fault::InvalidInput(format!(
                "Tiles of {}x{} overlap by {overlap}; choose larger tiles (width, height) or a smaller overlap.",
                size.0, size.1
            )));
        }
        let (columns, rows) = (starts(whole.0, size.0, overlap), starts(whole.1, size.1, overlap));
        Ok(Self { size, columns, rows, overlap })
    }

    /// Row by row.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, u32)> {
        self.rows.iter().flat_map(|y| self.columns.iter().map(move |x| (*x, *y)))
    }

    /// Columns and rows over which a tile fades in: none at the edge of the whole.
    pub(crate) fn fades(&self, (x, y): (u32, u32)) -> (u32, u32) {
        let fade = |start: u32| if start == 0 { 0 } else { self.overlap };
        (fade(x), fade(y))
    }
}

fn starts(whole: u32, tile: u32, overlap: u32) -> Vec<u32> {
    if whole <= tile {
        return vec![0];
    }
    let count = (whole - overlap).div_ceil(tile - overlap);
    let apart = f64::from(whole - tile) / f64::from(count - 1);
    (0..count).map(|index| (f64::from(index) * apart).round() as u32).collect()
}

/// RGB bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) data: Vec<u8>,
}

impl Pixels {
    pub(crate) fn filled(width: u32, height: u32, level: u8) -> Self {
        Self { width, height, data: vec![level; width as usize * height as usize * CHANNELS] }
    }

    pub(crate) fn read(image: &Image) -> Result<Self, Fault> {
        let ImageDesc { width, height, format } = image.desc();
        let rgb = if format == PixelFormat::Rgb8 { None } else { Some(image.convert(PixelFormat::Rgb8)?) };
        let data = rgb.as_ref().unwrap_or(image).read_rows(0, height)?;
        Ok(Self { width, height, data })
    }

    pub(crate) fn write(&self) -> Result<Image, Fault> {
        let desc = ImageDesc { width: self.width, height: self.height, format: PixelFormat::Rgb8 };
        let mut image = Image::allocate(desc)?;
        image.write_rows(0, &self.data)?;
        Ok(image)
    }

    fn start(&self, x: u32, y: u32) -> usize {
        (y as usize * self.width as usize + x as usize) * CHANNELS
    }

    pub(crate) fn cut(&self, (x, y): (u32, u32), (width, height): (u32, u32)) -> Self {
        let rows =
            (y..y + height).flat_map(|row| &self.data[self.start(x, row)..][..width as usize * CHANNELS]);
        Self { width, height, data: rows.copied().collect() }
    }

    /// Lays a tile over; it fades in over its first columns and rows.
    pub(crate) fn paste(&mut self, tile: &Self, (x, y): (u32, u32), (across, down): (u32, u32)) {
        let share = |place: u32, fade: u32| if place < fade { place as f32 / fade as f32 } else { 1.0 };
        for row in 0..tile.height.min(self.height - y) {
            for column in 0..tile.width.min(self.width - x) {
                let share = share(column, across).min(share(row, down));
                let (from, to) = (tile.start(column, row), self.start(x + column, y + row));
                for channel in 0..CHANNELS {
                    let (under, over) =
                        (f32::from(self.data[to + channel]), f32::from(tile.data[from + channel]));
                    self.data[to + channel] = (under + (over - under) * share).round() as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_whole_and_overlap_enough() {
        let tiles = Tiles::plan((200, 100), (96, 96), 16).unwrap();
        assert_eq!(
            (tiles.size, &tiles.columns[..], &tiles.rows[..]),
            ((96, 96), &[0, 52, 104][..], &[0, 4][..])
        );
        let one = Tiles::plan((60, 40), (96, 96), 16).unwrap();
        assert_eq!((one.size, one.columns, one.rows), ((56, 40), vec![0, 4], vec![0]));
        assert!(Tiles::plan((200, 100), (64, 64), 64).is_err());
    }

    #[test]
    fn tiles_put_back_unchanged_are_the_whole() {
        let data = (0..40 * 24 * 3).map(|value: u32| (value * 7 % 251) as u8).collect();
        let whole = Pixels { width: 40, height: 24, data };
        let tiles = Tiles::plan((40, 24), (16, 16), 4).unwrap();
        let mut pasted = whole.clone();
        for place in tiles.places() {
            pasted.paste(&whole.cut(place, tiles.size), place, tiles.fades(place));
        }
        assert_eq!(pasted, whole);
    }

    #[test]
    fn a_tile_fades_in() {
        let grey = |width, level| Pixels { width, height: 1, data: vec![level; width as usize * 3] };
        let mut whole = grey(6, 0);
        whole.paste(&grey(4, 200), (2, 0), (2, 0));
        let red: Vec<u8> = whole.data.iter().step_by(3).copied().collect();
        assert_eq!(red, [0, 0, 0, 100, 200, 200]);
    }
}
