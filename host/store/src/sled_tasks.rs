//! The task store on sled 0.34.7, for one process on one machine. Called through [`TaskStore`]; the server also
//! calls `open`, `backup` and `restore`. The rules of tasks are not here but in `tasks/rules.rs`.
//!
//! What it promises: an acknowledged change survives `kill -9`, and a power cut as far as the disk honours fsync.
//! It does not survive the loss of the disk: that is what [`SledTasks::backup`] is for. Blocking work runs on the
//! committer's own thread and on tokio's blocking pool.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gesso_core::ids::TaskId;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::tasks::rules::{self, Entry};
use crate::tasks::{
    EndedFilter, EndedPage, Lease, MoveTo, NewTask, Outcome, Payload, QueuePart, Release, Task, TaskChange,
    TaskFilter, TaskPage, TaskState, TaskStats, TaskStore, TaskStoreError,
};
use committer::{Committer, Writer};

mod backup;
mod committer;
pub(crate) mod guard;
mod owned;
mod places;
mod records;
pub(crate) mod trees;

/// The most records one command changes by itself before other commands have their turn.
const CHANGED_AT_ONCE: u64 = 200;

/// How the database is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SledSettings {
    /// Bytes of pages kept in memory.
    pub cache_bytes: u64,
    /// New tasks are refused while fewer bytes are free on the volume, so that running tasks can still end.
    /// `None`: what [`crate::volume::Room::reserve`] says.
    pub reserve_bytes: Option<u64>,
}

impl Default for SledSettings {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, reserve_bytes: None }
    }
}

/// A durable [`TaskStore`] in a folder of its own.
pub struct SledTasks {
    committer: Committer,
}

impl SledTasks {
    /// Opens or creates the store in `folder`. Tasks that were running belong to a dead process: their attempt is
    /// lost and they wait again, or fail when it was the last they had.
    pub async fn open(
        folder: &Path,
        settings: SledSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TaskStoreError> {
        let folder = folder.to_owned();
        let committer = blocking(move || {
            let trees = guard::open(&folder, &settings)?;
            Committer::start(trees, folder, settings, clock)
        })
        .await?;
        committer.commit(|writer| lose_expired(writer, u64::MAX)).await?;
        Ok(Self { committer })
    }

    /// Writes every task as text that any later version can read, and returns how many. Objects are not included.
    /// Changes go on meanwhile, so that each task is as it was at some moment of the writing; one record is in memory
    /// at a time. Where this is dropped, the writing ends at the next record.
    pub async fn backup(&self, writer: impl Write + Send + 'static) -> Result<u64, TaskStoreError> {
        self.committer
            .shared
            .read_while_wanted(move |trees, goes_on| {
                backup::write(trees.records().map(|record| goes_on().and(record)), writer)
            })
            .await
    }

    /// Fills a new store in `folder` from a backup and returns the number of tasks. Tasks that were running when it
    /// was made wait again; those that are not to be tried again have failed. `Exists` if there is a store in the folder;
    /// a refused backup leaves none.
    pub async fn restore(
        folder: &Path,
        reader: impl Read + Send + 'static,
        clock: Arc<dyn Clock>,
    ) -> Result<u64, TaskStoreError> {
        let folder = folder.to_owned();
        blocking(move || {
            if guard::exists(&folder) {
                return Err(TaskStoreError::Exists);
            }
            let mut entries = backup::read(reader)?;
            // Built beside its place and moved there when whole, so that a crash leaves no half of a store.
            let staged = folder.with_extension("restoring");
            match std::fs::remove_dir_all(&staged) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(trees::io_error(&error));
                }
                _ => {}
            }
            let trees = guard::open(&staged, &SledSettings::default())?;
            for entry in &mut entries {
                if entry.holder.is_some() && entry.task.terms.no_retry {
                    entry.lose(clock.now_ms());
                } else if entry.holder.is_some() {
                    entry.return_to_wait(clock.now_ms());
                }
                trees.replace(None, Some(entry))?;
            }
            trees.flush()?;
            drop(trees);
            std::fs::rename(&staged, &folder).map_err(|error| trees::io_error(&error))?;
            Ok(entries.len() as u64)
        })
        .await
    }

    /// Applies a rule to one task and keeps the result.
    async fn change(
        &self,
        id: &TaskId,
        rule: impl FnOnce(&mut Entry, u64) -> Result<(), TaskStoreError> + Send + 'static,
    ) -> Result<Task, TaskStoreError> {
        self.change_among(id, move |entry, writer| rule(entry, writer.now_ms)).await
    }

    /// The same with a rule that asks about other tasks.
    async fn change_among(
        &self,
        id: &TaskId,
        rule: impl FnOnce(&mut Entry, &Writer<'_>) -> Result<(), TaskStoreError> + Send + 'static,
    ) -> Result<Task, TaskStoreError> {
        let id = id.clone();
        self.committer
            .commit(move |writer| {
                let old = stored(writer, &id)?;
                let mut new = old.clone();
                rule(&mut new, writer)?;
                if new != old {
                    writer.replace(Some(&old), Some(&new))?;
                }
                Ok(new.task)
            })
            .await
    }
}

