//! The web UI's queue extension, agent-scheduler: another look at tasks, which every drawing is here anyway. Its files of tasks
//! are in `agent_scheduler_files.rs`.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use gesso_core::ids::TaskId;
use gesso_core::sampler::Sampler;
use gesso_store::tasks::TERM_LIMIT;
use gesso_store::{EndedFilter, MoveTo, Task, TaskState};
use serde_json::{Map, Value};

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::{base64_of, blocking};
use crate::error::AppError;
use crate::generate::{self, Reply};
use crate::http::error::{Failure, WebUiFailure};
use crate::http::extract::{TaskPath, TaskPathAnd, WebUiObject, WebUiParameters};
use crate::http::routes::queue;
use crate::http::task_view;
use crate::http::wire::agent_scheduler::{
    HistoryPart, HistoryQuery, OnePlace, OneQueued, Pictures, Place, QueueDone, QueuePart, QueueQuery,
    QueuedId, QueuedPicture, QueuedTask, RenameQuery, TaskUpdate, ended, status, take_own, task_name,
};
use crate::http::wire::generate::{Drawing, cut_sides};
use crate::http::wire::query::{FromQuery, Said};
use crate::http::wire::schema::{Img2ImgBody, Txt2ImgBody};
use crate::http::wire::terms::{RequestTerms, Wait};
use crate::task_pages::TaskPages;
use crate::tasks;
use crate::upkeep;

/// As the extension has it.
const PAGE: usize = 20;
const OVERRIDES: &str = "override_settings";
/// Of ended tasks, each of which is read from the object store.
const HISTORY_PAGE_MAX: usize = 100;

/// Makes a task of a drawing, as `/sdapi/v1/txt2img` with `checkpoint`, `vae` and `callback_url` beside its fields. The URL
/// is told as `Task-Webhook` has it.
#[utoipa::path(post, path = "/agent-scheduler/v1/queue/txt2img", tag = "agent-scheduler", request_body = Txt2ImgBody,
    responses((status = 200, description = "The task", body = QueuedId), (status = 404, description = "No such checkpoint"),
              (status = 422, description = "Every problem of the body")))]
pub(crate) async fn queue_txt2img(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    WebUiObject(body): WebUiObject,
) -> Result<Json<QueuedId>, WebUiFailure> {
    submit(&app, &caller, &headers, Drawing::Txt2Img, body).await
}

/// The same, as `/sdapi/v1/img2img`.
#[utoipa::path(post, path = "/agent-scheduler/v1/queue/img2img", tag = "agent-scheduler", request_body = Img2ImgBody,
    responses((status = 200, description = "The task", body = QueuedId),
              (status = 404, description = "init_images is missing, or no such checkpoint"),
              (status = 422, description = "Every problem of the body")))]
pub(crate) async fn queue_img2img(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    WebUiObject(body): WebUiObject,
) -> Result<Json<QueuedId>, WebUiFailure> {
    submit(&app, &caller, &headers, Drawing::Img2Img, body).await
}

async fn submit(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    drawing: Drawing,
    mut body: Map<String, Value>,
) -> Result<Json<QueuedId>, WebUiFailure> {
    let mut terms = terms_of(headers)?;
    if let Some(url) = ready(app, drawing, &mut body)? {
        terms.webhook = Some(url);
    }
    let submitted = generate::submit(app, caller, drawing, &body, &terms, Reply::Task).await?;
    Ok(Json(QueuedId { task_id: submitted.task.id.to_string() }))
}

/// What the headers say of a task that outlives the request, which is answered before its end.
pub(super) fn terms_of(headers: &HeaderMap) -> Result<RequestTerms, AppError> {
    let terms = RequestTerms::of(headers).map_err(AppError::Invalid)?;
    Ok(RequestTerms { wait: Wait::Nothing { accepted: false }, ..terms })
}

/// Makes a body of the extension one of the web UI's, and tells the URL that is told of the end.
pub(super) fn ready(
    app: &App,
    drawing: Drawing,
    body: &mut Map<String, Value>,
) -> Result<Option<String>, AppError> {
    if drawing == Drawing::Img2Img && body.get("init_images").is_none_or(Value::is_null) {
        return Err(AppError::NotFound("Init image not found".into()));
    }
    cut_sides(body);
    let url = take_own(body).map_err(AppError::Invalid)?;
    // Said here, where the client knows it by this name.
    if let Some(url) = &url
        && (url.len() > TERM_LIMIT || !app.webhooks.allows(url))
    {
        let message = format!("callback_url: {url:.200} is no address that webhook_hosts allows");
        return Err(AppError::invalid("callback_url", message));
    }
    Ok(url)
}

