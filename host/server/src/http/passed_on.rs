//! The web UI's routes, which the serverless product's proxy passed on: which they are, and that they are answered 200
//! whatever came of them where `compat.passed_on_200` says so. Tasks know the route's own status all the same.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::access::ActingFor;
use super::error::PROBLEM_JSON;
use crate::app::App;

/// How the paths of the web UI's dialect begin, its extensions' too.
const WEB_UI: [&str; 6] =
    ["/sdapi/", "/controlnet/", "/internal/", "/agent-scheduler/", "/tagger/", "/config"];

pub(crate) fn is_web_ui(path: &str) -> bool {
    WEB_UI.iter().any(|start| path.starts_with(start))
}

/// Middleware around every route. Problem details are never the web UI's words: with them credentials, roles, rates and
/// bodies are refused, as by the product's proxy itself.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_replay = request.extensions().get::<ActingFor>().is_some();
    let is_passed_on = app.settings.compat.passed_on_200 && !is_replay && is_web_ui(request.uri().path());
    let mut response = next.run(request).await;
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == PROBLEM_JSON.as_bytes());
    if is_passed_on && !is_problem && (status.is_client_error() || status.is_server_error()) {
        *response.status_mut() = StatusCode::OK;
    }
    response
}
