//! What is done by the clock: tasks that did not begin in time expire, tasks that ended long ago lose their pictures and are
//! forgotten, what was left half written is swept up, the secrets of URLs are replaced, metrics are summed up, a disk that fills
//! up is told of. And what is deleted of a task, whoever asks for it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use gesso_store::volume::{Room, room_of};
use gesso_store::{
    Clock, ImageFormat, ObjectKey, Objects, ObjectsError, Payload, SystemClock, Task, TaskState,
    TaskStoreError,
};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;

/// How late a task expires at most.
const TICK: Duration = Duration::from_secs(1);
/// Ticks from one look at old tasks to the next.
const RETENTION_TICKS: u64 = 60;
/// Old tasks that are removed at one look, so that what is new has its turn.
const REMOVED_AT_ONCE: usize = 500;
const METRICS_TICKS: u64 = 5;
/// Ticks from one look for files that a crash left half written to the next: it walks through all pictures. Secrets of URLs
/// are looked at then too.
const SWEEP_TICKS: u64 = 6 * 3600;
/// No picture takes longer to be written.
const STAGED_AGE: Duration = Duration::from_secs(3600);
/// Ticks from one warning of a disk that is nearly full to the next.
const WARNING_TICKS: u64 = 3600;
/// Less than this part of a volume is nearly full.
const ROOM_PART_MIN: u64 = 10;
const HOUR_MS: u64 = 3_600_000;
/// Objects of a task that are deleted at the same time.
const DELETED_AT_ONCE: usize = 8;
/// Old tasks that lose their objects at the same time: tasks that are to expire wait until all have.
const CLEARED_AT_ONCE: usize = 4;

/// Runs until the server drains.
pub(crate) async fn run(app: Arc<App>) {
    let mut draining = app.draining.clone();
    if app.settings.retention_hours == 0 && app.settings.result_retention_hours == 0 {
        tracing::info!(
            "tasks and their pictures are kept until somebody removes them: neither retention_hours nor result_retention_hours is set"
        );
    }
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
        if tick % SWEEP_TICKS == 0 {
            // A tokio worker: it waits for a walk through a folder, and tasks expire meanwhile.
            tokio::spawn(sweep_staged(app.objects.clone()));
            rotate_url_secrets(&app).await;
        }
        if tick % RETENTION_TICKS == 0 {
            forget_old(&app).await;
            delete_old_files(&app).await;
            look_at_room(&app, tick % WARNING_TICKS == 0).await;
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = draining.changed() => {}
        }
    }
}

/// From when on a task that has ended is forgotten; `None` where that is never, or not yet known.
pub(crate) fn forgotten_ms(app: &App, task: &Task) -> Option<u64> {
    let hours = Some(app.settings.retention_hours).filter(|hours| *hours > 0 && !task.pinned)?;
    Some(task.finished_ms?.saturating_add(hours.saturating_mul(HOUR_MS)))
}

/// From when on the files of a task that has ended are deleted; `None` where that is never, or not yet known.
pub(crate) fn files_deleted_ms(app: &App, task: &Task) -> Option<u64> {
    let has_had_any = task.files_gone || task.has_files();
    let hours = Some(app.settings.result_retention_hours);
    let hours = hours.filter(|hours| *hours > 0 && has_had_any && !task.pinned)?;
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
    // Those whose webhook is owed are not among them: they stay until that is told or given up.
    let forgotten = futures::stream::iter(old).map(async |task: Task| {
        if app.is_draining() {
            return 0_u64;
        }
        match forget_unless_pinned(app, &task).await {
            Ok(is_forgotten) => u64::from(is_forgotten),
            Err(error) => {
                tracing::warn!(task = %task.id, %error, "an old task could not be removed");
                0
            }
        }
    });
    let count: u64 = forgotten.buffer_unordered(CLEARED_AT_ONCE).collect::<Vec<_>>().await.iter().sum();
    if count > 0 {
        tracing::info!(count, hours, "forgot tasks that ended long ago, with their pictures");
    }
}

