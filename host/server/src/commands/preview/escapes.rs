//! How terminals take pictures: which way one knows, and the text that makes it show a picture. Pure: knows no streams and
//! no variables.
//!
//! Terminals are told apart by their names, and never asked: an answer would come by standard input, which is not ours to
//! read. Sources: the kitty graphics protocol, iTerm2's inline images, and xterm's control sequences. `viuer`, which does
//! all of this, stands on a library under the LGPL (`ansi_colours`), and asks.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::pixels::Pixels;
use gesso_picture::convert::{flatten, to_rgba};
use gesso_picture::resize::{Filter, resize};
use icy_sixel::SixelImage;

use crate::png_file;
use crate::settings::cli::drawing::Preview;

/// A picture's cells at most, so that some of what was there before stays on a large screen.
const COLUMNS_MAX: u16 = 48;
const ROWS_MAX: u16 = 24;
/// Pixels of a cell, about: what terminals scale themselves needs no more.
const CELL: (u32, u32) = (10, 20);
/// Sixels are shown pixel by pixel. Smaller than the cells of most fonts, so that a picture stays within its rows.
const SIXEL_CELL: (u32, u32) = (8, 16);
/// Bytes of base64 in one piece of kitty's protocol.
const PIECE: usize = 4096;

/// What a terminal says of itself.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    /// Whether there is one.
    pub(crate) is_one: bool,
    /// `TERM`.
    pub(crate) term: String,
    /// `TERM_PROGRAM`, and `LC_TERMINAL`, which comes along over SSH.
    pub(crate) programs: [String; 2],
    /// `COLORTERM`.
    pub(crate) colours: String,
    /// Whether tmux or screen stands between, which show text alone.
    pub(crate) is_shared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Kitty,
    Iterm,
    Sixel,
    /// Half a cell for a pixel, in any colour or those of xterm's palette.
    Blocks(Colours),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    All,
    Palette,
}

/// How pictures are shown; `None` for not at all.
pub(super) fn way(wanted: Preview, terminal: &Terminal) -> Option<Way> {
    match wanted {
        Preview::Never => None,
        Preview::Auto => terminal.way().filter(|_| terminal.is_one),
        Preview::Always => Some(terminal.way().unwrap_or(Way::Blocks(Colours::Palette))),
    }
}

impl Terminal {
    /// `None` where nothing says that it can show more than text.
    fn way(&self) -> Option<Way> {
        if self.term.is_empty() || self.term == "dumb" {
            return None;
        }
        let is = |names: &[&str]| names.iter().any(|name| self.term.contains(name));
        let runs = |names: &[&str]| self.programs.iter().any(|program| names.contains(&program.as_str()));
        let is_shared = self.is_shared || is(&["tmux", "screen"]);
        if !is_shared && (is(&["kitty", "ghostty"]) || runs(&["ghostty"])) {
            return Some(Way::Kitty);
        }
        if !is_shared && runs(&["iTerm.app", "iTerm2", "WezTerm", "mintty"]) {
            return Some(Way::Iterm);
        }
        if !is_shared && is(&["foot", "mlterm", "contour", "yaft", "sixel"]) {
            return Some(Way::Sixel);
        }
        if ["truecolor", "24bit"].contains(&self.colours.as_str()) || is(&["-direct"]) {
            return Some(Way::Blocks(Colours::All));
        }
        is(&["256color"]).then_some(Way::Blocks(Colours::Palette))
    }
}

/// A picture as a terminal takes it.
pub(super) struct Frame {
    text: String,
    pub(super) rows: u16,
}

impl Frame {
    /// `screen` is rows and columns; `number` names the picture where terminals know pictures by numbers. `None` for what
    /// is no picture.
    pub(super) fn of(picture: &Pixels, way: Way, screen: (u16, u16), number: u32) -> Option<Self> {
        let (columns, rows) = cells(picture, screen);
        let of = |(width, height): (u32, u32)| (u32::from(columns) * width, u32::from(rows) * height);
        let picture = flatten(picture, [255; 3]).ok()?;
        let scaled = |(width, height)| resize(&picture, width, height, Filter::Bilinear).ok();
        let text = match way {
            Way::Kitty | Way::Iterm => {
                let (width, height) = of(CELL);
                let png = if width < picture.width { scaled((width, height))? } else { picture };
                let png = png_file::encode(&png, "").ok()?;
                if way == Way::Kitty {
                    kitty(&png, (columns, rows), number)
                } else {
                    iterm(&png, (columns, rows))
                }
            }
            Way::Sixel => {
                let rgba = to_rgba(&scaled(of(SIXEL_CELL))?).ok()?;
                SixelImage::from_rgba(rgba.data, rgba.width as usize, rgba.height as usize).encode().ok()?
            }
            Way::Blocks(colours) => blocks(&scaled(of((1, 2)))?, colours),
        };
        Some(Self { text, rows })
    }

