//! The options of whoever asks, in both dialects: the web UI's as one dictionary, the serverless API's as `data`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::Catalogue;
use crate::error::AppError;
use crate::http::error::{Failure, WebUiFailure};
use crate::http::extract::{JsonObject, WebUiObject};
use crate::http::wire::generate::Defaults;
use crate::http::wire::nothing::Null;
use crate::http::wire::options;

/// The options in force for the caller: all of them, which may be posted back as they are.
#[utoipa::path(get, path = "/sdapi/v1/options", tag = "web UI",
    responses((status = 200, description = "Option name to value", body = Object)))]
pub(crate) async fn webui(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Map<String, Value>>, WebUiFailure> {
    Ok(Json(in_force(&app, &caller).await?))
}

/// Changes options of the caller's requests from now on; those that are not named stay. Requests under way keep theirs.
#[utoipa::path(post, path = "/sdapi/v1/options", tag = "web UI", request_body = Object,
    responses((status = 200, description = "Changed", body = Null), (status = 422, description = "Every option that is unknown or cannot be read")))]
pub(crate) async fn change_webui(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(body): WebUiObject,
) -> Result<Json<Null>, WebUiFailure> {
    app.options.change(judges(&app), &caller.name, body).await?;
    Ok(Json(Null))
}

/// The caller's options.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OptionsView {
    /// How often they were changed; 0 as long as nothing was set.
    version: u64,
    /// Option name to value, all that are in force.
    #[schema(value_type = Object)]
    data: Map<String, Value>,
}

/// The caller's options and the number of their version.
#[utoipa::path(get, path = "/options", tag = "options",
    responses((status = 200, description = "Those in force", body = OptionsView)))]
pub(crate) async fn serverless(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<OptionsView>, Failure> {
    let version = app.options.of(&caller.name).await?.version;
    Ok(Json(OptionsView { version, data: in_force(&app, &caller).await? }))
}

/// That options were changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OptionsChanged {
    /// Always `success`.
    message: &'static str,
    /// How often the options were changed, this time included; the same as before where nothing is different.
    version: u64,
}

/// Changes options of the caller's requests from now on, as `{"data": {option: value}}`.
#[utoipa::path(post, path = "/options", tag = "options", request_body = Object,
    responses((status = 200, description = "Changed", body = OptionsChanged), (status = 400, description = "Every option that is unknown or cannot be read"),
              (status = 422, description = "The checkpoint cannot be drawn with")))]
pub(crate) async fn change_serverless(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonObject(mut body): JsonObject,
) -> Result<Json<OptionsChanged>, Failure> {
    let Some(Value::Object(data)) = body.remove("data") else {
        return Err(AppError::invalid("data", "data must be an object of options").into());
    };
    let set = app.options.change(judges(&app), &caller.name, data).await?;
    Ok(Json(OptionsChanged { message: "success", version: set.version }))
}

/// What changes are judged by.
fn judges(app: &App) -> (Defaults, Arc<Catalogue>) {
    (app.defaults.clone(), app.catalogue.clone())
}

async fn in_force(app: &App, caller: &Caller) -> Result<Map<String, Value>, AppError> {
    let saved = app.options.of(&caller.name).await?;
    let named = saved.options.get(options::CHECKPOINT).and_then(Value::as_str).map(str::to_owned);
    let catalogue = app.catalogue.clone();
    // The blocking pool: folders and the heads of files.
    let checkpoint = blocking(move || {
        // One that was saved and has gone is what the next request is refused for; here it is no reason to fail.
        catalogue.checkpoint(named.as_deref()).or_else(|_| catalogue.checkpoint(None))
    });
    let checkpoint = checkpoint.await?.ok().map(|checkpoint| (checkpoint.title(), checkpoint.sha256));
    Ok(options::whole(&app.defaults, &saved.options, checkpoint))
}
