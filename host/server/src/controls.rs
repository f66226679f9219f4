//! The pictures of ControlNet units: decoded, turned into maps by the plugin that a unit's module names, and brought to the
//! size of each pass. Which units act in which pass is theirs to say; what the networks make of the maps is the
//! engine's.

use std::sync::Arc;

use gesso_core::control::{ControlUnit, ResizeMode};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::ModelFile;
use gesso_engine::{ControlUse, ReferenceUse};
use gesso_picture::composite::{Rect, crop};
use gesso_picture::control_fit::{ControlFit, control_fit, pixel_perfect};
use gesso_picture::convert::{flatten, to_gray};
use gesso_picture::decode::DecodeLimits;
use gesso_plugin_host::{CallContext, Recombine, Whom};
use serde_json::{Map, Value};

use crate::annotators::{self, MapSettings};
use crate::app::App;
use crate::catalogue::{Catalogue, Kind};
use crate::error::AppError;
use crate::http::wire::control::{self, ControlInput};
use crate::recombination::Recombination;
use crate::resources::Found;
use crate::sources::{BACKGROUND, picture};

const FIELD: &str = "alwayson_scripts";

/// The units of a request.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    pub(crate) units: Vec<ControlUnit>,
    /// Maps that go behind the drawn pictures, as web UIs show them.
    pub(crate) maps: Vec<Pixels>,
    /// What happens to the drawn pictures, in this order.
    pub(crate) recombined: Vec<Recombination>,
}

/// A unit with its pictures decoded.
#[derive(Debug)]
pub(crate) struct Decoded {
    unit: ControlUnit,
    save_map: bool,
    /// None for what the checkpoint itself reads.
    file: Option<Arc<ModelFile>>,
    /// The map, once its annotator ran.
    picture: Pixels,
    /// What is to be repainted, white.
    mask: Option<Pixels>,
    /// Where the unit acts.
    region: Option<Pixels>,
    /// What its annotator has done to the drawn picture, with its settings.
    recombine: Option<(Recombine, [Option<f64>; 2])>,
}

/// Refuses units whose module nobody here has for `whom`.
pub(crate) fn check(app: &App, whom: &Whom, body: &Map<String, Value>) -> Result<(), AppError> {
    for ControlInput { unit, .. } in control::units(body).map_err(AppError::Invalid)? {
        annotators::find(app, whom, FIELD, &unit.module)?;
    }
    Ok(())
}

/// Decodes the units of a body: call it where blocking is allowed. `cropped` is the part of the source that is drawn and
/// the source's size, when it is not all of it.
pub(crate) fn decode(
    catalogue: &Catalogue,
    body: &Map<String, Value>,
    limits: DecodeLimits,
    cropped: Option<(Rect, (u32, u32))>,
) -> Result<Vec<Decoded>, AppError> {
    let inputs = control::units(body).map_err(AppError::Invalid)?;
    let mut decoded = Vec::with_capacity(inputs.len());
    for ControlInput { unit, image, mask, region, save_map } in inputs {
        let find = || {
            let found = catalogue.find(Kind::Control, &unit.model);
            found.map_err(|error| AppError::invalid(FIELD, format!("ControlNet: {error}")))
        };
        let file = (!unit.is_reference()).then(find).transpose()?;
        // Without a picture of its own a unit is steered by the one that is drawn over, and by its mask.
        let own = body.get("init_images").and_then(|images| images.get(0)).cloned();
        let has_own = image.is_some();
        let found = read(image.map(Value::String).or(own), limits)?.ok_or_else(|| {
            let name = if unit.is_reference() { &unit.module } else { &unit.model };
            let message = format!("the ControlNet unit of {name} has no image; send one as base64");
            AppError::invalid(FIELD, message)
        })?;
        let mask = match read(mask.map(Value::String), limits)? {
            Some(mask) => Some(to_gray(&mask).map_err(unfit)?),
            // Nobody reads it.
            None if annotators::takes_as_it_is(&unit.module) => None,
            // The mask of what is drawn over belongs to a picture of the unit's own as far as it covers it.
            None => read(body.get("mask").cloned(), limits)?
                .filter(|mask| !has_own || (mask.width, mask.height) == (found.width, found.height))
                .map(|mask| repainted(&mask, body))
                .transpose()?,
        };
        let part = |picture: Pixels| match cropped {
            // Only a part of the source is drawn, so the same part of the picture belongs to it.
            Some((rect, (width, height))) => {
                let whole = control_fit(&picture, width, height, fit(unit.resize_mode)).map_err(unfit)?;
                crop(&whole, rect).map_err(unfit)
            }
            None => Ok(picture),
        };
        let picture = part(flatten(&found, BACKGROUND).map_err(unfit)?)?;
        let mask = mask.map(part).transpose()?;
        let region = read(region.map(Value::String), limits)?;
        decoded.push(Decoded { unit, save_map, file, picture, mask, region, recombine: None });
    }
    Ok(decoded)
}

/// The mask of a picture that is drawn over, white where it is repainted.
fn repainted(mask: &Pixels, body: &Map<String, Value>) -> Result<Pixels, AppError> {
    let mut mask = to_gray(mask).map_err(unfit)?;
    if body.get("inpainting_mask_invert").and_then(Value::as_i64).is_some_and(|invert| invert != 0) {
        mask.data.iter_mut().for_each(|level| *level = 255 - *level);
    }
    Ok(mask)
}

