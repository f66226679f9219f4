//! Writes into each picture's infotext how bright it is.

use gesso_plugin::{DrawnPicture, Fault, FinishedPicture, Image, Params, PictureHook, PixelFormat};

struct Plugin;

impl PictureHook for Plugin {
    fn finish(
        _params: &Params,
        _about: &DrawnPicture,
        picture: Image,
        _source: Option<Image>,
    ) -> Result<FinishedPicture, Fault> {
        let grey = picture.convert(PixelFormat::Gray8)?;
        let percent = brightness(&grey.read_rows(0, grey.desc().height)?);
        Ok(FinishedPicture { picture, fields: vec![("Brightness".into(), format!("{percent} %"))] })
    }
}

gesso_plugin::picture_hook!(Plugin, manifest = "manifest.json");

/// The mean of grey levels, in per cent of white.
fn brightness(levels: &[u8]) -> u64 {
    let sum: u64 = levels.iter().map(|level| u64::from(*level)).sum();
    sum * 100 / (levels.len().max(1) as u64 * 255)
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;

    use super::*;

    #[test]
    fn half_white_is_half_bright() {
        assert_eq!(brightness(&[0, 255, 0, 255]), 50);
        assert_eq!(brightness(&[]), 0);
    }

    #[test]
    fn a_picture_stays_as_it_is_and_its_infotext_says_how_bright_it_is() -> Result<(), Fault> {
        let rows = [255, 255, 255, 0, 0, 0];
        let picture = fake::picture(2, 1, PixelFormat::Rgb8, &rows);
        let params = Params::from_json("{}")?;
        let finished = Plugin::finish(&params, &fake::drawn_picture(), picture, None)?;
        assert_eq!(finished.picture.read_rows(0, 1)?, rows);
        assert_eq!(finished.fields, [("Brightness".to_owned(), "50 %".to_owned())]);
        Ok(())
    }
}
