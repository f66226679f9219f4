//! The admin's side of plugins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gesso_plugin_host::{Audience, Called, InstallError, OnFailures, PluginHost, Policy, RemoteError};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::accounts::{ADMIN, ANYONE, Caller, Role};
use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::grants::GrantBody;
use crate::http::error::Failure;
use crate::http::extract::{PathText, RawBody};
use crate::http::request_id;
use crate::http::wire::plugin::{PluginEvent, PluginLogLine, PluginView};
use crate::http::wire::plugin_rights::{OnFailuresView, SettingsVersionView};
use crate::http::wire::task::Done;

/// Every plugin, with its state, rights and counters.
#[utoipa::path(get, path = "/plugins", tag = "plugins",
    responses((status = 200, description = "In the order that their hooks run", body = Vec<PluginView>), (status = 401, description = "No admin key")))]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<Vec<PluginView>> {
    Json(app.plugins.list().into_iter().map(PluginView::from).collect())
}

/// One plugin.
#[utoipa::path(get, path = "/plugins/{id}", tag = "plugins", params(("id" = String, Path)),
    responses((status = 200, description = "The plugin", body = PluginView), (status = 404, description = "No such plugin")))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
) -> Result<Json<PluginView>, Failure> {
    let plugin =
        app.plugins.get(&id).ok_or_else(|| AppError::NotFound(format!("there is no plugin {id:?}")))?;
    Ok(Json(plugin.into()))
}

/// The plugins, for a change that this caller asks for.
fn asked_by(app: &App, caller: Caller) -> PluginHost {
    app.plugins.asked_by(caller.name, request_id::current())
}

/// A plugin that lies elsewhere.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstallBody {
    /// `oci://registry.example/plugins/frame:1.2`, with `@sha256:…` in place of the tag or behind it, or the `https://` address
    /// of a component.
    #[schema(pattern = "^(oci|https)://.")]
    from: String,
    /// What must be there: the digest of the artifact's manifest in a registry, else that of the file, which cannot be left
    /// out. `sha256:` and hex digits.
    digest: Option<String>,
}

/// A component, byte for byte.
#[derive(ToSchema)]
#[schema(format = Binary, content_media_type = "application/wasm")]
#[expect(dead_code, reason = "for the document alone: `install` reads the bytes")]
pub(crate) struct ComponentFile(String);

/// Takes a component: the body itself, or the one that a body of JSON names. It is compiled aside and probed first; a broken one changes nothing. A plugin of the same
/// id is replaced while calls under way finish on the old version.
#[utoipa::path(post, path = "/plugins", tag = "plugins",
    request_body(content((inline(ComponentFile) = "application/wasm"), (InstallBody = "application/json"))),
    responses((status = 201, description = "Installed", body = PluginView), (status = 400, description = "Refused, with the reason"),
              (status = 503, description = "The place that was named does not answer")))]
pub(crate) async fn install(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    caller: Caller,
    RawBody(body): RawBody,
) -> Result<(StatusCode, Json<PluginView>), InstallFailure> {
    let plugins = asked_by(&app, caller);
    let plugin = if is_json(&headers) {
        let InstallBody { from, digest } = serde_json::from_slice(&body).map_err(|error| {
            InstallFailure(AppError::invalid("body", format!("not a plugin's place: {error}")))
        })?;
        let bytes_max = app.settings.limits.body_bytes_max;
        let fetched = app.remotes.fetch(&from, digest.as_deref(), bytes_max).await?;
        plugins.install_fetched(fetched).await?
    } else {
        plugins.install(body.to_vec()).await?
    };
    Ok((StatusCode::CREATED, Json(plugin.into())))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| content_type.to_ascii_lowercase().starts_with("application/json"))
}

/// Back to the version before this one.
#[utoipa::path(post, path = "/plugins/{id}/rollback", tag = "plugins", params(("id" = String, Path)),
    responses((status = 200, description = "The plugin, with the version now serving", body = PluginView), (status = 404, description = "No such plugin, or no version before")))]
pub(crate) async fn rollback(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    caller: Caller,
) -> Result<Json<PluginView>, InstallFailure> {
    Ok(Json(asked_by(&app, caller).rollback(&id).await?.into()))
}

