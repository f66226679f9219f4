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
    use super::*;

    #[test]
    fn half_white_is_half_bright() {
        assert_eq!(brightness(&[0, 255, 0, 255]), 50);
        assert_eq!(brightness(&[]), 0);
    }
}