/// The caller's tasks that have not ended, in the order in which they are drawn.
#[utoipa::path(get, path = "/agent-scheduler/v1/queue", tag = "agent-scheduler", params(QueueQuery),
    responses((status = 200, description = "A part of the queue", body = QueuePart)))]
pub(crate) async fn pending(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiParameters(query): WebUiParameters<QueueQuery>,
) -> Result<Json<QueuePart>, WebUiFailure> {
    let mut waiting = waiting(&app, caller.sees()).await?;
    let running = TaskPages::of(caller.sees(), &[TaskState::Running]).all(&app).await?;
    // One that began between the two looks runs.
    waiting.retain(|task| running.iter().all(|one| one.id != task.id));
    let current_task_id = running.last().map(|task| task.id.to_string());
    let total_pending_tasks = running.len() + waiting.len();
    let queue = running.iter().rev().chain(&waiting);
    let mut pending_tasks = Vec::new();
    for task in queue.skip(query.offset.unwrap_or_default()).take(query.limit.unwrap_or(PAGE)) {
        // A place counts the tasks of others too; one that began meanwhile has none before it.
        let place = match task.state {
            TaskState::Waiting => app.tasks.ahead(&task.id).await?.map_or(0, |ahead| ahead + 1),
            _ => 0,
        };
        pending_tasks.push(QueuedTask::listed(task, Some(place), None));
    }
    Ok(Json(QueuePart { current_task_id, pending_tasks, total_pending_tasks, paused: app.pause.is_on() }))
}

/// One owner's tasks that wait, or everybody's, in the order in which they begin.
pub(super) async fn waiting(app: &App, owner: Option<&str>) -> Result<Vec<Task>, AppError> {
    let mut waiting = TaskPages::of(owner, &[TaskState::Waiting]).all(app).await?;
    waiting.sort_by_key(|task| (Reverse(task.priority), task.place));
    Ok(waiting)
}

/// The caller's tasks that have ended, newest first.
#[utoipa::path(get, path = "/agent-scheduler/v1/history", tag = "agent-scheduler", params(HistoryQuery),
    responses((status = 200, description = "A part of the history", body = HistoryPart)))]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiParameters(query): WebUiParameters<HistoryQuery>,
) -> Result<Json<HistoryPart>, WebUiFailure> {
    let offset = query.offset.unwrap_or_default();
    let limit = query.limit.unwrap_or(PAGE).min(HISTORY_PAGE_MAX);
    let owner = caller.sees().map(str::to_owned);
    let states = ended(query.status.as_deref().unwrap_or_default()).to_vec();
    let filter = EndedFilter { owner, states, pinned: query.is_of_pinned(), offset, limit };
    let page = app.tasks.ended(filter).await?;
    let (mut tasks, total) = (Vec::with_capacity(page.tasks.len()), page.total);
    for task in &page.tasks {
        tasks.push(QueuedTask::listed(task, None, details(&app, task).await.as_ref()));
    }
    Ok(Json(HistoryPart { tasks, total }))
}

/// One task.
#[utoipa::path(get, path = "/agent-scheduler/v1/task/{id}", tag = "agent-scheduler", params(("id" = String, Path)),
    responses((status = 200, description = "The task", body = OneQueued), (status = 404, description = "No such task")))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<OneQueued>, WebUiFailure> {
    let task = tasks::get(&app, &caller, &id).await?;
    let place = place(&app, &task).await?;
    let data = QueuedTask::alone(&task, place, details(&app, &task).await.as_ref());
    Ok(Json(OneQueued { success: true, data }))
}

/// The place of a task in the queue.
#[utoipa::path(get, path = "/agent-scheduler/v1/task/{id}/position", tag = "agent-scheduler", params(("id" = String, Path)),
    responses((status = 200, description = "The place", body = OnePlace), (status = 404, description = "No such task")))]
pub(crate) async fn position(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<OnePlace>, WebUiFailure> {
    let task = tasks::get(&app, &caller, &id).await?;
    let data = Place { status: status(task.state), position: place(&app, &task).await? };
    Ok(Json(OnePlace { success: true, data }))
}

/// `zip` asks for a file instead.
#[derive(Debug)]
pub(crate) struct ResultsQuery {
    zip: bool,
}

impl FromQuery for ResultsQuery {
    fn read(said: &mut Said) -> Self {
        Self { zip: said.flag("zip") }
    }
}

/// The pictures of a task that succeeded, as data URIs; of another one `success` is false.
#[utoipa::path(get, path = "/agent-scheduler/v1/task/{id}/results", tag = "agent-scheduler",
    params(("id" = String, Path), ("zip" = Option<bool>, Query, description = "Pictures come as JSON alone; true is refused")),
    responses((status = 200, description = "The pictures", body = Pictures), (status = 404, description = "No such task"),
              (status = 410, description = "They were deleted"), (status = 422, description = "zip is true, or no boolean")))]
