//! The queue as a file, as the web UI's queue extension, agent-scheduler, has it: what waits is written, and what was written
//! becomes tasks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use gesso_store::{Task, TaskState};
use serde_json::{Map, Value};

use super::agent_scheduler::{done, ready, terms_of, waiting};
use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::generate::{self, Reply};
use crate::http::error::WebUiFailure;
use crate::http::extract::{WebUiObject, WebUiParameters};
use crate::http::wire::agent_scheduler::QueueDone;
use crate::http::wire::agent_scheduler_files::{
    ExportQuery, ExportedTask, ImportBody, ImportedTask, TASKS_MAX, imported,
};
use crate::http::wire::fields::FieldProblem;
use crate::http::wire::generate::Drawing;
use crate::http::wire::terms::RequestTerms;
use crate::tasks::{self, Work};

/// The caller's own drawings that wait, in the order in which they begin, with all that was asked for.
#[utoipa::path(get, path = "/agent-scheduler/v1/export", tag = "agent-scheduler", params(ExportQuery),
    responses((status = 200, description = "A part of the queue", body = Vec<ExportedTask>),
              (status = 409, description = "A task was changed meanwhile"),
              (status = 422, description = "The tasks are larger together than a body may be")))]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiParameters(query): WebUiParameters<ExportQuery>,
) -> Result<Json<Vec<ExportedTask>>, WebUiFailure> {
    let waiting = waiting(&app, Some(&caller.name)).await?;
    let drawings = waiting.iter().filter_map(|task| Some((task, Drawing::parse(&task.kind)?)));
    let limit = query.limit.unwrap_or(TASKS_MAX).min(TASKS_MAX);
    let mut exported = Vec::new();
    let mut bytes = 0;
    for (task, drawing) in drawings.skip(query.offset.unwrap_or_default()).take(limit) {
        let stored = match tasks::body(&app, task).await {
            Ok(Value::Object(stored)) => stored,
            Ok(_) => return Err(AppError::Internal("a stored request is not an object".into()).into()),
            Err(AppError::NotFound(_)) if waits_still(&app, task).await? => {
                return Err(AppError::Conflict("a task was changed meanwhile; export again".into()).into());
            }
            Err(AppError::NotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let task = ExportedTask::new(task, drawing, stored);
        bytes += task.bytes();
        if bytes > app.settings.limits.body_bytes_max {
            let message = "the tasks are larger together than limits.body_bytes_max; ask for fewer at once, with limit and offset";
            return Err(AppError::Unprocessable(message.into()).into());
        }
        exported.push(task);
    }
    Ok(Json(exported))
}

/// Makes tasks of a file, in its order: each is checked as `queue/txt2img` and `queue/img2img` check it, and none is made where one
/// of them has a problem. All are new, whatever ids the file has; their names stay.
#[utoipa::path(post, path = "/agent-scheduler/v1/import", tag = "agent-scheduler", request_body = ImportBody,
    responses((status = 200, description = "Done, or there was none", body = QueueDone),
              (status = 422, description = "What is wrong with the file, or every problem of the first task that has any"),
              (status = 429, description = "Not all of them may wait; the message says how many do")))]
pub(crate) async fn import(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    WebUiObject(mut body): WebUiObject,
) -> Result<Json<QueueDone>, WebUiFailure> {
    let said = terms_of(&headers)?;
    if said.idempotency_key.is_some() {
        let message = "Idempotency-Key: it stands for one task, and this makes many; leave it out";
        return Err(AppError::invalid("Idempotency-Key", message).into());
    }
    // One id is no name for many tasks.
    let terms = RequestTerms { id: None, ..said };
    let tasks = imported(&mut body).map_err(|problem| AppError::Invalid(vec![problem]))?;
    let count = tasks.len();
    if count == 0 {
        return Ok(Json(QueueDone { success: false, message: "there is no task in content".into() }));
    }
    let most = app.settings.waiting_tasks_max;
    if count > most {
        let message = format!("content has {count} tasks, and {most} may wait in all; send fewer at once");
        return Err(AppError::Unprocessable(message).into());
    }
    tasks::check_room(&app, count).await?;
    let mut checked = Vec::with_capacity(count);
    for (index, task) in tasks.into_iter().enumerate() {
        let task = check(&app, &caller, &terms, task).await;
        checked.push(task.map_err(|error| at(index, error))?);
    }
    for (index, (work, terms)) in checked.into_iter().enumerate() {
        let submitted = tasks::submit(&app, &caller, work, &terms).await;
        submitted.map_err(|error| behind(index, count, error))?;
    }
    Ok(done(format!("{count} tasks wait")))
}

