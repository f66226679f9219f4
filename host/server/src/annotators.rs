//! Maps of pictures, made by plugins: which annotator a module's name means, what a request's numbers come to, and the
//! call. Called for ControlNet units and for the route that answers with the map alone.

use std::collections::BTreeSet;

use gesso_core::control::{REFERENCE, STYLE_FIDELITY, names_reference};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::convert::{to_gray, to_rgb};
use gesso_picture::resize::{Filter, resize};
use gesso_plugin_host::{AnnotateError, Annotated, Annotation, Annotator, CallContext, Slider, Whom};
use serde_json::json;

use crate::app::App;
use crate::error::AppError;

/// The module that takes a picture as it is.
pub(crate) const NONE: &str = "none";

/// What a request says of a map.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MapSettings {
    /// `None`, and what is out of range, is the default.
    pub(crate) resolution: Option<u32>,
    pub(crate) threshold_a: Option<f64>,
    pub(crate) threshold_b: Option<f64>,
}

/// The fields of a request that an annotator's arguments come from, by which a wrong one is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArgumentFields {
    pub(crate) module: &'static str,
    pub(crate) source: &'static str,
    pub(crate) mask: &'static str,
    pub(crate) resolution: &'static str,
    pub(crate) threshold_a: &'static str,
    pub(crate) threshold_b: &'static str,
}

impl ArgumentFields {
    /// Of a request that has all of them in one.
    pub(crate) const fn all_in(field: &'static str) -> Self {
        Self {
            module: field,
            source: field,
            mask: field,
            resolution: field,
            threshold_a: field,
            threshold_b: field,
        }
    }

    /// What a refusal is about, and the rest of it: it may begin with the contract's name of an argument and a colon. Else it
    /// is the module, which cannot do what was asked.
    fn blamed<'a>(&self, reason: &'a str) -> (&'static str, &'a str) {
        let named = reason.split_once(": ").and_then(|(argument, rest)| {
            let field = match argument {
                "source" => self.source,
                "mask" => self.mask,
                "resolution" => self.resolution,
                "threshold_a" => self.threshold_a,
                "threshold_b" => self.threshold_b,
                _ => return None,
            };
            Some((field, rest))
        });
        named.unwrap_or((self.module, reason))
    }
}

/// Whether a module's name means that a picture is its own map.
pub(crate) fn takes_as_it_is(module: &str) -> bool {
    module.trim().is_empty() || module.trim().eq_ignore_ascii_case(NONE) || names_reference(module)
}

/// What there is to choose from: the engine's own, then those of plugins that are there for `whom`.
pub(crate) fn all(app: &App, whom: &Whom) -> Vec<Annotator> {
    std::iter::once(reference()).chain(app.plugins.annotators(whom)).collect()
}

/// The module that draws after a picture, as lists show it. It makes no map.
fn reference() -> Annotator {
    let fidelity =
        Slider { name: "Style Fidelity".into(), value: STYLE_FIDELITY, min: 0.0, max: 1.0, step: 0.01 };
    Annotator {
        name: REFERENCE.into(),
        label: None,
        aliases: Vec::new(),
        types: vec!["Reference".into()],
        resolution: true,
        default_resolution: Annotator::RESOLUTION,
        sliders: vec![fidelity],
        mask: false,
        recombine: None,
        underlay: false,
    }
}

