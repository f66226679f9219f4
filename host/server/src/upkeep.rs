//! What is done by the clock: tasks that did not begin in time expire, tasks that ended long ago are forgotten with
//! their pictures, metrics are summed up.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gesso_store::{Clock, ObjectKey, Payload, SystemClock, Task};

use crate::app::App;

/// How late a task expires at most.
const TICK: Duration = Duration::from_secs(1);
/// Ticks from one look at old tasks to the next.
const RETENTION_TICKS: u64 = 60;
/// Old tasks that are removed at one look, so that what is new has its turn.
const REMOVED_AT_ONCE: usize = 500;
const METRICS_TICKS: u64 = 5;
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

async fn forget_old(app: &App) {
    let hours = app.settings.retention_hours;
    if hours == 0 {
        return;
    }
    let before_ms = SystemClock.now_ms().saturating_sub(hours * 3_600_000);
    match app.tasks.remove_ended_before(before_ms, REMOVED_AT_ONCE).await {
        Ok(tasks) if tasks.is_empty() => {}
        Ok(tasks) => {
            let count = tasks.len();
            for task in &tasks {
                delete_objects(app, task).await;
            }
            tracing::info!(count, hours, "forgot tasks that ended long ago, with their pictures");
        }
        Err(error) => tracing::warn!(%error, "old tasks could not be removed"),
    }
}

/// Deletes what a task that is no longer stored had in the object store. What cannot be deleted is told in the log.
pub(crate) async fn delete_objects(app: &App, task: &Task) {
    let outcome = task.outcome.iter();
    let mut keys: Vec<&ObjectKey> =
        outcome.flat_map(|outcome| outcome.images.iter().chain(&outcome.details)).collect();
    if let Payload::Object(key) = &task.payload {
        keys.push(key);
    }
    futures::stream::iter(keys)
        .for_each_concurrent(DELETED_AT_ONCE, async |key| {
            if let Err(error) = app.objects.delete(key).await {
                tracing::warn!(%key, %error, "an object of a removed task could not be deleted");
            }
        })
        .await;
}
