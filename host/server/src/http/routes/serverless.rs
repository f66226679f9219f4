//! The serverless dialect: every generation is a task with an id of its own, sync or async by header.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::engine_errors::engine_failed;
use crate::error::AppError;
use crate::generate::{self, Reply};
use crate::http::calls;
use crate::http::error::{Failure, mistakes};
use crate::http::extract::{JsonObject, TaskPath};
use crate::http::proxies::Base;
use crate::http::task_answer::{self, Shape};
use crate::http::task_view::{self, Standing, details, preview, signed_urls};
use crate::http::wire::generate::Drawing;
use crate::http::wire::schema::{ExtraSingleImageBody, Img2ImgBody, Txt2ImgBody};
use crate::http::wire::task::{Accepted, Answer, Done, JobState, TaskPlugin, TaskProgress, TaskResult};
use crate::http::wire::terms::{RequestTerms, TermHeaders};
use crate::running::RunningTask;
use crate::tasks;

/// The field that names the checkpoint.
const MODEL: &str = "stable_diffusion_model";

/// Draws pictures from text.
///
/// Sync (the default) answers when the pictures are there; with `Request-Type: async` the answer is the task at
/// once. A sync client that goes away cancels its task, unless it sent `Task-Flag: true`.
#[utoipa::path(post, path = "/txt2img", tag = "tasks", request_body = Txt2ImgBody,
    params(TermHeaders),
    responses((status = 200, description = "The task: its pictures, or with Request-Type: async what an Accepted says", body = Answer),
              (status = 400, description = "Every problem of the body"), (status = 404, description = "No such model"),
              (status = 202, description = "The task, with its links", body = Accepted), (status = 409, description = "The task id is taken"),
              (status = 410, description = "The idempotency key's task has lost its pictures"),
              (status = 422, description = "The checkpoint cannot be drawn with, or the idempotency key was used with another body"),
              (status = 429, description = "Too much is waiting")))]
pub(crate) async fn txt2img(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    base: Base,
    JsonObject(body): JsonObject,
) -> Result<Response, Failure> {
    draw(app, &caller, (&headers, &base), Drawing::Txt2Img, body).await
}

/// Draws over pictures; sync and async as for text-to-image.
#[utoipa::path(post, path = "/img2img", tag = "tasks", request_body = Img2ImgBody,
    params(TermHeaders),
    responses((status = 200, description = "The task: its pictures, or with Request-Type: async what an Accepted says", body = Answer),
              (status = 400, description = "Every problem of the body"), (status = 404, description = "No such model"),
              (status = 202, description = "The task, with its links", body = Accepted), (status = 409, description = "The task id is taken"),
              (status = 410, description = "The idempotency key's task has lost its pictures"),
              (status = 422, description = "The checkpoint cannot be drawn with, or the idempotency key was used with another body"),
              (status = 429, description = "Too much is waiting")))]
pub(crate) async fn img2img(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    base: Base,
    JsonObject(body): JsonObject,
) -> Result<Response, Failure> {
    draw(app, &caller, (&headers, &base), Drawing::Img2Img, body).await
}

/// Enlarges one picture and restores its faces, as `/sdapi/v1/extra-single-image`; a task like any other, whose pictures
/// are paths.
#[utoipa::path(post, path = "/extra_images", tag = "tasks", request_body = ExtraSingleImageBody,
    params(TermHeaders),
    responses((status = 200, description = "The task: its pictures, or with Request-Type: async what an Accepted says", body = Answer),
              (status = 202, description = "The task, with its links", body = Accepted), (status = 409, description = "The task id is taken"),
              (status = 410, description = "The idempotency key's task has lost its pictures"),
              (status = 422, description = "The idempotency key was used with another body"),
              (status = 400, description = "Every problem of the body"), (status = 429, description = "Too much is waiting")))]
pub(crate) async fn extra_images(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    base: Base,
    JsonObject(mut body): JsonObject,
) -> Result<Response, Failure> {
    // The dialect lets a checkpoint be named, which enlarging does not use.
    body.remove(MODEL);
    let terms = RequestTerms::of(&headers).map_err(AppError::Invalid)?;
    let body = Value::Object(body).to_string();
    let to = ("POST", "/sdapi/v1/extra-single-image", Some("application/json"));
    let submitted = calls::submit(&app, &caller, &terms, to, body.as_bytes()).await?;
    task_answer::respond(&app, &caller, &base, &terms, submitted, Shape::Task).await
}

/// Drains the server and begins anew with the same command line, so that changed settings, models and libraries are taken in.
/// What runs is finished first, as when the server is stopped.
#[utoipa::path(post, path = "/restart", tag = "operators", responses((status = 200, description = "It drains", body = Done)))]
pub(crate) async fn restart(State(app): State<Arc<App>>, caller: Caller) -> Json<Done> {
    tracing::info!(who = caller.name, "asked to restart");
    app.restart.notify_one();
    Json(Done::SUCCESS)
}

/// Brings the default checkpoint into memory, ahead of the first request.
#[utoipa::path(post, path = "/initialize", tag = "operators", responses((status = 200, description = "In memory", body = String, content_type = "text/plain"), (status = 503, description = "There is no checkpoint, or none that can be drawn with")))]
pub(crate) async fn initialize(State(app): State<Arc<App>>) -> Result<&'static str, Failure> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: folders and the heads of files.
    let checkpoint = blocking(move || catalogue.drawable(None)).await??;
    app.engine.load(checkpoint.file).await.map_err(engine_failed)?;
    Ok("initialize success")
}