/// Makes the maps of the units that name a module, one after the other: most requests have one.
pub(crate) async fn annotate(
    app: &App,
    call: &CallContext,
    request: &GenerateRequest,
    decoded: &mut [Decoded],
) -> Result<(), AppError> {
    for one in decoded {
        let Some(annotator) = annotators::find(app, &call.whom, FIELD, &one.unit.module)? else { continue };
        let size = (one.picture.width, one.picture.height);
        let resolution = if one.unit.pixel_perfect {
            let perfect = pixel_perfect(size, request.width, request.height, fit(one.unit.resize_mode));
            Some(perfect.map_err(unfit)?.clamp(annotators::RESOLUTION_MIN, annotators::RESOLUTION_MAX))
        } else {
            one.unit.processor_res
        };
        let ControlUnit { threshold_a, threshold_b, .. } = one.unit;
        one.recombine = annotator.recombine.map(|how| (how, annotator.settle([threshold_a, threshold_b])));
        let settings = MapSettings { resolution, threshold_a, threshold_b };
        // Without any mask nothing is repainted, which a module that needs one is told by a black one.
        let black = || Pixels {
            width: size.0,
            height: size.1,
            format: PixelFormat::Gray8,
            data: vec![0; size.0 as usize * size.1 as usize],
        };
        let mask = annotator.mask.then(|| one.mask.take().unwrap_or_else(black));
        let pictures = (one.picture.clone(), mask);
        one.picture = annotators::annotate(app, call, FIELD, &annotator, &settings, pictures).await?.picture;
    }
    Ok(())
}

/// Brings the maps into the resources of the passes they act in. Resamples: call it where blocking is allowed.
pub(crate) fn place(
    decoded: Vec<Decoded>,
    request: &GenerateRequest,
    found: &mut Found,
) -> Result<Controls, AppError> {
    let mut controls = Controls::default();
    for Decoded { unit, save_map, file, picture: map, region, recombine, .. } in decoded {
        let mut passes = Vec::with_capacity(2);
        if request.draws_first_pass() {
            passes.push((false, request.width, request.height, &mut found.first));
        }
        if let Some(second) = &mut found.second {
            let (width, height) = second.upscale.target.size;
            passes.push((true, width, height, &mut second.resources));
        }
        let acts = passes.iter().any(|(is_second, ..)| unit.hr_option.acts_in(*is_second));
        for (is_second, width, height, resources) in passes {
            if !unit.hr_option.acts_in(is_second) {
                continue;
            }
            let (hint, hidden) = fitted(&map, (width, height), unit.resize_mode)?;
            let (hint, hidden) = (Arc::new(hint), hidden.map(Arc::new));
            let Some(file) = &file else {
                resources.references.push(ReferenceUse { unit: unit.clone(), picture: hint });
                continue;
            };
            let region = region.as_ref().map(to_gray).transpose().map_err(unfit)?.map(Arc::new);
            let (file, unit) = (file.clone(), unit.clone());
            resources.control.push(ControlUse { file, unit, hint, hidden, region });
        }
        if let Some((how, settings)) = recombine.filter(|_| acts) {
            let (map, mode) = (map.clone(), unit.resize_mode);
            controls.recombined.push(Recombination { how, settings, map, mode, first_width: request.width });
        }
        if save_map {
            controls.maps.push(annotators::split(map).0);
        }
        controls.units.push(unit);
    }
    found.steer_refiners();
    Ok(controls)
}

/// A map at a pass's size, and what of it is hidden from the network, white. What `ResizeAndFill` adds around a map with
/// hidden places is hidden too.
pub(crate) fn fitted(
    map: &Pixels,
    (width, height): (u32, u32),
    mode: ResizeMode,
) -> Result<(Pixels, Option<Pixels>), AppError> {
    let fitted = |map: &Pixels| control_fit(map, width, height, fit(mode)).map_err(unfit);
    if map.format != PixelFormat::Rgba8 {
        return Ok((fitted(map)?, None));
    }
    // Fitting reads alpha as the mask of what is hidden, which is the inverse of what a map's alpha says.
    let inverted = |mut map: Pixels| {
        map.data.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = 255 - *alpha);
        map
    };
    Ok(annotators::split(inverted(fitted(&inverted(map.clone()))?)))
}

fn read(value: Option<Value>, limits: DecodeLimits) -> Result<Option<Pixels>, AppError> {
    // Clients send null for none.
    let value = value.filter(|value| !value.is_null());
    value.map(|value| picture(FIELD, &value, limits)).transpose().map(Option::flatten)
}

fn fit(mode: ResizeMode) -> ControlFit {
    match mode {
        ResizeMode::JustResize => ControlFit::JustResize,
        ResizeMode::CropAndResize => ControlFit::CropAndResize,
        ResizeMode::ResizeAndFill => ControlFit::ResizeAndFill,
    }
}

fn unfit(error: gesso_picture::error::PictureError) -> AppError {
    AppError::invalid(FIELD, format!("a ControlNet image: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_around_a_map_with_hidden_places_is_hidden() {
        let row = |alpha: u8| [9, 9, 9, alpha].repeat(8);
        let data = [row(0), row(255)].map(|row| row.repeat(4)).concat();
        let map = Pixels::new(8, 8, PixelFormat::Rgba8, data).unwrap();
        let (hint, hidden) = fitted(&map, (16, 8), ResizeMode::ResizeAndFill).unwrap();
        assert_eq!((hint.format, hint.width, hint.height), (PixelFormat::Rgb8, 16, 8));
        let hidden = hidden.unwrap();
        let middle = |y: usize| hidden.data[y * 16 + 8];
        assert_eq!((middle(1), middle(6)), (255, 0), "as the map's own alpha says");
        assert!(hidden.data.chunks(16).all(|row| row[0] == 255 && row[15] == 255));
    }
}
