//! The web UI's dialect: what its own pages ask. Some clients follow a task by an id of their own with it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gesso_core::ids::TaskId;
use gesso_store::tasks::LIST_LIMIT;
use gesso_store::{TaskFilter, TaskState};
use serde_json::{Value, json};

use crate::accounts::Caller;
use crate::app::App;
use crate::http::error::WebUiFailure;
use crate::http::extract::WebUiObject;
use crate::http::task_view::preview;
use crate::tasks;

/// How far the task is that a request named by `force_task_id`, or that has this id here.
#[utoipa::path(post, path = "/internal/progress", tag = "web UI", request_body = Object,
    responses((status = 200, description = "active, queued, completed, progress, eta, live_preview (data URI), id_live_preview, textinfo")))]
pub(crate) async fn progress(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(body): WebUiObject,
) -> Result<Json<Value>, WebUiFailure> {
    let label = body.get("id_task").and_then(Value::as_str).unwrap_or_default();
    let seen = body.get("id_live_preview").and_then(Value::as_i64).unwrap_or(-1);
    let wants_preview = body.get("live_preview").and_then(Value::as_bool).unwrap_or(true);
    let id = app.labels.task(&caller.name, label).or_else(|| TaskId::parse(label).ok());
    let task = match id {
        Some(id) => tasks::get(&app, &caller, &id).await.ok(),
        None => None,
    };
    let state = task.as_ref().map(|task| task.state);
    let mut reply = json!({
        "active": state == Some(TaskState::Running),
        "queued": state == Some(TaskState::Waiting),
        "completed": state.is_some_and(TaskState::is_terminal),
        "progress": null,
        "eta": null,
        "live_preview": null,
        "id_live_preview": seen,
        "textinfo": null,
    });
    let Some(task) = task else { return Ok(Json(reply)) };
    match task.state {
        TaskState::Waiting => {
            let (place, all) = tasks::place(&app, &task).await?;
            reply["textinfo"] = format!("In queue: {place}/{all}").into();
        }
        TaskState::Running => {
            let Some(running) = app.running.get(&task.id) else { return Ok(Json(reply)) };
            let live = running.progress.as_ref().map(|progress| progress.borrow().clone());
            let step = live.as_ref().map_or(0, |live| i64::from(live.step));
            reply["progress"] = running.fraction().into();
            reply["eta"] = running.eta().as_secs_f64().into();
            if wants_preview
                && step != seen
                && let Some(picture) = preview(live.as_ref()).await?.as_str()
            {
                reply["live_preview"] = format!("data:image/png;base64,{picture}").into();
                reply["id_live_preview"] = step.into();
            }
        }
        _ => {}
    }
    Ok(Json(reply))
}

/// Tasks of the caller that wait, the oldest first.
#[utoipa::path(get, path = "/internal/pending-tasks", tag = "web UI", responses((status = 200, description = "size, tasks (ids)")))]
pub(crate) async fn pending_tasks(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Value>, WebUiFailure> {
    let filter = TaskFilter {
        state: Some(TaskState::Waiting),
        owner: caller.sees().map(str::to_owned),
        limit: LIST_LIMIT,
        ..TaskFilter::default()
    };
    let tasks: Vec<_> = app.tasks.list(filter).await?.tasks.into_iter().rev().collect();
    let ids: Vec<_> =
        tasks.iter().map(|task| app.labels.of(&task.id).unwrap_or_else(|| task.id.to_string())).collect();
    Ok(Json(json!({"size": ids.len(), "tasks": ids})))
}

/// Whether anybody is there.
#[utoipa::path(get, path = "/internal/ping", tag = "web UI", responses((status = 200, description = "{}")))]
pub(crate) async fn ping() -> Json<Value> {
    Json(json!({}))
}
