//! What both dialects tell of a task under way and of a finished one. Knows the store's records and the engine's
//! progress, not the dialects' bodies around them.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::ids::TaskId;
use gesso_engine::{Phase, Progress};
use gesso_store::Task;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::generate;
use crate::png_file;

/// The web UI's `state` object for a job.
pub(crate) fn state(progress: Option<&Progress>) -> Value {
    let images = progress.map_or(0, |progress| progress.images_total);
    json!({
        "skipped": false,
        "interrupted": false,
        "stopping_generation": false,
        "job": if progress.is_some() { "txt2img" } else { "" },
        "job_count": images,
        "job_timestamp": "0",
        "job_no": progress.map_or(0, |progress| progress.images_done),
        "sampling_step": progress.map_or(0, |progress| progress.step),
        "sampling_steps": progress.map_or(0, |progress| progress.steps),
    })
}

/// The last preview as base64 PNG, or null.
pub(crate) async fn preview(progress: Option<&Progress>) -> Result<Value, AppError> {
    let Some(pixels) =
        progress.filter(|progress| progress.phase != Phase::Finished).and_then(|p| p.preview.clone())
    else {
        return Ok(Value::Null);
    };
    let png = blocking(move || png_file::encode(&pixels, "")).await?;
    Ok(png.map(|png| BASE64_STANDARD.encode(png)).map_or(Value::Null, Value::String))
}

/// What the worker stored beside the pictures.
pub(crate) async fn details(app: &App, task: &Task) -> Result<Map<String, Value>, AppError> {
    let key = task.outcome.as_ref().and_then(|outcome| outcome.details.as_ref());
    let key = key.ok_or_else(|| AppError::Internal("the task has no result".into()))?;
    let bytes = app.objects.get(key).await?;
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
            tokio::spawn(async move { generate::stop(&app, &id).await.map(drop).unwrap_or_default() });
        }
    }
}
