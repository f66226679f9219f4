//! Pictures side by side, with what is different about them written along the top and the left. Rows of the grid are put
//! together one at a time, so that the guest holds one of them and the host the whole.

use gesso_plugin::font::{self, HEIGHT, WIDTH};
use gesso_plugin::{Fault, Image, ImageDesc, PixelFormat};

/// Pixels that a cell of the font takes, at least, and for each so many pixels of a picture's side.
const SCALE_PER_SIDE: u32 = 256;
const PAD: u32 = 6;
/// The host's pictures have no longer side.
const SIDE_MAX: u32 = 16_384;
/// Bytes written into a picture at a time.
const WRITTEN_MAX: usize = 8 << 20;
const INK: [u8; 3] = [20, 20, 20];
const STRUCK: [u8; 3] = [160, 160, 160];
const PAPER: u8 = 255;
const CHANNELS: usize = 3;

/// A line of a legend.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Label {
    pub(crate) text: String,
    /// What is not is struck through.
    pub(crate) is_active: bool,
}

impl Label {
    pub(crate) fn plain(text: impl Into<String>) -> Vec<Self> {
        vec![Self { text: text.into(), is_active: true }]
    }
}

/// How pictures are laid out, row by row.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    pub(crate) columns: usize,
    /// Lines over each column, and left of each row; empty for none.
    pub(crate) along: Vec<Vec<Label>>,
    pub(crate) down: Vec<Vec<Label>>,
    /// White pixels between pictures.
    pub(crate) margin: u32,
    /// A line over everything.
    pub(crate) title: Option<String>,
}

/// Pixels of the parts of a grid.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Layout {
    cell: (u32, u32),
    columns: u32,
    rows: u32,
    margin: u32,
    left: u32,
    top: u32,
    scale: u32,
}

impl Layout {
    fn line(&self) -> u32 {
        (HEIGHT as u32 + 2) * self.scale
    }

    fn size(&self) -> (u32, u32) {
        let gaps = |count: u32| count.saturating_sub(1).saturating_mul(self.margin);
        let side = |count: u32, cell: u32| count.saturating_mul(cell).saturating_add(gaps(count));
        let (across, down) = (side(self.columns, self.cell.0), side(self.rows, self.cell.1));
        (across.saturating_add(self.left), down.saturating_add(self.top))
    }

    fn x(&self, column: u32) -> u32 {
        self.left + column * (self.cell.0 + self.margin)
    }
}

impl Grid {
    /// So many pictures of a width beside each other; in several rows where one would be longer than a picture may be.
    pub(crate) fn in_a_row(count: usize, width: u32) -> Self {
        let fitting = (SIDE_MAX / width.max(1)).max(1) as usize;
        Self { columns: count.min(fitting), ..Self::default() }
    }

    fn layout(&self, count: usize, cell: (u32, u32)) -> Layout {
        let columns = self.columns.clamp(1, count.max(1)) as u32;
        let rows = (count as u32).div_ceil(columns);
        let scale = (cell.0.min(cell.1) / SCALE_PER_SIDE).max(1);
        let mut layout = Layout { cell, columns, rows, margin: self.margin, left: 0, top: 0, scale };
        let has = |lines: &[Vec<Label>]| lines.iter().any(|lines| !lines.is_empty());
        if has(&self.down) {
            let widest =
                self.down.iter().flatten().map(|label| width_of(&label.text, scale)).max().unwrap_or(0);
            layout.left = widest.min(cell.0.max(64)) + 2 * PAD;
        }
        let titles = u32::from(self.title.is_some());
        if has(&self.along) {
            let lines =
                self.along.iter().map(|labels| lines(labels, layout.cell.0, scale).len()).max().unwrap_or(0);
            layout.top = (lines as u32 + titles) * layout.line() + 2 * PAD;
        } else if titles > 0 {
            layout.top = layout.line() + 2 * PAD;
        }
        layout
    }

    /// Width and height of the grid of so many pictures as large as `cell`.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] where no picture can be as large. Ask before anything is drawn for it.
    pub(crate) fn size(&self, count: usize, cell: (u32, u32)) -> Result<(u32, u32), Fault> {
        let (width, height) = self.layout(count, cell).size();
        if width.max(height) <= SIDE_MAX {
            return Ok((width, height));
        }
        Err(Fault::InvalidInput(format!(
            "The grid is {width} x {height} pixels large; {SIDE_MAX} is the most for a side: ask for fewer or smaller \
             pictures."
        )))
    }

