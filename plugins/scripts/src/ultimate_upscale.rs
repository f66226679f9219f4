//! Ultimate SD upscale: a picture is enlarged and drawn over tile by tile, each tile through a mask and with what lies around
//! it in view; then its seams are drawn over.

use gesso_plugin::{Arguments, Fault, Image, Params, ScriptCall, ScriptOutput, inference};

use crate::drawing::{
    FILL_ORIGINAL, described, first, frame, in_turn, through_mask, upscaler, upscaler_name,
};
use crate::strokes::{Board, Order, Round, Seams};
use crate::tiles::Pixels;

const REDRAW_MODES: [&str; 3] = ["Linear", "Chess", "None"];
const SEAMS_FIXES: [&str; 4] =
    ["None", "Band pass", "Half tile offset pass", "Half tile offset pass + intersections"];
const TARGETS: [&str; 3] = ["From img2img settings", "Custom size", "Scale from image size"];

pub(crate) fn run(mut call: ScriptCall) -> Result<ScriptOutput, Fault> {
    let Some(source) = call.init_images.first() else {
        return Err(Fault::InvalidInput("Ultimate SD upscale needs a picture in init_images.".into()));
    };
    let desc = source.desc();
    let asked = Asked::read(&Arguments(&call.arguments), frame(&call.params), (desc.width, desc.height))?;
    let (size, said) = (asked.target, asked.said());
    let mut canvas = Canvas { picture: enlarged(source, &asked)?.padded(), infotext: None };
    let board = Board::new((canvas.picture.width, canvas.picture.height), asked.tile);
    let mut pictures = Vec::new();
    if let Some(order) = asked.order {
        canvas.draw(&mut call.params, board.tiles(order), asked.redraw)?;
        if asked.seams.is_some() && asked.shows_redrawn {
            pictures.push(canvas.finished(size, &said)?);
        }
    }
    if let Some(seams) = asked.seams {
        call.params.set("denoising_strength", asked.seams_strength);
        canvas.draw(&mut call.params, board.seams(seams), asked.seams_fix)?;
    }
    pictures.push(canvas.finished(size, &said)?);
    Ok(ScriptOutput { pictures, index_of_first_image: 0 })
}

/// How strokes are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Brush {
    /// Pixels around a stroke that are in view.
    padding: u32,
    blur: u32,
}

/// What a request asks for.
#[derive(Debug, PartialEq)]
struct Asked {
    target: (u32, u32),
    /// As it was given: a name or a number.
    upscaler: String,
    tile: (u32, u32),
    redraw: Brush,
    order: Option<Order>,
    /// Whether the picture before its seams are drawn over is among the results.
    shows_redrawn: bool,
    seams: Option<Seams>,
    seams_fix: Brush,
    seams_strength: f64,
}

impl Asked {
    /// `frame` is the request's size, `source` that of its picture.
    fn read(arguments: &Arguments<'_>, frame: (u32, u32), source: (u32, u32)) -> Result<Self, Fault> {
        let pixels = |place: usize, label: &str, least: f64, most: f64| {
            arguments.number(place, label, (least, most)).map(|number| number as u32)
        };
        let width = pixels(1, "Tile width", 64.0, 2048.0)?;
        let height = match pixels(2, "Tile height", 0.0, 2048.0)? {
            0 => width,
            height => height,
        };
        let band = pixels(5, "Seams fix width", 1.0, 512.0)?;
        // Files are written as the request's save_images says, whatever this one is.
        arguments.flag(11, "Save seams fix image")?;
        let custom = (pixels(15, "Custom width", 64.0, 8192.0)?, pixels(16, "Custom height", 64.0, 8192.0)?);
        let scale = arguments.number(17, "Scale", (1.0, 8.0))?;
        let scaled = |side: u32| (f64::from(side) * scale).round() as u32;
        let asked = Self {
            target: match TARGETS[arguments.choice(14, "Target size type", &TARGETS)?] {
                "Custom size" => custom,
                "Scale from image size" => (scaled(source.0), scaled(source.1)),
                _ => frame,
            },
            upscaler: arguments.text(8),
            tile: (width, height),
            redraw: Brush {
                padding: pixels(4, "Padding", 0.0, 512.0)?,
                blur: pixels(3, "Mask blur", 0.0, 64.0)?,
            },
            order: match REDRAW_MODES[arguments.choice(10, "Redraw mode", &REDRAW_MODES)?] {
                "Linear" => Some(Order::Linear),
                "Chess" => Some(Order::Chess),
                _ => None,
            },
            shows_redrawn: arguments.flag(9, "Save upscaled image")?,
            seams: match arguments.choice(13, "Seams fix type", &SEAMS_FIXES)? {
                1 => Some(Seams::Bands(band)),
                2 => Some(Seams::HalfTiles),
                3 => Some(Seams::HalfTilesAndCorners),
                _ => None,
            },
            seams_fix: Brush {
                padding: pixels(7, "Seams fix padding", 0.0, 512.0)?,
                blur: pixels(12, "Seams fix mask blur", 0.0, 64.0)?,
            },
            seams_strength: arguments.number(6, "Seams fix denoise", (0.0, 1.0))?,
        };
        if asked.order.is_none() && asked.seams.is_none() {
            return Err(Fault::InvalidInput(
                "\"Redraw mode\" and \"Seams fix type\" are both None, so nothing is drawn; choose one \
                 of them."
                    .into(),
            ));
        }
        Ok(asked)
    }

