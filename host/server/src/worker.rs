//! Draws tasks: leases one, runs the plugins' hooks around the engine, stores the pictures, and only then reports.
//!
//! A crash at any point leaves at worst an orphan object: the record says `succeeded` only after every picture is
//! in the object store, under a key that names the attempt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gesso_core::infotext;
use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_engine::{CancelFlag, JobError, JobSpec, SubmitError};
use gesso_plugin_host::CallContext;
use gesso_store::{ImageFormat, Lease, ObjectKey, Outcome, Payload, TaskError, TaskState, TaskStoreError};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::app::{App, VERSION};
use crate::blocking::blocking;
use crate::catalogue::Checkpoint;
use crate::error::AppError;
use crate::http::wire::{fields, info, txt2img};
use crate::png_file;
use crate::running::RunningGuard;

/// A lease outlives three missed heartbeats.
const LEASE: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A task that met shortages that often fails with the last one's reason.
const ATTEMPTS_MAX: u32 = 5;
/// How often to look for tasks when no change was announced, such as after another process's lease ran out.
const IDLE_POLL: Duration = Duration::from_secs(5);

/// Leases and draws until the server drains, then waits for what runs.
pub(crate) async fn run(app: Arc<App>) {
    let slots = Arc::new(Semaphore::new(app.settings.concurrent_tasks));
    let mut changes = app.tasks.subscribe();
    let mut draining = app.draining.clone();
    let mut drawing = tokio::task::JoinSet::new();
    while !app.is_draining() {
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        if app.is_draining() {
            break;
        }
        match app.tasks.lease("local", LEASE).await {
            Ok(Some(lease)) => {
                let app = app.clone();
                // A tokio worker: this task only waits; the work is on the device thread and in the pools.
                drawing.spawn(async move {
                    draw(&app, lease).await;
                    drop(slot);
                });
            }
            Ok(None) => {
                drop(slot);
                tokio::select! {
                    _ = changes.recv() => {}
                    _ = draining.changed() => {}
                    () = tokio::time::sleep(IDLE_POLL) => {}
                }
            }
            Err(error) => {
                drop(slot);
                tracing::error!(%error, "no task could be leased; trying again in a moment");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        while drawing.try_join_next().is_some() {}
    }
    while drawing.join_next().await.is_some() {}
}

/// One task from its lease to its terminal state.
async fn draw(app: &App, lease: Lease) {
    let id = lease.task.id.clone();
    let cancel = CancelFlag::default();
    let running = app.running.enter(id.clone(), cancel.clone());
    let started = Instant::now();
    // A cancel between the lease and the line above found no flag to raise.
    if app.tasks.get(&id).await.is_ok_and(|task| task.is_some_and(|task| task.cancel_requested)) {
        cancel.cancel();
    }
    let mut stopping = app.stopping.clone();
    let result = tokio::select! {
        biased;
        () = async { drop(stopping.wait_for(|stop| *stop).await) } => Err(Failure::Stopped),
        result = draw_pictures(app, &lease, &running, &cancel) => result,
        fenced = keep_lease(app, &lease, &cancel) => Err(fenced),
    };
    let (state, outcome) = match result {
        Ok(outcome) => (TaskState::Succeeded, outcome),
        Err(Failure::Fenced) => {
            tracing::warn!(task = %id, attempt = lease.attempt, "another attempt owns the task; result dropped");
            return;
        }
        Err(Failure::Stopped) => return hand_back(app, &lease).await,
        // A passing shortage is no reason to lose an acknowledged task.
        Err(Failure::App(AppError::Overloaded(_) | AppError::Unavailable(_)))
            if lease.attempt < ATTEMPTS_MAX =>
        {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return hand_back(app, &lease).await;
        }
        Err(Failure::App(AppError::Cancelled)) => (TaskState::Canceled, Outcome::default()),
        Err(Failure::App(error)) => {
            tracing::warn!(task = %id, code = error.code(), %error, "task failed");
            let error = TaskError { code: error.code().into(), message: error.to_string() };
            (TaskState::Failed, Outcome { error: Some(error), ..Outcome::default() })
        }
    };
    match app.tasks.finish(&lease, state, outcome).await {
        Ok(_) => tracing::info!(task = %id, ?state, seconds = started.elapsed().as_secs_f64(), "task ended"),
        Err(error) => {
            tracing::error!(task = %id, %error, "the end of a task could not be stored; it will run again")
        }
    }
    metrics::counter!("gesso_tasks_ended_total", "state" => state.as_str()).increment(1);
    metrics::histogram!("gesso_task_seconds").record(started.elapsed().as_secs_f64());
}

/// Why a task has no pictures.
enum Failure {
    App(AppError),
    /// The lease was lost to a newer attempt.
    Fenced,
    /// The server ends before the task.
    Stopped,
}

impl<E: Into<AppError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::App(error.into())
    }
}

