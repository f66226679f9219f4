//! A picture in overlapping tiles, and back. Places and bytes; knows nothing of drawing.

use gesso_plugin::{Fault, Image, ImageDesc, PixelFormat};

pub(crate) const CHANNELS: usize = 3;
/// Levels of a mask.
pub(crate) const DRAWN: u8 = 255;
pub(crate) const KEPT: u8 = 0;
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
        let size = (Self::side_within(tile.0.min(whole.0)), Self::side_within(tile.1.min(whole.1)));
        if size.0 <= overlap || size.1 <= overlap {
            return Err(Fault::InvalidInput(format!(
                "Tiles of {}x{} overlap by {overlap}; choose larger tiles (width, height) or a smaller overlap.",
                size.0, size.1
            )));
        }
        let (columns, rows) = (starts(whole.0, size.0, overlap), starts(whole.1, size.1, overlap));
        Ok(Self { size, columns, rows, overlap })
    }

    /// The longest side of a tile that is no longer than that.
    pub(crate) fn side_within(most: u32) -> u32 {
        most / STEP * STEP
    }

    /// The shortest side of a tile that is no shorter than that.
    pub(crate) fn side_around(least: u32) -> u32 {
        least.next_multiple_of(STEP)
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

    /// With its last column and row repeated until its sides are what sides of a tile may be.
    pub(crate) fn padded(self) -> Self {
        let (width, height) = (Tiles::side_around(self.width), Tiles::side_around(self.height));
        if (width, height) == (self.width, self.height) {
            return self;
        }
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixel = |(x, y): (u32, u32)| {
            let start = self.start(x.min(self.width - 1), y.min(self.height - 1));
            &self.data[start..start + CHANNELS]
        };
        Self { width, height, data: places.flat_map(pixel).copied().collect() }
    }

    /// Takes over, at a place, the pixels in which `after` is not what it was `before`: parts that were drawn at one time from
    /// one picture and share an edge do not undo each other.
    pub(crate) fn take_changes(&mut self, before: &Self, after: &Self, (x, y): (u32, u32)) {
        for row in 0..after.height.min(before.height) {
            for column in 0..after.width.min(before.width) {
                let (from, to) = (after.start(column, row), self.start(x + column, y + row));
                let was = before.start(column, row);
                let pixel = &after.data[from..from + CHANNELS];
                if pixel != &before.data[was..was + CHANNELS] {
                    self.data[to..to + CHANNELS].copy_from_slice(pixel);
                }
            }
        }
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

    #[test]
    fn padding_repeats_the_last_column_and_row() {
        let data: Vec<u8> = (0..9 * 2 * 3).collect();
        let whole = Pixels { width: 9, height: 2, data };
        let padded = whole.clone().padded();
        assert_eq!((padded.width, padded.height), (16, 8));
        assert_eq!(padded.cut((0, 0), (9, 2)), whole);
        let corner = whole.cut((8, 1), (1, 1)).data;
        assert!(padded.cut((8, 1), (8, 7)).data.chunks_exact(3).all(|pixel| pixel == corner));
        assert_eq!(padded.clone().padded(), padded);
    }

    #[test]
    fn changes_of_two_parts_stand_side_by_side() {
        let before = Pixels::filled(4, 1, 10);
        let with = |column: usize, level: u8| {
            let mut part = before.clone();
            part.data[column * 3..][..3].fill(level);
            part
        };
        let mut whole = Pixels::filled(6, 1, 10);
        whole.take_changes(&before, &with(3, 50), (1, 0));
        whole.take_changes(&before, &with(0, 90), (2, 0));
        let red: Vec<u8> = whole.data.iter().step_by(3).copied().collect();
        assert_eq!(red, [10, 10, 90, 10, 50, 10]);
    }
}
