//! What is changed of a task that is there: its pin, its name, its turn, and what it is to do. Who may see a task may change it;
//! bounds are those of its owner.

use std::sync::Arc;

use gesso_core::ids::TaskId;
use gesso_store::{MoveTo, Task, TaskState, TaskStoreError};
use tracing::Instrument;

use super::{Work, delete_body, get, put_body};
use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;

/// Keeps a task and its pictures from retention, or leaves them to it again.
///
/// # Errors
/// `Gone` where its pictures are deleted already, `Conflict` where its owner has pinned as many tasks as they may.
pub(crate) async fn pin(app: &App, caller: &Caller, id: &TaskId, pinned: bool) -> Result<Task, AppError> {
    let task = get(app, caller, id).await?;
    if !pinned {
        return Ok(app.tasks.unpin(id).await?);
    }
    // It counts for whose it is, whoever asks.
    let owner = app.caller_named(&task.owner);
    let most = app.quotas.pinned_tasks_max(owner.as_ref().unwrap_or(caller));
    app.tasks.pin(id, most).await.map_err(|error| match error {
        // Its files are given up, perhaps since the task was looked at.
        TaskStoreError::State(_) => {
            AppError::Gone("the task's pictures were deleted already; there is nothing to keep".into())
        }
        TaskStoreError::TooManyPinned(most) => AppError::Conflict(format!(
            "{most} tasks of {} are pinned already, as many as may be; unpin one of them first, or have an admin raise the allowance pinned_tasks",
            task.owner
        )),
        other => other.into(),
    })
}

/// Calls a task something, or nothing any more.
pub(crate) async fn rename(
    app: &App,
    caller: &Caller,
    id: &TaskId,
    name: Option<String>,
) -> Result<Task, AppError> {
    get(app, caller, id).await?;
    app.tasks.rename(id, name).await.map_err(|error| match error {
        TaskStoreError::TooLarge { .. } => {
            AppError::invalid("name", "name: the task's record has no room for it; choose a shorter one")
        }
        other => other.into(),
    })
}

/// Moves a waiting task among those of its owner.
///
/// # Errors
/// `Conflict` where it, or the one to move before, does not wait; `Unprocessable` where that is another user's, whose tasks
/// nobody's move goes before.
pub(crate) async fn reorder(app: &App, caller: &Caller, id: &TaskId, to: &MoveTo) -> Result<Task, AppError> {
    let task = get(app, caller, id).await?;
    if let MoveTo::Before(other) = to {
        let other = get(app, caller, other).await?;
        if other.owner != task.owner {
            let message = "the tasks are of different users; a task is moved among its owner's alone";
            return Err(AppError::Unprocessable(message.into()));
        }
        check_waits(other.state)?;
    }
    app.tasks.reorder(id, to).await.map_err(|error| match error {
        TaskStoreError::State(state) => no_longer_waits(state),
        // The other one has begun since it was looked at.
        TaskStoreError::NotFound if matches!(to, MoveTo::Before(_)) => {
            AppError::Conflict("one of the two tasks does not wait any more".into())
        }
        other => other.into(),
    })
}

/// Has a waiting task do something else, that was checked. Its owner is counted `more` pictures than for what it was to do.
///
/// # Errors
/// `Conflict` where it has begun, or was changed since it was looked at; `Overloaded` where the owner has had enough today.
pub(crate) async fn amend(
    app: &Arc<App>,
    owner: &Caller,
    task: Task,
    work: Work,
    more: u32,
) -> Result<Task, AppError> {
    let (app, owner) = (app.clone(), owner.clone());
    // A tokio worker, on its own: a client that goes away meanwhile must not leave a body that no task names.
    let amended = async move {
        let counted = match more {
            0 => None,
            more => Some(app.quotas.reserve(&owner, &task.id, more).await?),
        };
        let payload = put_body(&app, &task.id, work.body).await?;
        let amended = app.tasks.amend(&task.id, task.revision, payload.clone(), work.model).await;
        match &amended {
            Ok(_) => delete_body(&app, &task.payload).await,
            Err(TaskStoreError::NotFound | TaskStoreError::State(_)) => delete_body(&app, &payload).await,
            // Which of the two the record names may not be known.
            Err(_) => {}
        }
        let amended = amended.map_err(|error| match error {
            TaskStoreError::State(TaskState::Waiting) => changed_meanwhile(),
            TaskStoreError::State(state) => no_longer_waits(state),
            other => other.into(),
        })?;
        if let Some(counted) = counted {
            counted.keep();
        }
        tracing::info!(task = %amended.id, "task is to do something else");
        Ok(amended)
    };
    let amended = tokio::spawn(amended.in_current_span()).await;
    amended.map_err(|_| AppError::Internal("changing the task panicked".into()))?
}

/// `Conflict` for a task that does not wait.
pub(crate) fn check_waits(state: TaskState) -> Result<(), AppError> {
    if state == TaskState::Waiting { Ok(()) } else { Err(no_longer_waits(state)) }
}

/// `Conflict` for a task that somebody else has changed since it was looked at.
pub(crate) fn changed_meanwhile() -> AppError {
    AppError::Conflict("the task was changed meanwhile; look at it and try again".into())
}

fn no_longer_waits(state: TaskState) -> AppError {
    AppError::Conflict(format!("the task is {state}; only one that waits can be changed or moved"))
}