/// Stops a plugin and deletes its file. What it keeps stays, until `DELETE /plugins/{id}/data`.
#[utoipa::path(delete, path = "/plugins/{id}", tag = "plugins", params(("id" = String, Path)),
    responses((status = 200, description = "Removed", body = Done), (status = 404, description = "No such plugin")))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    caller: Caller,
) -> Result<Json<Done>, InstallFailure> {
    asked_by(&app, caller).remove(&id).await?;
    Ok(Json(Done::SUCCESS))
}

/// Drops all that a plugin keeps, values and blobs, and nothing else of it; of a removed plugin too.
#[utoipa::path(delete, path = "/plugins/{id}/data", tag = "plugins", params(("id" = String, Path)),
    responses((status = 200, description = "Dropped", body = Done), (status = 404, description = "No such plugin, and nothing kept")))]
pub(crate) async fn forget_data(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    caller: Caller,
) -> Result<Json<Done>, InstallFailure> {
    asked_by(&app, caller).forget_data(&id).await?;
    Ok(Json(Done::SUCCESS))
}

/// An admin's switches of a plugin; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyBody {
    /// Whether it is called at all.
    enabled: Option<bool>,
    /// What a failed call does to the request.
    #[schema(value_type = Option<OnFailuresView>)]
    on_failure: Option<OnFailures>,
    /// Which requests its hooks are called for: `always`, or `named` for those that name it under `alwayson_scripts`.
    #[schema(value_type = Option<String>)]
    called: Option<Called>,
    /// Whom it serves; for anybody else it is not there. `{}` is everybody.
    serves: Option<AudienceBody>,
    /// Whether a request may leave it out, with `plugins_off`.
    may_be_left_out: Option<bool>,
    /// New place in the chain of hooks, from 0.
    position: Option<usize>,
}

/// Whom a plugin serves. Where neither a role nor users are named, everybody.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AudienceBody {
    /// Those of this role and of the roles above it.
    role: Option<Role>,
    /// Those of these names, whatever their role.
    #[serde(default)]
    users: Vec<String>,
    /// Nobody of these names, whatever stands above.
    #[serde(default)]
    except: Vec<String>,
}

impl AudienceBody {
    /// A name that is nobody's would keep out, or let in, whom it does not mean.
    fn checked(self, app: &App) -> Result<Audience, AppError> {
        let Self { role, users, except } = self;
        for (field, names) in [("serves.users", &users), ("serves.except", &except)] {
            let is_known =
                |name: &&String| [ANYONE, ADMIN].contains(&name.as_str()) || app.accounts.user(name).is_ok();
            if let Some(name) = names.iter().find(|name| !is_known(name)) {
                let message = format!("{field}: there is no user {name:?}; GET /users lists them");
                return Err(AppError::invalid(field, message));
            }
        }
        Ok(Audience { role: role.map(|role| role.as_str().to_owned()), users, except })
    }
}

/// Switches a plugin on or off, moves it in the chain of hooks, says whom it serves, which requests it is called for and what its
/// failures cost.
#[utoipa::path(patch, path = "/plugins/{id}", tag = "plugins", params(("id" = String, Path)),
    request_body = PolicyBody,
    responses((status = 200, description = "The plugin with its new switches", body = PluginView),
              (status = 400, description = "No switches"), (status = 404, description = "No such plugin")))]
pub(crate) async fn configure(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    caller: Caller,
    RawBody(body): RawBody,
) -> Result<Json<PluginView>, InstallFailure> {
    let body: PolicyBody = serde_json::from_slice(&body).map_err(|error| {
        InstallFailure(AppError::invalid("body", format!("not a plugin's switches: {error}")))
    })?;
    let PolicyBody { enabled, on_failure, called, serves, may_be_left_out, position } = body;
    let serves = serves.map(|serves| serves.checked(&app)).transpose().map_err(InstallFailure)?;
    let policy = Policy { enabled, on_failure, called, serves, may_be_left_out, position };
    let plugin = asked_by(&app, caller).configure(&id, policy).await?;
    Ok(Json(plugin.into()))
}

/// Replaces a plugin's grants and settings; it is loaded again with them.
#[utoipa::path(put, path = "/plugins/{id}/grants", tag = "plugins", params(("id" = String, Path)),
    request_body = GrantBody,
    responses((status = 200, description = "The plugin with its new grants", body = PluginView), (status = 400, description = "Refused, with the reason")))]
