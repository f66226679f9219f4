//! Taking in a request and waiting for it: validation, the durable task, the answer.

use std::time::Duration;

use gesso_core::ids::TaskId;
use gesso_store::{Clock, NewTask, ObjectKey, Payload, SystemClock, Task, TaskState, TaskStoreError, Terms};
use rand::RngExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::broadcast::error::RecvError;

use crate::accounts::{Caller, Role};
use crate::app::App;
use crate::blocking::blocking;
use crate::controls;
use crate::error::AppError;
use crate::faces::DrawnFaces;
use crate::http::wire::control;
use crate::http::wire::faces::FacesWanted;
use crate::http::wire::file_format::FileFormat;
use crate::http::wire::generate::{self, Drawing};
use crate::http::wire::options;
use crate::http::wire::terms::RequestTerms;
use crate::{scripts, styles};

/// Bodies up to here lie in the record; larger ones go to the object store first.
const INLINE_BYTES_MAX: usize = 8 * 1024;

/// Checks a drawing's body and makes it a task, which survives the process from here on.
///
/// `body` is what the client sent. The task belongs to `caller`.
pub(crate) async fn submit(
    app: &App,
    caller: &Caller,
    drawing: Drawing,
    body: &Map<String, Value>,
    terms: &RequestTerms,
) -> Result<Submitted, AppError> {
    let repeat = terms.idempotency_key.as_ref().map(|key| Repeat::new(caller, drawing, key, body));
    if let Some(repeat) = &repeat
        && let Some(task) = app.tasks.get(&repeat.id).await?
    {
        return repeat.of(task);
    }
    check_terms(app, caller, terms)?;
    if app.is_draining() {
        return Err(AppError::Unavailable("the server is shutting down; try again in a moment".into()));
    }
    let mut body = drawing.read(body, || rand::rng().random()).map_err(AppError::Invalid)?;
    options::lay_under(&mut body, &app.options.of(&caller.name).await?.options);
    FileFormat::of(&body).map_err(AppError::Invalid)?;
    styles::lay_into(&mut body, &app.styles, &app.limits).await?;
    let request =
        generate::to_request(drawing, &body, &app.defaults, &app.limits).map_err(AppError::Invalid)?;
    check_scripts(app, &body)?;
    controls::check(app, &body)?;
    if let Some(script) = scripts::named(app, drawing, &body)? {
        scripts::arguments(&script, &body)?;
    }
    let (pictures, named) = (request.image_count(), request.model);
    let catalogue = app.catalogue.clone();
    let wanted_faces = FacesWanted::read(&body).map_err(AppError::Invalid)?;
    // The blocking pool: folders and the heads of files.
    let model = blocking(move || {
        let checkpoint = catalogue.checkpoint(named.as_deref())?;
        DrawnFaces::find(&catalogue, wanted_faces)?;
        Ok::<_, AppError>(checkpoint.file_name)
    })
    .await??;

    let waiting = app.tasks.stats().await?.waiting;
    if waiting >= app.settings.waiting_tasks_max as u64 {
        return Err(AppError::Overloaded(format!("{waiting} tasks are waiting already; try again later")));
    }
    let id = match (&terms.id, &repeat) {
        (Some(id), _) => id.clone(),
        (None, Some(repeat)) => repeat.id.clone(),
        (None, None) => random_id()?,
    };
    let counted = app.quotas.reserve(caller, &id, pictures).await?;
    let text = Value::Object(body).to_string();
    let payload = if text.len() <= INLINE_BYTES_MAX {
        Payload::Inline(text)
    } else {
        let key = ObjectKey::payload(&id, rand::rng().random());
        app.objects.put(&key, text.into_bytes().into()).await?;
        Payload::Object(key)
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let stored_terms = Terms {
        model: Some(model),
        fingerprint: repeat.as_ref().map(|repeat| repeat.fingerprint.clone()),
        start_by_ms: terms.start_within.map(|time| SystemClock.now_ms().saturating_add(millis(time))),
        run_ms_max: terms.timeout.map(millis),
        webhook: terms.webhook.clone(),
    };
    let (kind, owner) = (drawing.as_str().to_owned(), caller.name.clone());
    let task = NewTask { id, kind, owner, priority: terms.priority, payload, terms: stored_terms };
    let task = match (app.tasks.submit(task).await, repeat) {
        (Ok(task), _) => task,
        // The same request came twice at the same time, and the other one was first.
        (Err(TaskStoreError::Exists), Some(repeat)) => {
            let task = app.tasks.get(&repeat.id).await?.ok_or_else(not_found)?;
            // Giving it back would give back the other one's.
            counted.keep();
            return repeat.of(task);
        }
        (Err(error), _) => return Err(error.into()),
    };
    counted.keep();
    tracing::info!(task = %task.id, owner = task.owner, "task accepted");
    metrics::counter!("gesso_tasks_submitted_total").increment(1);
    Ok(Submitted { task, is_replay: false })
}

/// A task that was asked for.
pub(crate) struct Submitted {
    pub(crate) task: Task,
    /// It was there already: the request repeats one under the same idempotency key.
    pub(crate) is_replay: bool,
}

/// A request under an idempotency key. The key is in the task's id, so that it is remembered as long as the task is.
struct Repeat {
    owner: String,
    id: TaskId,
    fingerprint: String,
}

impl Repeat {
    fn new(caller: &Caller, drawing: Drawing, key: &str, body: &Map<String, Value>) -> Self {
        let print = |parts: &[&str]| {
            let mut hasher = Sha256::new();
            for part in parts {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let id = format!("key-{}", &print(&[&caller.name, drawing.as_str(), key])[..40]);
        let text = Value::Object(body.clone()).to_string();
        // Letters and digits only, so that it is an id.
        let id = TaskId::parse(&id).unwrap_or_else(|error| unreachable!("hex digits are no id: {error}"));
        Self { owner: caller.name.clone(), id, fingerprint: print(&[&text]) }
    }

    /// The task of the first request, if this one asks for the same.
    fn of(&self, task: Task) -> Result<Submitted, AppError> {
        if task.owner == self.owner && task.terms.fingerprint.as_ref() == Some(&self.fingerprint) {
            return Ok(Submitted { task, is_replay: true });
        }
        let message = "Idempotency-Key: it was used with another body; use a new one for a new request";
        Err(AppError::Unprocessable(message.into()))
    }
}

fn check_terms(app: &App, caller: &Caller, terms: &RequestTerms) -> Result<(), AppError> {
    if terms.priority > 0 && caller.role < Role::Operator {
        let message = "Task-Priority: above 0 is for operators; leave it out".into();
        return Err(AppError::Forbidden(message));
    }
    if let Some(url) = &terms.webhook
        && !app.webhooks.allows(url)
    {
        let message = format!("Task-Webhook: {url:.200} is no address that webhook_hosts allows");
        return Err(AppError::invalid("Task-Webhook", message));
    }
    Ok(())
}

/// Waits until a task that was submitted here is terminal. A server that drains stops waiting for tasks that have not begun.
pub(crate) async fn wait(app: &App, id: &TaskId) -> Result<Task, AppError> {
    let mut changes = app.tasks.subscribe();
    let mut draining = app.draining.clone();
    loop {
        let task = app.tasks.get(id).await?.ok_or_else(not_found)?;
        match task.state {
            state if state.is_terminal() => return Ok(task),
            TaskState::Waiting if app.is_draining() => {
                let message =
                    format!("the server is shutting down; task {id} is kept and runs after the restart");
                return Err(AppError::Unavailable(message));
            }
            _ => {}
        }
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) if change.id != *id => {}
                    // Lagged: some changes were missed, perhaps this one; look again.
                    Ok(_) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => {
                        return Err(AppError::Unavailable("the task store is closed".into()));
                    }
                },
                _ = draining.changed() => break,
            }
        }
    }
}