async fn delete_old_files(app: &App) {
    let hours = app.settings.result_retention_hours;
    if hours == 0 {
        return;
    }
    let before_ms = SystemClock.now_ms().saturating_sub(hours.saturating_mul(HOUR_MS));
    let old = match app.tasks.filed_before(before_ms, REMOVED_AT_ONCE).await {
        Ok(old) => old,
        Err(error) => return tracing::warn!(%error, "tasks with old pictures could not be listed"),
    };
    let deleted = futures::stream::iter(old).map(async |task: Task| {
        if app.is_draining() {
            return 0_u64;
        }
        match delete_files(app, &task).await {
            Ok(are_deleted) => u64::from(are_deleted),
            Err(error) => {
                tracing::warn!(task = %task.id, %error, "old pictures could not be deleted");
                0
            }
        }
    });
    let count: u64 = deleted.buffer_unordered(CLEARED_AT_ONCE).collect::<Vec<_>>().await.iter().sum();
    if count > 0 {
        tracing::info!(count, hours, "deleted the pictures and results of tasks that ended long ago");
    }
}

/// Deletes the files of a task and not the task; whether it did. What fails is done another time.
async fn delete_files(app: &App, task: &Task) -> Result<bool, AppError> {
    let Some(task) = give_up_files(app, task).await? else { return Ok(false) };
    delete_objects(app, &task).await?;
    app.tasks.forget_files(&task.id).await?;
    Ok(true)
}

/// [`forget`] for retention, which leaves alone what somebody has pinned or tried again since it was listed.
async fn forget_unless_pinned(app: &App, task: &Task) -> Result<bool, AppError> {
    let Some(task) = give_up_files(app, task).await? else { return Ok(false) };
    forget(app, &task).await?;
    Ok(true)
}

