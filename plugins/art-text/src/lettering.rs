//! Text in a font, as large as it fits into a picture and in its middle. Grey levels only; knows neither requests nor files.

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont};

/// A guide is a word or a few, not a page.
pub const CHARS_MAX: usize = 200;
pub const LINES_MAX: usize = 8;
/// Of each side, pixels.
pub const SIDES: std::ops::RangeInclusive<u32> = 64..=2048;
/// Of the shorter side, around the text.
pub const MARGINS: std::ops::RangeInclusive<f32> = 0.0..=0.4;

/// Fonts that are carried, by the names that requests use; the first is the default.
pub const FONTS: [(&str, &[u8]); 2] = [
    ("Lobster", include_bytes!("../fonts/Lobster.otf")),
    ("DejaVu Sans Bold", include_bytes!("../fonts/DejaVuSans-Bold.ttf")),
];

/// What is lettered.
#[derive(Debug, Clone, PartialEq)]
pub struct Lettering<'a> {
    pub text: &'a str,
    pub font: &'a str,
    pub width: u32,
    pub height: u32,
    pub margin: f32,
    /// Black letters on white.
    pub invert: bool,
}

/// Grey levels, row by row from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guide {
    pub width: u32,
    pub height: u32,
    pub levels: Vec<u8>,
}

impl Lettering<'_> {
    /// White letters on black, or the other way round.
    ///
    /// # Errors
    /// A sentence that names what is wrong and what would be right.
    pub fn draw(&self) -> Result<Guide, String> {
        let lines = self.lines()?;
        let font = self.font()?;
        if let Some(letter) =
            lines.iter().flat_map(|line| line.chars()).find(|letter| font.glyph_id(*letter) == GlyphId(0))
        {
            return Err(format!(
                "The font {} has no {letter:?}; choose another font or leave it out.",
                self.font
            ));
        }
        let mut levels = vec![0; self.width as usize * self.height as usize];
        let scale = self.scale(&font, &lines);
        let scaled = font.as_scaled(scale);
        let line_height = scaled.height() + scaled.line_gap();
        let top = (self.height as f32 - line_height * lines.len() as f32 + scaled.line_gap()) / 2.0;
        for (index, line) in lines.iter().enumerate() {
            let baseline = top + line_height * index as f32 + scaled.ascent();
            let mut x = (self.width as f32 - width_of(&font, scale, line)) / 2.0;
            let mut last = None;
            for letter in line.chars() {
                let id = scaled.glyph_id(letter);
                x += last.map_or(0.0, |last| scaled.kern(last, id));
                let glyph = id.with_scale_and_position(scale, ab_glyph::point(x, baseline));
                x += scaled.h_advance(id);
                last = Some(id);
                let Some(outline) = font.outline_glyph(glyph) else { continue };
                let bounds = outline.px_bounds();
                outline.draw(|dx, dy, coverage| {
                    let (x, y) = (bounds.min.x as i64 + i64::from(dx), bounds.min.y as i64 + i64::from(dy));
                    if (0..i64::from(self.width)).contains(&x) && (0..i64::from(self.height)).contains(&y) {
                        let at = y as usize * self.width as usize + x as usize;
                        levels[at] = levels[at].max((coverage.clamp(0.0, 1.0) * 255.0).round() as u8);
                    }
                });
            }
        }
        if self.invert {
            levels.iter_mut().for_each(|level| *level = 255 - *level);
        }
        Ok(Guide { width: self.width, height: self.height, levels })
    }

    fn lines(&self) -> Result<Vec<&str>, String> {
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if !SIDES.contains(&side) {
                return Err(format!(
                    "The {name} is {side}; it must be between {} and {}.",
                    SIDES.start(),
                    SIDES.end()
                ));
            }
        }
        if !MARGINS.contains(&self.margin) {
            return Err(format!(
                "The margin is {}; it must be between 0 and {}.",
                self.margin,
                MARGINS.end()
            ));
        }
        if self.text.chars().count() > CHARS_MAX {
            return Err(format!("The text has more than {CHARS_MAX} letters; send fewer."));
        }
        let lines: Vec<_> = self.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match lines.len() {
            0 => Err("There is no text to letter.".into()),
            1..=LINES_MAX => Ok(lines),
            count => Err(format!("The text has {count} lines; send at most {LINES_MAX}.")),
        }
    }

    fn font(&self) -> Result<FontRef<'static>, String> {
        let known = FONTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(self.font));
        let bytes = known.map(|(_, bytes)| *bytes).ok_or_else(|| {
            let names: Vec<_> = FONTS.iter().map(|(name, _)| *name).collect();
            format!("There is no font {:?}; choose one of {}.", self.font, names.join(", "))
        })?;
        FontRef::try_from_slice(bytes)
            .map_err(|error| format!("The font {} cannot be read: {error}.", self.font))
    }

    /// The largest at which every line fits. Widths and heights grow with the scale, so one measure is enough.
    fn scale(&self, font: &FontRef, lines: &[&str]) -> PxScale {
        const MEASURE: f32 = 100.0;
        let margin = self.margin * self.width.min(self.height) as f32;
        let (room_across, room_down) = (self.width as f32 - 2.0 * margin, self.height as f32 - 2.0 * margin);
        let scaled = font.as_scaled(MEASURE);
        let widths = lines.iter().map(|line| width_of(font, MEASURE.into(), line));
        let across = widths.fold(1.0, f32::max);
        let down = (scaled.height() + scaled.line_gap()) * lines.len() as f32 - scaled.line_gap();
        PxScale::from(MEASURE * (room_across / across).min(room_down / down))
    }
}

