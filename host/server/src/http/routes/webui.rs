//! The web UI's dialect: drawing, progress and interrupt, in the shapes that a hundred clients parse.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use gesso_core::ids::TaskId;
use gesso_store::TaskState;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::base64_of;
use crate::error::AppError;
use crate::generate::{self, Reply};
use crate::http::error::{Failure, WebUiFailure};
use crate::http::extract::{WebUiObject, WebUiParameters};
use crate::http::proxies::Base;
use crate::http::task_answer::{self, Shape};
use crate::http::task_view::{CancelOnDrop, details, preview};
use crate::http::wire::generate::{Drawing, cut_sides};
use crate::http::wire::nothing::Empty;
use crate::http::wire::query::{FromQuery, Said};
use crate::http::wire::schema::{Img2ImgBody, Txt2ImgBody};
use crate::http::wire::task::JobState;
use crate::http::wire::terms::{RequestTerms, Wait, is_of_a_key};
use crate::running::RunningTask;
use crate::tasks::{self, Submitted};

/// Draws pictures from text and answers with them, base64, when they are there.
#[utoipa::path(post, path = "/sdapi/v1/txt2img", tag = "web UI", request_body = Txt2ImgBody,
    responses((status = 200, description = "The pictures", body = Drawn),
              (status = 422, description = "Every problem of the body")))]
pub(crate) async fn txt2img(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    base: Base,
    WebUiObject(mut body): WebUiObject,
) -> Result<Response, WebUiFailure> {
    cut_sides(&mut body);
    draw(&app, &caller, (&headers, &base), Drawing::Txt2Img, &body).await
}

/// Draws over pictures and answers with the results, base64, when they are there.
#[utoipa::path(post, path = "/sdapi/v1/img2img", tag = "web UI", request_body = Img2ImgBody,
    responses((status = 200, description = "The pictures; parameters are without those of the request, unless include_init_images", body = Drawn),
              (status = 404, description = "init_images is missing"),
              (status = 422, description = "Every problem of the body")))]
pub(crate) async fn img2img(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    base: Base,
    WebUiObject(mut body): WebUiObject,
) -> Result<Response, WebUiFailure> {
    if body.get("init_images").is_none_or(Value::is_null) {
        return Err(AppError::NotFound("Init image not found".into()).into());
    }
    cut_sides(&mut body);
    draw(&app, &caller, (&headers, &base), Drawing::Img2Img, &body).await
}

