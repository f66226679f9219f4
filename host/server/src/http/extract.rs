//! What handlers take as arguments: a JSON object, lax or of a type, a body as it is, a name and a task id. Who asks is
//! `access.rs`. Refusals have the API's shapes, never the library's plain text.

use std::error::Error;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use gesso_core::ids::TaskId;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tower_http::timeout::TimeoutError;

use super::error::{Failure, WebUiFailure, problem, unreadable_query};
use super::wire::query::{FromQuery, Said};
use crate::blocking::blocking;
use crate::error::AppError;

/// Larger bodies hold pictures, which takes a moment to read: whom else the thread serves would wait.
const READ_IN_PLACE_MAX: usize = 64 * 1024;

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
            return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", &message));
        }
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        let is_large = bytes.len() > READ_IN_PLACE_MAX;
        let read = move || serde_json::from_slice::<Value>(&bytes);
        let read = match is_large {
            // The blocking pool: the parser.
            true => blocking(read).await.map_err(|error| Failure(error).into_response())?,
            false => read(),
        };
        match read {
            Ok(Value::Object(body)) => Ok(Self(body)),
            Ok(_) => {
                Err(problem(StatusCode::BAD_REQUEST, "invalid", "bad request body: it must be a JSON object"))
            }
            Err(error) => {
                let message = format!("bad request body: not valid JSON, {error}");
                Err(problem(StatusCode::BAD_REQUEST, "invalid", &message))
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

/// A body as it is, for routes that judge it themselves.
#[derive(Debug)]
pub(crate) struct RawBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| {
            if has_stopped(&rejection) {
                return stopped();
            }
            let status = rejection.status();
            let (code, message) = if status == StatusCode::PAYLOAD_TOO_LARGE {
                let message = "the body is larger than limits.body_bytes_max, or than this route takes";
                ("too_large", format!("{message}; send smaller inputs"))
            } else {
                ("invalid", format!("the body could not be read: {}", rejection.body_text()))
            };
            problem(status, code, &message)
        })
    }
}

/// Whether a body could not be read because nothing more of it came.
pub(crate) fn has_stopped(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TimeoutError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What is answered then.
pub(crate) fn stopped() -> Response {
    let message = "the body stopped coming; send the request again, and all of it";
    problem(StatusCode::REQUEST_TIMEOUT, "timeout", message)
}

/// A JSON object of the fields that `T` has, on Gesso's own routes. What does not fit is named by its pointer.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let JsonObject(body) = JsonObject::from_request(request, state).await?;
        serde_path_to_error::deserialize(Value::Object(body)).map(Self).map_err(|error| {
            let (path, message) = (error.path().to_string(), error.inner().to_string());
            let field = if path == "." { "body" } else { path.as_str() };
            Failure(AppError::invalid(field, format!("{field}: {message}"))).into_response()
        })
    }
}

/// The query's parameters, as `T` has them, on Gesso's own routes. What does not fit is named by its pointer.
#[derive(Debug)]
pub(crate) struct Parameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(read)) => Ok(Self(read)),
            Err(rejection) => Err(Failure(unreadable(&rejection)).into_response()),
        }
    }
}

/// The parameter that could not be read, or the query as a whole where the library does not say which.
fn unreadable(rejection: &QueryRejection) -> AppError {
    type Told = serde_path_to_error::Error<serde::de::value::Error>;
    let mut cause = rejection.source();
    while let Some(error) = cause {
        if let Some(told) = error.downcast_ref::<Told>() {
            let parameter = told.path().to_string();
            if parameter != "." {
                return AppError::invalid(&parameter, format!("{parameter}: {}", told.inner()));
            }
        }
        cause = error.source();
    }
    AppError::invalid("query", rejection.body_text())
}

/// The query's parameters, as `T` has them, in the web UI's dialect.
#[derive(Debug)]
pub(crate) struct WebUiParameters<T>(pub(crate) T);

impl<S: Send + Sync, T: FromQuery> FromRequestParts<S> for WebUiParameters<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => {
                let mut said = Said::new(pairs);
                let read = T::read(&mut said);
                said.into_result(read).map(Self).map_err(unreadable_query)
            }
            Err(rejection) => Err(WebUiFailure(unreadable(&rejection)).into_response()),
        }
    }
}

/// The one text that the path has a place for; what is no UTF-8 is simply not found.
#[derive(Debug)]
pub(crate) struct PathText(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        read.map(|Path(text)| Self(text)).map_err(|_| not_found())
    }
}

/// A task id from the path; anything that cannot be one is simply not found.
#[derive(Debug)]
pub(crate) struct TaskPath(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let PathText(text) = PathText::from_request_parts(parts, state).await?;
        TaskId::parse(&text).map(Self).map_err(|_| not_found())
    }
}

/// A task id and another text from the path.
#[derive(Debug)]
pub(crate) struct TaskPathAnd(pub(crate) TaskId, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for TaskPathAnd {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((id, text)) = read.map_err(|_| not_found())?;
        let id = TaskId::parse(&id).map_err(|_| not_found())?;
        Ok(Self(id, text))
    }
}

fn not_found() -> Response {
    Failure(AppError::NotFound("not found".into())).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::blocking::tests::needs_the_pool;

    #[derive(Debug, Deserialize)]
    struct Wanted {
        #[expect(dead_code, reason = "what matters is whether it can be read")]
        limit: Option<u8>,
    }

    #[test]
    fn a_body_with_pictures_is_read_in_the_pool_and_a_small_one_at_once() {
        let read = async |bytes: usize| {
            let request = Request::new(Body::from(json!({"image": "x".repeat(bytes)}).to_string()));
            let JsonObject(body) = JsonObject::from_request(request, &()).await.unwrap();
            assert_eq!(body["image"].as_str().unwrap().len(), bytes);
        };
        assert!(!needs_the_pool(read(1_000)));
        assert!(needs_the_pool(read(100_000)));
    }

    #[test]
    fn a_parameter_that_cannot_be_read_is_named() {
        let field = |query: &str| {
            let uri = format!("/x?{query}").parse().unwrap();
            match unreadable(&Query::<Wanted>::try_from_uri(&uri).unwrap_err()) {
                AppError::Invalid(problems) => problems[0].field.clone(),
                other => panic!("{other}"),
            }
        };
        assert_eq!(field("a=b&limit=300"), "limit");
        assert_eq!(field("limit=x"), "limit");
    }
}