    /// What an infotext says of it, as the web UI's extension writes it.
    fn said(&self) -> Vec<(&'static str, String)> {
        let name = upscaler_name(&self.upscaler);
        let name = name.map(|name| ("Ultimate SD upscale upscaler", name.to_owned()));
        let brush = [
            ("Ultimate SD upscale tile_width", self.tile.0.to_string()),
            ("Ultimate SD upscale tile_height", self.tile.1.to_string()),
            ("Ultimate SD upscale mask_blur", self.redraw.blur.to_string()),
            ("Ultimate SD upscale padding", self.redraw.padding.to_string()),
        ];
        name.into_iter().chain(brush).collect()
    }
}

/// The picture at its target size. An upscaler multiplies both sides by one factor; what is then too large is made smaller.
fn enlarged(source: &Image, asked: &Asked) -> Result<Pixels, Fault> {
    let size = source.desc();
    let (width, height) = asked.target;
    let factor = (f64::from(width) / f64::from(size.width)).max(f64::from(height) / f64::from(size.height));
    let by = upscaler(&asked.upscaler).filter(|_| factor > 1.0);
    let larger = by.map(|name| inference::upscale(source, name, factor)).transpose()?;
    let larger = larger.as_ref().unwrap_or(source);
    let there = larger.desc();
    if (there.width, there.height) == (width, height) {
        return Pixels::read(larger);
    }
    Pixels::read(&larger.resize(width, height)?)
}

/// A picture while it is drawn over. Its sides are those of a tile.
struct Canvas {
    picture: Pixels,
    /// Of the first stroke.
    infotext: Option<String>,
}

impl Canvas {
    /// Draws round after round; strokes of one round see nothing of each other.
    fn draw(&mut self, params: &mut Params, rounds: Vec<Round>, brush: Brush) -> Result<(), Fault> {
        let whole = (self.picture.width, self.picture.height);
        for round in rounds {
            // Cut out when it is their turn: what all of a round show, with their surroundings, may be many times the whole.
            let jobs = round.iter().map(|stroke| {
                let shown = stroke.shown(brush.padding, whole);
                through_mask(params, shown.1, brush.blur, FILL_ORIGINAL);
                let (picture, mask) =
                    (self.picture.cut(shown.0, shown.1).write()?, stroke.mask(shown).write()?);
                inference::generate(params, std::slice::from_ref(&picture), Some(&mask))
            });
            let drawn = in_turn(jobs)?;
            let before = (round.len() > 1).then(|| self.picture.clone());
            for (drawn, stroke) in drawn.into_iter().zip(&round) {
                let (picture, infotext) = first(drawn)?;
                self.infotext.get_or_insert(infotext);
                let (corner, size) = stroke.shown(brush.padding, whole);
                let before = before.as_ref().unwrap_or(&self.picture).cut(corner, size);
                self.picture.take_changes(&before, &Pixels::read(&picture)?, corner);
            }
        }
        Ok(())
    }

    /// What is of the picture, without what made its sides those of a tile.
    fn finished(&self, size: (u32, u32), said: &[(&str, String)]) -> Result<(Image, String), Fault> {
        let infotext = described(self.infotext.as_deref().unwrap_or_default(), said);
        Ok((self.picture.cut((0, 0), size).write()?, infotext))
    }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::{PixelFormat, fake};
    use serde_json::{Value, json};

