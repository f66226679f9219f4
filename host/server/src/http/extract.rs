//! What handlers take as arguments: a lax JSON object, the admin's proof, a task id.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use gesso_core::ids::TaskId;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::error::{Failure, WebUiFailure};
use super::request_id;
use crate::app::App;
use crate::error::AppError;

/// A JSON object, whatever JSON content type it came with. No content type at all is taken as JSON too.
#[derive(Debug)]
pub(crate) struct JsonObject(pub(crate) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let content_type = request
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        if let Some(content_type) = content_type
            && content_type != "application/json"
            && !content_type.ends_with("+json")
        {
            let message = format!("the body is {content_type}; send it as application/json");
            return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", &message));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            let (code, message) = if status == StatusCode::PAYLOAD_TOO_LARGE {
                ("too_large", "the body is larger than limits.body_bytes_max; send smaller inputs".to_owned())
            } else {
                ("invalid", format!("the body could not be read: {}", rejection.body_text()))
            };
            plain(status, code, &message)
        })?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(body)) => Ok(Self(body)),
            Ok(_) => {
                Err(plain(StatusCode::BAD_REQUEST, "invalid", "bad request body: it must be a JSON object"))
            }
            Err(error) => {
                let message = format!("bad request body: not valid JSON, {error}");
                Err(plain(StatusCode::BAD_REQUEST, "invalid", &message))
            }
        }
    }
}

/// The same in the web UI's dialect, where a body that is not an object is a validation error.
#[derive(Debug)]
pub(crate) struct WebUiObject(pub(crate) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for WebUiObject {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match JsonObject::from_request(request, state).await {
            Ok(JsonObject(body)) => Ok(Self(body)),
            Err(response) if response.status() == StatusCode::BAD_REQUEST => {
                Err(WebUiFailure(AppError::invalid("body", "the body must be a JSON object")).into_response())
            }
            Err(response) => Err(response),
        }
    }
}

/// Proof that the caller holds the admin key. Take it as an argument to guard a route.
#[derive(Debug)]
pub(crate) struct Admin;

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let given = parts
            .headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        if !given.is_empty() && given.as_bytes().ct_eq(app.admin_key.as_bytes()).into() {
            return Ok(Self);
        }
        let message = "this route needs the admin key: Authorization: Bearer <key>; \
                       the key is in the file admin-key in the data folder";
        let mut response = plain(StatusCode::UNAUTHORIZED, "unauthorized", message);
        response.headers_mut().insert("www-authenticate", axum::http::HeaderValue::from_static("Bearer"));
        Err(response)
    }
}

/// A task id from the path; anything that cannot be one is simply not found.
#[derive(Debug)]
pub(crate) struct TaskPath(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let not_found = || Failure(AppError::NotFound("not found".into())).into_response();
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| not_found())?;
        TaskId::parse(&text).map(Self).map_err(|_| not_found())
    }
}

fn plain(status: StatusCode, code: &str, message: &str) -> Response {
    let body =
        json!({"message": message, "code": code, "detail": message, "requestId": request_id::current()});
    (status, axum::Json(body)).into_response()
}
