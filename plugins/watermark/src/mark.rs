//! The mark on one picture: how large, where, and its pixels over those of a band of rows. Pure; it knows sizes and
//! bytes, and nothing of the host.

use std::ops::Range;

use gesso_plugin::font::{self, HEIGHT, WIDTH};
use gesso_plugin::serde::Deserialize;
use gesso_plugin::{ImageDesc, PixelFormat};

/// A letter is at most a twentieth of the picture's height, and never so large that a band of rows would weigh on
/// the call's memory.
const LETTERS_PER_HEIGHT: usize = 20;
const MAX_SCALE: usize = 8;
const MAX_LETTERS: usize = 64;
/// Cells, of which a letter is 5 by 7: between letters, and for the shadow to the right and below.
const GAP: usize = 1;
const MARGIN: usize = 2;
const LIGHT: u8 = 255;
const SHADOW: u8 = 0;

/// What the admin may set; the manifest has the same as a schema.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(crate = "gesso_plugin::serde", default)]
pub(crate) struct Settings {
    pub(crate) text: String,
    pub(crate) corner: Corner,
    pub(crate) opacity: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { text: String::new(), corner: Corner::BottomRight, opacity: 0.6 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(crate = "gesso_plugin::serde", rename_all = "kebab-case")]
pub(crate) enum Corner {
    TopLeft,
    TopRight,
    BottomLeft,
    BottomRight,
}

/// A text laid out on a picture.
#[derive(Debug)]
pub(crate) struct Mark {
    desc: ImageDesc,
    letters: Vec<char>,
    /// Pixels a cell of the font takes.
    scale: usize,
    left: usize,
    top: usize,
    /// 0 to 255.
    opacity: u16,
}

impl Mark {
    /// The mark that fits the picture, or none where there is nothing to see. A picture too small for the whole
    /// text gets as much of it as there is room for.
    pub(crate) fn new(desc: ImageDesc, settings: &Settings) -> Option<Self> {
        let (width, height) = (desc.width as usize, desc.height as usize);
        let letters: Vec<char> = settings.text.trim().chars().take(MAX_LETTERS).collect();
        // A number that is none clamps to none, and converts to 0.
        let opacity = (settings.opacity.clamp(0.0, 1.0) * 255.0).round() as u16;
        if letters.is_empty() || opacity == 0 || width == 0 || height == 0 {
            return None;
        }
        let cells = letters.len() * (WIDTH + GAP) + 2 * MARGIN;
        let scale = (height / LETTERS_PER_HEIGHT / HEIGHT).min(width / cells).clamp(1, MAX_SCALE);
        let box_width = (cells - 2 * MARGIN) * scale;
        let box_height = (HEIGHT + GAP) * scale;
        let far = |size: usize, extent: usize| size.saturating_sub(extent + MARGIN * scale);
        let near = |size: usize, extent: usize| (MARGIN * scale).min(size.saturating_sub(extent));
        let (right, bottom) = match settings.corner {
            Corner::TopLeft => (false, false),
            Corner::TopRight => (true, false),
            Corner::BottomLeft => (false, true),
            Corner::BottomRight => (true, true),
        };
        let left = if right { far(width, box_width) } else { near(width, box_width) };
        let top = if bottom { far(height, box_height) } else { near(height, box_height) };
        Some(Self { desc, letters, scale, left, top, opacity })
    }

    /// The rows of the picture that change.
    pub(crate) fn rows(&self) -> Range<u32> {
        let end = (self.top + (HEIGHT + GAP) * self.scale).min(self.desc.height as usize);
        // Both are within the height, which is a u32.
        self.top as u32..end as u32
    }

    /// Draws over the bytes of those rows.
    pub(crate) fn draw(&self, band: &mut [u8]) {
        let row_bytes = self.desc.row_bytes();
        let channels = self.desc.format.channels();
        for (y, row) in band.chunks_exact_mut(row_bytes).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate().skip(self.left) {
                if let Some(value) = self.value(x - self.left, y) {
                    self.blend(pixel, value);
                }
            }
        }
    }

    /// What the mark has at a pixel of its box: the letter, else its shadow one cell to the right and below.
    fn value(&self, x: usize, y: usize) -> Option<u8> {
        let (column, row) = (x / self.scale, y / self.scale);
        if self.is_ink(column, row) {
            return Some(LIGHT);
        }
        let shadow = column > 0 && row > 0 && self.is_ink(column - 1, row - 1);
        shadow.then_some(SHADOW)
    }

    fn is_ink(&self, column: usize, row: usize) -> bool {
        let letter = self.letters.get(column / (WIDTH + GAP));
        letter.is_some_and(|letter| font::is_ink(*letter, column % (WIDTH + GAP), row))
    }