    /// The grid. Pictures of another size than the first are brought to it.
    pub(crate) fn draw(&self, pictures: &[&Image]) -> Result<Image, Fault> {
        let Some(first) = pictures.first() else {
            return Err(Fault::InvalidInput("There is no picture to put into a grid.".into()));
        };
        let ImageDesc { width, height, .. } = first.desc();
        let layout = self.layout(pictures.len(), (width, height));
        let (whole_width, whole_height) = self.size(pictures.len(), (width, height))?;
        let desc = ImageDesc { width: whole_width, height: whole_height, format: PixelFormat::Rgb8 };
        let mut whole = Image::allocate(desc)?;
        let mut top = Canvas::new(whole_width, layout.top);
        self.write_along(&mut top, layout);
        write(&mut whole, 0, &top)?;
        let mut y = layout.top;
        for (row, cells) in pictures.chunks(layout.columns as usize).enumerate() {
            let mut band = Canvas::new(whole_width, height);
            if let Some(labels) = self.down.get(row) {
                band.write_lines(labels, (PAD, layout.left.saturating_sub(2 * PAD)), height / 2, layout);
            }
            for (column, picture) in cells.iter().enumerate() {
                band.paste(&rgb_rows(picture, (width, height))?, layout.x(column as u32), width);
            }
            write(&mut whole, y, &band)?;
            y += height;
            if y < whole_height {
                write(&mut whole, y, &Canvas::new(whole_width, layout.margin))?;
                y += layout.margin;
            }
        }
        Ok(whole)
    }

    fn write_along(&self, canvas: &mut Canvas, layout: Layout) {
        let mut middle = layout.top / 2;
        if let Some(title) = &self.title {
            let width = canvas.width as u32;
            canvas.write_lines(&Label::plain(title.as_str()), (0, width), PAD + layout.line() / 2, layout);
            middle = (layout.top + layout.line()) / 2;
        }
        for (column, labels) in self.along.iter().take(layout.columns as usize).enumerate() {
            canvas.write_lines(labels, (layout.x(column as u32), layout.cell.0), middle, layout);
        }
    }
}

/// Puts a canvas into a picture as wide, from row `y` on; a few rows at a time, as the host takes only so much in one call.
fn write(picture: &mut Image, y: u32, canvas: &Canvas) -> Result<(), Fault> {
    let row_bytes = canvas.width * CHANNELS;
    let rows = (WRITTEN_MAX / row_bytes.max(1)).max(1);
    for (part, data) in (0_u32..).zip(canvas.data.chunks(rows * row_bytes.max(1))) {
        picture.write_rows(y + part * rows as u32, data)?;
    }
    Ok(())
}

fn rgb_rows(picture: &Image, size: (u32, u32)) -> Result<Vec<u8>, Fault> {
    let desc = picture.desc();
    let resized =
        if (desc.width, desc.height) == size { None } else { Some(picture.resize(size.0, size.1)?) };
    let picture = resized.as_ref().unwrap_or(picture);
    let converted =
        if desc.format == PixelFormat::Rgb8 { None } else { Some(picture.convert(PixelFormat::Rgb8)?) };
    converted.as_ref().unwrap_or(picture).read_rows(0, size.1)
}

fn width_of(text: &str, scale: u32) -> u32 {
    (text.chars().count() * (WIDTH + 1)) as u32 * scale
}

/// Labels in lines that fit a width, broken between words, else between letters.
fn lines(labels: &[Label], width: u32, scale: u32) -> Vec<Label> {
    let fitting = ((width / ((WIDTH as u32 + 1) * scale)) as usize).max(1);
    let mut lines = Vec::new();
    for label in labels {
        let mut rest: Vec<char> = label.text.chars().collect();
        while rest.len() > fitting {
            let at = rest[..=fitting].iter().rposition(|letter| *letter == ' ').filter(|at| *at > 0);
            let tail = rest.split_off(at.unwrap_or(fitting));
            lines.push(Label { text: rest.iter().collect(), is_active: label.is_active });
            rest = tail.into_iter().skip_while(|letter| *letter == ' ').collect();
        }
        lines.push(Label { text: rest.iter().collect(), is_active: label.is_active });
    }
    lines
}