async fn draw(
    app: &Arc<App>,
    caller: &Caller,
    (headers, base): (&HeaderMap, &Base),
    drawing: Drawing,
    body: &Map<String, Value>,
) -> Result<Response, WebUiFailure> {
    // Ids of the web UI's own form, such as task(txt2img-ABC1234), are no task ids here; a drawn one serves as well.
    let label = body.get("force_task_id").and_then(Value::as_str).unwrap_or_default();
    let mut terms = RequestTerms::of(headers).map_err(AppError::Invalid)?;
    let is_labelled = terms.id.is_none() && terms.idempotency_key.is_none();
    if is_labelled {
        terms.id = TaskId::parse(label).ok().filter(|id| !is_of_a_key(id));
    }
    let reply = if terms.wait == Wait::Result { Reply::Pictures } else { Reply::Task };
    let submitted = match generate::submit(app, caller, drawing, body, &terms, reply).await {
        // There the id only labels progress, so a taken one is no error; who sends the header means that very id.
        Err(AppError::Conflict(_)) if is_labelled => {
            let terms = RequestTerms { id: None, ..terms.clone() };
            generate::submit(app, caller, drawing, body, &terms, reply).await?
        }
        other => other?,
    };
    app.labels.put(&caller.name, label, &submitted.task.id);
    // Who does not wait for pictures is answered as in the other dialect, which knows tasks.
    if terms.wait != Wait::Result {
        let answered = task_answer::respond(app, caller, base, &terms, submitted, Shape::Task).await;
        return answered.map_err(|Failure(error)| WebUiFailure(error));
    }
    let Submitted { task, is_replay } = submitted;
    let guard = CancelOnDrop::new(app, &task.id, terms.outlives_client());
    let task = tasks::wait(app, &task.id).await;
    guard.disarm();
    let task = task?;
    let outcome = task.outcome.clone().unwrap_or_default();
    if let Some(error) = &outcome.error {
        return Err(AppError::of_task(error).into());
    }
    if task.state == TaskState::Canceled {
        return Err(AppError::Cancelled.into());
    }
    let mut details = details(app, &task).await?;
    let parameters = details.remove("parameters").unwrap_or_default();
    let info = details.remove("info").map(|info| info.to_string()).unwrap_or_default();
    let mut images = Vec::new();
    if parameters.get("send_images") != Some(&Value::Bool(false)) {
        for key in &outcome.images {
            images.push(base64_of(app.objects.get(key).await?).await?);
        }
    }
    let warnings = details.remove("warnings").filter(|warnings| warnings != &json!([]));
    let mut response = Json(Drawn { images, parameters, info, warnings }).into_response();
    if let Ok(value) = HeaderValue::from_str(task.id.as_str()) {
        response.headers_mut().insert("taskid", value);
    }
    if is_replay {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// `skip_current_image` leaves the preview out.
#[derive(Debug)]
pub(crate) struct ProgressQuery {
    skip_current_image: bool,
}

impl FromQuery for ProgressQuery {
    fn read(said: &mut Said) -> Self {
        Self { skip_current_image: said.flag("skip_current_image") }
    }
}

/// How far the task that has run longest is; zeros when idle.
#[utoipa::path(get, path = "/sdapi/v1/progress", tag = "web UI",
    params(("skip_current_image" = Option<bool>, Query, description = "Leave the preview out")),
    responses((status = 200, description = "How far it is", body = GlobalProgress),
              (status = 422, description = "skip_current_image is no boolean")))]
pub(crate) async fn progress(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiParameters(query): WebUiParameters<ProgressQuery>,
) -> Result<Json<GlobalProgress>, WebUiFailure> {
    let running = app.running.oldest(&caller);
    let live = running.as_ref().and_then(RunningTask::live);
    let running = running.as_ref();
    Ok(Json(GlobalProgress {
        progress: running.map_or(0.0, |running| (0.01 + running.fraction()).min(1.0)),
        eta_relative: running.map_or(0.0, |running| running.eta().as_secs_f64()),
        state: JobState::of(live.as_ref(), running.map(|running| &running.cancel)),
        current_image: if query.skip_current_image { None } else { preview(live.as_ref()).await? },
        textinfo: None,
    }))
}

/// How far the task is that has run longest.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GlobalProgress {
    /// From 0.01 to 1 while something runs, as in the web UI; clients take 0 for idle.
    progress: f64,
    /// Seconds to the end.
    eta_relative: f64,
    state: JobState,
    /// A small PNG in base64; null where there is none.
    #[schema(required)]
    current_image: Option<String>,
    /// Always null.
    #[schema(required)]
    textinfo: Option<String>,
}

/// Drawn pictures.
#[derive(Serialize, ToSchema)]
struct Drawn {
    /// Files in base64, in the kind that `samples_format` says. Before the pictures stands a grid of them where several are
    /// saved (`save_images`); `info` says so by `index_of_first_image`.
    images: Vec<String>,
    /// What was asked for, with the seed that was drawn.
    #[schema(value_type = Object)]
    parameters: Value,
    /// JSON in a string: seeds, infotexts.
    info: String,
    /// What was missing and could be done without; only where there is something to say, since clients compare the keys that
    /// they know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    warnings: Option<Value>,
}

/// Ends the task that has run longest, the one that the global progress shows: a drawing with its pictures as they are by
/// then, a script without.
#[utoipa::path(post, path = "/sdapi/v1/interrupt", tag = "web UI", responses((status = 200, description = "It ends, or there was nothing to end", body = Empty)))]
pub(crate) async fn interrupt(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Empty>, WebUiFailure> {
    tasks::interrupt(&app, &caller).await?;
    Ok(Json(Empty {}))
}