/// The task, or the sentence that there is none. Others' tasks are not told from those that are not there.
pub(crate) async fn get(app: &App, caller: &Caller, id: &TaskId) -> Result<Task, AppError> {
    let task = app.tasks.get(id).await?;
    task.filter(|task| caller.may_see(&task.owner)).ok_or_else(not_found)
}

/// Asks a task to stop. Repeating it changes nothing; a task that has ended otherwise is a conflict.
pub(crate) async fn cancel(app: &App, caller: &Caller, id: &TaskId) -> Result<Task, AppError> {
    get(app, caller, id).await?;
    stop(app, id).await
}

/// [`cancel`] for the server's own reasons: a client that went away.
pub(crate) async fn stop(app: &App, id: &TaskId) -> Result<Task, AppError> {
    let task = app.tasks.cancel(id).await.map_err(|error| match error {
        gesso_store::TaskStoreError::NotFound => not_found(),
        other => other.into(),
    })?;
    app.running.cancel(id);
    match task.state {
        TaskState::Succeeded | TaskState::Failed | TaskState::Expired => {
            Err(AppError::Conflict(format!("the task is {} already", task.state.as_str())))
        }
        TaskState::Waiting | TaskState::Running | TaskState::Canceled => Ok(task),
    }
}

/// Has a task that failed or expired run again.
pub(crate) async fn retry(app: &App, caller: &Caller, id: &TaskId) -> Result<Task, AppError> {
    get(app, caller, id).await?;
    let counted = app.quotas.reserve(caller, id, 0).await?;
    let task = app.tasks.retry(id).await?;
    counted.keep();
    tracing::info!(task = %id, "task runs again");
    Ok(task)
}

/// The place of a waiting task in the queue, from 1, and how many wait; 0 when it does not wait any more.
pub(crate) async fn place(app: &App, task: &Task) -> Result<(u64, u64), AppError> {
    let ahead = app.tasks.ahead(&task.id).await?;
    Ok((ahead.map_or(0, |ahead| ahead + 1), app.tasks.stats().await?.waiting))
}

fn not_found() -> AppError {
    AppError::NotFound("not found".into())
}

/// Arguments for a plugin that is not there would be lost without a word.
fn check_scripts(app: &App, body: &Map<String, Value>) -> Result<(), AppError> {
    let Some(scripts) = body.get("alwayson_scripts").and_then(Value::as_object) else { return Ok(()) };
    let plugins = app.plugins.list();
    for name in scripts.keys().filter(|name| !name.eq_ignore_ascii_case(control::SCRIPT)) {
        let known = plugins.iter().any(|plugin| {
            plugin.id.eq_ignore_ascii_case(name)
                || plugin.title.as_deref().is_some_and(|title| title.eq_ignore_ascii_case(name))
        });
        if !known {
            return Err(AppError::invalid("alwayson_scripts", format!("always on script {name} not found")));
        }
    }
    Ok(())
}

/// 22 letters and digits: 130 bits, so that nobody guesses another's task.
pub(crate) fn random_id() -> Result<TaskId, AppError> {
    let text: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(22).map(char::from).collect();
    TaskId::parse(&text).map_err(|error| AppError::Internal(error.to_string()))
}
