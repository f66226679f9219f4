//! The pictures of ControlNet units: decoded, turned into maps by the plugin that a unit's module names, and brought to the
//! size of each pass. Which units act in which pass is theirs to say; what the networks make of the maps is the
//! engine's.

use std::sync::Arc;

use gesso_core::control::{ControlUnit, ResizeMode};
use gesso_core::img2img;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::ModelFile;
use gesso_engine::{ControlUse, ReferenceUse};
use gesso_picture::composite::{Rect, crop};
use gesso_picture::control_fit::{ControlFit, control_fit, pixel_perfect};
use gesso_picture::convert::{flatten, to_gray};
use gesso_picture::decode::DecodeLimits;
use gesso_picture::error::PictureError;
use gesso_picture::fit::{FitMode, fit as into_frame};
use gesso_picture::mask;
use gesso_picture::resize::{Filter, resize};
use gesso_plugin_host::{Annotator, CallContext, Recombine, Whom};
use serde_json::{Map, Value};

use crate::annotators::{self, ArgumentFields, MapSettings};
use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::{Catalogue, Kind};
use crate::error::AppError;
use crate::http::wire::control::{self, ControlInput};
use crate::recombination::Recombination;
use crate::resources::Found;
use crate::sources::{BACKGROUND, check_covering, covering, picture};

const FIELD: &str = "alwayson_scripts";
const ARGUMENTS: ArgumentFields = ArgumentFields::all_in(FIELD);

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
    /// Its place in the body.
    index: usize,
    save_map: bool,
    /// None for what the checkpoint itself reads.
    file: Option<Arc<ModelFile>>,
    /// The map, once its annotator ran.
    picture: Pixels,
    /// How it is brought to the size that is drawn.
    fit: ControlFit,
    /// What is to be repainted, white: of the picture's size, unless the two get into the frame each by itself.
    mask: Option<Pixels>,
    /// How they do.
    framing: Option<FitMode>,
    /// Where the unit acts.
    region: Option<Pixels>,
    /// What its annotator has done to the drawn picture, with its settings.
    recombine: Option<(Recombine, [Option<f64>; 2])>,
    /// Whether drawing begins from its map.
    underlay: bool,
}

/// How the picture that is drawn over and a mask of another shape get into the frame, as the drawing does it. None where
/// each is stretched to it, so that the mask may be stretched to the picture before.
fn framing(request: &GenerateRequest) -> Option<FitMode> {
    match request.img2img.as_ref()?.resize_mode {
        img2img::ResizeMode::Stretch | img2img::ResizeMode::Latent => None,
        img2img::ResizeMode::Crop => Some(FitMode::Cover),
        img2img::ResizeMode::Fill => Some(FitMode::Contain),
    }
}

/// The units of a body, unless the module of one is nobody's here for `whom`.
pub(crate) fn check(
    app: &App,
    whom: &Whom,
    body: &Map<String, Value>,
) -> Result<Vec<ControlInput>, AppError> {
    let units = control::units(body).map_err(AppError::Invalid)?;
    for ControlInput { unit, .. } in &units {
        annotators::find(app, whom, FIELD, &unit.module)?;
    }
    Ok(units)
}

/// Refuses units of a body that have no picture, and none to take in its place.
pub(crate) fn check_pictures(units: &[ControlInput], body: &Map<String, Value>) -> Result<(), AppError> {
    let is_without = |input: &&ControlInput| input.image.is_none() && source_of(body).is_none();
    let fault = |input: &ControlInput| of_unit(input.index)(without_picture(&input.unit));
    units.iter().find(is_without).map_or(Ok(()), |input| Err(fault(input)))
}

/// Refuses units whose network is not there. Reads folders: call it where blocking is allowed.
pub(crate) fn check_networks(catalogue: &Catalogue, units: &[ControlInput]) -> Result<(), AppError> {
    units.iter().try_for_each(|input| network(catalogue, &input.unit).map(drop))
}

