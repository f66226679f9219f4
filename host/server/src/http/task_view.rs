//! What both dialects tell of a task under way and of a finished one. Knows the store's records and the engine's
//! progress, not the dialects' bodies around them.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::ids::TaskId;
use gesso_engine::{Phase, Progress};
use gesso_store::{ObjectKey, ObjectsError, Task, TaskState};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::error::mistakes;
use crate::http::wire::task::{TaskPlugin, TaskView};
use crate::png_file;
use crate::tasks;
use crate::upkeep;

/// The last preview as base64 PNG.
pub(crate) async fn preview(progress: Option<&Progress>) -> Result<Option<String>, AppError> {
    let Some(pixels) =
        progress.filter(|progress| progress.phase != Phase::Finished).and_then(|p| p.preview.clone())
    else {
        return Ok(None);
    };
    // The blocking pool: compression.
    let png = blocking(move || png_file::encode(&pixels, "").map(|png| BASE64_STANDARD.encode(png))).await?;
    Ok(png.ok())
}

/// A task in a list: what can be told without asking anybody else.
pub(crate) async fn summary(app: &App, task: &Task, base: Option<&str>) -> Result<TaskView, AppError> {
    let error = task.outcome.as_ref().and_then(|outcome| outcome.error.as_ref());
    let is_stopping = task.cancel_requested && task.state == TaskState::Running;
    Ok(TaskView {
        task_id: task.id.to_string(),
        status: task.state.as_str(),
        phase: if is_stopping { "canceling" } else { phase(app, task) },
        kind: task.kind.clone(),
        model: task.terms.model.clone(),
        name: task.terms.name.clone(),
        user: task.owner.clone(),
        priority: task.priority,
        attempt: task.attempt,
        created_ms: task.created_ms,
        started_ms: task.started_ms,
        finished_ms: task.finished_ms,
        start_by_ms: task.terms.start_by_ms,
        expires_ms: upkeep::forgotten_ms(app, task),
        result_expires_ms: upkeep::files_deleted_ms(app, task),
        pinned: task.pinned,
        code: error.map(|error| error.code.clone()),
        message: error.map(|error| error.message.clone()),
        errors: error.and_then(|error| mistakes(&AppError::of_task(error))),
        images: images(task),
        oss_url: signed_urls(app, task, base).await?,
        progress: None,
        eta_relative: None,
        position: None,
        waiting: None,
        step: None,
        steps: None,
        preview: None,
        seeds: None,
        infotexts: None,
        warnings: None,
        plugins: None,
    })
}

/// One task: its place in the queue while it waits, its progress while it runs, its result when it has one.
pub(crate) async fn whole(app: &App, task: &Task, base: Option<&str>) -> Result<TaskView, AppError> {
    if task.state.is_terminal() {
        return ended(app, task, base).await;
    }
    let mut view = summary(app, task, base).await?;
    let Standing { progress, eta, position, waiting } = standing(app, task).await?;
    view.progress = Some(progress);
    view.eta_relative = Some(eta);
    if task.state == TaskState::Waiting {
        view.position = Some(position);
        view.waiting = Some(waiting);
    }
    Ok(view)
}

/// Where a task is.
pub(crate) struct Standing {
    /// Share done, 0 to 1.
    pub(crate) progress: f64,
    /// Seconds to the end.
    pub(crate) eta: f64,
    /// The place in the queue, from 1; 0 for a task that does not wait.
    pub(crate) position: u64,
    /// How many wait, where it does.
    pub(crate) waiting: u64,
}

/// Where a task is, in any state.
pub(crate) async fn standing(app: &App, task: &Task) -> Result<Standing, AppError> {
    let (progress, eta) = match task.state {
        TaskState::Waiting => {
            let (position, waiting) = tasks::place(app, task).await?;
            let eta = app.running.wait_estimate(position, app.settings.concurrent_tasks).as_secs_f64();
            return Ok(Standing { progress: 0.0, eta, position, waiting });
        }
        TaskState::Running => {
            let running = app.running.get(&task.id);
            running.map_or((0.0, 0.0), |running| (running.fraction(), running.eta().as_secs_f64()))
        }
        // The contract reports all ends alike as 1.
        _ => (1.0, 0.0),
    };
    Ok(Standing { progress, eta, position: 0, waiting: 0 })
}