/// The task waits again; the attempt does not count as lost.
async fn hand_back(app: &App, lease: &Lease) {
    match app.tasks.release(lease).await {
        Ok(_) => tracing::info!(task = %lease.task.id, "task handed back; it runs again"),
        Err(error) => {
            tracing::warn!(task = %lease.task.id, %error, "task not handed back; its lease will run out")
        }
    }
}

/// Extends the lease and passes on cancel requests; returns only when the lease is lost.
async fn keep_lease(app: &App, lease: &Lease, cancel: &CancelFlag) -> Failure {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        match app.tasks.extend(lease, LEASE).await {
            Ok(task) if task.cancel_requested => cancel.cancel(),
            Ok(_) => {}
            Err(TaskStoreError::Fenced) => {
                cancel.cancel();
                return Failure::Fenced;
            }
            Err(error) => tracing::warn!(task = %lease.task.id, %error, "the lease could not be extended"),
        }
    }
}

async fn draw_pictures(
    app: &App,
    lease: &Lease,
    running: &RunningGuard<'_>,
    cancel: &CancelFlag,
) -> Result<Outcome, Failure> {
    let body = payload(app, &lease.task.payload).await?;
    let seed = body.get("seed").and_then(Value::as_u64).unwrap_or_default();
    let call = CallContext { request_id: lease.task.id.to_string(), seed, cancelled: cancel.shared() };
    let before = app.plugins.before(&call, body.to_string()).await?;
    let body = if before.applied.is_empty() { body } else { reread(&before.params, &body)? };
    let fields =
        body.as_object().ok_or_else(|| AppError::Internal("a stored request is not an object".into()))?;
    let request = txt2img::to_request(fields, &app.defaults, &app.limits).map_err(AppError::Invalid)?;
    let (catalogue, name) = (app.catalogue.clone(), request.model.clone());
    let checkpoint = blocking(move || catalogue.find(name.as_deref())).await??;

    let spec = JobSpec {
        model: checkpoint.file.clone(),
        request: request.clone(),
        priority: lease.task.priority,
        cancel: cancel.clone(),
    };
    let began = Instant::now();
    let job = app.engine.submit(spec).map_err(engine_refused)?;
    running.show(job.progress());
    let pictures = job.finish().await.map_err(engine_failed)?;
    let seconds = began.elapsed().as_secs_f64();
    let pictures = app.plugins.after(&call, &before.params, pictures).await?;
    if cancel.is_cancelled() {
        return Err(AppError::Cancelled.into());
    }
    Ok(store(app, lease, body, &request, &checkpoint, pictures, seconds).await?)
}

