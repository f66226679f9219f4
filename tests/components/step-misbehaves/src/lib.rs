//! Hostile within a sampler's step, in the way that the request names; `reads` and `not` are what well-behaved ones do.

use gesso_plugin::serde_json::Value;
use gesso_plugin::tensor::{Axis, Binary, Over, Reduction};
use gesso_plugin::{Fault, Moment, Point, StepHook, StepTensors, Tensor};

struct Misbehaves;

impl StepHook for Misbehaves {
    fn on_step(arguments: &[Value], at: &Moment, tensors: StepTensors) -> Result<(), Fault> {
        let StepTensors { mut latent, positive, negative, guided } = tensors;
        match arguments.first().and_then(Value::as_str).unwrap_or_default() {
            "loops" => loop {
                std::hint::black_box(at);
            },
            "floods" => loop {
                latent.shape()?;
            },
            "panics" => panic!("on purpose"),
            "hoards" => {
                let mut all: Vec<Tensor> = Vec::new();
                loop {
                    all.push(latent.duplicate()?);
                }
            }
            "divides by zero" => match guided.or(positive).or(negative) {
                Some(mut tensor) => tensor.combine_number(Binary::Divide, 0.0),
                None => latent.combine_number(Binary::Divide, 0.0),
            },
            "reaches out" => latent.slice(Axis::Rows, 1, u32::MAX).map(drop),
            "mixes sizes" => {
                let mut mean = latent.reduce(Reduction::Mean, Over::Everything)?;
                mean.combine(Binary::Add, &latent)
            }
            "overfills" => latent.write(&[0.0; 3]),
            "reads" => {
                let values = latent.read()?;
                if at.point == Point::Latent { latent.write(&values) } else { Ok(()) }
            }
            "halves, then panics" => match (at.step, at.point) {
                (0, Point::Latent) => latent.combine_number(Binary::Multiply, 0.5),
                (0, _) => Ok(()),
                _ => panic!("on purpose"),
            },
            "refuses" => Err(Fault::InvalidInput("Not this picture.".into())),
            _ => Ok(()),
        }
    }
}

gesso_plugin::step_hook!(Misbehaves, manifest = "manifest.json");
