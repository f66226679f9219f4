//! Hostile: `after` returns a thousand pictures of one pixel in place of those it was given, unless the prompt says what else
//! becomes of them.

use gesso_plugin::{Fault, Image, ImageDesc, Params, PixelFormat, RequestHook};

struct ManyOutputs;

impl RequestHook for ManyOutputs {
    fn after(params: &Params, mut images: Vec<Image>) -> Result<Vec<Image>, Fault> {
        let pixel = || Image::allocate(ImageDesc { width: 1, height: 1, format: PixelFormat::Rgb8 });
        match params.prompt() {
            "kept" => {}
            "without the first" => drop(images.remove(0)),
            "turned around" => images.reverse(),
            "another behind, without the first" => {
                drop(images.remove(0));
                images.push(pixel()?);
            }
            "two for the first" => {
                drop(images.remove(0));
                images.extend([pixel()?, pixel()?]);
            }
            "all anew" => images = images.iter().map(|_| pixel()).collect::<Result<_, _>>()?,
            _ => images = (0..1000).map(|_| pixel()).collect::<Result<_, _>>()?,
        }
        Ok(images)
    }
}

gesso_plugin::request_hook!(ManyOutputs, manifest = "manifest.json");