pub(crate) async fn results(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiParameters(query): WebUiParameters<ResultsQuery>,
    TaskPath(id): TaskPath,
) -> Result<Json<Pictures>, WebUiFailure> {
    let task = tasks::get(&app, &caller, &id).await?;
    if query.zip {
        let message = format!(
            "zip: pictures come as JSON alone; send zip=false, or GET /tasks/{id}/result for their URLs"
        );
        return Err(AppError::invalid("zip", message).into());
    }
    if task.state != TaskState::Succeeded {
        // Clients ask until there are pictures, and take another status than 200 for the end of it.
        let message = Some(format!("the task is {}", status(task.state)));
        return Ok(Json(Pictures { success: false, message, data: None }));
    }
    let details = task_view::details(&app, &task).await?;
    let info = details.get("info").unwrap_or(&Value::Null);
    let mut pictures = Vec::new();
    for (place, key) in task.outcome.iter().flat_map(|outcome| &outcome.images).enumerate() {
        let file = base64_of(app.objects.get(key).await?).await?;
        pictures.push(QueuedPicture {
            image: format!("data:{};base64,{file}", key.content_type()),
            infotext: info["infotexts"][place].as_str().unwrap_or_default().to_owned(),
        });
    }
    Ok(Json(Pictures { success: true, message: None, data: Some(pictures) }))
}

/// Has a task that failed or expired run again, under its id.
#[utoipa::path(post, path = "/agent-scheduler/v1/task/{id}/requeue", tag = "agent-scheduler", params(("id" = String, Path)),
    responses((status = 200, description = "Done", body = QueueDone), (status = 404, description = "No such task"),
              (status = 409, description = "It has neither failed nor expired"), (status = 410, description = "What it was asked for was deleted")))]
pub(crate) async fn requeue(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<QueueDone>, WebUiFailure> {
    tasks::retry(&app, &caller, &id).await?;
    Ok(done("the task waits again"))
}

/// Has all of the caller's own tasks run again that failed or expired. Each is a change of its own: what comes in meanwhile
/// waits for one of them, and not for all.
#[utoipa::path(post, path = "/agent-scheduler/v1/task/requeue-failed", tag = "agent-scheduler",
    responses((status = 200, description = "Done, or there was none", body = QueueDone),
              (status = 429, description = "Not all of them may wait at the same time")))]
pub(crate) async fn requeue_failed(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let mut count = 0;
    let mut pages = TaskPages::of(Some(&caller.name), ended("failed"));
    while let Some(page) = pages.next(&app).await? {
        for task in page {
            count += u64::from(unless_changed(tasks::retry(&app, &caller, &task.id).await)?);
        }
    }
    Ok(match count {
        0 => Json(QueueDone { success: false, message: "there is no failed task".into() }),
        count => done(format!("{count} failed tasks wait again")),
    })
}

/// Calls a task something else, and has one that waits draw something else. The fields of `params` take the place of those that
/// were sent, those of `override_settings` one by one, and those of the others that were settled since, such as seeds, stay. The whole is checked as a new request is.
#[utoipa::path(put, path = "/agent-scheduler/v1/task/{id}", tag = "agent-scheduler", params(("id" = String, Path)),
    request_body = TaskUpdate,
    responses((status = 200, description = "Done", body = QueueDone),
              (status = 404, description = "No such task, or no such checkpoint"),
              (status = 409, description = "It has begun, was changed meanwhile or is no drawing: checkpoint and params cannot be changed"),
              (status = 422, description = "Every problem of the body")))]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
    WebUiObject(body): WebUiObject,
) -> Result<Json<QueueDone>, WebUiFailure> {
    tasks::get(&app, &caller, &id).await?;
    let TaskUpdate { name, checkpoint, params } = TaskUpdate::read(body).map_err(AppError::Invalid)?;
    let name = name.map(|name| named(&name)).transpose()?;
    if checkpoint.is_some() || params.is_some() {
        let change = |drawing, asked: &mut Map<String, Value>| {
            let mut params = params.unwrap_or_default();
            // Here are the checkpoint and the VAE too: each setting stays that is not said.
            if let (Some(Value::Object(before)), Some(Value::Object(now))) =
                (asked.get(OVERRIDES), params.get_mut(OVERRIDES))
            {
                for (name, value) in before {
                    now.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
            asked.extend(params);
            asked.extend(checkpoint.map(|checkpoint| ("checkpoint".to_owned(), checkpoint.into())));
            match ready(&app, drawing, asked)? {
                None => Ok(()),
                Some(_) => {
                    let message = "callback_url: who is told of a task's end stays; send another task";
                    Err(AppError::invalid("callback_url", message))
                }
            }
        };
        generate::amend(&app, &caller, &id, change).await?;
    }
    if let Some(name) = name {
        tasks::rename(&app, &caller, &id, name).await?;
    }
    Ok(done("the task is as the body says"))
}

/// Gives a task a name, in any state.
#[utoipa::path(post, path = "/agent-scheduler/v1/task/{id}/rename", tag = "agent-scheduler",
    params(("id" = String, Path), RenameQuery),
    responses((status = 200, description = "Done", body = QueueDone), (status = 404, description = "No such task"),
              (status = 422, description = "The name is missing, too long or goes over lines")))]
