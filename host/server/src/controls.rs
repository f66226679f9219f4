//! The pictures of ControlNet units: decoded and brought to the size of each pass. Which units act in which pass is
//! theirs to say; what the networks make of the maps is the engine's.

use std::sync::Arc;

use gesso_core::control::{ControlUnit, ResizeMode};
use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_engine::ControlUse;
use gesso_picture::composite::{Rect, crop};
use gesso_picture::control_fit::{ControlFit, control_fit};
use gesso_picture::convert::{flatten, to_gray};
use gesso_picture::decode::DecodeLimits;
use serde_json::{Map, Value};

use crate::catalogue::{Catalogue, Kind};
use crate::error::AppError;
use crate::http::wire::control::{self, ControlInput};
use crate::resources::Found;
use crate::sources::{BACKGROUND, picture};

const FIELD: &str = "alwayson_scripts";

/// The units of a request.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    pub(crate) units: Vec<ControlUnit>,
    /// Maps that go behind the drawn pictures, as web UIs show them.
    pub(crate) maps: Vec<Pixels>,
}

/// Reads the units of a body into the resources of the passes they act in. Decodes and resamples: call it where blocking
/// is allowed. `cropped` is the part of the source that is drawn and the source's size, when it is not all of it.
pub(crate) fn read(
    catalogue: &Catalogue,
    body: &Map<String, Value>,
    request: &GenerateRequest,
    limits: DecodeLimits,
    cropped: Option<(Rect, (u32, u32))>,
    found: &mut Found,
) -> Result<Controls, AppError> {
    let inputs = control::units(body).map_err(AppError::Invalid)?;
    let mut controls = Controls::default();
    for ControlInput { unit, image, region, save_map } in inputs {
        let file = catalogue
            .find(Kind::Control, &unit.model)
            .map_err(|error| AppError::invalid(FIELD, format!("ControlNet: {error}")))?;
        // Without a picture of its own a unit is steered by the one that is drawn over.
        let own = body.get("init_images").and_then(|images| images.get(0)).cloned();
        let map = decode(image.map(Value::String).or(own), limits)?.ok_or_else(|| {
            let message = format!("the ControlNet unit of {} has no image; send one as base64", unit.model);
            AppError::invalid(FIELD, message)
        })?;
        let map = flatten(&map, BACKGROUND).map_err(unfit)?;
        let map = match cropped {
            // Only a part of the source is drawn, so the same part of the map belongs to it.
            Some((rect, (width, height))) => {
                let whole = control_fit(&map, width, height, fit(unit.resize_mode)).map_err(unfit)?;
                crop(&whole, rect).map_err(unfit)?
            }
            None => map,
        };
        let region = decode(region.map(Value::String), limits)?;
        let mut passes = vec![(false, request.width, request.height, &mut found.first.control)];
        if let Some(second) = &mut found.second {
            let (width, height) = second.upscale.target.size;
            passes.push((true, width, height, &mut second.resources.control));
        }
        for (is_second, width, height, control) in passes {
            if !unit.hr_option.acts_in(is_second) {
                continue;
            }
            let hint = Arc::new(control_fit(&map, width, height, fit(unit.resize_mode)).map_err(unfit)?);
            let region = region.as_ref().map(to_gray).transpose().map_err(unfit)?.map(Arc::new);
            control.push(ControlUse { file: file.clone(), unit: unit.clone(), hint, region });
        }
        if save_map {
            controls.maps.push(map);
        }
        controls.units.push(unit);
    }
    Ok(controls)
}

fn decode(value: Option<Value>, limits: DecodeLimits) -> Result<Option<Pixels>, AppError> {
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
