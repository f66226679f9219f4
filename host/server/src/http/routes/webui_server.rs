//! The web UI's dialect: the server itself. What is in memory, what is read anew, what cannot be had here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::engine_errors::engine_failed;
use crate::error::AppError;
use crate::http::error::WebUiFailure;
use crate::http::extract::WebUiObject;
use crate::http::routes::webui;
use crate::http::wire::options;
use crate::machine;

/// The memory of the machine and of the device.
#[utoipa::path(get, path = "/sdapi/v1/memory", tag = "web UI",
    responses((status = 200, description = "ram (free, used, total; bytes), cuda (the device's, or why there is none)")))]
pub(crate) async fn memory(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    // The blocking pool: a file.
    let ram = match blocking(machine::memory).await? {
        Some(memory) => {
            json!({"free": memory.free, "used": memory.total - memory.free, "total": memory.total})
        }
        None => json!({"error": "the system does not say"}),
    };
    let device = app.engine.stats().device;
    Ok(Json(json!({"ram": ram, "cuda": {"error": format!("not told of this device: {device}")}})))
}

/// Drops every model that no picture under way needs from the device's memory. The next request loads its own again.
#[utoipa::path(post, path = "/sdapi/v1/unload-checkpoint", tag = "web UI", responses((status = 200, description = "{}")))]
pub(crate) async fn unload_checkpoint(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    app.engine.unload().await.map_err(engine_failed)?;
    Ok(Json(json!({})))
}

/// Brings the caller's checkpoint into the device's memory.
#[utoipa::path(post, path = "/sdapi/v1/reload-checkpoint", tag = "web UI", responses((status = 200, description = "{}")))]
pub(crate) async fn reload_checkpoint(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Value>, WebUiFailure> {
    let saved = app.options.of(&caller.name).await?;
    let named = saved.options.get(options::CHECKPOINT).and_then(Value::as_str).map(str::to_owned);
    let catalogue = app.catalogue.clone();
    // The blocking pool: folders and the heads of files.
    let checkpoint = blocking(move || catalogue.checkpoint(named.as_deref())).await??;
    app.engine.load(checkpoint.file).await.map_err(engine_failed)?;
    Ok(Json(json!({})))
}

/// Folders are read with every request, so there is nothing to do; answered for clients that ask.
#[utoipa::path(post, path = "/sdapi/v1/refresh-checkpoints", tag = "web UI", responses((status = 200, description = "null")))]
pub(crate) async fn refresh_checkpoints() -> Json<Value> {
    Json(Value::Null)
}

/// As `refresh-checkpoints`.
#[utoipa::path(post, path = "/sdapi/v1/refresh-vae", tag = "web UI", responses((status = 200, description = "null")))]
pub(crate) async fn refresh_vae() -> Json<Value> {
    Json(Value::Null)
}

/// As `refresh-checkpoints`.
#[utoipa::path(post, path = "/sdapi/v1/refresh-loras", tag = "web UI", responses((status = 200, description = "null")))]
pub(crate) async fn refresh_loras() -> Json<Value> {
    Json(Value::Null)
}

/// As `refresh-checkpoints`.
#[utoipa::path(post, path = "/sdapi/v1/refresh-embeddings", tag = "web UI", responses((status = 200, description = "null")))]
pub(crate) async fn refresh_embeddings() -> Json<Value> {
    Json(Value::Null)
}

/// The pictures of a request are drawn together and not batch by batch, so that skipping one is stopping all: as
/// `interrupt`.
#[utoipa::path(post, path = "/sdapi/v1/skip", tag = "web UI", responses((status = 200, description = "null")))]
pub(crate) async fn skip(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, WebUiFailure> {
    let Json(_) = webui::interrupt(State(app), caller).await?;
    Ok(Json(Value::Null))
}

/// What the server was started with, as far as clients look at it. No path, no name and no secret is among it.
#[utoipa::path(get, path = "/sdapi/v1/cmd-flags", tag = "web UI", responses((status = 200, description = "Flag to value")))]
pub(crate) async fn cmd_flags(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "api": true,
        "nowebui": true,
        "listen": !app.address.ip().is_loopback(),
        "port": app.address.port(),
        "api_auth": null,
        "gradio_auth": null,
        "lowvram": false,
        "medvram": false,
        "no_half": app.settings.dtype == "f32",
        "cors_allow_origins": app.settings.cors_origins.join(","),
        "api_server_stop": false,
        "allow_code": false,
    }))
}

/// The plugins, which are what extensions are elsewhere.
#[utoipa::path(get, path = "/sdapi/v1/extensions", tag = "web UI",
    responses((status = 200, description = "name, remote, branch, commit_hash, version, commit_date, enabled")))]
pub(crate) async fn extensions(State(app): State<Arc<App>>) -> Json<Value> {
    let plugins = app.plugins.list();
    let entry = |plugin: gesso_plugin_host::PluginStatus| {
        json!({
            "name": plugin.id,
            "remote": "",
            "branch": "",
            "commit_hash": plugin.digest.unwrap_or_default(),
            "version": plugin.version.unwrap_or_default(),
            "commit_date": 0,
            "enabled": plugin.enabled,
        })
    };
    Json(plugins.into_iter().map(entry).collect())
}

/// Words for a picture. No model of this server writes any.
#[utoipa::path(post, path = "/sdapi/v1/interrogate", tag = "web UI", request_body = Object,
    responses((status = 404, description = "No picture, or no model that could look at it")))]
pub(crate) async fn interrogate(WebUiObject(body): WebUiObject) -> Result<Json<Value>, WebUiFailure> {
    let is_there = body.get("image").and_then(Value::as_str).is_some_and(|image| !image.is_empty());
    let message = if is_there { "Model not found" } else { "Image not found" };
    Err(AppError::NotFound(message.into()).into())
}

/// What web UIs train and merge, and how they end their process: told apart from paths that are a mistake.
pub(crate) async fn not_here() -> Response {
    let message = "this server neither trains nor stops at a client's word; its operator starts and stops it";
    let body: Map<String, Value> =
        [("error", "NotImplementedError"), ("detail", message), ("errors", message)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
    (StatusCode::NOT_IMPLEMENTED, Json(body)).into_response()
}