pub(crate) async fn rename(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiParameters(query): WebUiParameters<RenameQuery>,
    TaskPath(id): TaskPath,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let name = named(&query.name)?;
    let message = if name.is_some() { "the task has a name" } else { "the task has no name any more" };
    tasks::rename(&app, &caller, &id, name).await?;
    Ok(done(message))
}

/// Pins a task: it is kept, with its pictures, until it is removed.
#[utoipa::path(post, path = "/agent-scheduler/v1/task/{id}/bookmark", tag = "agent-scheduler", params(("id" = String, Path)),
    responses((status = 200, description = "Done", body = QueueDone), (status = 404, description = "No such task"),
              (status = 409, description = "As many of its owner's are pinned as may be"),
              (status = 410, description = "Its pictures were deleted already")))]
pub(crate) async fn bookmark(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<QueueDone>, WebUiFailure> {
    tasks::pin(&app, &caller, &id, true).await?;
    Ok(done("the task is pinned"))
}

/// Has a task kept no longer than others.
#[utoipa::path(post, path = "/agent-scheduler/v1/task/{id}/unbookmark", tag = "agent-scheduler", params(("id" = String, Path)),
    responses((status = 200, description = "Done", body = QueueDone), (status = 404, description = "No such task")))]
pub(crate) async fn unbookmark(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<QueueDone>, WebUiFailure> {
    tasks::pin(&app, &caller, &id, false).await?;
    Ok(done("the task is not pinned"))
}

/// Has a task that waits begin as the next of its owner's. Nobody else's place in the queue changes.
#[utoipa::path(post, path = "/agent-scheduler/v1/task/{id}/run", tag = "agent-scheduler", params(("id" = String, Path)),
    responses((status = 200, description = "Done", body = QueueDone), (status = 404, description = "No such task"),
              (status = 409, description = "It does not wait")))]
pub(crate) async fn run(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<QueueDone>, WebUiFailure> {
    tasks::reorder(&app, &caller, &id, &MoveTo::First).await?;
    Ok(done("the task is the next of its owner's to begin"))
}

/// Moves a task that waits among those of its owner: before another one, or to the `top` or `bottom`. They share the places that
/// they have, with the priority of each, so that nobody else's changes.
#[utoipa::path(post, path = "/agent-scheduler/v1/task/{id}/move/{over}", tag = "agent-scheduler",
    params(("id" = String, Path), ("over" = String, Path, description = "The id of the other task, top or bottom")),
    responses((status = 200, description = "Done", body = QueueDone), (status = 404, description = "No such task"),
              (status = 409, description = "One of the two does not wait"),
              (status = 422, description = "The two are of different users")))]
pub(crate) async fn move_over(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPathAnd(id, over): TaskPathAnd,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let to = match over.as_str() {
        "top" => MoveTo::First,
        "bottom" => MoveTo::Last,
        other => {
            let other = TaskId::parse(other);
            MoveTo::Before(other.map_err(|_| AppError::NotFound("not found".into()))?)
        }
    };
    tasks::reorder(&app, &caller, &id, &to).await?;
    Ok(done("the task is moved"))
}

/// Cancels a task that has not ended, and forgets one that has, with its pictures.
#[utoipa::path(delete, path = "/agent-scheduler/v1/task/{id}", tag = "agent-scheduler", params(("id" = String, Path)),
    responses((status = 200, description = "Done", body = QueueDone), (status = 404, description = "No such task")))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let task = tasks::get(&app, &caller, &id).await?;
    if task.state.is_terminal() {
        upkeep::forget(&app, &task).await?;
        return Ok(done("the task is removed"));
    }
    tasks::cancel(&app, &caller, &id).await?;
    Ok(done("the task is cancelled"))
}

