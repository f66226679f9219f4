//! Tasks as such: which there are, how one is, what is done about one, and events as they happen.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use gesso_store::{Clock, SystemClock, TaskFilter, TaskState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::error::{Failure, problem};
use crate::http::extract::{Parameters, TaskPath};
use crate::http::proxies::Base;
use crate::http::task_view::{self, preview};
use crate::http::wire::task::{Done, SentEvent, TaskList, TaskView};
use crate::png_file;
use crate::task_events::{self, EventKind, TaskEvent};
use crate::tasks;
use crate::upkeep;
use crate::webhooks::Secret;

const PAGE: usize = 50;
/// So that proxies do not take a quiet stream for a dead one.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Which tasks to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// waiting, running, succeeded, failed, canceled or expired; any when left out.
    #[param(pattern = "^(|waiting|running|succeeded|failed|canceled|expired)$")]
    state: Option<String>,
    /// Whose; for operators, whose own are everybody's.
    user: Option<String>,
    /// The file name of a checkpoint, as `GET /models` has it.
    model: Option<String>,
    /// 1 to 1000, 50 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before. Behind the oldest task the page is empty.
    cursor: Option<u64>,
}

/// The caller's tasks, newest first; operators see everybody's.
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(ListQuery),
    responses((status = 200, description = "A page of them", body = TaskList)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    base: Base,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<TaskList>, Failure> {
    let state = match query.state.as_deref().filter(|state| !state.is_empty()) {
        None => None,
        Some(name) => {
            let known = TaskState::ALL.into_iter().find(|state| state.as_str() == name);
            let names = || TaskState::ALL.map(TaskState::as_str).join(", ");
            Some(
                known
                    .ok_or_else(|| AppError::invalid("state", format!("state must be one of {}", names())))?,
            )
        }
    };
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=gesso_store::tasks::LIST_LIMIT).contains(&limit) {
        return Err(AppError::invalid("limit", "limit must be between 1 and 1000").into());
    }
    let owner = match (caller.sees(), query.user) {
        (None, user) => user,
        (Some(own), None) => Some(own.to_owned()),
        (Some(own), Some(user)) if user == own => Some(user),
        // Others' tasks are not told from those that are not there.
        (Some(_), Some(_)) => return Ok(Json(TaskList { tasks: Vec::new(), next: None })),
    };
    let states = state.into_iter().collect();
    let filter = TaskFilter { states, owner, model: query.model, after: query.cursor, limit };
    let page = app.tasks.list(filter).await?;
    let mut tasks = Vec::with_capacity(page.tasks.len());
    for task in &page.tasks {
        tasks.push(task_view::summary(&app, task, base.as_deref()).await?);
    }
    Ok(Json(TaskList { tasks, next: page.next }))
}

/// One task: its state, its place in the queue or its progress, and what became of it.
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, description = "The task", body = TaskView), (status = 404, description = "No such task")))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    base: Base,
    TaskPath(id): TaskPath,
) -> Result<Json<TaskView>, Failure> {
    let task = tasks::get(&app, &caller, &id).await?;
    Ok(Json(task_view::whole(&app, &task, base.as_deref()).await?))
}

/// Forgets a task that has ended, with its pictures.
#[utoipa::path(delete, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, description = "Removed", body = Done), (status = 404, description = "No such task"),
              (status = 409, description = "It has not ended; cancel it first")))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<Done>, Failure> {
    let task = tasks::get(&app, &caller, &id).await?;
    upkeep::forget(&app, &task).await?;
    Ok(Json(Done::SUCCESS))
}

/// Has a task that failed or expired run again, under its id.
#[utoipa::path(post, path = "/tasks/{id}/retry", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, description = "The task, waiting", body = TaskView), (status = 404, description = "No such task"),
              (status = 409, description = "It has neither failed nor expired"), (status = 410, description = "What it was asked for was deleted")))]
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    caller: Caller,
    base: Base,
    TaskPath(id): TaskPath,
) -> Result<Json<TaskView>, Failure> {
    let task = tasks::retry(&app, &caller, &id).await?;
    Ok(Json(task_view::whole(&app, &task, base.as_deref()).await?))
}