async fn draw(
    app: Arc<App>,
    caller: &Caller,
    (headers, base): (&HeaderMap, &Base),
    drawing: Drawing,
    mut body: Map<String, Value>,
) -> Result<Response, Failure> {
    take_model(&mut body)?;
    let terms = RequestTerms::of(headers).map_err(AppError::Invalid)?;
    let submitted = generate::submit(&app, caller, drawing, &body, &terms, Reply::Task).await;
    let submitted = submitted.map_err(|error| match error {
        AppError::NotFound(message) => {
            AppError::NotFound(format!("model not found, please check request: {message}"))
        }
        // The field that it was taken from.
        AppError::UnusableModel(problem) if problem.field == "override_settings" => {
            AppError::unusable_model(MODEL, problem.message)
        }
        other => other,
    })?;
    task_answer::respond(&app, caller, base, &terms, submitted, Shape::Task).await
}

/// What became of a task: its pictures once it succeeded, the reason when it failed.
#[utoipa::path(get, path = "/tasks/{id}/result", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, description = "What became of it", body = TaskResult),
              (status = 404, description = "No such task"), (status = 410, description = "Its pictures and result were deleted")))]
pub(crate) async fn result(
    State(app): State<Arc<App>>,
    caller: Caller,
    base: Base,
    TaskPath(id): TaskPath,
) -> Result<Json<TaskResult>, Failure> {
    let task = tasks::get(&app, &caller, &id).await?;
    let mut body =
        TaskResult { task_id: id.to_string(), status: task.state.as_str(), ..TaskResult::default() };
    let Some(outcome) = &task.outcome else { return Ok(Json(body)) };
    if task_view::has_lost_result(&task) {
        return Err(task_view::result_gone().into());
    }
    if let Some(error) = &outcome.error {
        body.message = Some(error.message.clone());
        body.code = Some(error.code.clone());
        body.errors = mistakes(&AppError::of_task(error));
    }
    if outcome.details.is_some() && !task.files_gone {
        let mut details = details(&app, &task).await?;
        body.images = Some(task_view::images(&task));
        body.oss_url = Some(signed_urls(&app, &task, base.as_deref()).await?);
        let mut parameters = details.remove("parameters").unwrap_or_default();
        // The arguments of scripts may be large, and the contract blanks them.
        if let Some(scripts) = parameters.get_mut("alwayson_scripts") {
            *scripts = "".into();
        }
        body.parameters = Some(parameters);
        body.info = Some(details.get("info").map(Value::to_string).unwrap_or_default());
        body.warnings = Some(details.remove("warnings").unwrap_or_else(|| json!([])));
        body.plugins = Some(TaskPlugin::of_details(&details));
        body.steps_per_second = Some(details.remove("stepsPerSecond").unwrap_or_default());
        // Of a route that is no drawing: what it answered.
        body.answer = details.remove("answer");
    }
    Ok(Json(body))
}

/// How far a task is; its own progress, whatever else runs.
#[utoipa::path(get, path = "/tasks/{id}/progress", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, description = "How far it is", body = TaskProgress),
              (status = 404, description = "No such task")))]
pub(crate) async fn progress(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<TaskProgress>, Failure> {
    let task = tasks::get(&app, &caller, &id).await?;
    let running = app.running.get(&id);
    let live = running.as_ref().and_then(RunningTask::live);
    let Standing { progress, eta, .. } = task_view::standing(&app, &task).await?;
    Ok(Json(TaskProgress {
        task_id: id.to_string(),
        status: task.state.as_str(),
        progress,
        eta_relative: eta,
        state: JobState::of(live.as_ref(), running.as_ref().map(|running| &running.cancel)),
        current_image: preview(live.as_ref()).await?,
        message: task.outcome.and_then(|outcome| outcome.error).map(|error| error.message),
    }))
}

/// Stops a task: a waiting one never starts, a running one ends within a step.
#[utoipa::path(post, path = "/tasks/{id}/cancellation", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, description = "Stopped or stopping", body = Done), (status = 404, description = "No such task"),
              (status = 409, description = "It has ended already")))]
pub(crate) async fn cancellation(
    State(app): State<Arc<App>>,
    caller: Caller,
    TaskPath(id): TaskPath,
) -> Result<Json<Done>, Failure> {
    tasks::cancel(&app, &caller, &id).await?;
    Ok(Json(Done::SUCCESS))
}

/// The dialect names its checkpoint in a field of its own; it wins over an override.
fn take_model(body: &mut Map<String, Value>) -> Result<(), AppError> {
    let model = match body.remove(MODEL) {
        Some(Value::String(model)) if !model.is_empty() => model,
        _ => {
            let message =
                "stable_diffusion_model val not valid, please set valid val: name a model of GET /models";
            return Err(AppError::invalid(MODEL, message));
        }
    };
    // Here a VAE has a field of its own too; "None" was what the product sent for "unsaid".
    let vae = match body.remove("sd_vae") {
        Some(Value::String(vae)) if !vae.is_empty() && vae != "None" => Some(vae),
        _ => None,
    };
    let overrides = body.entry("override_settings").or_insert_with(|| json!({}));
    if overrides.is_null() {
        *overrides = json!({});
    }
    if let Some(overrides) = overrides.as_object_mut() {
        overrides.insert("sd_model_checkpoint".into(), model.into());
        if let Some(vae) = vae {
            overrides.entry("sd_vae").or_insert(vae.into());
        }
    }
    Ok(())
}
