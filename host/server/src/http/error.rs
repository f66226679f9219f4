//! Failures as each dialect writes them. Statuses are decided here and nowhere else; what is unforeseen is logged
//! here once.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::request_id;
use super::wire::query::QueryProblem;
use super::wire::refusals::{
    Detail, FieldMistake, ProblemDetails, ValidationError, ValidationErrors, WebUiError,
};
use crate::app::App;
use crate::error::AppError;
use crate::settings::WebUiErrors;

/// Seconds a client should wait after 429 or 503.
const RETRY_AFTER_SECONDS: u64 = 5;

/// What problem details (RFC 9457) are sent as.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A failure in the serverless dialect and on Gesso's own routes: problem details (RFC 9457) with `code`, `requestId` and
/// `message`, which is what the serverless contract calls `detail`, and `errors` with a pointer for each bad field.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) AppError);

/// A failure in the web UI's dialect: FastAPI's 422, or in the form that `compat.webui_errors` names.
#[derive(Debug)]
pub(crate) struct WebUiFailure(pub(crate) AppError);

tokio::task_local! {
    static FORM: WebUiErrors;
}

/// Middleware next to the routes: what they answer has no other way to the settings. Another task of tokio's is out of its
/// reach.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    FORM.scope(app.settings.compat.webui_errors, next.run(request)).await
}

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
        AppError::Gone(_) => StatusCode::GONE,
        AppError::Invalid(_) | AppError::NoScript(_) => StatusCode::BAD_REQUEST,
        AppError::Conflict(_) | AppError::Cancelled => StatusCode::CONFLICT,
        AppError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        AppError::UnusableModel(_) | AppError::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
        AppError::Forbidden(_) => StatusCode::FORBIDDEN,
        AppError::Overloaded(_) => StatusCode::TOO_MANY_REQUESTS,
        AppError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        AppError::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        // What PyTorch's web UIs answer when they run out of memory.
        AppError::OutOfMemory(_) | AppError::PluginFailed(_) | AppError::Internal(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// The body for a failure, for routes that add keys of their own.
pub(crate) fn body(error: &AppError) -> Value {
    json!(details_of(error))
}

/// Problem details where there is no [`AppError`]: what is wrong with the request as a whole.
pub(crate) fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    let mut response = (status, Json(details(status, code, message))).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    response
}

fn details(status: StatusCode, code: &str, message: &str) -> ProblemDetails {
    ProblemDetails {
        kind: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail: message.to_owned(),
        message: message.to_owned(),
        code: code.to_owned(),
        request_id: request_id::current(),
        errors: None,
    }
}

fn details_of(error: &AppError) -> ProblemDetails {
    ProblemDetails { errors: mistakes(error), ..details(status(error), error.code(), &error.to_string()) }
}

/// What is wrong with which field; `None` where that is not why.
pub(crate) fn mistakes(error: &AppError) -> Option<Vec<FieldMistake>> {
    let mistakes = error
        .problems()
        .iter()
        .map(|problem| FieldMistake { pointer: pointer(&problem.field), detail: problem.message.clone() });
    let mistakes: Vec<_> = mistakes.collect();
    (!mistakes.is_empty()).then_some(mistakes)
}