    /// The frame in the place of one of `before` rows that ends above the cursor's line. The cursor is left at the beginning
    /// of the line below.
    pub(super) fn over(&self, before: u16) -> String {
        let back = if before > 0 { format!("\x1b[{before}A\r\x1b[J") } else { "\r".to_owned() };
        // Room is made first, by lines that may scroll: how far the cursor goes with a picture is each terminal's own.
        let room = "\n".repeat(usize::from(self.rows));
        format!("{back}{room}\x1b[{rows}A\x1b7{text}\x1b8\x1b[{rows}B\r", rows = self.rows, text = self.text)
    }
}

/// Columns and rows of a picture on a screen of `(rows, columns)`. A cell is about twice as high as it is wide.
fn cells(picture: &Pixels, (rows, columns): (u16, u16)) -> (u16, u16) {
    // The bar has the last line.
    let columns_max = f64::from(columns.saturating_sub(1).clamp(1, COLUMNS_MAX));
    let rows_max = f64::from(rows.saturating_sub(2).clamp(1, ROWS_MAX));
    let (width, height) = (f64::from(picture.width.max(1)), f64::from(picture.height.max(1)));
    let scale = (columns_max / width).min(2.0 * rows_max / height);
    let whole = |side: f64| side.round().max(1.0) as u16;
    (whole(width * scale), whole(height * scale / 2.0))
}

/// `f=100` is a PNG, `a=T` shows it at once, `q=2` has the terminal answer nothing.
fn kitty(png: &[u8], (columns, rows): (u16, u16), number: u32) -> String {
    let data = BASE64_STANDARD.encode(png);
    let mut text = String::new();
    for start in (0..data.len()).step_by(PIECE) {
        let end = data.len().min(start + PIECE);
        let first =
            if start == 0 { format!("a=T,f=100,i={number},c={columns},r={rows},") } else { String::new() };
        let more = u8::from(end < data.len());
        text.push_str(&format!("\x1b_G{first}q=2,m={more};{}\x1b\\", &data[start..end]));
    }
    text
}

fn iterm(png: &[u8], (columns, rows): (u16, u16)) -> String {
    let data = BASE64_STANDARD.encode(png);
    let size = png.len();
    format!("\x1b]1337;File=inline=1;size={size};width={columns};height={rows}:{data}\x07")
}

/// The upper half of each cell in the colour of one pixel, the lower in that of the pixel below.
fn blocks(picture: &Pixels, colours: Colours) -> String {
    let row = picture.width as usize * 3;
    let mut lines = Vec::new();
    for rows in picture.data.chunks_exact(2 * row) {
        let (upper, lower) = rows.split_at(row);
        let halves = upper.chunks_exact(3).zip(lower.chunks_exact(3));
        let cells: String = halves
            .map(|(above, below)| {
                format!("\x1b[38;{};48;{}m▀", colour(above, colours), colour(below, colours))
            })
            .collect();
        lines.push(format!("{cells}\x1b[0m"));
    }
    lines.join("\r\n")
}

