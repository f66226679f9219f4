//! Takes the background out of each picture: a network says how much of each pixel stands before it, which becomes the
//! picture's alpha. How networks are fed and read is pure (`matte`); this file asks the host, and `site` is asked by clients.

pub mod matte;
mod site;

use gesso_plugin::{
    DrawnPicture, Fault, FinishedPicture, Image, ImageDesc, JsonSchema, Params, PictureHook, PixelFormat,
    RequestHook, Verdict, models,
};
use matte::Network;
use serde::Deserialize;

/// The name under `alwayson_scripts`.
const NAME: &str = "Rembg";
/// Rows that cross at once.
const BAND_ROWS: u32 = 256;

/// What a request may say under `alwayson_scripts.Rembg.args`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(crate = "gesso_plugin::schemars")]
struct Arguments {
    /// The network: u2net, isnet-general-use, …; None leaves pictures alone.
    model: String,
    /// The mask in place of the picture: white is what stays.
    return_mask: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { model: "None".into(), return_mask: false }
    }
}

impl Arguments {
    /// `None` where pictures are left alone.
    fn read(params: &Params) -> Result<Option<Self>, Fault> {
        let arguments: Option<Self> = params.arguments(NAME)?;
        let is_off = |model: &str| model.is_empty() || model.eq_ignore_ascii_case("none");
        Ok(arguments.filter(|arguments| !is_off(&arguments.model)))
    }

    fn network(&self) -> Result<String, Fault> {
        network_of(&self.model).map_err(of_request)
    }
}

/// The networks that may be run.
///
/// # Errors
/// `NotPermitted` where an admin has to grant some, which the text says.
fn networks() -> Result<Vec<String>, Fault> {
    models::list().map_err(|fault| match fault {
        Fault::NotPermitted(_) => Fault::NotPermitted(
            "No network may be run here; an admin grants them (`models` of the plugin rembg).".into(),
        ),
        other => other,
    })
}

/// The network of that name, in any case.
///
/// # Errors
/// A sentence for the client: what there is instead, or as for [`networks`].
fn network_of(model: &str) -> Result<String, Fault> {
    let there = networks()?;
    let found = there.iter().find(|name| name.eq_ignore_ascii_case(model));
    found.cloned().ok_or_else(|| {
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Fault::InvalidInput(format!(
            "model is {model:?}; the networks here are: {there}. A TorchScript file of that name belongs into the folder \
             networks of the models."
        ))
    })
}

/// What is wrong with a drawing's arguments says where they stand. To ask for what is not granted is wrong too, and no failure
/// of the plugin.
fn of_request(fault: Fault) -> Fault {
    match fault {
        Fault::InvalidInput(text) | Fault::NotPermitted(text) => {
            Fault::InvalidInput(format!("alwayson_scripts.{NAME}: {text}"))
        }
        other => other,
    }
}

struct Rembg;

