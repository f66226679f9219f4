//! What is done by the clock: tasks that did not begin in time expire, tasks that ended long ago are forgotten with
//! their pictures, metrics are summed up.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use gesso_store::{Clock, ObjectKey, ObjectsError, Payload, SystemClock, Task, TaskStoreError};

use crate::app::App;
use crate::error::AppError;

/// How late a task expires at most.
const TICK: Duration = Duration::from_secs(1);
/// Ticks from one look at old tasks to the next.
const RETENTION_TICKS: u64 = 60;
/// Old tasks that are removed at one look, so that what is new has its turn.
const REMOVED_AT_ONCE: usize = 500;
const METRICS_TICKS: u64 = 5;
const HOUR_MS: u64 = 3_600_000;
/// Objects that are deleted at the same time.
const DELETED_AT_ONCE: usize = 8;

/// Runs until the server drains.
pub(crate) async fn run(app: Arc<App>) {
    let mut draining = app.draining.clone();
    for tick in 0_u64.. {
        if app.is_draining() {
            return;
        }
        match app.tasks.expire_overdue().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "tasks expired: they had not begun in time"),
            Err(error) => tracing::warn!(%error, "tasks could not be expired"),
        }
        if tick % METRICS_TICKS == 0 {
            app.metrics.run_upkeep();
        }
        if tick % RETENTION_TICKS == 0 {
            forget_old(&app).await;
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = draining.changed() => {}
        }
    }
}

/// From when on a task that has ended is forgotten; `None` where that is never, or not yet known.
pub(crate) fn forgotten_ms(app: &App, task: &Task) -> Option<u64> {
    let hours = Some(app.settings.retention_hours).filter(|hours| *hours > 0)?;
    Some(task.finished_ms?.saturating_add(hours.saturating_mul(HOUR_MS)))
}

async fn forget_old(app: &App) {
    let hours = app.settings.retention_hours;
    if hours == 0 {
        return;
    }
    let before_ms = SystemClock.now_ms().saturating_sub(hours.saturating_mul(HOUR_MS));
    let old = match app.tasks.ended_before(before_ms, REMOVED_AT_ONCE).await {
        Ok(old) => old,
        Err(error) => return tracing::warn!(%error, "old tasks could not be listed"),
    };
    let mut count = 0;
    // One whose webhook is owed stays until that is told or given up.
    for task in old.into_iter().filter(|task| task.notice.is_none()) {
        if app.is_draining() {
            break;
        }
        match forget(app, &task).await {
            Ok(()) => count += 1,
            Err(error) => tracing::warn!(task = %task.id, %error, "an old task could not be removed"),
        }
    }
    if count > 0 {
        tracing::info!(count, hours, "forgot tasks that ended long ago, with their pictures");
    }
}

/// Forgets a task that has ended: its objects first, so that none is left without a task that names it.
///
/// # Errors
/// `Conflict` for one that has not ended; what the object store says, and then the task stays, to be forgotten another time.
pub(crate) async fn forget(app: &App, task: &Task) -> Result<(), AppError> {
    if !task.state.is_terminal() {
        return Err(TaskStoreError::State(task.state).into());
    }
    delete_objects(app, task).await?;
    Ok(app.tasks.remove(&task.id).await.map(drop)?)
}

/// Deletes what a task has in the object store; what is not there any more is gone as it should be.
async fn delete_objects(app: &App, task: &Task) -> Result<(), ObjectsError> {
    let outcome = task.outcome.iter();
    let mut keys: Vec<&ObjectKey> =
        outcome.flat_map(|outcome| outcome.images.iter().chain(&outcome.details)).collect();
    if let Payload::Object(key) = &task.payload {
        keys.push(key);
    }
    futures::stream::iter(keys.into_iter().map(Ok))
        .try_for_each_concurrent(DELETED_AT_ONCE, async |key| match app.objects.delete(key).await {
            Ok(()) | Err(ObjectsError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        })
        .await
}
