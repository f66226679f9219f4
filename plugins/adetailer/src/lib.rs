//! Finds faces, hands and the like in each drawn picture and paints them again, one after the other. What is found and how
//! it is painted is pure (`detector`, `masks`, `repaint`); this file asks the host to look and to draw.

pub mod arguments;
pub mod detector;
pub mod masks;
pub mod repaint;
mod site;
#[cfg(test)]
mod tests;

use arguments::{Asked, Detail, NAME};
use detector::{About, Find, Finds, Mask, Placement};
use gesso_plugin::serde_json::{Value, json};
use gesso_plugin::{
    DrawnPicture, Fault, FinishedPicture, Image, ImageDesc, Params, PictureHook, PictureStage, PixelFormat,
    RequestHook, Verdict, inference, models,
};

/// Endings that requests name detectors with, though the server does not.
const ENDINGS: [&str; 3] = [".pt", ".torchscript", ".safetensors"];

/// What the host takes of a picture: so many fields. Of sixteen detectors each has up to twenty.
const FIELDS_MAX: usize = 64;

struct ADetailer;

impl RequestHook for ADetailer {
    /// Refuses what cannot be done before anything is drawn.
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let asked = Asked::read(params)?;
        if asked.details.is_empty() {
            return Ok(Verdict::Continue);
        }
        let there = detectors()?;
        for detail in &asked.details {
            detector_of(detail, &there)?;
        }
        // Requests come without their pictures, and with every other field of their kind.
        let is_img2img = params.get("resize_mode").is_some();
        if asked.skips_first && is_img2img {
            leave_first_out(params);
        }
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(ADetailer, manifest = "manifest.json");

impl PictureHook for ADetailer {
    fn finish(
        params: &Params,
        about: &DrawnPicture,
        picture: Image,
        source: Option<Image>,
    ) -> Result<FinishedPicture, Fault> {
        let asked = Asked::read(params)?;
        // What a mask keeps, and colours that are corrected, come after what is painted here. A picture that was sent is as
        // large as the whole, and takes the place of what is made of the drawing.
        let stage = if asked.skips_first { PictureStage::Composited } else { PictureStage::Decoded };
        if asked.details.is_empty() || about.stage != stage {
            return Ok(picture.into());
        }
        let mut finished = FinishedPicture::from(match source.filter(|_| asked.skips_first) {
            Some(sent) => sent.convert(PixelFormat::Rgb8)?,
            None => picture,
        });
        let there = detectors()?;
        for (place, detail) in asked.details.iter().enumerate() {
            let detector = detector_of(detail, &there)?;
            let (finds, chosen) = find(detector, detail, &finished.picture)?;
            for (number, mask) in masks::masks(&finds, &chosen, detail).enumerate() {
                if let Some(prompts) = repaint::prompts(detail, about, number) {
                    let ImageDesc { width, height, .. } = finished.picture.desc();
                    let request = repaint::request(params, detail, about, prompts, number, (width, height));
                    finished.picture = paint(&request, finished.picture, &mask)?;
                }
            }
            finished.fields.extend(repaint::fields(detail, place));
        }
        finished.fields.truncate(FIELDS_MAX - 1);
        finished.fields.push(("ADetailer version".into(), env!("CARGO_PKG_VERSION").into()));
        Ok(finished)
    }
}

gesso_plugin::picture_hook!(ADetailer);

gesso_plugin::http_extension!(site::Site);

/// Names of the networks that may be run.
fn detectors() -> Result<Vec<String>, Fault> {
    models::list().map_err(|fault| match fault {
        // What a request asks for is not to be had here, which is no failure of the plugin.
        Fault::NotPermitted(_) => Fault::InvalidInput(format!(
            "alwayson_scripts.{NAME}: no detector may be run here; an admin grants them (`models` of the plugin adetailer)."
        )),
        other => other,
    })
}

/// The network that a detail names.
fn detector_of<'a>(detail: &Detail, there: &'a [String]) -> Result<&'a str, Fault> {
    let asked = detail.ad_model.trim();
    let bare = ENDINGS.iter().find_map(|ending| asked.strip_suffix(ending)).unwrap_or(asked);
    there.iter().find(|name| name.eq_ignore_ascii_case(bare)).map(String::as_str).ok_or_else(|| {
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Fault::InvalidInput(format!(
            "alwayson_scripts.{NAME}: ad_model is {asked:?}; the detectors here are: {there}. A YOLO detector becomes one \
             with `yolo export model={bare}.pt format=torchscript`, in the folder adetailer of the models."
        ))
    })
}

/// What there is in the picture, and what of it is to be painted again.
fn find(detector: &str, detail: &Detail, picture: &Image) -> Result<(Finds, Vec<Find>), Fault> {
    let about = About::read(models::about(detector)?.as_ref());
    let ImageDesc { width, height, .. } = picture.desc();
    let placement = Placement::of((width, height), (about.width, about.height));
    let (scaled_width, scaled_height) = placement.scaled;
    let scaled = picture.convert(PixelFormat::Rgb8)?.resize(scaled_width, scaled_height)?;
    let input = placement.input(&scaled.read_rows(0, scaled_height)?);
    let outputs = models::run(detector, vec![input])?;
    let finds = detector::finds(&outputs, placement, detail.ad_confidence)
        .map_err(|problem| Fault::InvalidInput(format!("alwayson_scripts.{NAME}: {detector}: {problem}.")))?;
    let chosen = masks::chosen(&finds, &about.classes, detail);
    Ok((finds, chosen))
}

/// The picture with what lies under the mask painted again.
fn paint(request: &Params, picture: Image, mask: &Mask) -> Result<Image, Fault> {
    let desc = ImageDesc { width: mask.width, height: mask.height, format: PixelFormat::Gray8 };
    let mut under = Image::allocate(desc)?;
    under.write_rows(0, &mask.data)?;
    let drawn = inference::generate(request, &[picture], Some(&under))?.finish()?;
    let painted = drawn.images.into_iter().next();
    painted.ok_or_else(|| Fault::Other("The host painted nothing.".into()))
}

/// Makes the first drawing, which the picture that was sent takes the place of, as cheap as can be, and keeps how it would
/// have been drawn for the parts.
fn leave_first_out(params: &mut Params) {
    let kept = ["steps", "sampler_name", "scheduler"];
    let original: Vec<(String, Value)> =
        kept.iter().filter_map(|field| Some(((*field).to_owned(), params.get(field)?.clone()))).collect();
    let Some(mut scripts) = params.get("alwayson_scripts").cloned() else { return };
    let own = scripts.as_object_mut().into_iter().flatten().find(|(key, _)| key.eq_ignore_ascii_case(NAME));
    if let Some((_, own)) = own {
        own["original"] = Value::Object(original.into_iter().collect());
    }
    params.set("alwayson_scripts", scripts);
    params.set("steps", 1);
    params.set("sampler_name", "Euler");
    params.set("scheduler", json!(null));
}
