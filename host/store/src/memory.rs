//! The task store in memory: the model the durable ones are compared with, and the store of other crates' tests.
//! It keeps nothing when the process ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gesso_core::ids::TaskId;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::tasks::rules::Entry;
use crate::tasks::{
    LIST_LIMIT, Lease, NewTask, Outcome, Task, TaskChange, TaskFilter, TaskState, TaskStats, TaskStore,
    TaskStoreError,
};

/// A [`TaskStore`] whose only promise is to follow the rules.
pub struct MemoryTasks {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changes: broadcast::Sender<TaskChange>,
}

#[derive(Default)]
struct State {
    next_sequence: u64,
    by_sequence: BTreeMap<u64, Entry>,
    sequence_of: HashMap<TaskId, u64>,
}

impl MemoryTasks {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default(), changes: broadcast::channel(1024).0 }
    }

    /// Does what opening a durable store after the death of its process does: every running attempt is lost.
    pub fn restart(&self) {
        let now_ms = self.clock.now_ms();
        for entry in self.state().by_sequence.values_mut().filter(|entry| entry.holder.is_some()) {
            entry.lose(now_ms);
            self.tell(entry);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic between two changes leaves each entry whole, so a poisoned lock is still usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, entry: &Entry) {
        // An error only says that nobody listens.
        let _ = self.changes.send(TaskChange::of(&entry.task));
    }

    fn change<T>(
        &self,
        id: &TaskId,
        rule: impl FnOnce(&mut Entry, u64) -> Result<T, TaskStoreError>,
    ) -> Result<Task, TaskStoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let sequence = *state.sequence_of.get(id).ok_or(TaskStoreError::NotFound)?;
        let entry = state.by_sequence.get_mut(&sequence).ok_or(TaskStoreError::NotFound)?;
        let revision = entry.task.revision;
        let mut changed = entry.clone();
        rule(&mut changed, now_ms)?;
        *entry = changed;
        if entry.task.revision != revision {
            self.tell(entry);
        }
        Ok(entry.task.clone())
    }
}

#[async_trait]
impl TaskStore for MemoryTasks {
    async fn submit(&self, task: NewTask) -> Result<Task, TaskStoreError> {
        let mut state = self.state();
        let sequence = state.next_sequence;
        let entry = Entry::new(task, sequence, self.clock.now_ms())?;
        if state.sequence_of.contains_key(&entry.task.id) {
            return Err(TaskStoreError::Exists);
        }
        let task = entry.task.clone();
        self.tell(&entry);
        state.next_sequence += 1;
        state.sequence_of.insert(task.id.clone(), sequence);
        state.by_sequence.insert(sequence, entry);
        Ok(task)
    }

    async fn lease(&self, worker: &str, ttl: Duration) -> Result<Option<Lease>, TaskStoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        for entry in state.by_sequence.values_mut().filter(|entry| entry.has_expired(now_ms)) {
            entry.lose(now_ms);
            self.tell(entry);
        }
        let waiting = state.by_sequence.values_mut().filter(|entry| entry.task.state == TaskState::Waiting);
        let Some(next) = waiting.min_by_key(|entry| (-i64::from(entry.task.priority), entry.sequence)) else {
            return Ok(None);
        };
        let lease = next.lease(worker, ttl, now_ms)?;
        self.tell(next);
        Ok(Some(lease))
    }

    async fn extend(&self, lease: &Lease, ttl: Duration) -> Result<Task, TaskStoreError> {
        self.change(&lease.task.id, |entry, now_ms| entry.extend(lease, ttl, now_ms))
    }

    async fn finish(
        &self,
        lease: &Lease,
        state: TaskState,
        outcome: Outcome,
    ) -> Result<Task, TaskStoreError> {
        self.change(&lease.task.id, |entry, now_ms| entry.finish(lease, state, outcome, now_ms))
    }

    async fn release(&self, lease: &Lease) -> Result<Task, TaskStoreError> {
        self.change(&lease.task.id, |entry, now_ms| entry.release(lease, now_ms))
    }

    async fn cancel(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, now_ms| Ok(entry.cancel(now_ms)))
    }

    async fn get(&self, id: &TaskId) -> Result<Option<Task>, TaskStoreError> {
        let state = self.state();
        let entry = state.sequence_of.get(id).and_then(|sequence| state.by_sequence.get(sequence));
        Ok(entry.map(|entry| entry.task.clone()))
    }

    async fn list(&self, filter: TaskFilter) -> Result<Vec<Task>, TaskStoreError> {
        let state = self.state();
        let newest_first = state.by_sequence.values().rev().map(|entry| &entry.task);
        Ok(newest_first
            .filter(|task| filter.accepts(task))
            .take(filter.limit.min(LIST_LIMIT))
            .cloned()
            .collect())
    }

    fn subscribe(&self) -> broadcast::Receiver<TaskChange> {
        self.changes.subscribe()
    }

    async fn stats(&self) -> Result<TaskStats, TaskStoreError> {
        let mut stats = TaskStats::default();
        for entry in self.state().by_sequence.values() {
            *stats.of_state(entry.task.state) += 1;
        }
        Ok(stats)
    }

    async fn remove_terminal_before(&self, ms: u64) -> Result<u64, TaskStoreError> {
        let mut state = self.state();
        let before = state.by_sequence.len();
        state.by_sequence.retain(|_, entry| entry.task.finished_ms.is_none_or(|finished| finished >= ms));
        let State { by_sequence, sequence_of, .. } = &mut *state;
        sequence_of.retain(|_, sequence| by_sequence.contains_key(sequence));
        Ok((before - by_sequence.len()) as u64)
    }
}
