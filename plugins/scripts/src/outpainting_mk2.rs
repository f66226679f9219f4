//! Outpainting mk2: a picture is given a margin on one side after the other. Each is filled with noise that looks like what lies
//! beside it, and then drawn.

use gesso_plugin::{Arguments, Fault, Params, Random, ScriptCall, ScriptOutput};

use crate::drawing::{FILL_ORIGINAL, draw_tiles, frame, seed, through_mask};
use crate::margins;
use crate::texture::Texture;
use crate::tiles::{DRAWN, KEPT, Pixels, Tiles};

pub(crate) fn run(mut call: ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let pixels = arguments.number(1, "Pixels to expand", (8.0, 256.0))? as u32;
    let blur = arguments.number(2, "Mask blur", (0.0, 64.0))? as u32;
    let directions = arguments.texts(3);
    let texture = Texture {
        exponent: arguments.number(4, "Fall-off exponent (lower=higher detail)", (0.0, 4.0))? as f32,
        colour_variation: arguments.number(5, "Color variation", (0.0, 1.0))? as f32,
    };
    let Some(source) = call.init_images.first() else {
        return Err(Fault::InvalidInput("Outpainting mk2 needs a picture in init_images.".into()));
    };
    let mut picture = Pixels::read(source)?;
    let (across, down) = margins::around((picture.width, picture.height), &directions, pixels)?;
    let margins = [
        (Side::Left, across.before),
        (Side::Right, across.behind),
        (Side::Up, down.before),
        (Side::Down, down.behind),
    ];
    let (frame, seed) = (frame(&call.params), seed(&call.params));
    let mut infotext = None;
    for (stream, (side, margin)) in (0..).zip(margins).filter(|(_, (_, margin))| *margin > 0) {
        let noise = texture.like(&side.beside(&picture, margin), &mut Random::new(seed, stream));
        let grown = side.grown(&picture, &noise, margin);
        let window = side.window((grown.width, grown.height), margin, frame)?;
        let (larger, text) = drawn(&mut call.params, &grown, (side, margin), window, (frame, pixels, blur))?;
        picture = larger;
        infotext = infotext.or(text);
    }
    let Some(infotext) = infotext else {
        return Err(Fault::InvalidInput(
            "\"Outpainting direction\" is empty; choose one or more of left, right, up, down.".into(),
        ));
    };
    Ok(ScriptOutput { pictures: vec![(picture.write()?, infotext)], index_of_first_image: 0 })
}

/// A part of a picture: its corner and its size.
type Part = ((u32, u32), (u32, u32));

/// The grown picture with its margin drawn, in tiles as large as a request's frame where its window is longer.
fn drawn(
    params: &mut Params,
    grown: &Pixels,
    (side, margin): (Side, u32),
    (corner, size): Part,
    (frame, pixels, blur): ((u32, u32), u32, u32),
) -> Result<(Pixels, Option<String>), Fault> {
    let window = grown.cut(corner, size).padded();
    let mask = side.mask((window.width, window.height), margin, blur);
    let narrowest = window.width.min(window.height).min(frame.0).min(frame.1);
    let tiles = Tiles::plan((window.width, window.height), frame, pixels.min(narrowest / 2))?;
    through_mask(params, tiles.size, blur, FILL_ORIGINAL);
    let (drawn, infotext) = draw_tiles(params, &window, &mask, &tiles, |_| true)?;
    let mut whole = grown.clone();
    whole.paste(&drawn, corner, (0, 0));
    Ok((whole, infotext))
}

/// Where a picture grows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
    Up,
    Down,
}

impl Side {
    fn is_across(self) -> bool {
        matches!(self, Self::Left | Self::Right)
    }

    /// What lies at this side of a whole, as deep as that.
    fn part(self, (width, height): (u32, u32), depth: u32) -> Part {
        match self {
            Self::Left => ((0, 0), (depth, height)),
            Self::Right => ((width - depth, 0), (depth, height)),
            Self::Up => ((0, 0), (width, depth)),
            Self::Down => ((0, height - depth), (width, depth)),
        }
    }

    /// The part of the picture that a margin of that depth is to look like: as much, or all there is.
    fn beside(self, picture: &Pixels, depth: u32) -> Pixels {
        let along = if self.is_across() { picture.width } else { picture.height };
        let (corner, size) = self.part((picture.width, picture.height), depth.min(along));
        picture.cut(corner, size)
    }