#[async_trait]
impl TaskStore for SledTasks {
    async fn submit(&self, task: NewTask) -> Result<Task, TaskStoreError> {
        self.committer
            .commit(move |writer| {
                writer.check_space()?;
                let entry = Entry::new(task, writer.trees.next_sequence()?, writer.now_ms)?;
                if writer.trees.get(entry.task.id.as_str().as_bytes())?.is_some() {
                    return Err(TaskStoreError::Exists);
                }
                writer.replace(None, Some(&entry))?;
                Ok(entry.task)
            })
            .await
    }

    async fn lease(&self, worker: &str, ttl: Duration) -> Result<Option<Lease>, TaskStoreError> {
        let worker = worker.to_owned();
        self.committer
            .commit(move |writer| {
                lose_expired(writer, writer.steady_ms)?;
                // However many are overdue, none of them begins.
                while expire_overdue(writer)? == CHANGED_AT_ONCE {}
                let Some(old) = writer.trees.first_ready()? else { return Ok(None) };
                let mut new = old.clone();
                let lease = new.lease(&worker, ttl, writer.now_ms, writer.steady_ms)?;
                writer.replace(Some(&old), Some(&new))?;
                Ok(Some(lease))
            })
            .await
    }

    async fn extend(&self, lease: &Lease, ttl: Duration) -> Result<Task, TaskStoreError> {
        let lease = lease.clone();
        let id = lease.task.id.clone();
        self.change_among(&id, move |entry, writer| entry.extend(&lease, ttl, writer.steady_ms)).await
    }

    async fn finish(
        &self,
        lease: &Lease,
        state: TaskState,
        outcome: Outcome,
    ) -> Result<Task, TaskStoreError> {
        let lease = lease.clone();
        self.change(&lease.task.id.clone(), move |entry, now_ms| {
            entry.finish(&lease, state, outcome, now_ms).map(|_changed| ())
        })
        .await
    }

    async fn release(&self, lease: &Lease, why: Release) -> Result<Task, TaskStoreError> {
        let lease = lease.clone();
        self.change(&lease.task.id.clone(), move |entry, now_ms| entry.release(&lease, why, now_ms)).await
    }

