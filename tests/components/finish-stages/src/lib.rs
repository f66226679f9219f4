//! Sees pictures at both stages: paints the decoded ones white, in half of their size where the prompt says so, and says of
//! either how large it is. Fails or refuses at the first stage where the prompt says so.

use gesso_plugin::{
    DrawnPicture, Fault, FinishedPicture, Image, ImageDesc, Params, PictureHook, PictureStage,
};

struct Stages;

impl PictureHook for Stages {
    fn finish(
        _params: &Params,
        about: &DrawnPicture,
        mut picture: Image,
        _source: Option<Image>,
    ) -> Result<FinishedPicture, Fault> {
        let ImageDesc { width, height, .. } = picture.desc();
        let said = match about.stage {
            PictureStage::Decoded => {
                match about.prompt.as_str() {
                    "fails" => return Err(Fault::Other("not before it is whole".into())),
                    "refuses" => return Err(Fault::InvalidInput("Not this one.".into())),
                    "shrinks" => picture = picture.resize(width / 2, height / 2)?,
                    _ => {}
                }
                let rows = picture.desc().height;
                let white = vec![255; picture.read_rows(0, rows)?.len()];
                picture.write_rows(0, &white)?;
                ("Decoded".to_owned(), format!("{width}x{height}"))
            }
            PictureStage::Composited => {
                let before = if about.infotext.contains(", Decoded: ") { "seen" } else { "not seen" };
                ("Composited".to_owned(), format!("{width}x{height} and {before} before"))
            }
        };
        Ok(FinishedPicture { picture, fields: vec![said] })
    }
}

gesso_plugin::picture_hook!(Stages, manifest = "manifest.json");
