//! SD upscale: a picture is enlarged, cut into overlapping tiles of the request's size, each tile is drawn over, and they are
//! put together again.

use gesso_plugin::{Arguments, Fault, ScriptCall, ScriptOutput, inference};
use serde_json::Value;

use crate::drawing::{described, first, frame, in_turn, seed, upscaler, upscaler_name};
use crate::tiles::{Pixels, Tiles};

pub(crate) fn run(mut call: ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let overlap = arguments.number(1, "Tile overlap", (0.0, 256.0))? as u32;
    let by = arguments.text(2);
    let factor = arguments.number(3, "Scale Factor", (1.0, 4.0))?;
    let Some(source) = call.init_images.first() else {
        return Err(Fault::InvalidInput("SD upscale needs a picture in init_images.".into()));
    };
    let enlarged = upscaler(&by).map(|name| inference::upscale(source, name, factor)).transpose()?;
    let whole = Pixels::read(enlarged.as_ref().unwrap_or(source))?;
    let tiles = Tiles::plan((whole.width, whole.height), frame(&call.params), overlap)?;
    let turns = call.params.get("n_iter").and_then(Value::as_u64).unwrap_or(1);
    let first_seed = seed(&call.params);
    call.params.set("width", tiles.size.0);
    call.params.set("height", tiles.size.1);
    call.params.set("batch_size", 1);
    call.params.set("n_iter", 1);
    let mut said = vec![("SD upscale overlap", overlap.to_string())];
    said.extend(upscaler_name(&by).map(|name| ("SD upscale upscaler", name.to_owned())));
    let mut output = ScriptOutput::default();
    for turn in 0..turns {
        let jobs = tiles.places().enumerate().map(|(index, place)| {
            let mut params = call.params.clone();
            params.set("seed", first_seed + turn + index as u64);
            let tile = whole.cut(place, tiles.size).write()?;
            inference::generate(&params, std::slice::from_ref(&tile), None)
        });
        let mut pasted = whole.clone();
        let mut infotext = None;
        for (drawn, place) in in_turn(jobs)?.into_iter().zip(tiles.places()) {
            let (picture, text) = first(drawn)?;
            pasted.paste(&Pixels::read(&picture)?, place, tiles.fades(place));
            infotext = infotext.or(Some(text));
        }
        output.pictures.push((pasted.write()?, described(&infotext.unwrap_or_default(), &said)));
    }
    Ok(output)
}
