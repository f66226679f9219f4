//! Step hooks of one drawing: those that its request names, each called on behalf of the device's thread, which serves the
//! guest's operations meanwhile. A hook that fails ends the drawing, or is left out of the rest of it, as the admin decided.
//! Knows no sampler.

use crate::call::{Failure, Work};
use crate::error::{FailureKind, HookError};
use crate::hooks::failed;
use crate::host::PluginHost;
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::{CallState, step_hook as wit};
use crate::load::Loaded;
use crate::manifest::Steps;
use crate::on_failure::HookWorld;
use crate::report::ActingPlugin;
use crate::settings::{CallContext, without_version};
use crate::step_port::{self, StepPort};
use crate::table::{Entry, Table};
use gesso_core::step_hook::{
    Moment, Point, StepHook, StepHookError, TensorAnswer, TensorError, TensorId, TensorOp, Tensors,
};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::Store;

/// How much longer than a call's budget the device's thread waits for it to end by itself.
const GRACE: Duration = Duration::from_millis(100);

/// As failures name it.
const HOOK: &str = "on-step";

/// One plugin's step hook in one drawing.
pub struct PluginStepHook {
    host: PluginHost,
    entry: Entry,
    steps: Steps,
    /// A JSON list.
    arguments: String,
    context: CallContext,
    /// Whether any call of it that ended well changed numbers that count.
    has_acted: AtomicBool,
    /// Why it is left out from now on.
    skipped: Mutex<Option<String>>,
}

impl fmt::Debug for PluginStepHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginStepHook").field("plugin", &self.entry.id).finish_non_exhaustive()
    }
}

/// Those that a request's `alwayson_scripts` name, in the admin's order.
pub(crate) fn of_request(
    host: &PluginHost,
    table: &Table,
    context: &CallContext,
    scripts: &Map<String, Value>,
) -> Result<Vec<Arc<PluginStepHook>>, String> {
    let mut hooks = Vec::new();
    for entry in table.serving(&context.whom).filter(|entry| !entry.is_off()) {
        let Some(manifest) = entry.counted_on() else { continue };
        let Some(steps) = &manifest.steps else { continue };
        let names = [Some(&entry.id), Some(&steps.title), manifest.title.as_ref()];
        let is_named = |name: &String| {
            let is = |own: &String| {
                own.eq_ignore_ascii_case(name) || own.eq_ignore_ascii_case(without_version(name))
            };
            names.iter().flatten().any(|own| is(own))
        };
        let Some((_, given)) = scripts.iter().find(|(name, _)| is_named(name)) else { continue };
        let settled = steps.settle(given.get("args").unwrap_or(&Value::Null))?;
        hooks.push(Arc::new(PluginStepHook {
            host: host.clone(),
            entry: entry.clone(),
            steps: steps.clone(),
            arguments: Value::from(settled).to_string(),
            context: context.clone(),
            has_acted: AtomicBool::new(false),
            skipped: Mutex::default(),
        }));
    }
    Ok(hooks)
}

impl PluginStepHook {
    /// What an infotext says of it: its title and its arguments; `None` where it changed nothing.
    pub fn field(&self) -> Option<(String, String)> {
        self.has_acted().then(|| (self.steps.title.clone(), self.arguments.clone()))
    }

    /// `None` where it changed nothing: it was left out from the first step on, or wrote no number.
    pub fn acted(&self) -> Option<ActingPlugin> {
        self.has_acted().then(|| ActingPlugin::of(&self.entry))
    }

    /// Why it was left out of the drawing, or of the rest of it.
    pub fn warning(&self) -> Option<String> {
        let reason = self.skipped()?;
        Some(format!("{} was left out: {reason}", self.steps.title))
    }

    fn has_acted(&self) -> bool {
        self.has_acted.load(Ordering::Relaxed)
    }

    fn skipped(&self) -> Option<String> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs the guest, and carries out on this thread what it asks for.
    fn call(&self, moment: &Moment, tensors: &mut dyn Tensors) -> Result<(), HookError> {
        let Some((loaded, _)) = self.entry.stepper() else { return Err(self.entry.not_loaded(HOOK)) };
        let budget = loaded.budgets.step.wall;
        let (port, service) = step_port::pair();
        // Of this call alone: a drawing that is cancelled ends before its next step anyway.
        let cancelled = Arc::new(AtomicBool::new(false));
        let context = CallContext { cancelled: cancelled.clone(), ..self.context.clone() };
        let (host, entry) = (self.host.clone(), self.entry.clone());
        let (arguments, moment) = (self.arguments.clone(), *moment);
        // Threads that no guest but step hooks runs on; this one serves it.
        self.host.0.runner.spawn_step(async move {
            let result = run_guest(&host, &entry, &context, (arguments, moment), port.clone()).await;
            port.end(result);
        });
        service.serve(tensors, budget + GRACE).unwrap_or_else(|| {
            cancelled.store(true, Ordering::Relaxed);
            Err(HookError::PluginFailed {
                plugin: self.entry.id.clone(),
                hook: HOOK,
                reason: FailureKind::WallClock,
                message: format!("it gave no result within {budget:?}"),
            })
        })
    }
}