    async fn cancel(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, now_ms| {
            entry.cancel(now_ms);
            Ok(())
        })
        .await
    }

    async fn get(&self, id: &TaskId) -> Result<Option<Task>, TaskStoreError> {
        let read = id.clone();
        self.committer
            .shared
            .read_task(id, move |trees| Ok(trees.get(read.as_str().as_bytes())?.map(|entry| entry.task)))
            .await
    }

    async fn list(&self, filter: TaskFilter) -> Result<TaskPage, TaskStoreError> {
        self.committer.shared.read(move |trees| trees.list(&filter)).await
    }

    async fn ended(&self, filter: EndedFilter) -> Result<EndedPage, TaskStoreError> {
        self.committer.shared.read(move |trees| trees.ended(&filter)).await
    }

    async fn ahead(&self, id: &TaskId) -> Result<Option<u64>, TaskStoreError> {
        let read = id.clone();
        self.committer.shared.read_task(id, move |trees| trees.ahead(read.as_str().as_bytes())).await
    }

    async fn retry(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, now_ms| entry.retry(now_ms)).await
    }

    async fn reorder(&self, id: &TaskId, to: &MoveTo) -> Result<Task, TaskStoreError> {
        let (id, to) = (id.clone(), to.clone());
        self.committer
            .commit(move |writer| {
                let entry = stored(writer, &id)?;
                let waiting = writer.trees.waiting_of(&entry.task.owner)?;
                let moved = rules::reordered(waiting, &entry, &to)?;
                if !moved.is_empty() {
                    writer.place(&moved)?;
                }
                let own = moved.into_iter().map(|(_, new)| new).find(|new| new.task.id == id);
                Ok(own.unwrap_or(entry).task)
            })
            .await
    }

    async fn amend(
        &self,
        id: &TaskId,
        revision: u64,
        payload: Payload,
        model: Option<String>,
    ) -> Result<Task, TaskStoreError> {
        self.change(id, move |entry, now_ms| entry.amend(revision, payload, model, now_ms)).await
    }

    async fn rename(&self, id: &TaskId, name: Option<String>) -> Result<Task, TaskStoreError> {
        self.change(id, move |entry, _| entry.rename(name)).await
    }

    async fn remove(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        let id = id.clone();
        self.committer
            .commit(move |writer| {
                let old = stored(writer, &id)?;
                if !old.task.state.is_terminal() {
                    return Err(TaskStoreError::State(old.task.state));
                }
                writer.replace(Some(&old), None)?;
                Ok(old.task)
            })
            .await
    }

    async fn expire_overdue(&self) -> Result<u64, TaskStoreError> {
        let mut expired = 0;
        loop {
            let now = self.committer.commit(expire_overdue).await?;
            expired += now;
            if now < CHANGED_AT_ONCE {
                return Ok(expired);
            }
        }
    }

    async fn due_notices(&self, limit: usize, but: &[String]) -> Result<Vec<Task>, TaskStoreError> {
        let but = but.to_owned();
        self.committer
            .commit(move |writer| {
                let due = writer.trees.due_notices(writer.now_ms, limit, &but)?;
                Ok(due.into_iter().map(|entry| entry.task).collect())
            })
            .await
    }

    async fn settle_notice(
        &self,
        id: &TaskId,
        revision: u64,
        next_ms: Option<u64>,
    ) -> Result<Task, TaskStoreError> {
        self.change(id, move |entry, _| entry.settle_notice(revision, next_ms)).await
    }

    async fn pin(&self, id: &TaskId, most: Option<u64>) -> Result<Task, TaskStoreError> {
        self.change_among(id, move |entry, writer| {
            let pinned = writer.trees.pinned_of(&entry.task.owner);
            entry.pin(pinned, most)
        })
        .await
    }

    async fn unpin(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, _| {
            entry.unpin();
            Ok(())
        })
        .await
    }

    async fn give_up_files(&self, id: &TaskId, revision: u64) -> Result<Task, TaskStoreError> {
        self.change(id, move |entry, _| entry.give_up_files(revision)).await
    }

    async fn forget_files(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, _| entry.forget_files()).await
    }

    fn subscribe(&self) -> broadcast::Receiver<TaskChange> {
        self.committer.shared.changes.subscribe()
    }

    async fn stats(&self) -> Result<TaskStats, TaskStoreError> {
        self.committer
            .shared
            .read(|trees| Ok(TaskStats { size_on_disk: trees.size_on_disk()?, ..trees.counts()? }))
            .await
    }

    async fn queue(&self) -> Result<Vec<QueuePart>, TaskStoreError> {
        self.committer.shared.read_queue(|trees| Ok(trees.queue())).await
    }

    async fn ended_before(&self, ms: u64, limit: usize) -> Result<Vec<Task>, TaskStoreError> {
        self.committer
            .shared
            .read(move |trees| {
                Ok(trees.ended_before(ms, limit)?.into_iter().map(|entry| entry.task).collect())
            })
            .await
    }

    async fn filed_before(&self, ms: u64, limit: usize) -> Result<Vec<Task>, TaskStoreError> {
        self.committer
            .shared
            .read(move |trees| {
                Ok(trees.filed_before(ms, limit)?.into_iter().map(|entry| entry.task).collect())
            })
            .await
    }
}

fn stored(writer: &Writer<'_>, id: &TaskId) -> Result<Entry, TaskStoreError> {
    writer.trees.get(id.as_str().as_bytes())?.ok_or(TaskStoreError::NotFound)
}

/// Ends waiting tasks whose time to begin is over: up to [`CHANGED_AT_ONCE`] of them.
fn expire_overdue(writer: &mut Writer<'_>) -> Result<u64, TaskStoreError> {
    let mut expired = 0;
    while expired < CHANGED_AT_ONCE
        && let Some(old) = writer.trees.first_overdue(writer.now_ms)?
    {
        let mut new = old.clone();
        new.expire(writer.now_ms);
        writer.replace(Some(&old), Some(&new))?;
        expired += 1;
    }
    Ok(expired)
}

/// Takes back every lease whose deadline is at or before `deadline_ms`.
fn lose_expired(writer: &mut Writer<'_>, deadline_ms: u64) -> Result<(), TaskStoreError> {
    while let Some(old) = writer.trees.first_expired(deadline_ms)? {
        let mut new = old.clone();
        new.lose(writer.now_ms);
        writer.replace(Some(&old), Some(&new))?;
    }
    Ok(())
}

/// The one door to tokio's blocking pool in this store.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TaskStoreError> + Send + 'static,
) -> Result<T, TaskStoreError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| TaskStoreError::Unavailable(format!("its work was cut short: {error}")))?
}
