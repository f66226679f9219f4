//! Hostile once a picture is drawn, in the way that its prompt names; any other prompt leaves the picture as it is.

use std::time::Duration;

use gesso_plugin::{
    DrawnPicture, Fault, FinishedPicture, Image, ImageDesc, Params, PictureHook, PixelFormat, inference,
};

struct Misbehaves;

impl PictureHook for Misbehaves {
    fn finish(
        params: &Params,
        about: &DrawnPicture,
        picture: Image,
        _source: Option<Image>,
    ) -> Result<FinishedPicture, Fault> {
        let grey = |width, height| Image::allocate(ImageDesc { width, height, format: PixelFormat::Gray8 });
        match about.prompt.as_str() {
            "loops" => loop {
                std::hint::black_box(about);
            },
            "sleeps" => {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(picture.into())
            }
            // Each time for less than any clock minds.
            "naps" => loop {
                std::thread::sleep(Duration::from_millis(100));
            },
            "takes memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            "panics" => panic!("on purpose"),
            "hoards pictures" => loop {
                std::mem::forget(picture.convert(PixelFormat::Rgba8)?);
            },
            "draws without waiting" => {
                let mut jobs = Vec::new();
                loop {
                    jobs.push(inference::generate(params, &[], None)?);
                }
            }
            "draws without end" => loop {
                inference::generate(params, &[], None)?.finish()?;
            },
            "floods fields" => {
                Ok(FinishedPicture { picture, fields: vec![(String::new(), String::new()); 1_000_000] })
            }
            "forges fields" => {
                let forged = ("Steps: 1\nSeed".to_owned(), "7".to_owned());
                Ok(FinishedPicture { picture, fields: vec![forged] })
            }
            "gives nothing back" => Ok(grey(0, 0)?.into()),
            "gives far too much back" => Ok(grey(16_384, 16_384)?.into()),
            "resizes far too large" => Ok(picture.resize(16_384, 16_384)?.into()),
            "gives more back" => Ok(grey(9, 9)?.into()),
            "gives a point back" => Ok(grey(1, 1)?.into()),
            _ => Ok(picture.into()),
        }
    }
}

gesso_plugin::picture_hook!(Misbehaves, manifest = "manifest.json");