/// RGB rows, white at first.
struct Canvas {
    width: usize,
    data: Vec<u8>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        Self { width: width as usize, data: vec![PAPER; width as usize * height as usize * CHANNELS] }
    }

    /// Rows of a picture `width` pixels wide, its left edge at `x`.
    fn paste(&mut self, rows: &[u8], x: u32, width: u32) {
        let row_bytes = width as usize * CHANNELS;
        for (to, from) in self.data.chunks_exact_mut(self.width * CHANNELS).zip(rows.chunks_exact(row_bytes))
        {
            to[x as usize * CHANNELS..][..row_bytes].copy_from_slice(from);
        }
    }

    /// Lines in the middle of a box that begins at `left` and is `width` pixels wide; `middle` is their middle's height.
    fn write_lines(&mut self, labels: &[Label], (left, width): (u32, u32), middle: u32, layout: Layout) {
        let lines = lines(labels, width, layout.scale);
        let mut y = middle.saturating_sub(lines.len() as u32 * layout.line() / 2);
        for Label { text, is_active } in &lines {
            let x = left + width.saturating_sub(width_of(text, layout.scale)) / 2;
            self.write(text, (x, y), layout.scale, if *is_active { INK } else { STRUCK });
            if !is_active {
                let (row, length) = (y + HEIGHT as u32 / 2 * layout.scale, width_of(text, layout.scale));
                (0..length * layout.scale)
                    .for_each(|at| self.dot(x + at % length, row + at / length, STRUCK));
            }
            y += layout.line();
        }
    }

    fn write(&mut self, text: &str, (left, top): (u32, u32), scale: u32, colour: [u8; 3]) {
        for (index, letter) in text.chars().enumerate() {
            for cell in 0..WIDTH * HEIGHT {
                let (column, row) = (cell % WIDTH, cell / WIDTH);
                if font::is_ink(letter, column, row) {
                    let x = left + (index * (WIDTH + 1) + column) as u32 * scale;
                    let y = top + row as u32 * scale;
                    (0..scale * scale).for_each(|at| self.dot(x + at % scale, y + at / scale, colour));
                }
            }
        }
    }

    /// What lies outside is left out.
    fn dot(&mut self, x: u32, y: u32, colour: [u8; 3]) {
        if (x as usize) < self.width {
            let at = (y as usize * self.width + x as usize) * CHANNELS;
            if let Some(pixel) = self.data.get_mut(at..at + CHANNELS) {
                pixel.copy_from_slice(&colour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_without_words_has_the_size_of_its_pictures() {
        let grid = Grid { columns: 3, margin: 4, ..Grid::default() };
        assert_eq!(grid.layout(5, (64, 48)).size(), (3 * 64 + 8, 2 * 48 + 4));
        assert_eq!(grid.layout(2, (64, 48)).size(), (2 * 64 + 4, 48));
    }

    #[test]
    fn a_grid_that_no_picture_can_hold_has_a_size_to_refuse() {
        let grid = Grid { columns: 100, margin: 500, ..Grid::default() };
        assert_eq!(grid.layout(200, (512, 512)).size(), (100 * 512 + 99 * 500, 2 * 512 + 500));
        assert_eq!(grid.layout(200, (u32::MAX, 1)).size().0, u32::MAX);
    }

    #[test]
    fn words_take_room_above_and_left() {
        let grid = Grid {
            columns: 2,
            along: vec![Label::plain("a"), Label::plain("b")],
            down: vec![Label::plain("row")],
            ..Grid::default()
        };
        let layout = grid.layout(2, (64, 64));
        assert!(layout.left >= width_of("row", 1) && layout.top >= layout.line());
        let mut canvas = Canvas::new(layout.size().0, layout.top);
        grid.write_along(&mut canvas, layout);
        let ink = canvas.data.chunks(3).filter(|pixel| *pixel == INK).count();
        let of = |letter| {
            (0..WIDTH * HEIGHT).filter(|cell| font::is_ink(letter, cell % WIDTH, cell / WIDTH)).count()
        };
        assert_eq!(ink, of('a') + of('b'));
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let broken: Vec<String> = lines(&Label::plain("red hat on averyverylongword"), 6 * 8, 1)
            .into_iter()
            .map(|label| label.text)
            .collect();
        assert_eq!(broken, ["red hat", "on", "averyver", "ylongwor", "d"]);
        assert!(lines(&Label::plain("x"), 0, 3).len() == 1);
    }

    #[test]
    fn writing_outside_is_left_out() {
        let mut canvas = Canvas::new(4, 3);
        canvas.write("WWW", (2, 1), 2, INK);
        assert_eq!(canvas.data.len(), 4 * 3 * 3);
    }
}
