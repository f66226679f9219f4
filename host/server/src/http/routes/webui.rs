//! The web UI's dialect: the shapes that a hundred clients parse, null bodies and all.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::ids::TaskId;
use gesso_core::request::NoiseSource;
use gesso_core::sampler::Sampler;
use gesso_core::schedule::Scheduler;
use gesso_store::TaskState;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::generate;
use crate::http::error::WebUiFailure;
use crate::http::extract::WebUiObject;
use crate::http::task_view::{CancelOnDrop, details, preview, state};
use crate::http::wire::schema::Txt2ImgBody;

/// Draws pictures from text and answers with them, base64, when they are there.
#[utoipa::path(post, path = "/sdapi/v1/txt2img", tag = "web UI", request_body = Txt2ImgBody,
    responses((status = 200, description = "images (base64 PNG), parameters (echo), info (JSON in a string)"),
              (status = 422, description = "Every problem of the body")))]
pub(crate) async fn txt2img(
    State(app): State<Arc<App>>,
    WebUiObject(body): WebUiObject,
) -> Result<Json<Value>, WebUiFailure> {
    // Ids of the web UI's own form, such as task(txt2img-ABC1234), are no task ids here; a drawn one serves as well.
    let id = body.get("force_task_id").and_then(Value::as_str).and_then(|id| TaskId::parse(id).ok());
    let task = match generate::submit(&app, &body, id).await {
        // There the id only labels progress, so a taken one is no error.
        Err(AppError::Conflict(_)) => generate::submit(&app, &body, None).await?,
        other => other?,
    };
    let guard = CancelOnDrop::new(&app, &task.id, false);
    let task = generate::wait(&app, &task.id).await;
    guard.disarm();
    let task = task?;
    let outcome = task.outcome.clone().unwrap_or_default();
    if let Some(error) = outcome.error {
        return Err(match error.code.as_str() {
            "invalid" => AppError::invalid("body", error.message),
            "plugin_failed" => AppError::PluginFailed(error.message),
            "storage_full" => AppError::StorageFull,
            _ => AppError::Internal(error.message),
        }
        .into());
    }
    if task.state == TaskState::Canceled {
        return Err(AppError::Cancelled.into());
    }
    let mut details = details(&app, &task).await?;
    let parameters = details.remove("parameters").unwrap_or_default();
    let info = details.remove("info").map(|info| info.to_string()).unwrap_or_default();
    let mut images = Vec::new();
    if parameters.get("send_images") != Some(&Value::Bool(false)) {
        for key in &outcome.images {
            images.push(BASE64_STANDARD.encode(app.objects.get(key).await?));
        }
    }
    Ok(Json(json!({"images": images, "parameters": parameters, "info": info})))
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
    Query(query): Query<ProgressQuery>,
) -> Result<Json<Value>, WebUiFailure> {
    let running = app.running.oldest();
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
pub(crate) async fn interrupt(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    if let Some(running) = app.running.oldest() {
        match generate::cancel(&app, &running.id).await {
            // It ended by itself between the look and the call.
            Ok(_) | Err(AppError::Conflict(_) | AppError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(json!({})))
}

/// The checkpoints.
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "web UI", responses((status = 200, description = "title, model_name, hash, sha256, filename, config")))]
pub(crate) async fn sd_models(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    let all = blocking(move || catalogue.scan()).await??;
    let list = all.iter().map(|checkpoint| {
        json!({
            "title": checkpoint.title(),
            "model_name": checkpoint.file.name,
            "hash": checkpoint.short_hash(),
            "sha256": checkpoint.sha256,
            // Relative: where models lie on the server is nobody's business.
            "filename": checkpoint.file_name,
            "config": null,
        })
    });
    Ok(Json(list.collect()))
}

/// The samplers, in the web UI's order.
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "web UI", responses((status = 200, description = "name, aliases, options")))]
pub(crate) async fn samplers() -> Json<Value> {
    let list = Sampler::ALL.iter().map(|sampler| {
        let options: Map<String, Value> =
            sampler.options().iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        json!({"name": sampler.label(), "aliases": sampler.aliases(), "options": options})
    });
    Json(list.collect())
}

/// The schedulers.
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "web UI", responses((status = 200, description = "name, label, aliases, default_rho, need_inner_model")))]
pub(crate) async fn schedulers() -> Json<Value> {
    let list = Scheduler::ALL.iter().map(|scheduler| {
        let aliases = scheduler.aliases();
        json!({
            "name": scheduler.name(),
            "label": scheduler.label(),
            "aliases": if aliases.is_empty() { Value::Null } else { json!(aliases) },
            "default_rho": scheduler.default_rho(),
            "need_inner_model": scheduler.need_inner_model(),
        })
    });
    Json(list.collect())
}

/// The options in force.
#[utoipa::path(get, path = "/sdapi/v1/options", tag = "web UI", responses((status = 200, description = "Option name to value")))]
pub(crate) async fn options(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    let checkpoint = match blocking(move || catalogue.find(None)).await? {
        Ok(checkpoint) => Value::String(checkpoint.title()),
        Err(_) => Value::Null,
    };
    Ok(Json(json!({
        "sd_model_checkpoint": checkpoint,
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": app.defaults.clip_skip,
        "emphasis": "Original",
        "randn_source": match app.defaults.noise_source { NoiseSource::Cpu => "CPU", NoiseSource::Nv => "NV" },
        "eta_noise_seed_delta": 0,
        "samples_format": "png",
        "comma_padding_backtrack": 20,
    })))
}

/// Titles of what `alwayson_scripts` may name, lower case.
#[utoipa::path(get, path = "/sdapi/v1/scripts", tag = "web UI", responses((status = 200, description = "txt2img and img2img: lists of titles")))]
pub(crate) async fn scripts(State(app): State<Arc<App>>) -> Response {
    let titles: Vec<_> = app
        .plugins
        .list()
        .into_iter()
        .filter(|plugin| plugin.worlds.iter().any(|world| world == "request-hook"))
        .map(|plugin| plugin.title.unwrap_or(plugin.id).to_lowercase())
        .collect();
    Json(json!({"txt2img": titles, "img2img": []})).into_response()
}