/// Decodes the units of a body, which came to `request`: call it where blocking is allowed. `cropped` is the part of
/// the source that is drawn and the source's size, when it is not all of it.
pub(crate) fn decode(
    catalogue: &Catalogue,
    body: &Map<String, Value>,
    request: &GenerateRequest,
    limits: DecodeLimits,
    cropped: Option<(Rect, (u32, u32))>,
) -> Result<Vec<Decoded>, AppError> {
    let inputs = control::units(body).map_err(AppError::Invalid)?;
    let mut decoded = Vec::with_capacity(inputs.len());
    for input in inputs {
        let index = input.index;
        let file = network(catalogue, &input.unit)?;
        let one = decode_one(input, file, body, request, limits, cropped).map_err(of_unit(index))?;
        decoded.push(one);
    }
    Ok(decoded)
}

fn decode_one(
    input: ControlInput,
    file: Option<Arc<ModelFile>>,
    body: &Map<String, Value>,
    request: &GenerateRequest,
    limits: DecodeLimits,
    cropped: Option<(Rect, (u32, u32))>,
) -> Result<Decoded, AppError> {
    let ControlInput { unit, index, image, mask, region, save_map, is_cropped } = input;
    // Without a picture of its own a unit is steered by the one that is drawn over, and by its mask.
    let source = source_of(body).cloned();
    let has_own = image.is_some();
    let field = if has_own { "image" } else { "init_images" };
    let found = read(field, image.map(Value::String).or(source), limits)?;
    let found = found.ok_or_else(|| without_picture(&unit))?;
    let own_mask = read("mask", mask.map(Value::String), limits)?;
    let is_drawings = !has_own && own_mask.is_none();
    let mask = match own_mask {
        Some(mask) => Some(to_gray(&mask).map_err(unfit)?),
        // Nobody reads it.
        None if annotators::takes_as_it_is(&unit.module) => None,
        // The mask of what is drawn over belongs to a picture of the unit's own as far as it covers it.
        None => read("mask", body.get("mask").cloned(), limits)?
            .filter(|mask| !has_own || (mask.width, mask.height) == (found.width, found.height))
            .map(|mask| repainted(&mask, request))
            .transpose()?,
    };
    let cropped = cropped.filter(|_| is_cropped || !has_own);
    let part = |picture: Pixels| match cropped {
        // Only a part of the source is drawn, so the same part of the picture belongs to it.
        Some((rect, size)) => {
            let fit = fit(unit.resize_mode);
            check_shape(&picture, size, fit, limits)?;
            let whole = control_fit(&picture, size.0, size.1, fit).map_err(unfit)?;
            crop(&whole, rect).map_err(unfit)
        }
        None => Ok(picture),
    };
    let is_odd = mask.as_ref().is_some_and(|mask| is_of_another_shape(mask, &found));
    let framing = framing(request).filter(|_| is_drawings && is_odd && cropped.is_none());
    // In the size of its picture the mask is cut as that is.
    let sized = |mask: &Pixels| resize(mask, found.width, found.height, Filter::Nearest).map_err(unfit);
    let mask = match framing {
        Some(_) => mask,
        None => mask.map(|mask| part(sized(&mask)?)).transpose()?,
    };
    let picture = part(flatten(&found, BACKGROUND).map_err(unfit)?)?;
    let region = read("effective_region_mask", region.map(Value::String), limits)?;
    let fit = fit_of(&unit, has_own, cropped.is_some(), request);
    // The annotator says both.
    let (recombine, underlay) = (None, false);
    Ok(Decoded { unit, index, save_map, file, picture, fit, mask, framing, region, recombine, underlay })
}

fn is_of_another_shape(one: &Pixels, other: &Pixels) -> bool {
    let sides = [one.width, other.height, one.height, other.width].map(u64::from);
    sides[0] * sides[1] != sides[2] * sides[3]
}

/// The picture that is drawn over.
fn source_of(body: &Map<String, Value>) -> Option<&Value> {
    body.get("init_images").and_then(|images| images.get(0))
}

/// The file that a unit names; none for what the checkpoint itself reads. Reads folders.
fn network(catalogue: &Catalogue, unit: &ControlUnit) -> Result<Option<Arc<ModelFile>>, AppError> {
    let find = || {
        let found = catalogue.find(Kind::Control, &unit.model);
        found.map_err(|error| AppError::invalid(FIELD, format!("ControlNet: {error}")))
    };
    (!unit.is_reference()).then(find).transpose()
}

