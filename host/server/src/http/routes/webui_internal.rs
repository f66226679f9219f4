//! The web UI's dialect: what its own pages ask. Some clients follow a task by an id of their own with it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gesso_core::ids::TaskId;
use gesso_store::tasks::LIST_LIMIT;
use gesso_store::{TaskFilter, TaskState};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::http::error::WebUiFailure;
use crate::http::extract::WebUiObject;
use crate::http::task_view::preview;
use crate::http::wire::fields::{self, Field, FieldProblem, Kind};
use crate::http::wire::nothing::Empty;
use crate::tasks;

/// How far a task is, as the web UI's own pages are told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageProgress {
    /// Whether it runs.
    active: bool,
    /// Whether it waits.
    queued: bool,
    /// Whether it has ended. All three are false of a task that nobody knows.
    completed: bool,
    /// Share done, 0 to 1; null unless it runs.
    #[schema(required)]
    progress: Option<f64>,
    /// Seconds to the end; null unless it runs.
    #[schema(required)]
    eta: Option<f64>,
    /// A small PNG as a data URI; null where there is none that is newer than `id_live_preview` of the request.
    #[schema(required)]
    live_preview: Option<String>,
    /// The sampler's step of `live_preview`; without one, what the request said, and -1 unless it runs.
    id_live_preview: i64,
    /// Its place in the queue, in words, where it waits; `Waiting...` of one that has ended or that nobody knows, null while it
    /// runs.
    #[schema(required)]
    textinfo: Option<String>,
}

const FIELDS: &[Field] = &[
    Field { name: "id_task", kind: Kind::Text(""), doc: "The name in `force_task_id`, or the task's id." },
    Field { name: "id_live_preview", kind: Kind::Integer(-1), doc: "The step of the preview that is there." },
    Field { name: "live_preview", kind: Kind::Boolean(true), doc: "Whether a newer one is wanted." },
];

/// What a page asks.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    label: String,
    /// The step of the preview that it has.
    seen: i64,
    wants_preview: bool,
}

impl Asked {
    fn read(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let body = fields::read(body, FIELDS)?;
        Ok(Self {
            label: body["id_task"].as_str().unwrap_or_default().to_owned(),
            seen: body["id_live_preview"].as_i64().unwrap_or(-1),
            wants_preview: body["live_preview"].as_bool().unwrap_or(true),
        })
    }
}

/// How far the task is that a request named by `force_task_id`, or that has this id here.
#[utoipa::path(post, path = "/internal/progress", tag = "web UI", request_body = Object,
    responses((status = 200, description = "How far it is", body = PageProgress),
              (status = 422, description = "A field of another type")))]
pub(crate) async fn progress(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(body): WebUiObject,
) -> Result<Json<PageProgress>, WebUiFailure> {
    let Asked { label, seen, wants_preview } = Asked::read(&body).map_err(AppError::Invalid)?;
    let id = app.labels.task(&caller.name, &label).or_else(|| TaskId::parse(&label).ok());
    let task = match id {
        Some(id) => tasks::get(&app, &caller, &id).await.ok(),
        None => None,
    };
    let state = task.as_ref().map(|task| task.state);
    let mut reply = PageProgress {
        active: state == Some(TaskState::Running),
        queued: state == Some(TaskState::Waiting),
        completed: state.is_some_and(TaskState::is_terminal),
        progress: None,
        eta: None,
        live_preview: None,
        id_live_preview: -1,
        textinfo: Some("Waiting...".into()),
    };
    let Some(task) = task else { return Ok(Json(reply)) };
    match task.state {
        TaskState::Waiting => {
            let (place, all) = tasks::place(&app, &task).await?;
            reply.textinfo = Some(format!("In queue: {place}/{all}"));
        }
        TaskState::Running => {
            (reply.id_live_preview, reply.textinfo) = (seen, None);
            let Some(running) = app.running.get(&task.id) else { return Ok(Json(reply)) };
            let live = running.live();
            let step = live.as_ref().map_or(0, |live| i64::from(live.step));
            reply.progress = Some(running.fraction());
            reply.eta = Some(running.eta().as_secs_f64());
            if wants_preview
                && step != seen
                && let Some(picture) = preview(live.as_ref()).await?
            {
                reply.live_preview = Some(format!("data:image/png;base64,{picture}"));
                reply.id_live_preview = step;
            }
        }
        _ => {}
    }
    Ok(Json(reply))
}

/// Tasks that wait.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PendingTasks {
    /// How many `tasks` are.
    size: usize,
    /// The ids that requests named by `force_task_id`, else those that tasks have here.
    tasks: Vec<String>,
}

/// Tasks of the caller that wait, the oldest first.
#[utoipa::path(get, path = "/internal/pending-tasks", tag = "web UI",
    responses((status = 200, description = "The oldest first", body = PendingTasks)))]
pub(crate) async fn pending_tasks(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<PendingTasks>, WebUiFailure> {
    let filter = TaskFilter {
        states: vec![TaskState::Waiting],
        owner: caller.sees().map(str::to_owned),
        limit: LIST_LIMIT,
        ..TaskFilter::default()
    };
    let tasks: Vec<_> = app.tasks.list(filter).await?.tasks.into_iter().rev().collect();
    let ids: Vec<_> =
        tasks.iter().map(|task| app.labels.of(&task.id).unwrap_or_else(|| task.id.to_string())).collect();
    Ok(Json(PendingTasks { size: ids.len(), tasks: ids }))
}

/// Whether anybody is there.
#[utoipa::path(get, path = "/internal/ping", tag = "web UI",
    responses((status = 200, description = "Somebody is", body = Empty)))]
pub(crate) async fn ping() -> Json<Empty> {
    Json(Empty {})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_may_write_numbers_and_words_as_text() {
        let read = |body: Value| Asked::read(body.as_object().unwrap());
        let asked = read(json!({"id_task": "a", "id_live_preview": "3", "live_preview": "false"})).unwrap();
        assert_eq!(asked, Asked { label: "a".into(), seen: 3, wants_preview: false });
        let asked = read(json!({"id_live_preview": null})).unwrap();
        assert_eq!(asked, Asked { label: String::new(), seen: -1, wants_preview: true });
        assert_eq!(read(json!({"live_preview": "perhaps", "id_live_preview": []})).unwrap_err().len(), 2);
    }
}