/// Writes the pictures, then the details, and names them.
async fn store(
    app: &App,
    lease: &Lease,
    body: Value,
    request: &GenerateRequest,
    checkpoint: &Checkpoint,
    pictures: Vec<Pixels>,
    seconds: f64,
) -> Result<Outcome, AppError> {
    let infotexts: Vec<String> = (0..request.image_count())
        .map(|image| {
            infotext::of(
                request,
                image,
                &checkpoint.file.name,
                checkpoint.short_hash(),
                (&request.prompt, &request.negative_prompt),
                VERSION,
            )
        })
        .collect();
    let mut images = Vec::new();
    for (index, picture) in pictures.into_iter().enumerate() {
        // A plugin may have added pictures; those carry no infotext.
        let infotext = infotexts.get(index).cloned().unwrap_or_default();
        let bytes = blocking(move || png_file::encode(&picture, &infotext))
            .await?
            .map_err(|error| AppError::Internal(format!("a picture could not be encoded: {error}")))?;
        let key = ObjectKey::image(
            &lease.task.owner,
            &lease.task.id,
            lease.attempt,
            index as u32 + 1,
            ImageFormat::Png,
        )
        .map_err(|error| AppError::Internal(error.to_string()))?;
        app.objects.put(&key, bytes.into()).await?;
        images.push(key);
    }
    let drawn = info::Drawn {
        request,
        model_name: &checkpoint.file.name,
        model_hash: checkpoint.short_hash(),
        infotexts: &infotexts,
        job_timestamp: &timestamp(lease.task.started_ms.unwrap_or(lease.task.created_ms)),
        version: VERSION,
    };
    let steps = f64::from(request.steps * request.image_count());
    let details = json!({
        "parameters": body,
        "info": info::info(&drawn),
        "stepsPerSecond": steps / seconds,
    });
    let key = ObjectKey::details(&lease.task.id, lease.attempt);
    app.objects.put(&key, details.to_string().into_bytes().into()).await?;
    Ok(Outcome { images, details: Some(key), error: None })
}

async fn payload(app: &App, payload: &Payload) -> Result<Value, AppError> {
    let text = match payload {
        Payload::Inline(text) => text.clone().into_bytes(),
        Payload::Object(key) => app.objects.get(key).await?.to_vec(),
    };
    serde_json::from_slice(&text)
        .map_err(|error| AppError::Internal(format!("a stored request is damaged: {error}")))
}

/// What a plugin made of the request goes through the same reading as what a client sent.
///
/// Seeds it took away are the request's again: a stored request draws the same picture every time.
fn reread(params: &str, original: &Value) -> Result<Value, AppError> {
    let changed: Map<String, Value> = serde_json::from_str(params).map_err(|error| {
        AppError::PluginFailed(format!("a plugin replaced the request by something else: {error}"))
    })?;
    let mut changed = fields::read(&changed, txt2img::FIELDS).map_err(AppError::Invalid)?;
    for name in ["seed", "subseed"] {
        if changed.get(name).and_then(Value::as_i64).is_none_or(|seed| seed < 0) {
            changed.insert(name.into(), original[name].clone());
        }
    }
    Ok(Value::Object(changed))
}

fn engine_refused(error: SubmitError) -> AppError {
    match error {
        SubmitError::Overloaded { .. } => AppError::Overloaded(error.to_string()),
        SubmitError::ShutDown => AppError::Unavailable(error.to_string()),
    }
}

fn engine_failed(error: JobError) -> AppError {
    match error {
        JobError::Cancelled => AppError::Cancelled,
        JobError::ShutDown => AppError::Unavailable(error.to_string()),
        JobError::Backend(_) | JobError::Panicked(_) => AppError::Internal(error.to_string()),
    }
}

/// `YYYYMMDDhhmmss`, UTC.
fn timestamp(unix_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms as i64)
        .map(|time| time.strftime("%Y%m%d%H%M%S").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_takes_the_seeds_away_gets_the_requests_own_back() {
        let original = json!({"seed": 7, "subseed": 8});
        for params in [r#"{"prompt": "x", "seed": -1, "subseed": ""}"#, "{}"] {
            let changed = reread(params, &original).unwrap();
            assert_eq!((&changed["seed"], &changed["subseed"]), (&json!(7), &json!(8)), "{params}");
        }
        assert_eq!(reread(r#"{"seed": 9}"#, &original).unwrap()["seed"], 9);
        assert!(reread("[]", &original).is_err());
    }
}
