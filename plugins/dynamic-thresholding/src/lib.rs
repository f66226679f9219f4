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

#[cfg(test)]
mod tests {
    use gesso_plugin::fake::{self, Host};
    use gesso_plugin::serde_json::json;

    use super::*;

    /// What a whole call makes of the guided tensor of a step with guidance 10, where the negative prompt's is 0.
    fn hooked(arguments: Value) -> Result<Vec<f32>, Fault> {
        let of = |scale: f32| fake::tensor((1, 2, 2), &[0.0, scale, 2.0 * scale, 3.0 * scale]);
        let guided = of(10.0);
        let tensors = StepTensors {
            latent: of(0.0),
            positive: Some(of(1.0)),
            negative: Some(of(0.0)),
            guided: Some(fake::lend(&guided)),
        };
        let at = Moment { guidance: 10.0, ..fake::moment() };
        let list = arguments.as_array().cloned().unwrap_or_default();
        Host::new().run(|| DynamicThresholding::on_step(&list, &at, tensors))?;
        guided.read()
    }

    #[test]
    fn a_whole_step_gives_the_guided_tensor_the_reach_of_the_lower_scale() {
        let asked = |enabled: bool, mimic: f64, measure: &str, share: f64| {
            json!([enabled, mimic, 1, "Constant", 0, "Constant", 0, 4, true, "MEAN", measure, share])
        };
        // Guidance of 2 reaches 3 from its mean of 3, and guidance of 10 reaches 15.
        for (arguments, wanted) in [
            (asked(true, 2.0, "AD", 1.0), [12.0, 14.0, 16.0, 18.0]),
            (asked(true, 2.0, "STD", 1.0), [12.0, 14.0, 16.0, 18.0]),
            (asked(true, 2.0, "AD", 0.5), [6.0, 12.0, 18.0, 24.0]),
            (asked(true, 10.0, "AD", 1.0), [0.0, 10.0, 20.0, 30.0]),
            (asked(false, 2.0, "AD", 1.0), [0.0, 10.0, 20.0, 30.0]),
        ] {
            let got = hooked(arguments.clone()).unwrap();
            assert!(
                got.iter().zip(wanted).all(|(got, want)| (got - want).abs() < 1e-4),
                "{arguments}: {got:?}"
            );
        }
        let refused = hooked(json!([true, "much"]));
        assert!(matches!(&refused, Err(Fault::InvalidInput(_))), "{refused:?}");
    }
}
