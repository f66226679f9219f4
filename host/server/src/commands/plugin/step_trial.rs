//! One call of a step hook for `gesso plugin test`: its operations are carried out on real tensors, which belong to no drawing and
//! hold made-up numbers. Knows no sampler and no network.

use anyhow::{anyhow, bail};
use gesso_core::noise::Mt19937;
use gesso_core::numbers::Numbers;
use gesso_core::step_hook::{
    Moment, Point, StepHook, StepHookError, TensorAnswer, TensorError, TensorId, TensorOp, Tensors,
};
use gesso_plugin_host::{CallContext, PluginHost, Steps};
use gesso_torch::StepTensors;
use serde_json::{Map, Value};

/// Channels, rows and columns: the latent of a picture of 64 pixels a side.
const SHAPE: [u32; 3] = [4, 8, 8];
/// Those of an ordinary request.
const STEPS: u32 = 20;
const GUIDANCE: f32 = 7.0;
/// Where the noise level is 1.
const TIMESTEP: f64 = 354.0;

/// What came of a call at `point`, with what a request says beside the hook's name; with nothing, the arguments are those that
/// the manifest has. Blocks until the guest has ended.
pub(super) fn run(
    host: &PluginHost,
    context: &CallContext,
    steps: &Steps,
    point: Point,
    said: &Value,
) -> anyhow::Result<String> {
    let named = Map::from_iter([(steps.title.clone(), said.clone())]);
    let hooks = host.step_hooks(context, &named).map_err(anyhow::Error::msg)?;
    let [hook] = hooks.as_slice() else { bail!("the host has no step hook named {}", steps.title) };
    let step = (0..STEPS).find(|step| steps.covers(point, *step, STEPS)).unwrap_or_default();
    let guidance = f64::from(GUIDANCE);
    let moment = Moment {
        point,
        step,
        steps: STEPS,
        call: 0,
        sigma: 1.0,
        scale: 1.0,
        timestep: TIMESTEP,
        guidance,
        picture: 0,
        seed: 1,
        is_second: false,
    };
    let mut tensors = StepTensors::of_numbers(point, made_up).map_err(told)?;
    let before = changeable(&mut tensors, point)?;
    match hook.run(&moment, &mut tensors) {
        Ok(true) if changeable(&mut tensors, point)? == before => Ok("unchanged".into()),
        Ok(true) => Ok("changed".into()),
        Ok(false) => bail!(hook.warning().unwrap_or_default()),
        Err(StepHookError::Rejected(reason)) => Ok(format!("refused: {reason}")),
        Err(error) => Err(error.into()),
    }
}

/// Noise, another for each tensor; guidance is as it would be.
fn made_up(id: TensorId) -> Numbers {
    let noise = |TensorId(number): TensorId| {
        Mt19937::new(number.into()).randn(SHAPE.iter().product::<u32>() as usize)
    };
    let values = if id == TensorId::GUIDED {
        let both = noise(TensorId::NEGATIVE).into_iter().zip(noise(TensorId::POSITIVE));
        both.map(|(negative, positive)| negative + GUIDANCE * (positive - negative)).collect()
    } else {
        noise(id)
    };
    Numbers { shape: SHAPE.to_vec(), values }
}

/// The numbers that the point lets change.
fn changeable(tensors: &mut StepTensors, point: Point) -> anyhow::Result<Vec<Vec<f32>>> {
    let read = |id: &TensorId| match tensors.carry_out(TensorOp::Read(*id)).map_err(told)? {
        TensorAnswer::Values(values) => Ok(values),
        other => Err(anyhow!("the tensors answered {other:?}")),
    };
    point.changeable().iter().map(read).collect()
}

fn told(error: TensorError) -> anyhow::Error {
    let (TensorError::Invalid(text) | TensorError::Limit(text) | TensorError::Device(text)) = error;
    anyhow!(text)
}
