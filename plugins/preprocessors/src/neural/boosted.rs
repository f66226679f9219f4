//! Depth with details (Miangoleh 2021): LeReS sees the picture as small as those it was trained with, where it understands the
//! whole, and larger, where it sees details and misses the whole; a second network gives the one the details of the other. The
//! same again for parts that have more to see than the rest. Made from what the paper says.

mod context;
mod field;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::composite::crop;
use gesso_plugin::Fault;
use gesso_plugin::models::Tensor;

use super::input::{Feed, at_size};
use super::output::{near_is_white, planes};
use super::{LERES, Look, find, unlike};
use crate::{Settings, resolution, unfit};
use context::Context;
use field::Field;

/// Stems of the file that the second network may be, the published weights' first.
const MERGER: &[&str] = &["latest_net_G", "depth_merge"];

/// Pixels along the sides of the squares that LeReS was trained with, which is about as far as it looks around.
const TRAINED: u32 = 448;
/// What it sees of a part a second time.
const CLOSE: u32 = 2 * TRAINED;
/// Pixels along the sides of what the second network takes and gives.
const MERGED: u32 = 1024;

/// The depth of an RGB picture, near is white, its short side of the settings' resolution.
pub(super) fn map(source: &Pixels, settings: Settings, look: &dyn Look) -> Result<Pixels, Fault> {
    let networks = Networks { leres: find(LERES, look)?, merger: find(MERGER, look)?, look };
    if look.about(&networks.leres)?.is_some_and(|about| !about["imgsz"].is_null()) {
        return Err(Fault::InvalidInput(format!(
            "the network {} takes pictures of one size, and is to see some of several here; export it without imgsz",
            networks.leres
        )));
    }
    let work = |picture: &Pixels| -> Result<Pixels, Fault> {
        let grey = near_is_white(&networks.depth(picture)?.values, settings);
        let data = grey.into_iter().flat_map(|level| [level; 3]).collect();
        Ok(Pixels { width: picture.width, height: picture.height, format: PixelFormat::Rgb8, data })
    };
    resolution::at(source, settings.resolution, work)
}

/// Both, by name.
struct Networks<'a> {
    leres: String,
    merger: String,
    look: &'a dyn Look,
}

impl Networks<'_> {
    /// Of the whole, and then part by part, the large ones first.
    fn depth(&self, picture: &Pixels) -> Result<Field, Fault> {
        let context = Context::of(picture);
        let side = context.side();
        let whole = self.twice(picture, side)?;
        let mut whole = whole.resized(picture.width, picture.height).between(0.0, 1.0);
        for square in context.squares(side) {
            let close = self.twice(&crop(picture, square).map_err(unfit)?, CLOSE)?;
            let wide = whole.part(square);
            let part = self.merged(&wide, &close)?.resized(square.width, square.height);
            whole.lay(&part.fitted(&wide), square);
        }
        Ok(whole)
    }

    /// The whole of what LeReS makes of a picture at the size that it knows, with what it sees of it at a larger one.
    fn twice(&self, picture: &Pixels, side: u32) -> Result<Field, Fault> {
        let wide = self.once(picture, TRAINED)?;
        if side <= TRAINED {
            return Ok(wide);
        }
        self.merged(&wide, &self.once(picture, side)?)
    }

    fn once(&self, picture: &Pixels, side: u32) -> Result<Field, Fault> {
        let fed = at_size(picture, side, side).map_err(unfit)?;
        self.run(&self.leres, Feed::IMAGENET_LEVELS.tensor(&fed), side)
    }

    /// What the one says of the whole, and the other of details; neither says how far anything is.
    fn merged(&self, wide: &Field, close: &Field) -> Result<Field, Fault> {
        let seen = [wide, close].map(|field| field.resized(MERGED, MERGED).between(-1.0, 1.0));
        let values = seen.into_iter().flat_map(|field| field.values).collect();
        self.run(&self.merger, Tensor { shape: vec![1, 2, MERGED, MERGED], values }, MERGED)
    }

    /// The one plane that a network gives, of `side` pixels along either side.
    fn run(&self, network: &str, input: Tensor, side: u32) -> Result<Field, Fault> {
        let outputs = self.look.run(network, vec![input])?;
        let planes = planes(outputs.last(), 1, (side, side), (side, side));
        let values = planes.map_err(|why| unlike(network, &why))?.swap_remove(0);
        Ok(Field { width: side as usize, height: side as usize, values })
    }
}

#[cfg(test)]
mod tests;
