//! Hooks of a row at each point of its UNet call: which tensors they are given, and what their changes come to. Knows no
//! operation of theirs.

use gesso_core::step_hook::{Moment, Point, TensorId};
use gesso_engine::backend::{BackendError, Row};
use tch::{TchError, Tensor};

use crate::failure::device_error;
use crate::guidance::{self, Predicted};
use crate::pass::Sample;
use crate::step_tensors::StepTensors;

/// What a call says of the finished latent.
pub(crate) struct Estimates {
    pub(crate) guided: Tensor,
    pub(crate) negative: Tensor,
    /// Under the prompt alone, where a hook asks.
    positive: Option<Tensor>,
    /// How much of the two prompts' estimates is in the guided one.
    shares: (f64, f64),
}

impl Estimates {
    /// `c_skip * x + c_out * prediction`, of each prediction.
    pub(crate) fn new(row: &Row<'_, Sample>, predicted: &Predicted) -> Result<Self, TchError> {
        let (x, call) = (&row.sample.latents.x, row.call);
        let estimate = |out: &Tensor| x.f_mul_scalar(call.c_skip)?.f_add(&out.f_mul_scalar(call.c_out)?);
        Ok(Self {
            guided: estimate(&predicted.guided)?,
            negative: estimate(&predicted.unconditional)?,
            positive: predicted.positive.as_ref().map(estimate).transpose()?,
            shares: predicted.shares,
        })
    }

    fn get(&self, id: TensorId, row: &Row<'_, Sample>) -> Option<Tensor> {
        match id {
            TensorId::LATENT => Some(row.sample.latents.x.shallow_clone()),
            TensorId::POSITIVE => self.positive.as_ref().map(Tensor::shallow_clone),
            TensorId::NEGATIVE => Some(self.negative.shallow_clone()),
            TensorId::GUIDED => Some(self.guided.shallow_clone()),
            TensorId(_) => None,
        }
    }

    /// Guidance is linear in the two estimates, so that a change of theirs goes on into what it made of them.
    fn predicted(&mut self, positive: Tensor, negative: Tensor) -> Result<(), TchError> {
        let (of_positive, of_negative) = self.shares;
        if let Some(before) = &self.positive {
            let change = positive.f_sub(before)?.f_mul_scalar(of_positive)?;
            self.guided = self.guided.f_add(&change)?;
        }
        let change = negative.f_sub(&self.negative)?.f_mul_scalar(of_negative)?;
        self.guided = self.guided.f_add(&change)?;
        (self.positive, self.negative) = (Some(positive), negative);
        Ok(())
    }
}

/// Whether any hook of the row sees what its prompts predict at this call.
pub(crate) fn want_predictions(row: &Row<'_, Sample>) -> bool {
    [Point::Predicted, Point::Guided].into_iter().any(|point| {
        let moment = moment(row, point);
        row.hooks.iter().any(|hook| hook.wants(&moment))
    })
}

/// The hooks before the network.
pub(crate) fn before(row: &mut Row<'_, Sample>) -> Result<(), BackendError> {
    let moment = moment(row, Point::Latent);
    for hook in row.hooks.iter().filter(|hook| hook.wants(&moment)) {
        let given = [(TensorId::LATENT, row.sample.latents.x.shallow_clone())];
        let mut tensors = StepTensors::new(given, moment.point.changeable());
        if hook.run(&moment, &mut tensors).map_err(BackendError::StepHook)?
            && let Some(latent) = tensors.take(TensorId::LATENT)
        {
            row.sample.latents.x = latent;
        }
    }
    Ok(())
}

/// The hooks behind the network and behind guidance.
pub(crate) fn after(row: &Row<'_, Sample>, estimates: &mut Estimates) -> Result<(), BackendError> {
    for point in [Point::Predicted, Point::Guided] {
        let moment = moment(row, point);
        for hook in row.hooks.iter().filter(|hook| hook.wants(&moment)) {
            let given = point.tensors().iter().filter_map(|id| Some((*id, estimates.get(*id, row)?)));
            let mut tensors = StepTensors::new(given, point.changeable());
            if !hook.run(&moment, &mut tensors).map_err(BackendError::StepHook)? {
                continue;
            }
            let mut take = |id| tensors.take(id);
            if point == Point::Guided {
                estimates.guided = take(TensorId::GUIDED).unwrap_or(estimates.guided.shallow_clone());
            } else if let (Some(positive), Some(negative)) =
                (take(TensorId::POSITIVE), take(TensorId::NEGATIVE))
            {
                estimates.predicted(positive, negative).map_err(device_error)?;
            }
        }
    }
    Ok(())
}

fn moment(row: &Row<'_, Sample>, point: Point) -> Moment {
    let pass = &row.sample.pass;
    Moment {
        point,
        step: row.call.step,
        steps: pass.steps,
        call: row.calls_before.saturating_sub(row.sample.step_began),
        sigma: row.call.sigma,
        scale: row.call.scale(),
        timestep: row.call.timestep,
        guidance: guidance::scale(row.sample, row.call),
        picture: row.picture,
        seed: row.seed,
        is_second: row.is_second,
    }
}