/// Keeps a task and its pictures, whatever the settings say of how long they are kept. Its owner may still remove it.
#[utoipa::path(put, path = "/tasks/{id}/pin", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, description = "The task, pinned", body = TaskView), (status = 404, description = "No such task"),
              (status = 410, description = "Its pictures were deleted already")))]
pub(crate) async fn pin(
    State(app): State<Arc<App>>,
    caller: Caller,
    base: Base,
    TaskPath(id): TaskPath,
) -> Result<Json<TaskView>, Failure> {
    let task = tasks::pin(&app, &caller, &id, true).await?;
    Ok(Json(task_view::whole(&app, &task, base.as_deref()).await?))
}

/// Keeps a task and its pictures no longer than the settings say.
#[utoipa::path(delete, path = "/tasks/{id}/pin", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, description = "The task, not pinned", body = TaskView), (status = 404, description = "No such task")))]
pub(crate) async fn unpin(
    State(app): State<Arc<App>>,
    caller: Caller,
    base: Base,
    TaskPath(id): TaskPath,
) -> Result<Json<TaskView>, Failure> {
    let task = tasks::pin(&app, &caller, &id, false).await?;
    Ok(Json(task_view::whole(&app, &task, base.as_deref()).await?))
}

/// What a listener wants to see.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Pictures of what is drawn so far: in SSE a data URI in the event, in WebSocket a PNG in a message of its own.
    previews: bool,
}

/// The events of a task, as Server-Sent Events: `task.status`, `task.progress` and at last `task.done`. A client that
/// comes back with `Last-Event-ID` is told from there on.
#[utoipa::path(get, path = "/tasks/{id}/events", tag = "tasks",
    params(("id" = String, Path), EventsQuery, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, description = "Events", body = SentEvent, content_type = "text/event-stream"), (status = 404, description = "No such task")))]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    base: Base,
    Parameters(query): Parameters<EventsQuery>,
    TaskPath(id): TaskPath,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let events = task_events::follow(app.clone(), &caller, &id, seen).await?;
    let base = Arc::new(base);
    let events = events.then(move |event| {
        let (app, base) = (app.clone(), base.clone());
        async move {
            let mut data = told(&app, &event, base.as_deref()).await;
            if query.previews
                && let Ok(Some(picture)) = preview(event.progress.as_ref()).await
            {
                data["preview"] = format!("data:image/png;base64,{picture}").into();
            }
            Ok(Event::default().id(event.id).event(event.kind.as_str()).data(data.to_string()))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// The same events as text messages of a WebSocket, `{"event", "id", "data"}`; previews are binary ones.
#[utoipa::path(get, path = "/tasks/{id}/ws", tag = "tasks", params(("id" = String, Path), EventsQuery),
    responses((status = 101, description = "Events"), (status = 404, description = "No such task"),
              (status = 426, description = "This is no WebSocket")))]
pub(crate) async fn websocket(
    State(app): State<Arc<App>>,
    caller: Caller,
    base: Base,
    Parameters(query): Parameters<EventsQuery>,
    TaskPath(id): TaskPath,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(no_upgrade) => {
            return Ok(problem(no_upgrade.status(), "invalid", &no_upgrade.body_text()));
        }
    };
    let events = task_events::follow(app.clone(), &caller, &id, None).await?;
    Ok(upgrade.on_upgrade(move |socket| speak(app, socket, events, base, query.previews)).into_response())
}