/// From here on nobody pins the task, tries it again or is shown its pictures. `None` where somebody was faster.
async fn give_up_files(app: &App, task: &Task) -> Result<Option<Task>, AppError> {
    match app.tasks.give_up_files(&task.id, task.revision).await {
        Ok(task) => Ok(Some(task)),
        Err(TaskStoreError::NotFound | TaskStoreError::State(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn sweep_staged(objects: Objects) {
    match objects.sweep_staged(STAGED_AGE).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed files that a crash had left half written"),
        Err(error) => tracing::warn!(%error, "files that a crash left half written could not be removed"),
    }
}

async fn rotate_url_secrets(app: &App) {
    let objects = app.objects.clone();
    // The blocking pool: a file.
    match blocking(move || objects.rotate_url_secrets()).await {
        Ok(Ok(false)) => {}
        Ok(Ok(true)) => tracing::info!("another secret signs the URLs of pictures from here on"),
        Ok(Err(error)) => tracing::warn!(%error, "the secrets of signed URLs could not be replaced"),
        Err(error) => tracing::warn!(%error, "the secrets of signed URLs could not be replaced"),
    }
}

/// Tells how much room the data folder's volume has, and warns while that is little: pictures fill it without a word.
async fn look_at_room(app: &App, warns: bool) {
    let folder = app.settings.data.clone();
    // The blocking pool: a network's volume may answer late.
    let Room { free, total } = match blocking(move || room_of(&folder)).await {
        Ok(Ok(room)) => room,
        Ok(Err(error)) => return tracing::warn!(%error, "the room of the data folder's volume is not known"),
        Err(error) => return tracing::warn!(%error, "the room of the data folder's volume is not known"),
    };
    metrics::gauge!("gesso_data_free_bytes").set(free as f64);
    metrics::gauge!("gesso_data_bytes").set(total as f64);
    if warns && is_nearly_full(Room { free, total }) {
        tracing::warn!(
            free,
            total,
            "the volume of the data folder is nearly full; free some space, or set retention_hours or result_retention_hours"
        );
    }
}

fn is_nearly_full(room: Room) -> bool {
    room.free < room.total / ROOM_PART_MIN
}

/// Forgets a task that has ended, a pinned one too: its objects first, so that none is left without a task that names it.
///
/// # Errors
/// `Conflict` for one that has not ended, or was tried again or pinned since it was looked at; what the object store says, and
/// then the task stays without what was deleted, to be forgotten another time.
pub(crate) async fn forget(app: &App, task: &Task) -> Result<(), AppError> {
    if !task.state.is_terminal() {
        return Err(TaskStoreError::State(task.state).into());
    }
    let task = match let_go(app, task).await {
        Ok(task) => task,
        // Deleting makes room. Nobody tries it again meanwhile either, as that is written too.
        Err(TaskStoreError::Full(_)) => task.clone(),
        Err(error) => return Err(error.into()),
    };
    delete_objects(app, &task).await?;
    Ok(app.tasks.remove(&task.id).await.map(drop)?)
}

/// From here on nobody tries the task again: what it was asked for would be deleted under it.
async fn let_go(app: &App, task: &Task) -> Result<Task, TaskStoreError> {
    if task.pinned {
        app.tasks.unpin(&task.id).await?;
    }
    app.tasks.give_up_files(&task.id, task.revision).await
}

/// Deletes what a task has in the object store; what is not there any more is gone as it should be.
async fn delete_objects(app: &App, task: &Task) -> Result<(), AppError> {
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
        .await?;
    // The attempt that succeeded has nothing that its outcome does not name.
    let left = task.attempt.saturating_sub(u32::from(task.state == TaskState::Succeeded));
    for attempt in 1..=left {
        delete_attempt(&app.objects, task, attempt).await?;
    }
    Ok(())
}

/// Deletes what the attempts of a task have left that did not become its result, up to this one. What cannot be deleted is when
/// the task is forgotten.
pub(crate) async fn delete_leftovers(objects: Objects, task: Task, up_to: u32) {
    for attempt in 1..=up_to {
        if let Err(error) = delete_attempt(&objects, &task, attempt).await {
            tracing::warn!(task = %task.id, attempt, %error, "what an attempt left is not deleted yet");
        }
    }
}

/// Deletes the pictures and the result of an attempt that no record names: it may have stored some and failed then, or died.
async fn delete_attempt(objects: &Objects, task: &Task, attempt: u32) -> Result<(), AppError> {
    let mut left = vec![ObjectKey::details(&task.id, attempt)];
    // They are numbered from 1 without a gap.
    for number in 1.. {
        let before = left.len();
        let keys = ImageFormat::ALL
            .into_iter()
            .map(|format| ObjectKey::image(&task.owner, &task.id, attempt, number, format))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| AppError::Internal(error.to_string()))?;
        // At once: what is waited for is the way there.
        let heads = join_all(keys.iter().map(|key| objects.head(key))).await;
        for (key, head) in keys.into_iter().zip(heads) {
            match head {
                Ok(_) => left.push(key),
                // Buckets that may not be listed do not say which it is.
                Err(ObjectsError::NotFound(_) | ObjectsError::Denied(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if left.len() == before {
            break;
        }
    }
    // The last ones first, so that there is no gap either where this is cut off.
    for key in left.iter().rev() {
        objects.delete(key).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gesso_store::testing::conformance::new_task;
    use gesso_store::{MemoryTasks, TaskStore};

    use super::*;
    use crate::silent_bucket::silent_bucket;

    #[tokio::test]
    async fn all_formats_of_a_picture_are_asked_for_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (server, objects) = silent_bucket(folder.path()).await;
        let task = MemoryTasks::new(Arc::new(SystemClock)).submit(new_task("left")).await.unwrap();
        let deleting = tokio::spawn(delete_leftovers(objects, task, 1));
        let mut asked = Vec::new();
        for _ in ImageFormat::ALL {
            let next = tokio::time::timeout(Duration::from_secs(10), server.accept()).await;
            asked.push(next.expect("another format is asked for").unwrap());
        }
        deleting.abort();
    }

    #[test]
    fn a_volume_with_less_than_a_tenth_left_is_nearly_full() {
        assert!(is_nearly_full(Room { free: 9, total: 100 }));
        assert!(!is_nearly_full(Room { free: 10, total: 100 }));
        // Some systems say nothing of a volume.
        assert!(!is_nearly_full(Room { free: 0, total: 0 }));
    }
}