/// A task that has ended, with the seeds and texts of its pictures.
pub(crate) async fn ended(app: &App, task: &Task, base: Option<&str>) -> Result<TaskView, AppError> {
    let mut view = summary(app, task, base).await?;
    view.progress = Some(1.0);
    if task.state == TaskState::Succeeded {
        let details = match details(app, task).await {
            // The rest of it is still to be told.
            Err(AppError::Gone(_)) => return Ok(view),
            details => details?,
        };
        let info = details.get("info");
        view.seeds = Some(info.and_then(|info| info.get("all_seeds")).cloned().unwrap_or_default());
        view.infotexts = Some(info.and_then(|info| info.get("infotexts")).cloned().unwrap_or_default());
        view.warnings = Some(details.get("warnings").cloned().unwrap_or_else(|| json!([])));
        view.plugins = Some(TaskPlugin::of_details(&details));
    }
    Ok(view)
}

fn phase(app: &App, task: &Task) -> &'static str {
    if task.state != TaskState::Running {
        return task.state.as_str();
    }
    let running = app.running.get(&task.id);
    let phase = running.and_then(|running| Some(running.progress.as_ref()?.borrow().phase));
    match phase {
        None => "plugins",
        Some(Phase::Queued) => "queued",
        Some(Phase::Preparing) => "loading_model",
        Some(Phase::Sampling) => "sampling",
        Some(Phase::Finished) => "saving",
    }
}

/// The paths of a task's pictures.
pub(crate) fn images(task: &Task) -> Vec<String> {
    pictures(task).map(ToString::to_string).collect()
}

fn pictures(task: &Task) -> impl Iterator<Item = &ObjectKey> {
    let kept = task.outcome.as_ref().filter(|_| !task.files_gone);
    kept.into_iter().flat_map(|outcome| &outcome.images)
}

/// URLs that show a task's pictures to whoever holds them, for a while.
pub(crate) async fn signed_urls(app: &App, task: &Task, base: Option<&str>) -> Result<Vec<String>, AppError> {
    let mut urls = Vec::new();
    for key in pictures(task) {
        urls.push(app.signed_url(key, base).await?);
    }
    Ok(urls)
}

/// Whether a task has lost its pictures and what belongs to them; one that has none has lost nothing.
pub(crate) fn has_lost_result(task: &Task) -> bool {
    task.files_gone && task.state == TaskState::Succeeded
}

/// What whoever asks for them is told.
pub(crate) fn result_gone() -> AppError {
    AppError::Gone(
        "the task's pictures and result were deleted; send its request again to have it drawn anew".into(),
    )
}

/// What the worker stored beside the pictures.
///
/// # Errors
/// `Gone` where it was deleted.
pub(crate) async fn details(app: &App, task: &Task) -> Result<Map<String, Value>, AppError> {
    if has_lost_result(task) {
        return Err(result_gone());
    }
    let key = task.outcome.as_ref().and_then(|outcome| outcome.details.as_ref());
    let key = key.ok_or_else(|| AppError::Internal("the task has no result".into()))?;
    let bytes = app.objects.get(key).await.map_err(|error| match error {
        ObjectsError::NotFound(_) => result_gone(),
        other => other.into(),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| AppError::Internal(format!("the task's result is damaged: {error}")))
}

/// Cancels a sync task when its handler is dropped because the client went away.
pub(crate) struct CancelOnDrop<'a> {
    app: &'a Arc<App>,
    id: Option<TaskId>,
}

impl<'a> CancelOnDrop<'a> {
    pub(crate) fn new(app: &'a Arc<App>, id: &TaskId, keep: bool) -> Self {
        Self { app, id: (!keep).then(|| id.clone()) }
    }

    /// The handler got its answer.
    pub(crate) fn disarm(mut self) {
        self.id = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            tracing::info!(task = %id, "the client went away; cancelling its task");
            let app = self.app.clone();
            // A tokio worker: one call to the store.
            tokio::spawn(async move { tasks::stop(&app, &id).await.map(drop).unwrap_or_default() });
        }
    }
}
