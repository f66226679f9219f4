//! Hostile: makes pictures that are each as large as a number can say, then many that are merely large.

use gesso_plugin::{Fault, Image, ImageDesc, Params, PixelFormat, RequestHook, Verdict};

struct ImageBomb;

impl RequestHook for ImageBomb {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let endless = ImageDesc { width: u32::MAX, height: u32::MAX, format: PixelFormat::Rgba8 };
        if Image::allocate(endless).is_ok() {
            params.set_prompt("the host has no bounds");
            return Ok(Verdict::Continue);
        }
        let large = ImageDesc { width: 2048, height: 2048, format: PixelFormat::Rgba8 };
        loop {
            std::mem::forget(Image::allocate(large)?);
        }
    }
}

gesso_plugin::request_hook!(ImageBomb, manifest = "manifest.json");
