//! Hostile: `after` returns a thousand pictures of one pixel in place of those it was given.

use gesso_plugin::{Fault, Image, ImageDesc, Params, PixelFormat, RequestHook};

struct ManyOutputs;

impl RequestHook for ManyOutputs {
    fn after(_params: &Params, _images: Vec<Image>) -> Result<Vec<Image>, Fault> {
        let desc = ImageDesc { width: 1, height: 1, format: PixelFormat::Rgb8 };
        (0..1000).map(|_| Image::allocate(desc)).collect()
    }
}

gesso_plugin::request_hook!(ManyOutputs, manifest = "manifest.json");
