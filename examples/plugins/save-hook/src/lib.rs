//! Writes a line into its log for each picture that is saved.

use gesso_plugin::call::{self, Level};
use gesso_plugin::{Fault, Params, SaveHook, SavedPicture};

struct Plugin;

impl SaveHook for Plugin {
    fn on_saved(_params: &Params, picture: &SavedPicture) -> Result<(), Fault> {
        call::log(Level::Info, &line(picture));
        Ok(())
    }
}

gesso_plugin::save_hook!(Plugin, manifest = "manifest.json");

fn line(picture: &SavedPicture) -> String {
    let what = if picture.is_grid { "grid" } else { "picture" };
    format!("saved the {what} {}, {} bytes of {}", picture.path, picture.bytes, picture.format)
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;

    use super::*;

    #[test]
    fn a_line_of_the_log_says_what_was_saved_and_where() -> Result<(), Fault> {
        let (path, format, infotext) = ("ann/txt2img-grids/1.png".into(), "png".into(), String::new());
        let grid = SavedPicture { path, format, bytes: 7, infotext, is_grid: true };
        let (host, params) = (fake::Host::new(), Params::from_json("{}")?);
        host.run(|| Plugin::on_saved(&params, &grid))?;
        let line = "saved the grid ann/txt2img-grids/1.png, 7 bytes of png";
        assert_eq!(host.log(), [(Level::Info, line.to_owned())]);
        Ok(())
    }
}