fn without_picture(unit: &ControlUnit) -> AppError {
    let name = if unit.is_reference() { &unit.module } else { &unit.model };
    AppError::invalid(FIELD, format!("{name} has no image; send one as base64"))
}

/// How a unit's picture is brought to the size that is drawn: its own as the unit says, the one that is drawn over as
/// that is, so that what it shows lies where it is drawn.
fn fit_of(unit: &ControlUnit, has_own: bool, is_part: bool, request: &GenerateRequest) -> ControlFit {
    // What is cut out is contained in the frame, whatever the request says.
    if is_part {
        return ControlFit::ResizeAndFill;
    }
    match request.img2img.as_ref().filter(|_| !has_own).map(|over| over.resize_mode) {
        None => fit(unit.resize_mode),
        Some(img2img::ResizeMode::Stretch | img2img::ResizeMode::Latent) => ControlFit::JustResize,
        Some(img2img::ResizeMode::Crop) => ControlFit::CropAndResize,
        Some(img2img::ResizeMode::Fill) => ControlFit::ResizeAndFill,
    }
}

/// Refuses a picture of too odd a shape to cover a size, width first.
fn check_shape(
    picture: &Pixels,
    size: (u32, u32),
    fit: ControlFit,
    limits: DecodeLimits,
) -> Result<(), AppError> {
    if fit != ControlFit::CropAndResize {
        return Ok(());
    }
    check_covering((FIELD, "a ControlNet image"), covering(picture, size).1, size, limits)
}

/// The mask of a picture that is drawn over, white where it is repainted: as the drawing reads it, unblurred.
fn repainted(upload: &Pixels, request: &GenerateRequest) -> Result<Pixels, AppError> {
    let settings = request.img2img.as_ref().and_then(|over| over.mask.as_ref());
    let read = mask::read(upload, settings.is_none_or(|mask| mask.round)).map_err(unfit)?;
    Ok(if settings.is_some_and(|mask| mask.invert) { mask::invert(&read) } else { read })
}

impl Decoded {
    /// Brings picture and mask to where the drawing has them, as far as an annotator's map is of that.
    async fn lay_out(&mut self, annotator: &Annotator, request: &GenerateRequest) -> Result<(), AppError> {
        if annotator.mask || annotator.underlay {
            self.bring_into_frame((request.width, request.height)).await?;
        }
        if annotator.underlay && self.fit == ControlFit::ResizeAndFill {
            self.widen(last_size(request)).await?;
        }
        Ok(())
    }

    /// Brings picture and mask into the frame, where each gets there by itself.
    async fn bring_into_frame(&mut self, (width, height): (u32, u32)) -> Result<(), AppError> {
        let Some(mode) = self.framing.take() else { return Ok(()) };
        let (picture, mask) = (self.picture.clone(), self.mask.take());
        // The blocking pool: resampling.
        let framed = blocking(move || {
            let picture = into_frame(&picture, width, height, mode)?;
            let mask = mask.map(|mask| into_frame(&mask, width, height, mode)).transpose()?;
            Ok::<_, PictureError>((picture, mask))
        });
        (self.picture, self.mask) = framed.await?.map_err(unfit)?;
        Ok(())
    }

    /// Contains picture and mask in a size. What that adds around them is masked.
    async fn widen(&mut self, size: (u32, u32)) -> Result<(), AppError> {
        let (picture, mask) = (self.picture.clone(), self.mask.take());
        // The blocking pool: resampling.
        let widened = blocking(move || {
            let levels = mask.map_or_else(|| vec![0; picture.data.len() / 3], |mask| mask.data);
            let (pixels, _) = picture.data.as_chunks::<3>();
            let pixels = pixels.iter().zip(levels);
            let data = pixels.flat_map(|([r, g, b], level)| [*r, *g, *b, 255 - level]).collect();
            let (width, height) = (picture.width, picture.height);
            let hidden = Pixels { width, height, format: PixelFormat::Rgba8, data };
            fitted(&hidden, size, ControlFit::ResizeAndFill)
        });
        (self.picture, self.mask) = widened.await??;
        Ok(())
    }
}

