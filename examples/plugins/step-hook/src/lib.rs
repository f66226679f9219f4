//! Guidance rescale: what guidance makes is brought back to the standard deviation of the prompt's own estimate, and mixed
//! with what it was (Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", equations 15 and 16).

use gesso_plugin::serde_json::Value;
use gesso_plugin::tensor::{Binary, Over, Reduction};
use gesso_plugin::{Arguments, Fault, Moment, StepHook, StepTensors};

struct GuidanceRescale;

impl StepHook for GuidanceRescale {
    fn on_step(arguments: &[Value], _: &Moment, tensors: StepTensors) -> Result<(), Fault> {
        let share = share(arguments)?;
        let (Some(mut guided), Some(positive)) = (tensors.guided, tensors.positive) else {
            return Ok(());
        };
        let mut factor = positive.reduce(Reduction::Deviation, Over::Everything)?;
        factor.combine(Binary::Divide, &guided.reduce(Reduction::Deviation, Over::Everything)?)?;
        // share * factor + (1 - share), as one factor.
        factor.combine_number(Binary::Multiply, share)?;
        factor.combine_number(Binary::Add, 1.0 - share)?;
        guided.combine(Binary::Multiply, &factor)
    }
}

fn share(arguments: &[Value]) -> Result<f32, Fault> {
    Ok(Arguments(arguments).number(0, "Share", (0.0, 1.0))? as f32)
}

gesso_plugin::step_hook!(GuidanceRescale, manifest = "manifest.json");

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;
    use gesso_plugin::serde_json::json;

    use super::*;

    #[test]
    fn the_share_is_checked() {
        assert_eq!(share(&[json!(0.25)]), Ok(0.25));
        for wrong in [vec![], vec![json!(2)], vec![json!("much")]] {
            assert!(share(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_guidance_made_has_as_much_contrast_as_the_share_says() -> Result<(), Fault> {
        for (share, wanted) in [(1.0, [-1.0, 1.0]), (0.5, [-2.0, 2.0]), (0.0, [-3.0, 3.0])] {
            let guided = fake::tensor((1, 1, 2), &[-3.0, 3.0]);
            let tensors = StepTensors {
                latent: fake::tensor((1, 1, 2), &[0.0, 0.0]),
                positive: Some(fake::tensor((1, 1, 2), &[-1.0, 1.0])),
                negative: None,
                guided: Some(fake::lend(&guided)),
            };
            GuidanceRescale::on_step(&[json!(share)], &fake::moment(), tensors)?;
            let there = guided.read()?;
            let is_near = there.iter().zip(wanted).all(|(there, wanted)| (there - wanted).abs() < 1e-5);
            assert!(is_near, "{share}: {there:?}");
        }
        Ok(())
    }
}
