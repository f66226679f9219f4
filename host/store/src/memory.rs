//! The task store in memory: the model the durable ones are compared with, and the store of other crates' tests.
//! It keeps nothing when the process ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gesso_core::ids::TaskId;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::tasks::rules::{self, Entry};
use crate::tasks::{
    EndedFilter, EndedPage, LIST_LIMIT, Lease, MoveTo, NewTask, Outcome, Payload, QueuePart, Release, Task,
    TaskChange, TaskFilter, TaskPage, TaskState, TaskStats, TaskStore, TaskStoreError,
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

impl State {
    fn entry(&self, id: &TaskId) -> Result<&Entry, TaskStoreError> {
        let entry = self.sequence_of.get(id).and_then(|sequence| self.by_sequence.get(sequence));
        entry.ok_or(TaskStoreError::NotFound)
    }

    /// Tasks with a time before `ms`, the earliest first.
    fn oldest(&self, ms: u64, limit: usize, time: impl Fn(&Entry) -> Option<u64>) -> Vec<Task> {
        let timed = self.by_sequence.values().filter_map(|entry| Some((time(entry)?, entry)));
        let mut old: Vec<_> = timed.filter(|(time_ms, _)| *time_ms < ms).collect();
        old.sort_unstable_by_key(|(time_ms, entry)| (*time_ms, entry.sequence));
        old.into_iter().take(limit).map(|(_, entry)| entry.task.clone()).collect()
    }
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

    /// Ends every waiting task whose time to begin is over.
    fn expire(&self, state: &mut State, now_ms: u64) -> u64 {
        let mut expired = 0;
        for entry in state.by_sequence.values_mut() {
            if entry.expire(now_ms) {
                self.tell(entry);
                expired += 1;
            }
        }
        expired
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
        self.change_in(&mut self.state(), id, rule)
    }

    fn change_in<T>(
        &self,
        state: &mut State,
        id: &TaskId,
        rule: impl FnOnce(&mut Entry, u64) -> Result<T, TaskStoreError>,
    ) -> Result<Task, TaskStoreError> {
        let now_ms = self.clock.now_ms();
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
        let (now_ms, steady_ms) = (self.clock.now_ms(), self.clock.steady_ms());
        let mut state = self.state();
        for entry in state.by_sequence.values_mut().filter(|entry| entry.has_expired(steady_ms)) {
            entry.lose(now_ms);
            self.tell(entry);
        }
        self.expire(&mut state, now_ms);
        let waiting = state.by_sequence.values_mut().filter(|entry| entry.task.state == TaskState::Waiting);
        let Some(next) = waiting.min_by_key(|entry| entry.turn()) else { return Ok(None) };
        let lease = next.lease(worker, ttl, now_ms, steady_ms)?;
        self.tell(next);
        Ok(Some(lease))
    }

    async fn extend(&self, lease: &Lease, ttl: Duration) -> Result<Task, TaskStoreError> {
        let steady_ms = self.clock.steady_ms();
        self.change(&lease.task.id, |entry, _| entry.extend(lease, ttl, steady_ms))
    }

    async fn finish(
        &self,
        lease: &Lease,
        state: TaskState,
        outcome: Outcome,
    ) -> Result<Task, TaskStoreError> {
        self.change(&lease.task.id, |entry, now_ms| entry.finish(lease, state, outcome, now_ms))
    }

    async fn release(&self, lease: &Lease, why: Release) -> Result<Task, TaskStoreError> {
        self.change(&lease.task.id, |entry, now_ms| entry.release(lease, why, now_ms))
    }

    async fn cancel(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, now_ms| Ok(entry.cancel(now_ms)))
    }

    async fn get(&self, id: &TaskId) -> Result<Option<Task>, TaskStoreError> {
        Ok(self.state().entry(id).ok().map(|entry| entry.task.clone()))
    }

    async fn list(&self, filter: TaskFilter) -> Result<TaskPage, TaskStoreError> {
        let (state, limit) = (self.state(), filter.limit.min(LIST_LIMIT));
        let newest_first = state.by_sequence.range(..filter.after.unwrap_or(u64::MAX)).rev();
        let accepted = newest_first.map(|(_, entry)| entry).filter(|entry| filter.accepts(&entry.task));
        Ok(TaskPage::new(accepted.take(limit + 1).cloned().collect(), limit))
    }

    async fn ended(&self, filter: EndedFilter) -> Result<EndedPage, TaskStoreError> {
        let state = self.state();
        let newest_first = state.by_sequence.values().rev().map(|entry| &entry.task);
        let all: Vec<_> = newest_first.filter(|task| filter.accepts(task)).collect();
        let page = all.iter().skip(filter.offset).take(filter.limit.min(LIST_LIMIT));
        Ok(EndedPage { tasks: page.copied().cloned().collect(), total: all.len() })
    }

    async fn ahead(&self, id: &TaskId) -> Result<Option<u64>, TaskStoreError> {
        let state = self.state();
        let waiting = || state.by_sequence.values().filter(|entry| entry.task.state == TaskState::Waiting);
        let own = waiting().find(|entry| entry.task.id == *id).map(Entry::turn);
        Ok(own.map(|own| waiting().filter(|entry| entry.turn() < own).count() as u64))
    }

    async fn reorder(&self, id: &TaskId, to: &MoveTo) -> Result<Task, TaskStoreError> {
        let mut state = self.state();
        let entry = state.entry(id)?;
        let is_beside =
            |other: &&Entry| other.task.state == TaskState::Waiting && other.task.owner == entry.task.owner;
        let waiting = state.by_sequence.values().filter(is_beside).cloned().collect();
        for (_, moved) in rules::reordered(waiting, entry, to)? {
            state.by_sequence.insert(moved.sequence, moved);
        }
        Ok(state.entry(id)?.task.clone())
    }

    async fn amend(
        &self,
        id: &TaskId,
        revision: u64,
        payload: Payload,
        model: Option<String>,
    ) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, now_ms| entry.amend(revision, payload, model, now_ms))
    }

    async fn rename(&self, id: &TaskId, name: Option<String>) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, _| entry.rename(name))
    }

    async fn retry(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, now_ms| entry.retry(now_ms))
    }

    async fn remove(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        let mut state = self.state();
        let Entry { task, sequence, .. } = state.entry(id)?.clone();
        if !task.state.is_terminal() {
            return Err(TaskStoreError::State(task.state));
        }
        state.by_sequence.remove(&sequence);
        state.sequence_of.remove(id);
        Ok(task)
    }

    async fn expire_overdue(&self) -> Result<u64, TaskStoreError> {
        let now_ms = self.clock.now_ms();
        Ok(self.expire(&mut self.state(), now_ms))
    }

    async fn due_notices(&self, limit: usize, but: &[String]) -> Result<Vec<Task>, TaskStoreError> {
        let now_ms = self.clock.now_ms();
        let state = self.state();
        let entries = state.by_sequence.values();
        let mut due: Vec<_> = entries
            .filter_map(|entry| Some((entry.task.notice?.due_ms, entry.sequence, &entry.task)))
            .filter(|(due_ms, _, task)| *due_ms <= now_ms && !but.contains(&task.owner))
            .collect();
        due.sort_by_key(|(due_ms, sequence, _)| (*due_ms, *sequence));
        Ok(due.into_iter().take(limit).map(|(_, _, task)| task.clone()).collect())
    }

    async fn settle_notice(
        &self,
        id: &TaskId,
        revision: u64,
        next_ms: Option<u64>,
    ) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, _| entry.settle_notice(revision, next_ms))
    }

    async fn pin(&self, id: &TaskId, most: Option<u64>) -> Result<Task, TaskStoreError> {
        let mut state = self.state();
        let owner = state.entry(id)?.task.owner.clone();
        let is_pinned = |entry: &&Entry| entry.task.pinned && entry.task.owner == owner;
        let pinned = state.by_sequence.values().filter(is_pinned).count() as u64;
        self.change_in(&mut state, id, |entry, _| entry.pin(pinned, most))
    }

    async fn unpin(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, _| {
            entry.unpin();
            Ok(())
        })
    }

    async fn give_up_files(&self, id: &TaskId, revision: u64) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, _| entry.give_up_files(revision))
    }

    async fn forget_files(&self, id: &TaskId) -> Result<Task, TaskStoreError> {
        self.change(id, |entry, _| entry.forget_files())
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

    async fn queue(&self) -> Result<Vec<QueuePart>, TaskStoreError> {
        let mut counts = BTreeMap::<_, u64>::new();
        for entry in self.state().by_sequence.values().filter(|entry| entry.task.state == TaskState::Waiting)
        {
            *counts.entry((entry.task.terms.model.clone(), entry.task.priority)).or_default() += 1;
        }
        let part = |((model, priority), waiting)| QueuePart { model, priority, waiting };
        Ok(counts.into_iter().map(part).collect())
    }

    async fn ended_before(&self, ms: u64, limit: usize) -> Result<Vec<Task>, TaskStoreError> {
        Ok(self.state().oldest(ms, limit, Entry::forgettable_ms))
    }

    async fn filed_before(&self, ms: u64, limit: usize) -> Result<Vec<Task>, TaskStoreError> {
        Ok(self.state().oldest(ms, limit, Entry::filed_ms))
    }
}