async fn speak(
    app: Arc<App>,
    mut socket: WebSocket,
    events: impl Stream<Item = TaskEvent>,
    base: Base,
    previews: bool,
) {
    let mut events = std::pin::pin!(events);
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        let message = tokio::select! {
            event = events.next() => match event {
                Some(event) => {
                    let data = told(&app, &event, base.as_deref()).await;
                    let text = json!({"event": event.kind.as_str(), "id": event.id, "data": data}).to_string();
                    let picture = event.progress.and_then(|progress| progress.preview).filter(|_| previews);
                    if !send(&mut socket, Message::Text(text.into())).await {
                        return;
                    }
                    let Some(picture) = picture else { continue };
                    // The blocking pool: compression.
                    let Ok(Ok(file)) = blocking(move || png_file::encode(&picture, "")).await else { continue };
                    Message::Binary(file.into())
                }
                None => {
                    send(&mut socket, Message::Close(None)).await;
                    return;
                }
            },
            // What the client says is not listened to; that it has gone is.
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = heartbeat.tick() => Message::Ping(Vec::new().into()),
        };
        if !send(&mut socket, message).await {
            return;
        }
    }
}

/// Whether the client took it; one that reads nothing is let go.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(tokio::time::timeout(HEARTBEAT, socket.send(message)).await, Ok(Ok(())))
}

/// The data of an event: where the task is, and at its end what became of it. What is known by heart, where the rest cannot
/// be told.
async fn told(app: &App, event: &TaskEvent, base: Option<&str>) -> Value {
    view(app, event, base).await.map_or_else(
        |error| {
            tracing::warn!(task = %event.task.id, %error, "an event could not be told in full");
            json!({"taskId": event.task.id.as_str(), "status": event.task.state.as_str()})
        },
        |view| json!(view),
    )
}

async fn view(app: &App, event: &TaskEvent, base: Option<&str>) -> Result<TaskView, AppError> {
    if event.kind == EventKind::Done {
        return task_view::ended(app, &event.task, base).await;
    }
    let mut view = task_view::summary(app, &event.task, base).await?;
    if let Some(progress) = &event.progress {
        view.progress = Some(progress.fraction().min(0.99));
        view.eta_relative = Some(progress.eta.unwrap_or_default().as_secs_f64());
        view.step = Some(progress.step);
        view.steps = Some(progress.steps);
    }
    Ok(view)
}

/// What the caller verifies the messages of webhooks with.
#[utoipa::path(get, path = "/webhooks/secret", tag = "tasks",
    responses((status = 200, description = "The secret", body = WebhookSecret)))]
pub(crate) async fn webhook_secret(State(app): State<Arc<App>>, caller: Caller) -> Json<WebhookSecret> {
    Json(WebhookSecret::of(&app, &caller))
}

/// Gives the caller another secret for webhooks. For a day messages are signed with the one before too, so that receivers have
/// time to take the new one; a second change ends that at once.
#[utoipa::path(post, path = "/webhooks/secret", tag = "tasks",
    responses((status = 200, description = "The new secret", body = WebhookSecret)))]
pub(crate) async fn change_webhook_secret(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<WebhookSecret>, Failure> {
    let (kept, owner) = (app.clone(), caller.name.clone());
    // The blocking pool: a file.
    let changed = blocking(move || kept.webhooks.change_secret(&owner, SystemClock.now_ms())).await?;
    changed.map_err(|error| AppError::Internal(format!("the secret cannot be written: {error}")))?;
    tracing::info!(owner = caller.name, "changed the secret of webhooks");
    Ok(Json(WebhookSecret::of(&app, &caller)))
}

/// The caller's secret for webhooks.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookSecret {
    /// `whsec_` and 32 bytes in base64, as Standard Webhooks has it.
    secret: String,
    /// Until when messages are signed with the secret before this one too, in Unix milliseconds; null where they are not.
    #[schema(required)]
    former_until_ms: Option<u64>,
}

impl WebhookSecret {
    fn of(app: &App, caller: &Caller) -> Self {
        let Secret { text, former_until_ms } = app.webhooks.secret(&caller.name, SystemClock.now_ms());
        Self { secret: text, former_until_ms }
    }
}
