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
