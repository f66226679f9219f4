//! The web UI's dialect: drawing, progress and interrupt, in the shapes that a hundred clients parse.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::ids::TaskId;
use gesso_store::TaskState;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::generate;
use crate::http::error::{Failure, WebUiFailure};
use crate::http::extract::{Parameters, WebUiObject};
use crate::http::task_answer::{self, Shape};
use crate::http::task_view::{CancelOnDrop, details, preview, state};
use crate::http::wire::generate::Drawing;
use crate::http::wire::schema::{Img2ImgBody, Txt2ImgBody};
use crate::http::wire::terms::{RequestTerms, Wait};
use crate::tasks;

/// Draws pictures from text and answers with them, base64, when they are there.
#[utoipa::path(post, path = "/sdapi/v1/txt2img", tag = "web UI", request_body = Txt2ImgBody,
    responses((status = 200, description = "images (base64 PNG), parameters (echo), info (JSON in a string)"),
              (status = 422, description = "Every problem of the body")))]
pub(crate) async fn txt2img(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    WebUiObject(body): WebUiObject,
) -> Result<Response, WebUiFailure> {
    draw(&app, &caller, &headers, Drawing::Txt2Img, &body).await
}

/// Draws over pictures and answers with the results, base64, when they are there.
#[utoipa::path(post, path = "/sdapi/v1/img2img", tag = "web UI", request_body = Img2ImgBody,
    responses((status = 200, description = "images (base64 PNG), parameters (echo without the pictures, unless include_init_images), info (JSON in a string)"),
              (status = 404, description = "init_images is missing"),
              (status = 422, description = "Every problem of the body")))]
pub(crate) async fn img2img(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    WebUiObject(body): WebUiObject,
) -> Result<Response, WebUiFailure> {
    if body.get("init_images").is_none_or(Value::is_null) {
        return Err(AppError::NotFound("Init image not found".into()).into());
    }
    draw(&app, &caller, &headers, Drawing::Img2Img, &body).await
}

async fn draw(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    drawing: Drawing,
    body: &Map<String, Value>,
) -> Result<Response, WebUiFailure> {
    // Ids of the web UI's own form, such as task(txt2img-ABC1234), are no task ids here; a drawn one serves as well.
    let label = body.get("force_task_id").and_then(Value::as_str).unwrap_or_default();
    let mut terms = RequestTerms::of(headers).map_err(AppError::Invalid)?;
    if terms.id.is_none() && terms.idempotency_key.is_none() {
        terms.id = TaskId::parse(label).ok();
    }
    let submitted = match generate::submit(app, caller, drawing, body, &terms).await {
        // There the id only labels progress, so a taken one is no error.
        Err(AppError::Conflict(_)) => {
            generate::submit(app, caller, drawing, body, &RequestTerms { id: None, ..terms.clone() }).await?
        }
        other => other?,
    };
    app.labels.put(&caller.name, label, &submitted.task.id);
    // Who does not wait for pictures is answered as in the other dialect, which knows tasks.
    if terms.wait != Wait::Result {
        let answered = task_answer::respond(app, caller, headers, &terms, submitted, Shape::Task).await;
        return answered.map_err(|Failure(error)| WebUiFailure(error));
    }
    let task = submitted.task;
    let guard = CancelOnDrop::new(app, &task.id, terms.outlives_client());
    let task = tasks::wait(app, &task.id).await;
    guard.disarm();
    let task = task?;
    let outcome = task.outcome.clone().unwrap_or_default();
    if let Some(error) = outcome.error {
        return Err(match error.code.as_str() {
            "invalid" => AppError::invalid("body", error.message),
            "plugin_failed" => AppError::PluginFailed(error.message),
            "storage_full" => AppError::StorageFull,
            "timeout" => AppError::TimedOut,
            "expired" => AppError::Unavailable(error.message),
            _ => AppError::Internal(error.message),
        }
        .into());
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
            images.push(BASE64_STANDARD.encode(app.objects.get(key).await?));
        }
    }
    let mut reply = json!({"images": images, "parameters": parameters, "info": info});
    // Named only when there is something to say: clients compare the keys they know.
    if let Some(warnings) = details.remove("warnings").filter(|warnings| warnings != &json!([])) {
        reply["warnings"] = warnings;
    }
    let mut response = Json(reply).into_response();
    if let Ok(value) = HeaderValue::from_str(task.id.as_str()) {
        response.headers_mut().insert("taskid", value);
    }
    Ok(response)
}

/// `skip_current_image` leaves the preview out.
#[derive(Debug, Deserialize)]
pub(crate) struct ProgressQuery {
    #[serde(default)]
    skip_current_image: String,
}

/// How far the task that has run longest is; zeros when idle.
#[utoipa::path(get, path = "/sdapi/v1/progress", tag = "web UI",
    params(("skip_current_image" = Option<bool>, Query, description = "Leave the preview out")),
    responses((status = 200, description = "progress, eta_relative, state, current_image, textinfo")))]
pub(crate) async fn progress(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(query): Parameters<ProgressQuery>,
) -> Result<Json<Value>, WebUiFailure> {
    let running = app.running.oldest(&caller);
    let live = running.as_ref().and_then(|running| Some(running.progress.as_ref()?.borrow().clone()));
    let skip = ["1", "true", "on", "yes"].contains(&query.skip_current_image.to_ascii_lowercase().as_str());
    let image = if skip { Value::Null } else { preview(live.as_ref()).await? };
    Ok(Json(json!({
        // The web UI counts from 0.01 while something runs; clients take 0 for idle.
        "progress": running.as_ref().map_or(0.0, |running| (0.01 + running.fraction()).min(1.0)),
        "eta_relative": running.as_ref().map_or(0.0, |running| running.eta().as_secs_f64()),
        "state": state(live.as_ref()),
        "current_image": image,
        "textinfo": null,
    })))
}

/// Stops the task that has run longest: the one the global progress shows.
#[utoipa::path(post, path = "/sdapi/v1/interrupt", tag = "web UI", responses((status = 200, description = "{}")))]
pub(crate) async fn interrupt(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Value>, WebUiFailure> {
    if let Some(running) = app.running.oldest(&caller) {
        match tasks::cancel(&app, &caller, &running.id).await {
            // It ended by itself between the look and the call.
            Ok(_) | Err(AppError::Conflict(_) | AppError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // What is no task of the store, such as extras, has nothing but this flag.
        running.cancel.cancel();
    }
    Ok(Json(json!({})))
}
