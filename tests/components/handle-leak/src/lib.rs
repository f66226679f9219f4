//! Hostile: makes pictures and keeps them, until the host says no.

use gesso_plugin::{Fault, Image, ImageDesc, Params, PixelFormat, RequestHook, Verdict};

struct HandleLeak;

impl RequestHook for HandleLeak {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        let desc = ImageDesc { width: 1, height: 1, format: PixelFormat::Gray8 };
        loop {
            std::mem::forget(Image::allocate(desc)?);
        }
    }
}

gesso_plugin::request_hook!(HandleLeak, manifest = "manifest.json");