fn width_of(font: &FontRef, scale: PxScale, line: &str) -> f32 {
    let scaled = font.as_scaled(scale);
    let ids: Vec<_> = line.chars().map(|letter| scaled.glyph_id(letter)).collect();
    let advances: f32 = ids.iter().map(|id| scaled.h_advance(*id)).sum();
    advances + ids.windows(2).map(|pair| scaled.kern(pair[0], pair[1])).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lettering(text: &str) -> Lettering<'_> {
        Lettering { text, font: "Lobster", width: 256, height: 128, margin: 0.08, invert: false }
    }

    /// Left, right, top and bottom of what is not black.
    fn bounds(guide: &Guide) -> (usize, usize, usize, usize) {
        let width = guide.width as usize;
        let lit = guide
            .levels
            .iter()
            .enumerate()
            .filter(|(_, level)| **level > 0)
            .map(|(at, _)| (at % width, at / width));
        lit.fold((usize::MAX, 0, usize::MAX, 0), |(left, right, top, bottom), (x, y)| {
            (left.min(x), right.max(x), top.min(y), bottom.max(y))
        })
    }

    #[test]
    fn a_word_fills_the_picture_but_for_its_margin_and_stands_in_the_middle() {
        let guide = lettering("Gesso").draw().unwrap();
        let (left, right, top, bottom) = bounds(&guide);
        assert!((5..40).contains(&left) && (216..251).contains(&right), "{left} {right}");
        assert!((left as i32 - (255 - right) as i32).abs() < 20, "{left} {right}");
        assert!(top >= 5 && bottom <= 123 && bottom - top > 50, "{top} {bottom}");
        assert!(guide.levels.contains(&255));
        let inverted = Lettering { invert: true, ..lettering("Gesso") }.draw().unwrap();
        assert!(inverted.levels.iter().zip(&guide.levels).all(|(a, b)| a + b == 255));
    }

    #[test]
    fn lines_stand_below_each_other() {
        let two = lettering("on\non").draw().unwrap();
        let width = two.width as usize;
        let rows: Vec<bool> =
            two.levels.chunks(width).map(|row| row.iter().any(|level| *level > 0)).collect();
        let blocks = rows.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert_eq!(blocks, 2, "two lines of letters with nothing between");
    }

    #[test]
    fn what_cannot_be_lettered_is_said() {
        let said = |lettering: Lettering| lettering.draw().unwrap_err();
        assert!(said(lettering(" \n ")).contains("no text"));
        assert!(said(lettering(&"a".repeat(201))).contains("more than 200"));
        assert!(said(lettering(&"a\n".repeat(9))).contains("9 lines"));
        assert!(said(lettering("文字")).contains("has no '文'"));
        assert!(
            said(Lettering { font: "Comic", ..lettering("a") })
                .contains("choose one of Lobster, DejaVu Sans Bold")
        );
        assert!(said(Lettering { width: 63, ..lettering("a") }).contains("The width is 63"));
        assert!(said(Lettering { margin: f32::NAN, ..lettering("a") }).contains("The margin is NaN"));
        assert!(Lettering { font: "dejavu sans bold", ..lettering("Привете Ωμέγα") }.draw().is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_lettered_or_refused(text in ".{0,40}", width in 0u32..600, height in 0u32..600, margin in -1f32..1.0) {
            let lettering = Lettering { text: &text, font: "DejaVu Sans Bold", width, height, margin, invert: false };
            if let Ok(guide) = lettering.draw() {
                prop_assert_eq!(guide.levels.len(), (width * height) as usize);
            }
        }
    }
}
