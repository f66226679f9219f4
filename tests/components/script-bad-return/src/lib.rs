//! Hostile: returns more pictures than a host should take.

use gesso_plugin::{Fault, Image, ImageDesc, PixelFormat, Script, ScriptCall, ScriptOutput};

struct BadReturn;

impl Script for BadReturn {
    fn run(_call: ScriptCall) -> Result<ScriptOutput, Fault> {
        let desc = ImageDesc { width: 1, height: 1, format: PixelFormat::Gray8 };
        let picture = |_| Ok((Image::allocate(desc)?, String::new()));
        let pictures = (0..3000).map(picture).collect::<Result<_, Fault>>()?;
        Ok(ScriptOutput { pictures, index_of_first_image: u32::MAX })
    }
}

gesso_plugin::script!(BadReturn, manifest = "manifest.json");
