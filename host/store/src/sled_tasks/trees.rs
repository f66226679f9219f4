//! The sled trees of the task store and the one way to change them. Called by the committer thread (changes) and
//! the blocking pool (reads). It knows layouts and order of keys, not the rules of tasks.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};
use sled::{Db, Tree};

use super::owned::Owned;
use super::places::{IndexKey, Places};
use super::records;
use crate::tasks::rules::Entry;
use crate::tasks::{
    EndedFilter, EndedPage, LIST_LIMIT, QueuePart, TaskFilter, TaskPage, TaskState, TaskStats, TaskStoreError,
};

pub(super) const FORMAT: &[u8] = b"1";
const FORMAT_KEY: &str = "format";
const SEQUENCE_KEY: &str = "next_sequence";
/// Sequences that are taken out of memory at a time to read their records.
const LOOKED_AT_ONCE: usize = 256;

/// | Tree | Key | Value |
/// |---|---|---|
/// | `tasks` | id | record |
/// | `ready` | inverted priority, place | id of a waiting task |
/// | `leases` | deadline, sequence | id of a running task |
/// | `finished` | end, sequence | id of an ended task |
/// | `order` | sequence | id of any task |
/// | `starts` | latest beginning, sequence | id of a task that has to begin by then |
/// | `notices` | time, sequence | id of a task whose webhook is to be told then |
/// | `meta` | `format`, `next_sequence`, one count per state | |
///
/// Numbers in keys are big-endian, so that byte order is number order.
pub(super) struct Trees {
    db: Db,
    /// sled's own file, opened once more: see [`Trees::flush`].
    file: File,
    tasks: Tree,
    ready: Tree,
    leases: Tree,
    finished: Tree,
    order: Tree,
    starts: Tree,
    notices: Tree,
    meta: Tree,
    known: RwLock<Known>,
}

/// What the trees hold, as far as it is found in memory.
#[derive(Default)]
struct Known {
    /// What `ready` holds, counted.
    places: Places,
    /// What `order` holds, by owner and state.
    owned: Owned,
    /// Ends and sequences of those in `finished` whose files retention may delete.
    filed: BTreeSet<(u64, u64)>,
    /// Sequences of those that are pinned.
    pinned: HashSet<u64>,
    /// Whose webhook is to be told, by sequence: what `notices` holds.
    owed: HashMap<u64, String>,
}

impl Known {
    /// Whether retention leaves the entry of this sequence alone.
    fn is_kept(&self, sequence: u64) -> bool {
        self.pinned.contains(&sequence) || self.owed.contains_key(&sequence)
    }

    fn enter(&mut self, entry: &Entry) {
        self.owned.enter(entry);
        self.filed.extend(entry.filed_ms().map(|ms| (ms, entry.sequence)));
        self.pinned.extend(entry.task.pinned.then_some(entry.sequence));
        self.owed.extend(entry.task.notice.map(|_| (entry.sequence, entry.task.owner.clone())));
        if entry.task.state == TaskState::Waiting {
            self.places.enter(index_key(entry), &entry.task);
        }
    }

    fn leave(&mut self, entry: &Entry) {
        self.owned.leave(entry);
        if let Some(ms) = entry.filed_ms() {
            self.filed.remove(&(ms, entry.sequence));
        }
        self.pinned.remove(&entry.sequence);
        self.owed.remove(&entry.sequence);
        if entry.task.state == TaskState::Waiting {
            self.places.leave(&index_key(entry), &entry.task);
        }
    }
}

impl Trees {
    pub(super) fn new(db: Db, folder: &Path) -> Result<Self, TaskStoreError> {
        let tree = |name: &str| db.open_tree(name).map_err(store_error);
        Ok(Self {
            known: RwLock::default(),
            file: File::open(folder.join("db")).map_err(|error| io_error(&error))?,
            tasks: tree("tasks")?,
            ready: tree("ready")?,
            leases: tree("leases")?,
            finished: tree("finished")?,
            order: tree("order")?,
            starts: tree("starts")?,
            notices: tree("notices")?,
            meta: tree("meta")?,
            db,
        })
    }

