//! Annotators: the maps that control networks read. Each is a file that knows pixels alone, or, in `neural`, what a network
//! takes and gives; this one asks the host for the picture, brings it to the resolution, and hands the map back.

mod bell;
mod byte_bell;
mod canny;
mod colour;
mod inpaint;
mod lines;
mod neural;
mod planes;
mod resolution;
mod shuffle;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::error::PictureError;
use gesso_plugin::models::{self, Tensor};
use gesso_plugin::serde_json::{Value, json};
use gesso_plugin::{Annotated, Annotation, Annotator, Fault, Image, ImageDesc, Random};

/// The manifest's default of the slider that web UIs call "Preprocessor Resolution".
const RESOLUTION: u32 = 512;
/// Bytes that cross at once, so that most pictures cross in one go; the host lets no more than 64 MiB cross.
const BAND_BYTES: usize = 16 << 20;

struct Preprocessors;

impl Annotator for Preprocessors {
    fn annotate(module: &str, annotation: Annotation) -> Result<Annotated, Fault> {
        let source = read(&annotation.source)?;
        let mask = annotation.mask.as_ref().map(read).transpose()?;
        let resolution = annotation.resolution.unwrap_or(RESOLUTION);
        let settings =
            Settings { resolution, threshold_a: annotation.threshold_a, threshold_b: annotation.threshold_b };
        if let Some(made) = neural::made(module, &source, mask.as_ref(), settings, &Networks) {
            let (map, pose) = made?;
            return Ok(Annotated { picture: write(&map)?, data: pose.map(|pose| json!({ "pose": pose })) });
        }
        let map = map(module, &source, mask.as_ref(), settings, &mut Random::for_request(0))?;
        Ok(write(&map)?.into())
    }
}

gesso_plugin::annotator!(Preprocessors, manifest = "manifest.json");

/// The host's.
struct Networks;

impl neural::Look for Networks {
    fn networks(&self) -> Result<Vec<String>, Fault> {
        models::list()
    }

    fn about(&self, network: &str) -> Result<Option<Value>, Fault> {
        models::about(network)
    }

    fn run(&self, network: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
        models::run(network, inputs)
    }
}

/// What a request sets; the host has settled defaults and ranges.
#[derive(Debug, Clone, Copy)]
struct Settings {
    resolution: u32,
    threshold_a: Option<f64>,
    threshold_b: Option<f64>,
}

impl Settings {
    fn a(&self, default: f64) -> f64 {
        self.threshold_a.unwrap_or(default)
    }
}

/// The map that `module` makes of an RGB picture.
fn map(
    module: &str,
    source: &Pixels,
    mask: Option<&Pixels>,
    settings: Settings,
    random: &mut Random,
) -> Result<Pixels, Fault> {
    let scaled =
        |work: &dyn Fn(&Pixels) -> Result<Pixels, Fault>| resolution::at(source, settings.resolution, work);
    Ok(match module {
        "invert" => colour::invert(source),
        "canny" => {
            let (low, high) = (settings.a(100.0), settings.threshold_b.unwrap_or(200.0));
            scaled(&|x| Ok(canny::edges(x, low, high)))?
        }
        "scribble_xdog" => scaled(&|x| lines::xdog(x, settings.a(32.0)))?,
        "lineart_standard" => scaled(&lines::standard)?,
        "threshold" => scaled(&|x| Ok(lines::threshold(x, settings.a(127.0))))?,
        "blur_gaussian" => scaled(&|x| Ok(byte_bell::blurred(x, settings.a(9.0))))?,
        "tile_resample" => colour::resampled(source, settings.a(1.0)).map_err(unfit)?,
        "color" => colour::grid(source, settings.resolution)?,
        "shuffle" => shuffle::shuffled(source, random)?,
        "recolor_luminance" => colour::luminance(source, settings.a(1.0)),
        "recolor_intensity" => colour::intensity(source, settings.a(1.0)),
        // The host does the rest, to the drawn picture.
        "tile_colorfix" | "tile_colorfix+sharp" => source.clone(),
        "inpaint" | "inpaint_only" => inpaint::hidden(source, mask).map_err(Fault::InvalidInput)?,
        other => return Err(Fault::InvalidInput(format!("There is no preprocessor {other:?}."))),
    })
}

fn unfit(error: PictureError) -> Fault {
    Fault::InvalidInput(format!("source: {error}"))
}

fn read(image: &Image) -> Result<Pixels, Fault> {
    let desc = image.desc();
    let ImageDesc { width, height, format } = desc;
    let format = match format {
        gesso_plugin::PixelFormat::Gray8 => PixelFormat::Gray8,
        gesso_plugin::PixelFormat::Rgb8 => PixelFormat::Rgb8,
        gesso_plugin::PixelFormat::Rgba8 => PixelFormat::Rgba8,
    };
    let rows = band_rows(desc);
    // What came in one go is the picture, and not copied.
    let mut data = image.read_rows(0, rows.min(height))?;
    data.reserve_exact(desc.row_bytes() * height as usize - data.len());
    for first in (rows..height).step_by(rows as usize) {
        data.extend(image.read_rows(first, rows.min(height - first))?);
    }
    Ok(Pixels { width, height, format, data })
}

fn write(map: &Pixels) -> Result<Image, Fault> {
    let format = match map.format {
        PixelFormat::Gray8 => gesso_plugin::PixelFormat::Gray8,
        PixelFormat::Rgb8 => gesso_plugin::PixelFormat::Rgb8,
        PixelFormat::Rgba8 => gesso_plugin::PixelFormat::Rgba8,
    };
    let desc = ImageDesc { width: map.width, height: map.height, format };
    let mut image = Image::allocate(desc)?;
    let rows = band_rows(desc);
    for (index, band) in map.data.chunks(desc.row_bytes() * rows as usize).enumerate() {
        image.write_rows(index as u32 * rows, band)?;
    }
    Ok(image)
}

/// Rows that cross at once.
fn band_rows(desc: ImageDesc) -> u32 {
    (BAND_BYTES / desc.row_bytes()).max(1) as u32
}

#[cfg(test)]
mod tests;
