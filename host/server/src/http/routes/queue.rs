//! The queue as a whole: how full it is, and whether waiting tasks begin.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::http::error::Failure;

/// The queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queue {
    /// Whether it rests: what waits does not begin, until an operator resumes it.
    paused: bool,
    /// Tasks that wait, everybody's.
    waiting: u64,
    /// Tasks that run.
    running: u64,
}

/// How many tasks wait and run, and whether the queue rests.
#[utoipa::path(get, path = "/queue", tag = "tasks", responses((status = 200, description = "The queue", body = Queue)))]
pub(crate) async fn show(State(app): State<Arc<App>>) -> Result<Json<Queue>, Failure> {
    Ok(Json(queue(&app).await?))
}

/// No task begins any more, until the queue is resumed; what runs goes on, and what comes in waits. A restart changes nothing
/// about it.
#[utoipa::path(post, path = "/queue/pause", tag = "operators", responses((status = 200, description = "It rests", body = Queue)))]
pub(crate) async fn pause(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Queue>, Failure> {
    set(&app, &caller, true).await
}

/// What waits begins again.
#[utoipa::path(post, path = "/queue/resume", tag = "operators", responses((status = 200, description = "It goes on", body = Queue)))]
pub(crate) async fn resume(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Queue>, Failure> {
    set(&app, &caller, false).await
}

async fn set(app: &App, caller: &Caller, is_paused: bool) -> Result<Json<Queue>, Failure> {
    app.pause.set(is_paused).await?;
    tracing::info!(who = caller.name, is_paused, "the queue was paused or resumed");
    Ok(Json(queue(app).await?))
}

async fn queue(app: &App) -> Result<Queue, AppError> {
    let stats = app.tasks.stats().await?;
    Ok(Queue { paused: app.pause.is_on(), waiting: stats.waiting, running: stats.running })
}