impl StepHook for PluginStepHook {
    fn wants(&self, moment: &Moment) -> bool {
        self.steps.covers(moment.point, moment.step, moment.steps)
            && !self.entry.is_off()
            && self.skipped().is_none()
    }

    fn run(&self, moment: &Moment, tensors: &mut dyn Tensors) -> Result<bool, StepHookError> {
        let mut watched = Watched { tensors, changeable: moment.point.changeable(), is_changed: false };
        let error = match self.call(moment, &mut watched) {
            Ok(()) => {
                if watched.is_changed {
                    self.has_acted.store(true, Ordering::Relaxed);
                }
                return Ok(true);
            }
            Err(error @ HookError::Rejected { .. }) => {
                return Err(StepHookError::Rejected(error.to_string()));
            }
            Err(error) => error,
        };
        if !self.entry.is_skipped(HookWorld::Step) {
            return Err(StepHookError::Failed(error.to_string()));
        }
        tracing::warn!(plugin = self.entry.id, %error, "a failing step hook is left out of its drawing");
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        Ok(false)
    }
}

/// Sees whether numbers are changed that count; changes of the others are forgotten.
struct Watched<'a> {
    tensors: &'a mut dyn Tensors,
    changeable: &'static [TensorId],
    is_changed: bool,
}

impl Tensors for Watched<'_> {
    fn carry_out(&mut self, op: TensorOp) -> Result<TensorAnswer, TensorError> {
        let counts = op.changes().is_some_and(|id| self.changeable.contains(&id));
        let answer = self.tensors.carry_out(op)?;
        self.is_changed |= counts;
        Ok(answer)
    }

    fn are_finite(&mut self) -> Result<bool, TensorError> {
        self.tensors.are_finite()
    }
}

async fn run_guest(
    host: &PluginHost,
    entry: &Entry,
    context: &CallContext,
    (arguments, moment): (String, Moment),
    port: StepPort,
) -> Result<(), HookError> {
    let Some((loaded, pre)) = entry.stepper() else { return Err(entry.not_loaded(HOOK)) };
    let loaded: &Loaded = loaded;
    let pre = pre.clone();
    let work = move |mut store: Store<CallState>| -> Work<Result<(), String>> {
        Box::pin(async move {
            store.data_mut().step = Some(port.clone());
            let guest = pre.instantiate_async(&mut store).await?;
            let given = lend(&mut store, moment.point)?;
            match guest.call_on_step(&mut store, &arguments, told(&moment), given).await? {
                Ok(()) => {}
                Err(Fault::InvalidInput(reason)) => return Ok(Err(crate::log::tidy(&reason, 1024))),
                Err(fault) => return Err(failed(fault)),
            }
            match port.are_finite().await {
                Ok(Ok(true)) => Ok(Ok(())),
                Ok(Ok(false)) => {
                    let text = "it left numbers behind that are none: NaN or infinite".to_owned();
                    Err(Failure::Named(FailureKind::BadReturn, text))
                }
                Ok(Err(error)) => Err(Failure::Named(FailureKind::Host, format!("{error:?}"))),
                Err(step_port::TooLate) => Err(Failure::Cancelled),
            }
        })
    };
    let answer = host.0.runner.run_step(&entry.shared, loaded, context, work).await?;
    answer.map_err(|reason| HookError::Rejected { plugin: entry.id.clone(), reason })
}

/// Handles of the tensors that are there at a point.
fn lend(store: &mut Store<CallState>, point: Point) -> wasmtime::Result<wit::Given> {
    let mut lent =
        |id: TensorId| point.tensors().contains(&id).then(|| store.data_mut().lend_tensor(id)).transpose();
    Ok(wit::Given {
        latent: lent(TensorId::LATENT)?.ok_or_else(|| wasmtime::format_err!("every point has a latent"))?,
        positive: lent(TensorId::POSITIVE)?,
        negative: lent(TensorId::NEGATIVE)?,
        guided: lent(TensorId::GUIDED)?,
    })
}

fn told(moment: &Moment) -> wit::Moment {
    let Moment { point, step, steps, call, sigma, scale, timestep, guidance, picture, seed, is_second } =
        *moment;
    let point = match point {
        Point::Latent => wit::Point::Latent,
        Point::Predicted => wit::Point::Predicted,
        Point::Guided => wit::Point::Guided,
    };
    wit::Moment { point, step, steps, call, sigma, scale, timestep, guidance, picture, seed, is_second }
}