    /// Takes in an entry that is stored. To be called once for each, before anything is changed.
    pub(super) fn take_in(&self, entry: &Entry) {
        self.known_to_change().enter(entry);
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_to_change(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn named(&self) -> [(&'static str, &Tree); 8] {
        [
            ("tasks", &self.tasks),
            ("ready", &self.ready),
            ("leases", &self.leases),
            ("finished", &self.finished),
            ("order", &self.order),
            ("starts", &self.starts),
            ("notices", &self.notices),
            ("meta", &self.meta),
        ]
    }

    /// Whether this database has been set up by [`Trees::set_up`].
    pub(super) fn format(&self) -> Result<Option<Vec<u8>>, TaskStoreError> {
        Ok(self.meta.get(FORMAT_KEY).map_err(store_error)?.map(|value| value.to_vec()))
    }

    pub(super) fn set_up(&self) -> Result<(), TaskStoreError> {
        self.meta.insert(FORMAT_KEY, FORMAT).map_err(store_error)?;
        self.flush()
    }

    /// Makes every earlier change durable. sled's flush alone ends in `sync_file_range`, which empties neither the
    /// disk's own cache nor the file's metadata, so the file is synced as well.
    pub(super) fn flush(&self) -> Result<(), TaskStoreError> {
        self.db.flush().map_err(store_error)?;
        self.file.sync_data().map_err(|error| io_error(&error))
    }

    pub(super) fn size_on_disk(&self) -> Result<u64, TaskStoreError> {
        self.db.size_on_disk().map_err(store_error)
    }

    pub(super) fn next_sequence(&self) -> Result<u64, TaskStoreError> {
        Ok(self.meta.get(SEQUENCE_KEY).map_err(store_error)?.map_or(0, |value| number(&value)))
    }

    /// Counts by state as stored, which the guard compares with the trees.
    pub(super) fn counts(&self) -> Result<TaskStats, TaskStoreError> {
        let mut stats = TaskStats::default();
        for state in TaskState::ALL {
            if let Some(value) = self.meta.get(state.as_str()).map_err(store_error)? {
                *stats.of_state(state) = number(&value);
            }
        }
        Ok(stats)
    }

    pub(super) fn get(&self, id: &[u8]) -> Result<Option<Entry>, TaskStoreError> {
        self.tasks.get(id).map_err(store_error)?.map(|record| records::decode(&record)).transpose()
    }

    /// The waiting entry that is next: highest priority, then first place.
    pub(super) fn first_ready(&self) -> Result<Option<Entry>, TaskStoreError> {
        self.ready.first().map_err(store_error)?.map(|(_, id)| self.indexed(&id)).transpose()
    }

    /// A running entry whose deadline is at or before `steady_ms`; `u64::MAX` finds every running entry.
    pub(super) fn first_expired(&self, steady_ms: u64) -> Result<Option<Entry>, TaskStoreError> {
        let first = self.leases.first().map_err(store_error)?.filter(|(key, _)| number(key) <= steady_ms);
        first.map(|(_, id)| self.indexed(&id)).transpose()
    }

    /// Newest first. Of one owner's tasks, or those in some states, only their records are read; whoever looks for a model
    /// reads more.
    pub(super) fn list(&self, filter: &TaskFilter) -> Result<TaskPage, TaskStoreError> {
        let limit = filter.limit.min(LIST_LIMIT);
        let mut before = filter.after.unwrap_or(u64::MAX);
        let mut found = Vec::new();
        if filter.owner.is_none() && filter.states.is_empty() {
            for id in self.order.range(..before.to_be_bytes()).values().rev() {
                // A task may be removed between the two reads.
                found
                    .extend(self.get(&id.map_err(store_error)?)?.filter(|entry| filter.accepts(&entry.task)));
                if found.len() > limit {
                    break;
                }
            }
            return Ok(TaskPage::new(found, limit));
        }
        while found.len() <= limit {
            // The lock, which changes wait for, is held while these numbers are taken and not while records are read.
            let sequences =
                self.known().owned.newest(filter.owner.as_deref(), &filter.states, before, LOOKED_AT_ONCE);
            let Some(last) = sequences.last() else { break };
            before = *last;
            for sequence in sequences {
                // It may be removed, or in another state, between the reads.
                found.extend(self.placed(sequence)?.filter(|entry| filter.accepts(&entry.task)));
                if found.len() > limit {
                    break;
                }
            }
        }
        Ok(TaskPage::new(found, limit))
    }

    /// Waiting entries that a lease would choose before this one; `None` when it does not wait.
    pub(super) fn ahead(&self, id: &[u8]) -> Result<Option<u64>, TaskStoreError> {
        let Some(entry) = self.get(id)?.filter(|entry| entry.task.state == TaskState::Waiting) else {
            return Ok(None);
        };
        Ok(Some(self.known().places.ahead_of(&index_key(&entry))))
    }

    /// One owner's waiting entries, in no order.
    pub(super) fn waiting_of(&self, owner: &str) -> Result<Vec<Entry>, TaskStoreError> {
        let waiting = [TaskState::Waiting];
        let sequences = self.known().owned.newest(Some(owner), &waiting, u64::MAX, usize::MAX);
        sequences.into_iter().filter_map(|sequence| self.placed(sequence).transpose()).collect()
    }

    /// How many of one owner's entries are pinned.
    pub(super) fn pinned_of(&self, owner: &str) -> u64 {
        self.known().owned.pinned(owner)
    }

    /// How many wait, by model and priority.
    pub(super) fn queue(&self) -> Vec<QueuePart> {
        self.known().places.parts()
    }

    /// A page of what has ended, and how many there are.
    pub(super) fn ended(&self, filter: &EndedFilter) -> Result<EndedPage, TaskStoreError> {
        let (sequences, total) = self.known().owned.page(filter);
        let mut tasks = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            // It may be removed, tried again or unpinned between the reads.
            let entry = self.placed(sequence)?.filter(|entry| filter.accepts(&entry.task));
            tasks.extend(entry.map(|entry| entry.task));
        }
        Ok(EndedPage { tasks, total })
    }

    /// A waiting entry whose time to begin was over at `now_ms`.
    pub(super) fn first_overdue(&self, now_ms: u64) -> Result<Option<Entry>, TaskStoreError> {
        let first = self.starts.first().map_err(store_error)?.filter(|(key, _)| number(key) <= now_ms);
        first.map(|(_, id)| self.indexed(&id)).transpose()
    }

    /// Ended entries whose notice was due at `now_ms`, but for those of some owners, whose records are not read: there may be
    /// many that wait for the same silent server.
    pub(super) fn due_notices(
        &self,
        now_ms: u64,
        limit: usize,
        but: &[String],
    ) -> Result<Vec<Entry>, TaskStoreError> {
        let mut found = Vec::new();
        for notice in self.notices.iter() {
            let (key, id) = notice.map_err(store_error)?;
            if number(&key) > now_ms || found.len() >= limit {
                break;
            }
            if self.known().owed.get(&sequence(&key)).is_some_and(|owner| but.contains(owner)) {
                continue;
            }
            found.push(self.indexed(&id)?);
        }
        Ok(found)
    }

    /// Entries that ended before `ms`, are not pinned and owe their webhook nothing, the oldest end first. No record is read of
    /// the others, which stay at the head of the order for long.
    pub(super) fn ended_before(&self, ms: u64, limit: usize) -> Result<Vec<Entry>, TaskStoreError> {
        let mut found = Vec::new();
        for ended in self.finished.range(..ms.to_be_bytes()) {
            if found.len() >= limit {
                break;
            }
            let (key, id) = ended.map_err(store_error)?;
            if self.known().is_kept(sequence(&key)) {
                continue;
            }
            // It may be removed, pinned or tried again between the reads.
            found.extend(self.get(&id)?.filter(|entry| entry.forgettable_ms().is_some()));
        }
        Ok(found)
    }

    /// Entries that ended before `ms` and have files that retention may delete, the oldest end first. No other record is read.
    pub(super) fn filed_before(&self, ms: u64, limit: usize) -> Result<Vec<Entry>, TaskStoreError> {
        let sequences: Vec<u64> =
            self.known().filed.range(..(ms, 0_u64)).take(limit).map(|(_, sequence)| *sequence).collect();
        let mut found = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            // It may be removed, pinned or tried again between the reads.
            found.extend(self.placed(sequence)?.filter(|entry| entry.filed_ms().is_some()));
        }
        Ok(found)
    }

    /// Every record as it is stored, for the guard and the backup.
    pub(super) fn records(&self) -> impl Iterator<Item = Result<sled::IVec, TaskStoreError>> + use<> {
        self.tasks.iter().values().map(|record| record.map_err(store_error))
    }

    /// Writes `new` in place of `old` in every tree at once: adds with `old` none, removes with `new` none. Only
    /// the committer thread calls this, so `old` is what is stored and the counts cannot race.
    pub(super) fn replace(&self, old: Option<&Entry>, new: Option<&Entry>) -> Result<(), TaskStoreError> {
        let record = new.map(records::encode).transpose()?;
        let mut counts = self.counts()?;
        if let Some(old) = old {
            let count = counts.of_state(old.task.state);
            *count = count.saturating_sub(1);
        }
        if let Some(new) = new {
            *counts.of_state(new.task.state) += 1;
        }
        let changed = |state: TaskState| {
            old.is_some_and(|old| old.task.state == state) || new.is_some_and(|new| new.task.state == state)
        };
        // A task that was moved has a place that one had which is perhaps not there any more.
        let next_sequence = match (old, new) {
            (None, Some(new)) => Some(self.next_sequence()?.max(new.sequence.max(new.task.place) + 1)),
            _ => None,
        };
        let trees = (
            &self.tasks,
            &self.ready,
            &self.leases,
            &self.finished,
            &self.order,
            &self.starts,
            &self.notices,
            &self.meta,
        );
        let outcome = trees.transaction(|(tasks, ready, leases, finished, order, starts, notices, meta)| {
            let index = |entry: &Entry| match entry.task.state {
                TaskState::Waiting => ready,
                TaskState::Running => leases,
                _ => finished,
            };
            if let Some(old) = old {
                index(old).remove(&index_key(old))?;
                if let Some(key) = start_key(old) {
                    starts.remove(key)?;
                }
                if let Some(key) = notice_key(old) {
                    notices.remove(key)?;
                }
                if new.is_none() {
                    tasks.remove(old.task.id.as_ref().as_bytes())?;
                    order.remove(&old.sequence.to_be_bytes())?;
                }
            }
            if let (Some(new), Some(record)) = (new, &record) {
                let id = new.task.id.as_ref().as_bytes();
                index(new).insert(&index_key(new), id)?;
                if let Some(key) = start_key(new) {
                    starts.insert(key, id)?;
                }
                if let Some(key) = notice_key(new) {
                    notices.insert(key, id)?;
                }
                tasks.insert(id, record.as_slice())?;
                if let Some(next_sequence) = next_sequence {
                    order.insert(&new.sequence.to_be_bytes(), id)?;
                    meta.insert(SEQUENCE_KEY, &next_sequence.to_be_bytes())?;
                }
            }
            for state in TaskState::ALL.into_iter().filter(|state| changed(*state)) {
                let mut counts = counts;
                meta.insert(state.as_str(), &counts.of_state(state).to_be_bytes())?;
            }
            Ok::<(), ConflictableTransactionError<()>>(())
        });
        outcome.map_err(given_up)?;
        let mut known = self.known_to_change();
        if let Some(old) = old {
            known.leave(old);
        }
        if let Some(new) = new {
            known.enter(new);
        }
        Ok(())
    }

    /// Gives waiting entries other places, all at once: each as it is stored and as it is from here on. The places are the same
    /// together, so that every key of the index stays and names another.
    pub(super) fn place(&self, moved: &[(Entry, Entry)]) -> Result<(), TaskStoreError> {
        let records = moved.iter().map(|(_, new)| records::encode(new)).collect::<Result<Vec<_>, _>>()?;
        let outcome = (&self.tasks, &self.ready).transaction(|(tasks, ready)| {
            for ((_, new), record) in moved.iter().zip(&records) {
                let id = new.task.id.as_ref().as_bytes();
                ready.insert(&index_key(new), id)?;
                tasks.insert(id, record.as_slice())?;
            }
            Ok::<(), ConflictableTransactionError<()>>(())
        });
        outcome.map_err(given_up)?;
        let mut known = self.known_to_change();
        moved.iter().for_each(|(old, _)| known.leave(old));
        moved.iter().for_each(|(_, new)| known.enter(new));
        Ok(())
    }

    /// Whether the index of what waits leads to this entry, if it waits.
    pub(super) fn is_indexed(&self, entry: &Entry) -> Result<bool, TaskStoreError> {
        if entry.task.state != TaskState::Waiting {
            return Ok(true);
        }
        let id = self.ready.get(index_key(entry)).map_err(store_error)?;
        Ok(id.is_some_and(|id| id.as_ref() == entry.task.id.as_ref().as_bytes()))
    }

    /// The entry of this sequence; `None` where it is removed.
    fn placed(&self, sequence: u64) -> Result<Option<Entry>, TaskStoreError> {
        let id = self.order.get(sequence.to_be_bytes()).map_err(store_error)?;
        id.map_or(Ok(None), |id| self.get(&id))
    }

    /// Follows an index entry to its record.
    fn indexed(&self, id: &[u8]) -> Result<Entry, TaskStoreError> {
        self.get(id)?
            .ok_or_else(|| TaskStoreError::Corrupt("an index names a task that is not there".to_owned()))
    }
}

/// The key of an entry in the index of its state.
fn index_key(entry: &Entry) -> IndexKey {
    let (first, second) = match (entry.task.state, &entry.holder) {
        // Flipping the sign bit orders signed numbers as bytes; inverting puts the highest first.
        (TaskState::Waiting, _) => {
            let flipped = entry.task.priority.cast_unsigned() ^ 0x8000_0000;
            (u64::from(!flipped), entry.task.place)
        }
        (_, Some(holder)) => (holder.deadline_ms, entry.sequence),
        (_, None) => (entry.task.finished_ms.unwrap_or(0), entry.sequence),
    };
    let mut key = IndexKey::default();
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

fn start_key(entry: &Entry) -> Option<Vec<u8>> {
    Some(timed_key(entry.expires_ms()?, entry))
}

fn notice_key(entry: &Entry) -> Option<Vec<u8>> {
    Some(timed_key(entry.task.notice?.due_ms, entry))
}

fn timed_key(ms: u64, entry: &Entry) -> Vec<u8> {
    [ms.to_be_bytes(), entry.sequence.to_be_bytes()].concat()
}

/// The number in the first eight bytes; fewer read as 0.
fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The sequence in a key that has it behind a time.
fn sequence(key: &[u8]) -> u64 {
    key.get(8..).map_or(0, number)
}

fn given_up(error: TransactionError<()>) -> TaskStoreError {
    match error {
        TransactionError::Storage(error) => store_error(error),
        TransactionError::Abort(()) => TaskStoreError::Unavailable("a change was given up".to_owned()),
    }
}

/// Translates sled's errors. sled drops the operating system's code from some of them, but keeps the kind.
pub(crate) fn store_error(error: sled::Error) -> TaskStoreError {
    match error {
        sled::Error::Io(error) => io_error(&error),
        sled::Error::Corruption { at, .. } => TaskStoreError::Corrupt(at.map_or_else(
            || "a file does not match its checksum".to_owned(),
            |at| format!("a file does not match its checksum at {at:?}"),
        )),
        other => TaskStoreError::Unavailable(other.to_string()),
    }
}

pub(crate) fn io_error(error: &std::io::Error) -> TaskStoreError {
    if crate::objects::is_disk_full(error) {
        TaskStoreError::Full(error.to_string())
    } else {
        TaskStoreError::Unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests;
