//! How a client is answered whose request has become a task: at once, when it is done, or after as long as it waits.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gesso_core::ids::TaskId;
use gesso_store::tasks::EXPIRED;
use gesso_store::{Task, TaskError, TaskState};

use super::calls;
use super::error::{self, Failure};
use super::proxies::Base;
use super::task_view::{self, CancelOnDrop, Standing, signed_urls};
use super::wire::task::{Accepted, Ended, TaskLinks};
use super::wire::terms::{RequestTerms, Wait};
use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::tasks::{self, Submitted};

/// How a task that is a call of another route is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As a task: `taskId`, `status`, `ossUrl`.
    Task,
    /// As the route itself answered.
    Own,
}

/// Answers as the client prefers. One that goes away while it waits cancels its task, unless it means to come back.
pub(crate) async fn respond(
    app: &Arc<App>,
    caller: &Caller,
    base: &Base,
    terms: &RequestTerms,
    submitted: Submitted,
    shape: Shape,
) -> Result<Response, Failure> {
    let id = submitted.task.id.clone();
    let mut response = match terms.wait {
        Wait::Nothing { accepted } => {
            let status = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
            (status, Json(waiting(app, &submitted.task).await?)).into_response()
        }
        Wait::Result => {
            let guard = CancelOnDrop::new(app, &id, terms.outlives_client());
            let task = tasks::wait(app, &id).await;
            guard.disarm();
            ended(app, &id, task, base.as_deref(), shape).await?
        }
        Wait::AtMost(time) => {
            let guard = CancelOnDrop::new(app, &id, terms.outlives_client());
            let task = tokio::time::timeout(time, tasks::wait(app, &id)).await;
            guard.disarm();
            match task {
                Ok(task) => ended(app, &id, task, base.as_deref(), shape).await?,
                // It goes on; the client knows where to ask.
                Err(_) => {
                    let task = tasks::get(app, caller, &id).await?;
                    (StatusCode::ACCEPTED, Json(waiting(app, &task).await?)).into_response()
                }
            }
        }
    };
    let fields = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        fields.insert("taskid", value);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("/tasks/{id}")) {
        fields.insert(header::LOCATION, value);
    }
    if submitted.is_replay {
        fields.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// For those who do not wait.
async fn waiting(app: &App, task: &Task) -> Result<Accepted, AppError> {
    let Standing { progress, eta, position, .. } = task_view::standing(app, task).await?;
    Ok(Accepted {
        task_id: task.id.to_string(),
        status: task.state.as_str(),
        position,
        progress,
        eta_relative: eta,
        links: TaskLinks::of(&task.id),
    })
}

/// For those who waited.
async fn ended(
    app: &App,
    id: &TaskId,
    task: Result<Task, AppError>,
    base: Option<&str>,
    shape: Shape,
) -> Result<Response, Failure> {
    let refused = |error: &AppError, state: TaskState| {
        let mut body = error::body(error);
        body["taskId"] = id.as_str().into();
        body["status"] = state.as_str().into();
        error::respond(error, error::status(error), body)
    };
    let task = match task {
        // A request that was repeated long after it was drawn.
        Ok(task) if task_view::has_lost_result(&task) => {
            return Ok(refused(&task_view::result_gone(), task.state));
        }
        Ok(task) => task,
        Err(error) => return Ok(refused(&error, TaskState::Waiting)),
    };
    if shape == Shape::Own
        && let Some(response) = calls::answer(app, &task).await?
    {
        return Ok(response);
    }
    let (task_id, status) = (id.to_string(), task.state.as_str());
    if task.state == TaskState::Succeeded {
        let oss_url = Some(signed_urls(app, &task, base).await?);
        let body = Ended { task_id, status, oss_url, message: None, code: None, errors: None };
        return Ok(Json(body).into_response());
    }
    let recorded = task.outcome.and_then(|outcome| outcome.error);
    let why = recorded.as_ref().map_or(AppError::Cancelled, AppError::of_task);
    let TaskError { code, message, .. } = recorded.unwrap_or_else(|| why.to_task_error());
    let http_status = match code.as_str() {
        calls::REFUSED => StatusCode::BAD_REQUEST,
        EXPIRED => StatusCode::GATEWAY_TIMEOUT,
        _ => error::status(&why),
    };
    let errors = error::mistakes(&why);
    let body = Ended { task_id, status, oss_url: None, message: Some(message), code: Some(code), errors };
    Ok((http_status, Json(body)).into_response())
}