/// The size that pictures have in the end.
fn last_size(request: &GenerateRequest) -> (u32, u32) {
    let (width, height) = (request.width, request.height);
    request.hires.as_ref().map_or((width, height), |hires| hires.size.target(width, height).size)
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
        one.lay_out(&annotator, request).await?;
        let size = (one.picture.width, one.picture.height);
        let resolution = if one.unit.pixel_perfect {
            let perfect = pixel_perfect(size, request.width, request.height, one.fit);
            Some(perfect.map_err(unfit)?.clamp(Annotator::RESOLUTION_MIN, Annotator::RESOLUTION_MAX))
        } else {
            one.unit.processor_res
        };
        let ControlUnit { threshold_a, threshold_b, .. } = one.unit;
        one.underlay = annotator.underlay;
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
        let made = annotators::annotate(app, call, &ARGUMENTS, &annotator, &settings, pictures).await;
        one.picture = made.map_err(of_unit(one.index))?.picture;
    }
    Ok(())
}

/// Brings the maps into the resources of the passes they act in. Resamples: call it where blocking is allowed.
pub(crate) fn place(
    decoded: Vec<Decoded>,
    request: &GenerateRequest,
    limits: DecodeLimits,
    found: &mut Found,
) -> Result<Controls, AppError> {
    let mut controls = Controls::default();
    for Decoded { unit, index, save_map, file, picture: map, fit, region, recombine, underlay, .. } in decoded
    {
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
            let acts_here = unit.hr_option.acts_in(is_second);
            // What is put to the drawn picture comes to its size too, whichever pass that is of.
            if acts_here || recombine.is_some() {
                check_shape(&map, (width, height), fit, limits).map_err(of_unit(index))?;
            }
            if !acts_here {
                continue;
            }
            let (hint, hidden) = fitted(&map, (width, height), fit)?;
            let (hint, hidden) = (Arc::new(hint), hidden.map(Arc::new));
            // A second pass begins from what the first one drew.
            if underlay && !is_second {
                resources.underlay = Some(hint.clone());
            }
            let Some(file) = &file else {
                resources.references.push(ReferenceUse { unit: unit.clone(), picture: hint });
                continue;
            };
            let region = region.as_ref().map(to_gray).transpose().map_err(unfit)?.map(Arc::new);
            let (file, unit) = (file.clone(), unit.clone());
            resources.control.push(ControlUse { index, file, unit, hint, hidden, region });
        }
        if let Some((how, settings)) = recombine.filter(|_| acts) {
            let map = map.clone();
            controls.recombined.push(Recombination { how, settings, map, fit, first_width: request.width });
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
    fit: ControlFit,
) -> Result<(Pixels, Option<Pixels>), AppError> {
    let fitted = |map: &Pixels| control_fit(map, width, height, fit).map_err(unfit);
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

/// The picture of a unit's field, which an error names.
fn read(name: &str, value: Option<Value>, limits: DecodeLimits) -> Result<Option<Pixels>, AppError> {
    // Clients send null for none.
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    picture(FIELD, &value, limits).map_err(|error| AppError::invalid(FIELD, format!("{name}: {error}")))
}

/// Lays what is wrong with the pictures of a unit to that unit, by its place in the body.
fn of_unit(index: usize) -> impl Fn(AppError) -> AppError {
    move |error| match error {
        AppError::Invalid(problems) => AppError::Invalid(
            problems.iter().map(|problem| control::fault(index, &problem.message)).collect(),
        ),
        other => other,
    }
}

fn fit(mode: ResizeMode) -> ControlFit {
    match mode {
        ResizeMode::JustResize => ControlFit::JustResize,
        ResizeMode::CropAndResize => ControlFit::CropAndResize,
        ResizeMode::ResizeAndFill => ControlFit::ResizeAndFill,
    }
}

fn unfit(error: PictureError) -> AppError {
    AppError::invalid(FIELD, format!("a ControlNet image: {error}"))
}

#[cfg(test)]
mod tests;