/// Cancels all of the caller's own tasks that wait; an operator's too leaves those of others.
#[utoipa::path(post, path = "/agent-scheduler/v1/queue/clear", tag = "agent-scheduler",
    responses((status = 200, description = "Done", body = QueueDone)))]
pub(crate) async fn clear_queue(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let mut pages = TaskPages::of(Some(&caller.name), &[TaskState::Waiting]);
    while let Some(page) = pages.next(&app).await? {
        for task in page {
            unless_changed(tasks::cancel(&app, &caller, &task.id).await)?;
        }
    }
    Ok(done("no task of yours waits"))
}

/// Forgets all of the caller's own tasks that have ended and are not pinned, with their pictures. Each is a change of its own:
/// what comes in meanwhile waits for one of them, and not for all. A client that goes away leaves the rest.
#[utoipa::path(post, path = "/agent-scheduler/v1/history/clear", tag = "agent-scheduler",
    responses((status = 200, description = "Done", body = QueueDone)))]
pub(crate) async fn clear_history(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let mut pages = TaskPages::of(Some(&caller.name), ended("all"));
    while let Some(page) = pages.next(&app).await? {
        for task in page {
            // It may have been tried again while those before it were removed.
            let forgotten = match tasks::get(&app, &caller, &task.id).await {
                Ok(task) if task.pinned => continue,
                Ok(task) => upkeep::forget(&app, &task).await,
                Err(error) => Err(error),
            };
            unless_changed(forgotten)?;
        }
    }
    Ok(done("no ended task of yours is kept, but for those that are pinned"))
}

/// Lets no waiting task begin, anybody's, until the queue is resumed. What runs goes on.
#[utoipa::path(post, path = "/agent-scheduler/v1/queue/pause", tag = "agent-scheduler",
    responses((status = 200, description = "Done", body = QueueDone)))]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let Json(_) = queue::pause(State(app), caller).await.map_err(|Failure(error)| error)?;
    Ok(done("no waiting task begins"))
}

/// Lets waiting tasks begin again.
#[utoipa::path(post, path = "/agent-scheduler/v1/queue/resume", tag = "agent-scheduler",
    responses((status = 200, description = "Done", body = QueueDone)))]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let Json(_) = queue::resume(State(app), caller).await.map_err(|Failure(error)| error)?;
    Ok(done("waiting tasks begin"))
}

/// The names of the samplers.
#[utoipa::path(get, path = "/agent-scheduler/v1/samplers", tag = "agent-scheduler",
    responses((status = 200, description = "Names", body = Vec<String>)))]
pub(crate) async fn samplers() -> Json<Vec<&'static str>> {
    Json(Sampler::ALL.into_iter().map(Sampler::label).collect())
}

/// The titles of the checkpoints.
#[utoipa::path(get, path = "/agent-scheduler/v1/sd-models", tag = "agent-scheduler",
    responses((status = 200, description = "Titles", body = Vec<String>)))]
pub(crate) async fn sd_models(State(app): State<Arc<App>>) -> Result<Json<Vec<String>>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: folders and the heads of files.
    let checkpoints = blocking(move || catalogue.checkpoints()).await??;
    Ok(Json(checkpoints.iter().map(|checkpoint| checkpoint.title()).collect()))
}

pub(super) fn done(message: impl Into<String>) -> Json<QueueDone> {
    Json(QueueDone { success: true, message: message.into() })
}

fn named(name: &str) -> Result<Option<String>, AppError> {
    task_name(name).map_err(|problem| AppError::Invalid(vec![problem]))
}

/// Whether it was done to one of many tasks; that somebody else was quicker is no failure of the whole.
fn unless_changed<T>(done: Result<T, AppError>) -> Result<bool, AppError> {
    match done {
        Ok(_) => Ok(true),
        Err(AppError::Conflict(_) | AppError::NotFound(_) | AppError::Gone(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// From 1 for a task that waits, 0 for one that runs.
async fn place(app: &App, task: &Task) -> Result<Option<u64>, AppError> {
    Ok(match task.state {
        TaskState::Running => Some(0),
        TaskState::Waiting => Some(tasks::place(app, task).await?.0),
        _ => None,
    })
}

/// What was stored with the pictures of a task; a list that lacks it for one is better than none.
async fn details(app: &App, task: &Task) -> Option<Map<String, Value>> {
    if task.state != TaskState::Succeeded {
        return None;
    }
    task_view::details(app, task).await.ok()
}