    use super::*;

    fn asked(changes: &[(usize, Value)]) -> Result<Asked, Fault> {
        let defaults =
            json!(["", 512, 0, 8, 32, 64, 0.35, 16, "None", true, 0, false, 4, 0, 0, 2048, 1024, 2]);
        let mut list = defaults.as_array().unwrap().clone();
        for (place, value) in changes {
            list[*place] = value.clone();
        }
        Asked::read(&Arguments(&list), (768, 640), (300, 200))
    }

    #[test]
    fn arguments_are_read_by_place() {
        let plain = asked(&[]).unwrap();
        assert_eq!((plain.tile, plain.target), ((512, 512), (768, 640)));
        assert_eq!((plain.order, plain.seams), (Some(Order::Linear), None));
        assert_eq!(
            (plain.redraw, plain.seams_fix),
            (Brush { padding: 32, blur: 8 }, Brush { padding: 16, blur: 4 })
        );
        let other = asked(&[(2, json!(256)), (10, json!("chess")), (13, json!(1)), (14, json!(1))]).unwrap();
        assert_eq!((other.tile, other.target), ((512, 256), (2048, 1024)));
        assert_eq!((other.order, other.seams), (Some(Order::Chess), Some(Seams::Bands(64))));
        let scaled = asked(&[(14, json!("Scale from image size")), (17, json!("2.5"))]).unwrap();
        assert_eq!(scaled.target, (750, 500));
    }

    #[test]
    fn infotexts_say_the_name_of_an_upscaler_and_no_place() {
        let said = |upscaler: Value| {
            let said = asked(&[(8, upscaler)]).unwrap().said();
            (said.len(), said[0].clone())
        };
        let name = |name: &str| ("Ultimate SD upscale upscaler", name.to_owned());
        assert_eq!(said(json!(1)), (5, name("Lanczos")));
        assert_eq!(said(json!("4x-Foo")), (5, name("4x-Foo")));
        assert_eq!(said(json!(3)), (4, ("Ultimate SD upscale tile_width", "512".to_owned())));
    }

    #[test]
    fn tiles_of_one_colour_see_nothing_of_each_other_and_all_of_the_round_before() {
        const SIDE: u32 = 128;
        const BYTES: usize = (SIDE * SIDE * 3) as usize;
        // Each tile sees the whole, and leaves its own place white.
        let host = fake::Host::new().drawing(|drawing| {
            let mask = drawing.mask.as_ref().unwrap().read_rows(0, SIDE)?;
            let mut rows = drawing.init_images[0].read_rows(0, SIDE)?;
            rows.iter_mut().zip(mask).for_each(|(level, drawn)| *level = (*level).max(drawn));
            Ok(drawing.drawn(vec![fake::picture(SIDE, SIDE, PixelFormat::Rgb8, &rows)]))
        });
        let arguments =
            json!(["", 64, 0, 0, 64, 64, 0.35, 16, "None", true, "Chess", false, 4, 0, 0, 2048, 2048, 2]);
        let call = ScriptCall {
            title: "Ultimate SD upscale".into(),
            params: Params::from_json(&json!({"width": SIDE, "height": SIDE}).to_string()).unwrap(),
            arguments: arguments.as_array().unwrap().clone(),
            init_images: vec![fake::picture(SIDE, SIDE, PixelFormat::Rgb8, &[0; BYTES])],
            mask: None,
        };
        let made = host.run(|| run(call)).unwrap();
        let white = |picture: &Image| {
            let rows = picture.read_rows(0, SIDE).unwrap();
            rows.iter().filter(|level| **level == 255).count()
        };
        let seen: Vec<_> = host.drawings().iter().map(|drawing| white(&drawing.init_images[0])).collect();
        assert_eq!(seen, [0, 0, BYTES / 2, BYTES / 2]);
        assert_eq!(white(&made.pictures[0].0), BYTES);
    }

    #[test]
    fn what_draws_nothing_is_refused() {
        let nothing = asked(&[(10, json!(2))]);
        assert!(matches!(&nothing, Err(Fault::InvalidInput(text)) if text.contains("Redraw mode")));
        assert!(asked(&[(10, json!(2)), (13, json!(3))]).is_ok());
        assert!(
            matches!(asked(&[(1, json!(8))]), Err(Fault::InvalidInput(text)) if text.contains("Tile width"))
        );
    }
}
