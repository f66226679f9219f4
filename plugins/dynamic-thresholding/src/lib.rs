//! Dynamic thresholding: what guidance makes is clamped to a percentile of its own size and brought to the reach that a lower
//! scale would have. After Saharia et al. 2022, "Photorealistic Text-to-Image Diffusion Models with Deep Language
//! Understanding", section 2.3: there the reach is that of pixels, 1; a latent has none, so that it is taken from the lower
//! scale, as the web UI's extension of this name does. Asks the device for everything and reads no number.

mod settings;

use gesso_plugin::serde_json::Value;
use gesso_plugin::tensor::{Axis, Binary, Reduction, Unary};
use gesso_plugin::{Arguments, Fault, Moment, StepHook, StepTensors, Tensor};

use crate::settings::{Measure, Settings};

/// What is smaller is no size to divide by: a channel that is the same everywhere stays so.
const LEAST: f32 = 1e-8;

struct DynamicThresholding;

impl StepHook for DynamicThresholding {
    fn on_step(arguments: &[Value], at: &Moment, tensors: StepTensors) -> Result<(), Fault> {
        let Some(settings) = Settings::read(Arguments(arguments))? else { return Ok(()) };
        let (Some(positive), Some(negative), Some(mut guided)) =
            (tensors.positive, tensors.negative, tensors.guided)
        else {
            return Ok(());
        };
        let mut target = match settings.cfg_scale(at) {
            Some(scale) => guide(scale, &positive, &negative)?,
            None => guided.duplicate()?,
        };
        let mimic = guide(settings.mimic_scale(at), &positive, &negative)?;
        let mut tamed = tame(&settings, &target, mimic)?;
        tamed.combine_number(Binary::Multiply, settings.share)?;
        target.combine_number(Binary::Multiply, 1.0 - settings.share)?;
        tamed.combine(Binary::Add, &target)?;
        guided.paste(Axis::Channels, 0, &tamed)
    }
}

/// `negative + scale * (positive - negative)`.
fn guide(scale: f32, positive: &Tensor, negative: &Tensor) -> Result<Tensor, Fault> {
    let mut guided = positive.duplicate()?;
    guided.combine(Binary::Subtract, negative)?;
    guided.combine_number(Binary::Multiply, scale)?;
    guided.combine(Binary::Add, negative)?;
    Ok(guided)
}

/// `target` with the reach of `mimic`.
fn tame(settings: &Settings, target: &Tensor, mut mimic: Tensor) -> Result<Tensor, Fault> {
    let over = settings.over;
    let mut tamed = target.duplicate()?;
    let centre = target.reduce(Reduction::Mean, over)?;
    if settings.is_centred {
        tamed.combine(Binary::Subtract, &centre)?;
        let mean = mimic.reduce(Reduction::Mean, over)?;
        mimic.combine(Binary::Subtract, &mean)?;
    }
    let factor = match settings.measure {
        Measure::Reach { percentile } => {
            mimic.apply(Unary::Absolute)?;
            let mut reach = mimic.reduce(Reduction::Maximum, over)?;
            let mut sizes = tamed.duplicate()?;
            sizes.apply(Unary::Absolute)?;
            // Never less than the reach, so that nothing is made larger.
            let mut bound = sizes.reduce(Reduction::Quantile(percentile), over)?;
            bound.combine(Binary::Maximum, &reach)?;
            bound.combine_number(Binary::Maximum, LEAST)?;
            tamed.combine(Binary::Minimum, &bound)?;
            let mut below = bound.duplicate()?;
            below.combine_number(Binary::Multiply, -1.0)?;
            tamed.combine(Binary::Maximum, &below)?;
            reach.combine(Binary::Divide, &bound)?;
            reach
        }
        Measure::Deviation => {
            let mut wanted = mimic.reduce(Reduction::Deviation, over)?;
            let mut own = tamed.reduce(Reduction::Deviation, over)?;
            own.combine_number(Binary::Maximum, LEAST)?;
            wanted.combine(Binary::Divide, &own)?;
            wanted
        }
    };
    tamed.combine(Binary::Multiply, &factor)?;
    if settings.is_centred {
        tamed.combine(Binary::Add, &centre)?;
    }
    Ok(tamed)
}

gesso_plugin::step_hook!(DynamicThresholding, manifest = "manifest.json");