fn colour(pixel: &[u8], colours: Colours) -> String {
    match colours {
        Colours::All => format!("2;{};{};{}", pixel[0], pixel[1], pixel[2]),
        // The cube of 6 x 6 x 6 that follows the sixteen named colours, whose levels are near enough to even.
        Colours::Palette => {
            let index = pixel.iter().fold(0, |index, level| index * 6 + (u16::from(*level) * 5 + 127) / 255);
            format!("5;{}", 16 + index)
        }
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;

    use super::*;

    fn terminal(term: &str, program: &str, colours: &str) -> Terminal {
        Terminal {
            is_one: true,
            term: term.into(),
            programs: [program.into(), String::new()],
            colours: colours.into(),
            is_shared: false,
        }
    }

    /// Left to right dark to light, with a red last row.
    fn picture(width: u32, height: u32) -> Pixels {
        let pixel = |at: u32| {
            let level = (at % width * 255 / width.max(2)) as u8;
            if at / width == height - 1 { [255, 0, 0] } else { [level; 3] }
        };
        Pixels::new(width, height, PixelFormat::Rgb8, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn each_terminal_gets_pictures_the_way_it_knows() {
        for (term, program, colours, wanted) in [
            ("xterm-kitty", "", "truecolor", Some(Way::Kitty)),
            ("xterm-ghostty", "", "", Some(Way::Kitty)),
            ("xterm-256color", "iTerm.app", "truecolor", Some(Way::Iterm)),
            ("xterm-256color", "WezTerm", "", Some(Way::Iterm)),
            ("foot", "", "truecolor", Some(Way::Sixel)),
            ("xterm-256color", "", "truecolor", Some(Way::Blocks(Colours::All))),
            ("xterm-256color", "Apple_Terminal", "", Some(Way::Blocks(Colours::Palette))),
            ("vt100", "", "", None),
            ("dumb", "iTerm.app", "truecolor", None),
            ("", "", "truecolor", None),
        ] {
            assert_eq!(way(Preview::Auto, &terminal(term, program, colours)), wanted, "{term} {program}");
        }
    }

    #[test]
    fn what_stands_between_gets_blocks_and_over_ssh_the_name_still_counts() {
        let shared = Terminal { is_shared: true, ..terminal("xterm-kitty", "", "truecolor") };
        assert_eq!(way(Preview::Auto, &shared), Some(Way::Blocks(Colours::All)));
        let inside = terminal("tmux-256color", "tmux", "");
        assert_eq!(way(Preview::Auto, &inside), Some(Way::Blocks(Colours::Palette)));
        let mut far = terminal("xterm-256color", "", "");
        far.programs[1] = "iTerm2".into();
        assert_eq!(way(Preview::Auto, &far), Some(Way::Iterm));
    }

    #[test]
    fn only_a_terminal_gets_pictures_unless_they_are_wanted_anyway() {
        let piped = Terminal { is_one: false, ..terminal("xterm-kitty", "", "") };
        assert_eq!(way(Preview::Auto, &piped), None);
        assert_eq!(way(Preview::Always, &piped), Some(Way::Kitty));
        assert_eq!(way(Preview::Never, &terminal("xterm-kitty", "", "")), None);
        let nothing = Terminal::default();
        assert_eq!(way(Preview::Always, &nothing), Some(Way::Blocks(Colours::Palette)));
    }

    #[test]
    fn a_picture_keeps_its_shape_and_stays_on_the_screen() {
        assert_eq!(cells(&picture(512, 512), (50, 120)), (48, 24));
        assert_eq!(cells(&picture(512, 256), (50, 120)), (48, 12));
        assert_eq!(cells(&picture(256, 512), (50, 120)), (24, 24));
        assert_eq!(cells(&picture(512, 512), (12, 120)), (20, 10));
        assert_eq!(cells(&picture(512, 512), (1, 1)), (1, 1));
        assert_eq!(cells(&picture(2048, 1), (24, 80)), (48, 1));
    }

    #[test]
    fn blocks_hold_two_pixels_each() {
        let four =
            Pixels::new(2, 2, PixelFormat::Rgb8, [[0u8; 3], [255; 3], [255, 0, 0], [0, 0, 255]].concat());
        let text = blocks(&four.unwrap(), Colours::All);
        assert_eq!(text, "\x1b[38;2;0;0;0;48;2;255;0;0m▀\x1b[38;2;255;255;255;48;2;0;0;255m▀\x1b[0m");
        assert_eq!(colour(&[255, 255, 255], Colours::Palette), "5;231");
        assert_eq!(colour(&[255, 0, 0], Colours::Palette), "5;196");
        assert_eq!(colour(&[0, 0, 0], Colours::Palette), "5;16");
    }

    #[test]
    fn a_frame_has_the_rows_it_says_and_goes_back_over_the_one_before() {
        let frame = Frame::of(&picture(64, 64), Way::Blocks(Colours::All), (24, 80), 7).unwrap();
        assert_eq!((frame.rows, frame.text.matches("\r\n").count()), (22, 21));
        assert!(frame.over(0).starts_with("\r\n\n"));
        let over = frame.over(5);
        assert!(over.starts_with("\x1b[5A\r\x1b[J\n") && over.ends_with("\x1b8\x1b[22B\r"), "{over:?}");
    }

    #[test]
    fn kitty_is_sent_a_png_in_pieces_that_come_together_again() {
        // Noise, so that the file is longer than a piece.
        let noise = (0..300 * 300 * 3).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let noise = Pixels::new(300, 300, PixelFormat::Rgb8, noise).unwrap();
        let frame = Frame::of(&noise, Way::Kitty, (24, 80), 7).unwrap();
        let pieces: Vec<_> = frame.text.split_terminator("\x1b\\").collect();
        assert!(pieces.len() > 1 && pieces[0].starts_with("\x1b_Ga=T,f=100,i=7,c=44,r=22,q=2,m=1;"));
        assert!(pieces[pieces.len() - 1].starts_with("\x1b_Gq=2,m=0;"));
        let data: String = pieces.iter().map(|piece| piece.split_once(';').unwrap().1).collect();
        let png = BASE64_STANDARD.decode(data).unwrap();
        let decoded = gesso_picture::decode::decode(&png, &Default::default()).unwrap();
        assert!(decoded == noise, "another picture arrives");
    }

    #[test]
    fn sixels_and_inline_files_are_what_their_terminals_read() {
        let sixel = Frame::of(&picture(64, 64), Way::Sixel, (24, 80), 7).unwrap().text;
        assert!(sixel.starts_with("\x1bP") && sixel.ends_with("\x1b\\"));
        let read = SixelImage::decode(sixel.as_bytes()).unwrap();
        // Sixels are six pixels high, so that there may be some more.
        assert_eq!((read.width, read.height.div_ceil(6)), (44 * 8, (22 * 16_usize).div_ceil(6)));
        let file = Frame::of(&picture(64, 64), Way::Iterm, (24, 80), 7).unwrap().text;
        assert!(file.starts_with("\x1b]1337;File=inline=1;size=") && file.ends_with('\x07'));
        assert!(file.contains(";width=44;height=22:iVBOR"), "a PNG in base64");
    }
}
