//! Requests for plugins that are HTTP APIs: the prefix is cut off and the component answers. A path that an admin granted as an
//! alias is one under that prefix, so that `/rembg` is `/ext/rembg/rembg`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, Uri};
use axum::response::{IntoResponse, Response};
use rand::RngExt;

use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::http::error::Failure;
use crate::http::extract;
use crate::plugin_use;

/// `/ext/{plugin}` and `/ext/{plugin}/`.
pub(crate) async fn handle_root(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(plugin): Path<String>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    forward(&app, &caller, &plugin, request).await
}

/// `/ext/{plugin}/{path}`.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((plugin, _)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    forward(&app, &caller, &plugin, request).await
}

/// Where the plugins' own routes have what lies at an alias; `None` where no plugin answers. Who has not said who they are is led
/// there too, to be asked by those routes.
pub(crate) fn behind_alias(app: &App, caller: Option<&Caller>, uri: &Uri) -> Option<Uri> {
    let whom = caller.map(plugin_use::whom);
    let plugin = app.plugins.at_alias(uri.path(), whom.as_ref())?;
    format!("/ext/{plugin}{}", uri.path_and_query()?).parse().ok()
}

async fn forward(
    app: &App,
    caller: &Caller,
    plugin: &str,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let prefix = format!("/ext/{plugin}");
    let (mut parts, body) = request.into_parts();
    let rest = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let rest = rest.strip_prefix(&prefix).unwrap_or(rest);
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    parts.uri = rest
        .parse::<Uri>()
        .map_err(|error| AppError::invalid("path", format!("the path cannot be passed on: {error}")))?;
    keep_secrets(&mut parts.headers);
    tell_who(&mut parts.headers, caller);
    let body: Bytes = match axum::body::to_bytes(body, app.settings.limits.body_bytes_max).await {
        Ok(body) => body,
        Err(error) if extract::has_stopped(&error) => return Ok(extract::stopped()),
        Err(_) => {
            return Err(AppError::invalid("body", "the body is larger than limits.body_bytes_max").into());
        }
    };
    let call = plugin_use::call_of_request(plugin_use::whom(caller), rand::rng().random());
    let response = app.plugins.handle_http(&call, plugin, Request::from_parts(parts, body)).await?;
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, Body::from(body)).into_response())
}

/// A plugin never sees what proves who the caller is.
fn keep_secrets(headers: &mut HeaderMap) {
    for name in ["authorization", "cookie", "proxy-authorization", "token"] {
        headers.remove(name);
    }
}

/// What a plugin is told of who asks, in place of anything that a client says of it.
fn tell_who(headers: &mut HeaderMap, caller: &Caller) {
    for (name, value) in [("x-gesso-user", caller.name.as_str()), ("x-gesso-role", caller.role.as_str())] {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(headers.insert(name, value)),
            Err(_) => drop(headers.remove(name)),
        }
    }
}