impl RequestHook for Rembg {
    /// Refuses what cannot be done before anything is drawn.
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        Arguments::read(params)?.map(|arguments| arguments.network()).transpose()?;
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(Rembg, manifest = "manifest.json");

impl PictureHook for Rembg {
    fn finish(
        params: &Params,
        _about: &DrawnPicture,
        picture: Image,
        _source: Option<Image>,
    ) -> Result<FinishedPicture, Fault> {
        let Some(arguments) = Arguments::read(params)? else { return Ok(picture.into()) };
        let network = arguments.network()?;
        let colours = picture.convert(PixelFormat::Rgb8)?;
        let mask = mask(&network, &colours).map_err(of_request)?;
        let picture = if arguments.return_mask { mask } else { cut_out(&colours, &mask)? };
        Ok(FinishedPicture { picture, fields: vec![("Rembg model".into(), network)] })
    }
}

gesso_plugin::picture_hook!(Rembg);

gesso_plugin::http_extension!(site::Site);

/// White where something stands before the background, of the picture's size.
fn mask(name: &str, colours: &Image) -> Result<Image, Fault> {
    let network = Network::of(name, models::about(name)?.as_ref());
    let fed = colours.resize(network.side, network.side)?.read_rows(0, network.side)?;
    let outputs = models::run(name, vec![network.input(&fed)])?;
    let unfit = |problem| Fault::InvalidInput(format!("the network {name} {problem}."));
    let (rows, columns, levels) = matte::levels(&outputs).map_err(unfit)?;
    let desc = ImageDesc { width: columns, height: rows, format: PixelFormat::Gray8 };
    let mut mask = Image::allocate(desc)?;
    mask.write_rows(0, &levels)?;
    let ImageDesc { width, height, .. } = colours.desc();
    mask.resize(width, height)
}

fn cut_out(colours: &Image, mask: &Image) -> Result<Image, Fault> {
    let ImageDesc { width, height, .. } = colours.desc();
    let mut cut = Image::allocate(ImageDesc { width, height, format: PixelFormat::Rgba8 })?;
    for first in (0..height).step_by(BAND_ROWS as usize) {
        let count = BAND_ROWS.min(height - first);
        let rows = matte::with_alpha(&colours.read_rows(first, count)?, &mask.read_rows(first, count)?);
        cut.write_rows(first, &rows)?;
    }
    Ok(cut)
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake::{self, Host};
    use gesso_plugin::models::Tensor;
    use gesso_plugin::serde_json::{Value, json};

    use super::*;

    /// For its network the left half of a picture stands before the background.
    pub(crate) fn host() -> Host {
        let network = |inputs: &[Tensor]| {
            assert_eq!(inputs[0].shape, [1, 3, 8, 8]);
            let values = (0..64).map(|place| if place % 8 < 4 { 1.0 } else { 0.0 }).collect();
            Ok(vec![Tensor { shape: vec![1, 1, 8, 8], values }])
        };
        Host::new().network("u2net", network).about("u2net", json!({"imgsz": [8, 8]}))
    }

    /// As large as the network sees it, so that nothing is resampled.
    pub(crate) fn picture() -> Image {
        fake::picture(8, 8, PixelFormat::Rgb8, &[[10, 20, 30]; 64].concat())
    }

    fn asking(args: &Value) -> Params {
        Params::from_json(&json!({"alwayson_scripts": {"rembg": {"args": args}}}).to_string()).unwrap()
    }

    fn finished(host: &Host, params: &Params) -> Result<FinishedPicture, Fault> {
        host.run(|| Rembg::finish(params, &fake::drawn_picture(), picture(), None))
    }

    #[test]
    fn a_whole_hook_takes_the_background_out_or_gives_the_mask() {
        let cut = finished(&host(), &asking(&json!({"model": "U2Net"}))).unwrap();
        assert_eq!(cut.picture.desc(), ImageDesc { width: 8, height: 8, format: PixelFormat::Rgba8 });
        let row = cut.picture.read_rows(3, 1).unwrap();
        assert_eq!((&row[..4], &row[28..]), (&[10, 20, 30, 255][..], &[10, 20, 30, 0][..]));
        assert_eq!(cut.fields, [("Rembg model".to_owned(), "u2net".to_owned())]);
        let mask = finished(&host(), &asking(&json!(["u2net", true]))).unwrap().picture;
        assert_eq!(mask.desc().format, PixelFormat::Gray8);
        assert_eq!(mask.read_rows(0, 1).unwrap(), [255, 255, 255, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn who_asks_for_nothing_keeps_the_picture_and_who_asks_for_too_much_is_told_before() {
        for params in [Params::from_json("{}").unwrap(), asking(&json!({"model": "None"}))] {
            let same = finished(&Host::new(), &params).unwrap();
            assert_eq!((same.picture.desc().format, same.fields.len()), (PixelFormat::Rgb8, 0));
        }
        for (host, says) in [(host(), "the networks here are: u2net"), (Host::new(), "an admin grants them")]
        {
            let refused = host.run(|| Rembg::before(&mut asking(&json!({"model": "isnet"}))));
            let Err(Fault::InvalidInput(text)) = &refused else { panic!("{refused:?}") };
            assert!(text.starts_with("alwayson_scripts.Rembg: ") && text.contains(says), "{text}");
        }
    }

    #[test]
    fn a_drawing_that_asks_for_what_is_not_granted_is_refused_by_its_field() {
        let arguments = Arguments { model: "u2net".into(), return_mask: false };
        let refused = Host::new().run(|| arguments.network());
        let Err(Fault::InvalidInput(text)) = &refused else { panic!("{refused:?}") };
        assert!(text.starts_with("alwayson_scripts.Rembg: No network may be run here"), "{text}");
    }

    #[test]
    fn the_manifest_has_what_is_read() {
        let manifest = include_str!("../manifest.json");
        gesso_plugin::schema::assert_in_manifest::<Arguments>(manifest, "arguments_schema");
    }
}
