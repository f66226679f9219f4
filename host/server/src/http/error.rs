//! Failures as each dialect writes them. Statuses are decided here and nowhere else; what is unforeseen is logged
//! here once.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::request_id;
use crate::error::AppError;

/// Seconds a client should wait after 429 or 503.
const RETRY_AFTER_SECONDS: u64 = 5;

/// A failure in the serverless dialect and on Gesso's own routes: `{message, code, requestId, problems?}`.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) AppError);

/// A failure in the web UI's dialect: FastAPI's 422, or `{error, detail, body, errors}`.
#[derive(Debug)]
pub(crate) struct WebUiFailure(pub(crate) AppError);

impl<E: Into<AppError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<E: Into<AppError>> From<E> for WebUiFailure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

pub(crate) fn status(error: &AppError) -> StatusCode {
    match error {
        AppError::NotFound(_) => StatusCode::NOT_FOUND,
        AppError::Invalid(_) => StatusCode::BAD_REQUEST,
        AppError::Conflict(_) | AppError::Cancelled => StatusCode::CONFLICT,
        AppError::Overloaded(_) => StatusCode::TOO_MANY_REQUESTS,
        AppError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        AppError::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        AppError::PluginFailed(_) | AppError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The serverless body for a failure, for routes that add keys of their own.
pub(crate) fn body(error: &AppError) -> Value {
    let mut body = json!({
        "message": error.to_string(),
        "code": error.code(),
        "requestId": request_id::current(),
    });
    if let AppError::Invalid(problems) = error {
        body["problems"] = problems
            .iter()
            .map(|problem| json!({"field": problem.field, "message": problem.message}))
            .collect();
    }
    body
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        log(&self.0);
        respond(&self.0, status(&self.0), body(&self.0))
    }
}

impl IntoResponse for WebUiFailure {
    fn into_response(self) -> Response {
        log(&self.0);
        let error = &self.0;
        if let AppError::Invalid(problems) = error {
            let detail: Vec<_> = problems
                .iter()
                .map(|problem| json!({"loc": ["body", problem.field], "msg": problem.message, "type": "value_error"}))
                .collect();
            return respond(error, StatusCode::UNPROCESSABLE_ENTITY, json!({"detail": detail}));
        }
        let class = match error {
            AppError::Internal(_) | AppError::PluginFailed(_) => "RuntimeError",
            _ => "HTTPException",
        };
        let text = error.to_string();
        respond(error, status(error), json!({"error": class, "detail": text, "body": "", "errors": text}))
    }
}

fn respond(error: &AppError, status: StatusCode, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    if matches!(error, AppError::Overloaded(_) | AppError::Unavailable(_)) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

fn log(error: &AppError) {
    if matches!(error, AppError::Internal(_) | AppError::PluginFailed(_) | AppError::StorageFull) {
        tracing::error!(%error, "request failed");
    }
}
