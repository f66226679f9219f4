//! Tasks of those who ask: made of a request that was checked, found, waited for, changed, stopped, tried again. Knows
//! neither what is drawn nor how a client is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gesso_core::ids::TaskId;
use gesso_store::{Clock, NewTask, ObjectKey, Payload, SystemClock, Task, TaskState, TaskStoreError, Terms};
use rand::RngExt;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::accounts::{Caller, Role};
use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::wire::terms::RequestTerms;
use crate::running::RunningTask;
use crate::traces;

mod changes;
mod repeats;

pub(crate) use changes::{amend, changed_meanwhile, check_waits, pin, rename, reorder};
pub(crate) use repeats::{Repeat, Turns};

/// Bodies up to here lie in the record; larger ones go to the object store first.
const INLINE_BYTES_MAX: usize = 8 * 1024;

/// What a worker is to do.
pub(crate) struct Work {
    /// As in task records: `txt2img`.
    pub(crate) kind: &'static str,
    /// JSON.
    pub(crate) body: String,
    /// How many pictures it counts for.
    pub(crate) pictures: u32,
    /// The checkpoint it is for, by which it is listed.
    pub(crate) model: Option<String>,
    pub(crate) repeat: Option<Repeat>,
}

/// The task of an earlier request that this one repeats.
///
/// # Errors
/// `Unprocessable` where the key was used with another body.
pub(crate) async fn earlier(app: &App, repeat: Option<&Repeat>) -> Result<Option<Submitted>, AppError> {
    let Some(repeat) = repeat else { return Ok(None) };
    repeat.earlier(app.tasks.as_ref(), SystemClock.now_ms()).await
}

/// Makes work a task of the caller's, which survives the process from here on.
pub(crate) async fn submit(
    app: &Arc<App>,
    caller: &Caller,
    work: Work,
    terms: &RequestTerms,
) -> Result<Submitted, AppError> {
    check_terms(app, caller, terms)?;
    check_room(app, 1).await?;
    let (app, caller, terms) = (app.clone(), caller.clone(), terms.clone());
    let (told, submitted) = oneshot::channel();
    // A tokio worker, on its own: a client that goes away meanwhile must leave neither a task that is not counted nor
    // one that draws for nobody.
    let stored = async move {
        let submitted = store(&app, &caller, work, &terms).await;
        let fresh = submitted.as_ref().ok().filter(|submitted| !submitted.is_replay);
        let fresh = fresh.map(|submitted| submitted.task.id.clone());
        if told.send(submitted).is_err()
            && let Some(id) = fresh
            && !terms.outlives_client()
        {
            tracing::info!(task = %id, "the client went away; cancelling its task");
            drop(stop(&app, &id).await);
        }
    };
    tokio::spawn(stored.in_current_span());
    submitted.await.map_err(|_| AppError::Internal("storing the task panicked".into()))?
}

/// Whether so many more tasks may wait, at least one.
pub(crate) async fn check_room(app: &App, more: usize) -> Result<(), AppError> {
    if app.is_draining() {
        return Err(AppError::Unavailable("the server is shutting down; try again in a moment".into()));
    }
    let waiting = waiting(app).await?;
    if waiting.saturating_add(more as u64) > app.settings.waiting_tasks_max as u64 {
        return Err(AppError::Overloaded(format!("{waiting} tasks are waiting already; try again later")));
    }
    Ok(())
}