/// A JSON pointer (RFC 6901), as a fragment, to a field of the body; fields of fields have dots between them.
fn pointer(field: &str) -> String {
    if field == "body" {
        return "#".into();
    }
    let parts = field.split('.').map(|part| part.replace('~', "~0").replace('/', "~1"));
    parts.fold("#".to_owned(), |pointer, part| pointer + "/" + &part)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        log(&self.0);
        let mut response = respond(&self.0, status(&self.0), details_of(&self.0));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

impl IntoResponse for WebUiFailure {
    fn into_response(self) -> Response {
        log(&self.0);
        let error = &self.0;
        if let AppError::Invalid(problems) = error {
            let detail = problems.iter().map(|problem| ValidationError {
                loc: ["body".to_owned(), problem.field.clone()],
                msg: problem.message.clone(),
                kind: "value_error",
            });
            let errors = ValidationErrors { detail: detail.collect() };
            return respond(error, StatusCode::UNPROCESSABLE_ENTITY, errors);
        }
        if let AppError::NoScript(problem) = error {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return in_words(status, "HTTPException", Some(""), problem.message.clone());
        }
        let class = match error {
            AppError::Internal(_) | AppError::PluginFailed(_) => "RuntimeError",
            AppError::OutOfMemory(_) => "OutOfMemoryError",
            _ => "HTTPException",
        };
        with_time_to_wait(error, in_words(status(error), class, Some(""), error.to_string()))
    }
}

/// A query that does not fit, in the web UI's dialect.
pub(crate) fn unreadable_query(problems: Vec<QueryProblem>) -> Response {
    let detail = problems.into_iter().map(|problem| ValidationError {
        loc: ["query".to_owned(), problem.parameter.to_owned()],
        msg: problem.message,
        kind: problem.kind,
    });
    let errors = ValidationErrors { detail: detail.collect() };
    (StatusCode::UNPROCESSABLE_ENTITY, Json(errors)).into_response()
}

/// 501 in the web UI's dialect, with the sentence that says what there is instead.
pub(crate) fn not_implemented(message: &str) -> Response {
    in_words(StatusCode::NOT_IMPLEMENTED, "NotImplementedError", None, message.to_owned())
}

fn in_words(status: StatusCode, class: &'static str, body: Option<&'static str>, detail: String) -> Response {
    match FORM.try_with(|form| *form).unwrap_or_default() {
        WebUiErrors::A1111 => {
            let errors = detail.clone();
            (status, Json(WebUiError { error: class, detail, body, errors })).into_response()
        }
        WebUiErrors::Forge => (status, Json(Detail { detail })).into_response(),
    }
}

/// With the time to wait, where waiting helps.
pub(crate) fn respond(error: &AppError, status: StatusCode, body: impl Serialize) -> Response {
    with_time_to_wait(error, (status, Json(body)).into_response())
}

fn with_time_to_wait(error: &AppError, mut response: Response) -> Response {
    if matches!(error, AppError::Overloaded(_) | AppError::Unavailable(_)) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

fn log(error: &AppError) {
    let is_ours = matches!(
        error,
        AppError::Internal(_) | AppError::PluginFailed(_) | AppError::OutOfMemory(_) | AppError::StorageFull
    );
    if is_ours {
        tracing::error!(%error, "request failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_is_not_there_is_a_field_in_one_dialect_and_a_sentence_in_the_other() {
        let error = || AppError::no_script("alwayson_scripts", "always on script x not found");
        let details = body(&error());
        assert_eq!((&details["status"], &details["code"]), (&json!(400), &json!("invalid")));
        assert_eq!(details["errors"][0]["pointer"], "#/alwayson_scripts");
        assert_eq!(WebUiFailure(error()).into_response().status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[tokio::test]
    async fn a_model_that_cannot_be_used_is_a_field_in_one_dialect_and_a_sentence_in_the_other() {
        let error = || AppError::unusable_model("override_settings", "a.safetensors: it is another");
        let details = body(&error());
        assert_eq!((&details["status"], &details["code"]), (&json!(422), &json!("unusable_model")));
        assert_eq!(details["errors"][0]["pointer"], "#/override_settings");
        let response = WebUiFailure(error()).into_response();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let told = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let told: Value = serde_json::from_slice(&told).unwrap();
        let sentence = json!("a.safetensors: it is another");
        assert_eq!((&told["error"], &told["detail"]), (&json!("HTTPException"), &sentence));
    }

    #[tokio::test]
    async fn running_out_of_memory_is_told_as_what_it_is_in_both_dialects() {
        let error = || AppError::OutOfMemory("ask for less".into());
        let details = body(&error());
        assert_eq!((&details["status"], &details["code"]), (&json!(500), &json!("out_of_memory")));
        let response = WebUiFailure(error()).into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let told = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!((&told["error"], &told["errors"]), (&json!("OutOfMemoryError"), &json!("ask for less")));
    }

    #[test]
    fn pointers_name_fields_of_fields_and_escape_what_pointers_are_made_of() {
        assert_eq!(pointer("width"), "#/width");
        assert_eq!(pointer("allowance.tasks_at_once"), "#/allowance/tasks_at_once");
        assert_eq!(pointer("a/b~c"), "#/a~1b~0c");
        assert_eq!(pointer("body"), "#");
    }
}