/// The annotator of a module's name, in any of its spellings, that is there for `whom`; `None` for the module that takes the picture as it is.
///
/// # Errors
/// A problem of `field` that says what there is instead.
pub(crate) fn find(app: &App, whom: &Whom, field: &str, module: &str) -> Result<Option<Annotator>, AppError> {
    if takes_as_it_is(module) {
        return Ok(None);
    }
    let mut all = app.plugins.annotators(whom);
    if let Some(place) = all.iter().position(|annotator| annotator.is_named(module.trim())) {
        return Ok(Some(all.swap_remove(place)));
    }
    let names: BTreeSet<&str> = all.iter().map(|annotator| annotator.name.as_str()).collect();
    let there = match names.len() {
        0 => format!("here are none and {REFERENCE}, since no plugin makes maps"),
        _ => format!("here are none, {REFERENCE}, {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    };
    Err(AppError::invalid(
        field,
        format!("Module not available: {module:?}; {there}. Send the finished map with module \"none\"."),
    ))
}

/// The map of an RGB picture, and what was found beside. A mask of another size is brought to the picture's; it is white where the picture is
/// repainted. What comes back grey is made RGB, so that every map has three channels, or a fourth that hides places.
///
/// # Errors
/// A problem of one of `fields` where the annotator finds something wrong; else what the plugin host says.
pub(crate) async fn annotate(
    app: &App,
    call: &CallContext,
    fields: &ArgumentFields,
    annotator: &Annotator,
    settings: &MapSettings,
    (source, mask): (Pixels, Option<Pixels>),
) -> Result<Annotated, AppError> {
    let unfit = |error: gesso_picture::error::PictureError| AppError::invalid(fields.mask, error.to_string());
    let mask = match mask.filter(|_| annotator.mask) {
        None => None,
        Some(mask) => {
            let mask = to_gray(&mask).map_err(unfit)?;
            Some(resize(&mask, source.width, source.height, Filter::Nearest).map_err(unfit)?)
        }
    };
    let in_range =
        |resolution: &u32| (Annotator::RESOLUTION_MIN..=Annotator::RESOLUTION_MAX).contains(resolution);
    let resolution = settings.resolution.filter(in_range).unwrap_or(annotator.default_resolution);
    let [threshold_a, threshold_b] = annotator.settle([settings.threshold_a, settings.threshold_b]);
    let arguments = json!({
        "resolution": annotator.resolution.then_some(resolution),
        "threshold_a": threshold_a,
        "threshold_b": threshold_b,
    });
    let annotation = Annotation { source, mask, arguments: arguments.to_string() };
    let made = app.plugins.annotate(call, &annotator.name, annotation).await;
    let made = made.map_err(|error| match error {
        AnnotateError::Refused(reason) => {
            let (field, reason) = fields.blamed(&reason);
            AppError::invalid(field, format!("{}: {reason}", annotator.name))
        }
        AnnotateError::Hook(error) => error.into(),
    })?;
    let picture = match made.picture.format {
        PixelFormat::Gray8 => {
            to_rgb(&made.picture).map_err(|error| AppError::invalid(fields.source, error.to_string()))?
        }
        PixelFormat::Rgb8 | PixelFormat::Rgba8 => made.picture,
    };
    Ok(Annotated { picture, ..made })
}

/// A map in two parts: RGB, and what of it is hidden from the network, white, where it came with transparent places.
pub(crate) fn split(map: Pixels) -> (Pixels, Option<Pixels>) {
    if map.format != PixelFormat::Rgba8 {
        return (map, None);
    }
    let (pixels, _) = map.data.as_chunks::<4>();
    let part = |format, data| Pixels { width: map.width, height: map.height, format, data };
    let colours = pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
    let hidden = pixels.iter().map(|[.., alpha]| 255 - alpha).collect();
    (part(PixelFormat::Rgb8, colours), Some(part(PixelFormat::Gray8, hidden)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_its_own_map_and_has_a_slider() {
        assert!(takes_as_it_is(" Reference_Only ") && takes_as_it_is("None") && !takes_as_it_is("canny"));
        let module = reference();
        // The slider is the second behind the resolution's, which clients count by.
        assert!(module.is_named("Reference_only") && module.resolution);
        assert_eq!(module.settle([Some(0.25), None])[0], Some(0.25));
        assert_eq!(module.settle([Some(64.0), None])[0], Some(0.5));
    }

    #[test]
    fn a_refusal_blames_the_argument_that_it_names() {
        let fields = ArgumentFields {
            module: "module",
            source: "images",
            mask: "masks",
            resolution: "processor_res",
            threshold_a: "a",
            threshold_b: "b",
        };
        for (reason, field, rest) in [
            ("resolution: choose a smaller one", "processor_res", "choose a smaller one"),
            ("source: it is too thin", "images", "it is too thin"),
            ("mask: there is none", "masks", "there is none"),
            ("threshold_a: it has to be even", "a", "it has to be even"),
            ("threshold_b: a: b", "b", "a: b"),
            ("it needs a network", "module", "it needs a network"),
            ("the mask: unknown", "module", "the mask: unknown"),
        ] {
            assert_eq!(fields.blamed(reason), (field, rest));
            assert_eq!(ArgumentFields::all_in("alwayson_scripts").blamed(reason), ("alwayson_scripts", rest));
        }
    }

    #[test]
    fn transparent_places_are_hidden_ones() {
        let map = Pixels::new(2, 1, PixelFormat::Rgba8, vec![1, 2, 3, 0, 4, 5, 6, 255]).unwrap();
        let (colours, hidden) = split(map);
        assert_eq!((colours.data, hidden.unwrap().data), (vec![1, 2, 3, 4, 5, 6], vec![255, 0]));
        let grey = Pixels::new(1, 1, PixelFormat::Gray8, vec![7]).unwrap();
        assert_eq!(split(grey.clone()), (grey, None));
    }
}
