//! Hostile where infotexts are read, grids laid out, pictures saved and checkpoints loaded: in the place and the way that its settings name.

use gesso_plugin::serde::Deserialize;
use gesso_plugin::{
    Fault, Grid, GridHook, Image, ImageDesc, Infotext, InfotextHook, LoadedModel, ModelHook, Params,
    PixelFormat, SaveHook, SavedPicture, call,
};

#[derive(Deserialize, Default)]
#[serde(crate = "gesso_plugin::serde", default)]
struct Settings {
    /// The function that misbehaves.
    place: String,
    how: String,
}

struct Misbehaves;

impl InfotextHook for Misbehaves {
    fn on_infotext(_: &str, mut infotext: Infotext) -> Result<Infotext, Fault> {
        match misbehave("on-infotext")?.as_str() {
            "repeats" => infotext.fields.extend(infotext.fields.clone()),
            "swells" => infotext.prompt = "x".repeat(1 << 20),
            _ => {}
        }
        Ok(infotext)
    }
}

impl GridHook for Misbehaves {
    fn on_grid(_: &Params, mut grid: Grid) -> Result<Grid, Fault> {
        match misbehave("on-grid")?.as_str() {
            "empties" => grid.pictures.clear(),
            "crowds" => (grid.columns, grid.rows) = (1, 1),
            "stretches" => grid.columns = u32::MAX,
            "spreads" => (grid.columns, grid.rows) = (512, 512),
            "magnifies" => {
                let desc = ImageDesc { width: 9, height: 9, format: PixelFormat::Rgb8 };
                grid.pictures = vec![Image::allocate(desc)?];
            }
            "drops" => {
                grid.pictures.truncate(1);
                (grid.columns, grid.rows) = (1, 2);
            }
            _ => {}
        }
        Ok(grid)
    }
}

impl SaveHook for Misbehaves {
    fn on_saved(_: &Params, _: &SavedPicture) -> Result<(), Fault> {
        misbehave("on-saved").map(drop)
    }
}

impl ModelHook for Misbehaves {
    fn on_loaded(_: &LoadedModel) -> Result<(), Fault> {
        misbehave("on-loaded").map(drop)
    }
}

/// What is left to the place itself.
fn misbehave(place: &str) -> Result<String, Fault> {
    let settings: Settings = call::settings()?;
    if settings.place != place {
        return Ok(String::new());
    }
    match settings.how.as_str() {
        "loops" => loop {
            std::hint::black_box(place);
        },
        "panics" => panic!("on purpose"),
        "faults" => Err(Fault::Other("out of order".into())),
        "refuses" => Err(Fault::InvalidInput("Not this one.".into())),
        _ => Ok(settings.how),
    }
}

gesso_plugin::infotext_hook!(Misbehaves, manifest = "manifest.json");
gesso_plugin::save_hook!(Misbehaves);
gesso_plugin::model_hook!(Misbehaves);
gesso_plugin::grid_hook!(Misbehaves);
