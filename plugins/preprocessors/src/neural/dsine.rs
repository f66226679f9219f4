//! Directions of surfaces by DSINE (Bae 2024), which is told the camera beside the picture, and how often to refine what it sees.

use gesso_core::pixels::Pixels;
use gesso_plugin::Fault;
use gesso_plugin::models::Tensor;

use super::input::Feed;
use super::output::Reading;
use super::{Look, Ready, Recipe, recipe};
use crate::{Settings, resolution};

const RECIPE: Recipe = recipe("normal_dsine", &["dsine", "normal_dsine"], Feed::IMAGENET, Reading::Normals);
/// Degrees that the longer side is seen under, and how often is refined, where a request says neither.
const FOV: f64 = 60.0;
const ITERATIONS: f64 = 5.0;
/// No camera sees less than nothing or more than what is before it.
const FOV_MIN: f64 = 1.0;
const FOV_MAX: f64 = 179.0;

/// Directions as colours.
pub(super) fn map(
    source: &Pixels,
    _: Option<&Pixels>,
    settings: Settings,
    look: &dyn Look,
) -> Result<Pixels, Fault> {
    let ready = Ready::find(&RECIPE, look)?;
    let scaled = resolution::scaled(source, settings.resolution)?;
    let (fov, iterations) = (settings.a(FOV), settings.threshold_b.unwrap_or(ITERATIONS));
    // It has this resolution, so that it is only padded.
    resolution::at(&scaled, settings.resolution, |picture| {
        ready.map(picture, settings, |(width, height)| {
            let stretch = [(width, picture.width), (height, picture.height)]
                .map(|(fed, own)| f64::from(fed) / f64::from(own));
            let iterations = Tensor { shape: vec![1], values: vec![iterations.round() as f32] };
            vec![camera((scaled.width, scaled.height), stretch, fov), iterations]
        })
    })
}

/// The intrinsics of a camera that took a picture of this size (width first), `[1, 3, 3]`, in pixels of that picture stretched:
/// focal lengths, and its middle, counted from the middle of the first pixel. What was padded lies beyond.
fn camera((width, height): (u32, u32), [across, down]: [f64; 2], fov: f64) -> Tensor {
    let half = fov.clamp(FOV_MIN, FOV_MAX).to_radians() / 2.0;
    let focal = f64::from(width.max(height)) / 2.0 / half.tan();
    let middle = |side: u32, stretch: f64| f64::from(side) / 2.0 * stretch - 0.5;
    let rows = [
        [focal * across, 0.0, middle(width, across)],
        [0.0, focal * down, middle(height, down)],
        [0.0, 0.0, 1.0],
    ];
    Tensor { shape: vec![1, 3, 3], values: rows.as_flattened().iter().map(|value| *value as f32).collect() }
}