    /// The picture with a margin of noise, which is repeated where it is less than that.
    fn grown(self, picture: &Pixels, noise: &Pixels, margin: u32) -> Pixels {
        let (more_across, more_down) = if self.is_across() { (margin, 0) } else { (0, margin) };
        let (width, height) = (picture.width + more_across, picture.height + more_down);
        let mut grown = Pixels::filled(width, height, 0);
        let ((x, y), (across, down)) = self.part((width, height), margin);
        for top in (y..y + down).step_by(noise.height as usize) {
            for left in (x..x + across).step_by(noise.width as usize) {
                grown.paste(noise, (left, top), (0, 0));
            }
        }
        let corner = match self {
            Self::Left | Self::Up => (more_across, more_down),
            Self::Right | Self::Down => (0, 0),
        };
        grown.paste(picture, corner, (0, 0));
        grown
    }

    /// What is looked at to draw a margin: the whole side, as deep as a request's frame.
    ///
    /// # Errors
    /// A frame in which nothing of the picture stands beside the margin.
    fn window(self, whole: (u32, u32), margin: u32, frame: (u32, u32)) -> Result<Part, Fault> {
        let (field, frame, whole_depth) =
            if self.is_across() { ("width", frame.0, whole.0) } else { ("height", frame.1, whole.1) };
        let depth = Tiles::side_within(whole_depth.min(frame));
        if depth <= margin {
            return Err(Fault::InvalidInput(format!(
                "A margin of {margin} pixels leaves no room for the picture in a {field} of {frame}; choose a larger \
                 {field} or fewer \"Pixels to expand\"."
            )));
        }
        Ok(self.part(whole, depth))
    }

    /// White where a window is drawn: the margin, and a band beside it twice as wide as the blur.
    fn mask(self, (width, height): (u32, u32), margin: u32, blur: u32) -> Pixels {
        let along = if self.is_across() { width } else { height };
        let (corner, (across, down)) = self.part((width, height), (margin + 2 * blur).min(along));
        let mut mask = Pixels::filled(width, height, KEPT);
        mask.paste(&Pixels::filled(across, down, DRAWN), corner, (0, 0));
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [Side; 4] = [Side::Left, Side::Right, Side::Up, Side::Down];

    fn picture() -> Pixels {
        Pixels { width: 6, height: 5, data: (100..190).collect() }
    }

    #[test]
    fn a_picture_that_grows_is_kept_and_its_margin_is_noise() {
        let picture = picture();
        // As deep as the margin, and less deep.
        for margin in [3, 14] {
            for (side, corner) in SIDES.into_iter().zip([(margin, 0), (0, 0), (0, margin), (0, 0)]) {
                let beside = side.beside(&picture, margin);
                let noise = Pixels { data: vec![7; beside.data.len()], ..beside };
                let grown = side.grown(&picture, &noise, margin);
                assert_eq!(grown.cut(corner, (6, 5)), picture, "{side:?} {margin}");
                let (corner, size) = side.part((grown.width, grown.height), margin);
                let added = grown.cut(corner, size);
                assert!(added.data.iter().all(|level| *level == 7), "{side:?} {margin}");
                assert_eq!(added.data.len() + picture.data.len(), grown.data.len());
            }
        }
    }

    #[test]
    fn a_margin_is_like_what_lies_beside_it() {
        let picture = picture();
        assert_eq!(Side::Right.beside(&picture, 2), picture.cut((4, 0), (2, 5)));
        assert_eq!(Side::Up.beside(&picture, 2), picture.cut((0, 0), (6, 2)));
        assert_eq!(Side::Left.beside(&picture, 99), picture);
    }

    #[test]
    fn the_mask_covers_the_margin_and_a_band_beside_it() {
        for side in SIDES {
            let mask = side.mask((40, 40), 10, 3);
            let (corner, size) = side.part((40, 40), 16);
            assert!(mask.cut(corner, size).data.iter().all(|level| *level == DRAWN), "{side:?}");
            let drawn = mask.data.iter().filter(|level| **level == DRAWN).count();
            assert_eq!(drawn, 16 * 40 * 3, "{side:?}");
        }
        assert!(Side::Up.mask((8, 16), 10, 8).data.iter().all(|level| *level == DRAWN));
    }

    #[test]
    fn a_window_is_at_its_side_and_shows_some_of_the_picture() {
        let whole = (640, 500);
        assert_eq!(Side::Right.window(whole, 128, (512, 512)), Ok(((128, 0), (512, 500))));
        assert_eq!(Side::Down.window(whole, 128, (512, 512)), Ok(((0, 4), (640, 496))));
        let Err(Fault::InvalidInput(text)) = Side::Up.window(whole, 128, (512, 128)) else {
            panic!("accepted")
        };
        assert!(text.contains("a height of 128") && text.contains("Pixels to expand"), "{text}");
    }
}
