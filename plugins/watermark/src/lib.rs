//! After-hook: draws a line of text into a corner of every picture. Where and how it is drawn is pure (`mark`);
//! this file asks the host for settings and rows, and touches no row without a mark on it.

mod mark;

use gesso_plugin::{Fault, Image, Params, RequestHook, call};
use mark::{Mark, Settings};

struct Watermark;

impl RequestHook for Watermark {
    fn after(_params: &Params, mut images: Vec<Image>) -> Result<Vec<Image>, Fault> {
        let settings: Settings = call::settings()?;
        for image in &mut images {
            let desc = image.desc();
            let Some(mark) = Mark::new(desc, &settings) else { continue };
            let rows = mark.rows();
            let mut band = image.read_rows(rows.start, rows.end - rows.start)?;
            mark.draw(&mut band);
            image.write_rows(rows.start, &band)?;
        }
        Ok(images)
    }
}

gesso_plugin::request_hook!(Watermark, manifest = "manifest.json");

#[cfg(test)]
mod tests {
    use gesso_plugin::serde_json::json;
    use gesso_plugin::{PixelFormat, fake};

    use super::*;

    #[test]
    fn every_picture_gets_the_admins_text_in_the_admins_corner() {
        let host = fake::Host::new().settings(json!({"text": "mine", "corner": "top-left"}));
        let sizes = [(64, 48, PixelFormat::Rgb8), (128, 96, PixelFormat::Gray8)];
        let pictures = sizes.map(|(width, height, format)| {
            fake::picture(width, height, format, &vec![128; (width * height) as usize * format.channels()])
        });
        let params = Params::from_json("{}").unwrap();
        let marked = host.run(|| Watermark::after(&params, pictures.into())).unwrap();
        assert_eq!(marked.len(), sizes.len());
        for (picture, (_, height, _)) in marked.iter().zip(sizes) {
            let is_changed =
                |first, count| picture.read_rows(first, count).unwrap().iter().any(|level| *level != 128);
            assert!(is_changed(0, height / 2) && !is_changed(height / 2, height / 2), "{:?}", picture.desc());
        }
    }

    #[test]
    fn without_a_text_pictures_stay_as_they_are() {
        let host = fake::Host::new().settings(json!({}));
        let picture = fake::picture(64, 64, PixelFormat::Gray8, &[9; 64 * 64]);
        let params = Params::from_json("{}").unwrap();
        let same = host.run(|| Watermark::after(&params, vec![picture])).unwrap();
        assert_eq!(same[0].read_rows(0, 64).unwrap(), [9; 64 * 64]);
    }
}