async fn store(app: &App, caller: &Caller, work: Work, terms: &RequestTerms) -> Result<Submitted, AppError> {
    let Work { kind, body, pictures, model, repeat } = work;
    // Until the task is stored.
    let _turn = match &repeat {
        Some(repeat) => Some(app.turns.of(repeat).await),
        None => None,
    };
    // The same request may have come twice at the same time, and the other one was first.
    if let Some(earlier) = earlier(app, repeat.as_ref()).await? {
        return Ok(earlier);
    }
    let id = match (&terms.id, &repeat) {
        (Some(id), _) => id.clone(),
        (None, Some(repeat)) => repeat.free_id(app.tasks.as_ref(), SystemClock.now_ms()).await?,
        (None, None) => random_id()?,
    };
    let counted = app.quotas.reserve(caller, &id, pictures).await?;
    let payload = put_body(app, &id, body).await?;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let stored_terms = Terms {
        model,
        name: terms.name.clone(),
        fingerprint: repeat.as_ref().map(|repeat| repeat.fingerprint.clone()),
        start_by_ms: terms.start_within.map(|time| SystemClock.now_ms().saturating_add(millis(time))),
        run_ms_max: terms.timeout.map(millis),
        no_retry: terms.no_retry,
        webhook: terms.webhook.clone(),
        trace: traces::current(),
    };
    let (kind, owner) = (kind.to_owned(), caller.name.clone());
    let new =
        NewTask { id, kind, owner, priority: terms.priority, payload: payload.clone(), terms: stored_terms };
    let refused = match app.tasks.submit(new).await {
        Ok(task) => {
            counted.keep();
            tracing::info!(task = %task.id, owner = task.owner, "task accepted");
            metrics::counter!("gesso_tasks_submitted_total").increment(1);
            return Ok(Submitted { task, is_replay: false });
        }
        Err(refused) => refused,
    };
    delete_body(app, &payload).await;
    Err(refused.into())
}

/// What a record says of a body; a large one lies in the object store then.
async fn put_body(app: &App, id: &TaskId, body: String) -> Result<Payload, AppError> {
    if body.len() <= INLINE_BYTES_MAX {
        return Ok(Payload::Inline(body));
    }
    let key = ObjectKey::payload(id, rand::rng().random());
    app.objects.put(&key, body.into_bytes().into()).await?;
    Ok(Payload::Object(key))
}

/// Deletes a body that no task names.
async fn delete_body(app: &App, payload: &Payload) {
    if let Payload::Object(key) = payload
        && let Err(error) = app.objects.delete(key).await
    {
        tracing::warn!(%key, %error, "a request that no task names could not be deleted");
    }
}

/// What a task was asked to do, as it is stored.
///
/// # Errors
/// `NotFound` where it was deleted.
pub(crate) async fn body(app: &App, task: &Task) -> Result<Value, AppError> {
    let read = match &task.payload {
        Payload::Inline(text) => serde_json::from_str(text),
        Payload::Object(key) => {
            let file = app.objects.get(key).await?;
            // The blocking pool: the parser.
            blocking(move || serde_json::from_slice(&file)).await?
        }
    };
    read.map_err(|error| AppError::Internal(format!("a stored request is damaged: {error}")))
}

/// A task that was asked for.
pub(crate) struct Submitted {
    pub(crate) task: Task,
    /// It was there already: the request repeats one under the same idempotency key.
    pub(crate) is_replay: bool,
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

/// Clients that wait for a task that has not begun: a server that drains goes on with the queue as long as there are any.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    count: AtomicUsize,
    /// Nothing begins any more.
    are_late: AtomicBool,
}

impl Waiters {
    fn enter(&self) -> Waiter<'_> {
        self.count.fetch_add(1, Ordering::SeqCst);
        Waiter(&self.count)
    }

    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Says whether it is too late to wait. Who enters afterwards sees it, and who has entered before is seen.
    pub(crate) fn set_late(&self, are_late: bool) {
        self.are_late.store(are_late, Ordering::SeqCst);
    }

    fn are_late(&self) -> bool {
        self.are_late.load(Ordering::SeqCst)
    }
}

struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits until a task that was submitted here is terminal. A server that drains waits for tasks that have not begun as long as
/// it may, unless none begins any more.
pub(crate) async fn wait(app: &App, id: &TaskId) -> Result<Task, AppError> {
    let mut changes = app.tasks.subscribe();
    let (mut draining, mut stopping) = (app.draining.clone(), app.stopping.clone());
    loop {
        let task = app.tasks.get(id).await?.ok_or_else(not_found)?;
        let _waiter = (task.state == TaskState::Waiting).then(|| app.waiters.enter());
        match task.state {
            state if state.is_terminal() => return Ok(task),
            TaskState::Waiting
                if *app.stopping.borrow()
                    || app.is_draining()
                        && (app.pause.is_on() || app.waiters.are_late() || !app.engine.is_alive()) =>
            {
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
                _ = stopping.changed() => break,
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

/// Has the task end that has run longest of those that the caller may see: a drawing with the pictures that it has, anything
/// else without.
pub(crate) async fn interrupt(app: &App, caller: &Caller) -> Result<(), AppError> {
    let Some(running) = app.running.oldest(caller) else { return Ok(()) };
    if running.is_interruptible {
        running.cancel.interrupt();
        return Ok(());
    }
    match cancel(app, caller, &running.id).await {
        // It ended by itself between the look and the call.
        Ok(_) | Err(AppError::Conflict(_) | AppError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    // What is no task of the store, such as extras, has nothing but this flag.
    running.cancel.cancel();
    Ok(())
}

/// Has the first batch end early that is not through, of the task that has run longest of those that the caller may see. What
/// draws no batches goes on.
pub(crate) fn skip(app: &App, caller: &Caller) {
    if let Some(running) = app.running.oldest(caller).filter(RunningTask::draws_batches) {
        running.cancel.skip();
    }
}

/// [`cancel`] for the server's own reasons: a client that went away.
pub(crate) async fn stop(app: &App, id: &TaskId) -> Result<Task, AppError> {
    let task = app.tasks.cancel(id).await.map_err(|error| match error {
        TaskStoreError::NotFound => not_found(),
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
pub(crate) async fn retry(app: &Arc<App>, caller: &Caller, id: &TaskId) -> Result<Task, AppError> {
    let task = get(app, caller, id).await?;
    if task.files_gone {
        return Err(AppError::Gone("what the task was asked for was deleted; send its request again".into()));
    }
    check_room(app, 1).await?;
    // It counts for whose it is, whoever asks.
    let owner = app.caller_named(&task.owner).unwrap_or_else(|| caller.clone());
    let (app, id) = (app.clone(), id.clone());
    // A tokio worker, on its own, so that it is counted even when the client goes away meanwhile.
    let again = async move {
        let counted = app.quotas.reserve(&owner, &id, 0).await?;
        let task = app.tasks.retry(&id).await?;
        counted.keep();
        tracing::info!(task = %id, "task runs again");
        Ok(task)
    };
    let again = tokio::spawn(again.in_current_span()).await;
    again.map_err(|_| AppError::Internal("trying the task again panicked".into()))?
}

/// The place of a waiting task in the queue, from 1, and how many wait; 0 when it does not wait any more.
pub(crate) async fn place(app: &App, task: &Task) -> Result<(u64, u64), AppError> {
    let (ahead, waiting) = tokio::try_join!(app.tasks.ahead(&task.id), waiting(app))?;
    Ok((ahead.map_or(0, |ahead| ahead + 1), waiting))
}

/// How many wait. All that a store counts would take a look at its files, and a wait for its disk.
async fn waiting(app: &App) -> Result<u64, TaskStoreError> {
    Ok(app.tasks.queue().await?.iter().map(|part| part.waiting).sum())
}

fn not_found() -> AppError {
    AppError::NotFound("not found".into())
}

/// 22 letters and digits: 130 bits, so that nobody guesses another's task.
pub(crate) fn random_id() -> Result<TaskId, AppError> {
    let text: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(22).map(char::from).collect();
    TaskId::parse(&text).map_err(|error| AppError::Internal(error.to_string()))
}