/// Whether a task that was listed waits, and is to do something else since.
async fn waits_still(app: &App, task: &Task) -> Result<bool, AppError> {
    let now = app.tasks.get(&task.id).await?;
    Ok(now.is_some_and(|now| now.state == TaskState::Waiting && now.revision != task.revision))
}

/// A task of a file as work to do, on the terms of the request but for what it says itself.
async fn check(
    app: &App,
    caller: &Caller,
    terms: &RequestTerms,
    task: Map<String, Value>,
) -> Result<(Work, RequestTerms), AppError> {
    let task = ImportedTask::read(task).map_err(|problem| AppError::Invalid(vec![problem]))?;
    let ImportedTask { drawing, mut body, name } = task;
    let webhook = ready(app, drawing, &mut body)?.or_else(|| terms.webhook.clone());
    let checked = generate::check(app, caller, drawing, &body).await?;
    let terms = RequestTerms { name, webhook, ..terms.clone() };
    Ok((checked.into_work(drawing, Reply::Task, None), terms))
}

/// A failure of one of the tasks, with its place in the file.
fn at(index: usize, error: AppError) -> AppError {
    let of = |FieldProblem { field, message }: FieldProblem| FieldProblem {
        field: format!("content.{index}.{field}"),
        message: format!("content[{index}]: {message}"),
    };
    match error {
        AppError::Invalid(problems) => AppError::Invalid(problems.into_iter().map(of).collect()),
        AppError::NoScript(problem) => AppError::NoScript(of(problem)),
        AppError::UnusableModel(problem) => AppError::UnusableModel(of(problem)),
        // What a task names and is not there is no path.
        AppError::NotFound(message) => {
            AppError::invalid(&format!("content.{index}"), format!("content[{index}]: {message}"))
        }
        other => other,
    }
}

/// Why no more tasks are taken in, with how many are.
fn behind(count: usize, all: usize, error: AppError) -> AppError {
    match error {
        AppError::Overloaded(message) if count > 0 => {
            AppError::Overloaded(format!("{count} of {all} tasks wait now, and no more: {message}"))
        }
        AppError::Unavailable(message) if count > 0 => {
            AppError::Unavailable(format!("{count} of {all} tasks wait now, and no more: {message}"))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_a_task_says_which_one_it_is() {
        let error = at(3, AppError::invalid("steps", "steps is 0"));
        let AppError::Invalid(problems) = error else { panic!("it is a problem of a field") };
        assert_eq!(
            (problems[0].field.as_str(), problems[0].message.as_str()),
            ("content.3.steps", "content[3]: steps is 0")
        );
        let error = at(1, AppError::NotFound("no such checkpoint".into()));
        assert!(
            matches!(&error, AppError::Invalid(_)) && error.to_string().starts_with("content[1]: no such")
        );
        let error = at(2, AppError::no_script("script_name", "script x not found"));
        assert!(matches!(&error, AppError::NoScript(problem) if problem.field == "content.2.script_name"));
    }

    #[test]
    fn whoever_may_have_no_more_tasks_is_told_how_many_they_have() {
        let told = |count| behind(count, 5, AppError::Overloaded("enough".into())).to_string();
        assert_eq!(told(2), "2 of 5 tasks wait now, and no more: enough");
        assert_eq!(told(0), "enough");
    }
}