pub(crate) async fn grant(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    caller: Caller,
    RawBody(body): RawBody,
) -> Result<Json<PluginView>, InstallFailure> {
    let body: GrantBody = serde_json::from_slice(&body)
        .map_err(|error| InstallFailure(AppError::invalid("body", format!("not a grant: {error}"))))?;
    Ok(Json(asked_by(&app, caller).set_grants(&id, body.into()).await?.into()))
}

/// The settings that a plugin was given, and when and by whom.
#[utoipa::path(get, path = "/plugins/{id}/settings", tag = "plugins", params(("id" = String, Path)),
    responses((status = 200, description = "Oldest first; the last are those that stand", body = Vec<SettingsVersionView>), (status = 404, description = "No such plugin")))]
pub(crate) async fn settings(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
) -> Result<Json<Vec<SettingsVersionView>>, InstallFailure> {
    let versions = app.plugins.settings_versions(&id).await?;
    Ok(Json(versions.into_iter().map(SettingsVersionView::from).collect()))
}

/// Which settings are put back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreBody {
    /// Their number in the list.
    number: u64,
}

/// Gives a plugin earlier settings again, as new ones; its other grants stay, and it is loaded again with them.
#[utoipa::path(post, path = "/plugins/{id}/settings", tag = "plugins", params(("id" = String, Path)),
    request_body = RestoreBody,
    responses((status = 200, description = "The plugin with these settings", body = PluginView), (status = 400, description = "Refused, with the reason"),
              (status = 404, description = "No such plugin, or no settings of that number")))]
pub(crate) async fn restore_settings(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    caller: Caller,
    RawBody(body): RawBody,
) -> Result<Json<PluginView>, InstallFailure> {
    let RestoreBody { number } = serde_json::from_slice(&body).map_err(|error| {
        InstallFailure(AppError::invalid("body", format!("not a number of settings: {error}")))
    })?;
    Ok(Json(asked_by(&app, caller).restore_settings(&id, number).await?.into()))
}

/// What was done to a plugin and what came of it, of removed ones too.
#[utoipa::path(get, path = "/plugins/{id}/history", tag = "plugins", params(("id" = String, Path)),
    responses((status = 200, description = "Events, oldest first", body = Vec<PluginEvent>)))]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
) -> Result<Json<Vec<PluginEvent>>, Failure> {
    // The blocking pool: two files are read.
    let lines = blocking(move || app.plugins.history(&id)).await?;
    Ok(Json(lines.into_iter().map(PluginEvent::from).collect()))
}

/// The last lines a plugin logged.
#[utoipa::path(get, path = "/plugins/{id}/logs", tag = "plugins", params(("id" = String, Path)),
    responses((status = 200, description = "Lines, oldest first", body = Vec<PluginLogLine>), (status = 404, description = "No such plugin")))]
pub(crate) async fn logs(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
) -> Result<Json<Vec<PluginLogLine>>, Failure> {
    if app.plugins.get(&id).is_none() {
        return Err(AppError::NotFound(format!("there is no plugin {id:?}")).into());
    }
    Ok(Json(app.plugins.logs(&id).into_iter().map(PluginLogLine::from).collect()))
}

/// An install that was refused is the caller's to mend; anything else is ours.
#[derive(Debug)]
pub(crate) struct InstallFailure(AppError);

impl From<InstallError> for InstallFailure {
    fn from(error: InstallError) -> Self {
        Self(match error {
            InstallError::NotFound { .. }
            | InstallError::NoPrevious { .. }
            | InstallError::NoSettings { .. } => AppError::NotFound(error.to_string()),
            InstallError::Storage { .. } => AppError::Internal(error.to_string()),
            InstallError::ShuttingDown | InstallError::Data { .. } => {
                AppError::Unavailable(error.to_string())
            }
            InstallError::Refused { .. }
            | InstallError::NeedsGrants { .. }
            | InstallError::TooLarge { .. } => AppError::invalid("plugin", error.to_string()),
        })
    }
}

impl From<RemoteError> for InstallFailure {
    fn from(error: RemoteError) -> Self {
        Self(match error {
            RemoteError::Refused(reason) => AppError::invalid("from", reason),
            RemoteError::Unreachable(reason) => AppError::Unavailable(reason),
        })
    }
}

impl IntoResponse for InstallFailure {
    fn into_response(self) -> Response {
        Failure(self.0).into_response()
    }
}