    /// Source over destination, straight alpha.
    fn blend(&self, pixel: &mut [u8], value: u8) {
        let mix = |from: u8, to: u8, part: u16, whole: u16| {
            let mixed = u32::from(from) * u32::from(whole - part) + u32::from(to) * u32::from(part);
            ((mixed + u32::from(whole) / 2) / u32::from(whole)) as u8
        };
        let (colors, part, whole) = match (self.desc.format, pixel) {
            (PixelFormat::Rgba8, [colors @ .., alpha]) => {
                let under = u16::from(*alpha) * (255 - self.opacity) / 255;
                let whole = self.opacity + under;
                *alpha = u8::try_from(whole).unwrap_or(u8::MAX);
                (colors, self.opacity, whole)
            }
            (_, colors) => (colors, self.opacity, 255),
        };
        for color in colors {
            *color = mix(*color, value, part, whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [PixelFormat; 3] = [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Rgba8];
    const CORNERS: [Corner; 4] = [Corner::TopLeft, Corner::TopRight, Corner::BottomLeft, Corner::BottomRight];

    fn desc(width: u32, height: u32, format: PixelFormat) -> ImageDesc {
        ImageDesc { width, height, format }
    }

    /// A picture of one value with the mark on it, as the host would have it.
    fn marked(desc: ImageDesc, settings: &Settings, value: u8) -> Vec<u8> {
        let mut picture = vec![value; desc.row_bytes() * desc.height as usize];
        if let Some(mark) = Mark::new(desc, settings) {
            let rows = mark.rows();
            let band = rows.start as usize * desc.row_bytes()..rows.end as usize * desc.row_bytes();
            mark.draw(&mut picture[band]);
        }
        picture
    }

    fn changed(picture: &[u8], desc: ImageDesc, value: u8) -> Vec<(usize, usize)> {
        let at =
            |index: usize| (index / desc.format.channels() % desc.width as usize, index / desc.row_bytes());
        let mut places: Vec<_> =
            (0..picture.len()).filter(|index| picture[*index] != value).map(at).collect();
        places.dedup();
        places
    }

    fn said() -> Settings {
        Settings { text: "gesso".into(), ..Settings::default() }
    }

    #[test]
    fn stays_in_its_corner() {
        let desc = desc(200, 120, PixelFormat::Rgb8);
        for corner in CORNERS {
            let settings = Settings { corner, ..said() };
            let places = changed(&marked(desc, &settings, 128), desc, 128);
            assert!(!places.is_empty());
            for (x, y) in places {
                assert_eq!(
                    x >= 100,
                    matches!(corner, Corner::TopRight | Corner::BottomRight),
                    "{corner:?} {x}"
                );
                assert_eq!(
                    y >= 60,
                    matches!(corner, Corner::BottomLeft | Corner::BottomRight),
                    "{corner:?} {y}"
                );
            }
        }
    }

    #[test]
    fn can_be_seen_on_black_on_grey_and_on_white_in_every_format() {
        for format in FORMATS {
            for value in [0, 128, 255] {
                let desc = desc(128, 128, format);
                assert!(changed(&marked(desc, &said(), value), desc, value).len() > 50);
            }
        }
    }

    #[test]
    fn draws_the_letters_of_the_font() {
        let settings = Settings { text: "L".into(), opacity: 1.0, corner: Corner::TopLeft };
        let desc = desc(12, 12, PixelFormat::Gray8);
        let picture = marked(desc, &settings, 100);
        let art: Vec<String> = picture
            .chunks(12)
            .map(|row| {
                row.iter()
                    .map(|v| match v {
                        255 => '#',
                        0 => 'o',
                        _ => '.',
                    })
                    .collect()
            })
            .collect();
        assert_eq!(
            art[2..10],
            [
                "..#.........",
                "..#o........",
                "..#o........",
                "..#o........",
                "..#o........",
                "..#o........",
                "..#####.....",
                "...ooooo....",
            ]
        );
    }

    #[test]
    fn grows_with_the_picture() {
        let settings = said();
        let count = |size| {
            changed(
                &marked(desc(size, size, PixelFormat::Gray8), &settings, 9),
                desc(size, size, PixelFormat::Gray8),
                9,
            )
            .len()
        };
        assert!(count(1024) > 4 * count(128));
    }

    #[test]
    fn makes_a_transparent_picture_opaque_where_it_draws() {
        let settings = Settings { opacity: 1.0, ..said() };
        let picture = marked(desc(128, 128, PixelFormat::Rgba8), &settings, 0);
        assert!(picture.chunks(4).any(|pixel| pixel == [255; 4]));
        assert!(picture.chunks(4).any(|pixel| pixel == [0, 0, 0, 255]));
        assert!(picture.chunks(4).any(|pixel| pixel == [0; 4]));
    }

    #[test]
    fn leaves_the_picture_alone_where_there_is_nothing_to_see() {
        let desc = desc(64, 64, PixelFormat::Rgb8);
        assert!(Mark::new(desc, &Settings { text: " ".into(), ..said() }).is_none());
        assert!(Mark::new(desc, &Settings { opacity: 0.0, ..said() }).is_none());
        assert!(Mark::new(desc, &Settings { opacity: f32::NAN, ..said() }).is_none());
    }

    proptest! {
        #[test]
        fn fits_every_picture_however_small(
            width in 1_u32..200, height in 1_u32..200, format in 0_usize..3, corner in 0_usize..4,
            text in ".{0,80}", opacity in 0.0_f32..1.5,
        ) {
            let desc = desc(width, height, FORMATS[format]);
            let settings = Settings { text, corner: CORNERS[corner], opacity };
            if let Some(mark) = Mark::new(desc, &settings) {
                let rows = mark.rows();
                prop_assert!(rows.start < rows.end && rows.end <= height);
                let mut band = vec![7; desc.row_bytes() * (rows.end - rows.start) as usize];
                mark.draw(&mut band);
            }
        }
    }
}
