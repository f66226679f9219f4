//! What may happen to a task, as pure functions on one entry. Both stores apply these and add only where entries
//! are kept, so that they cannot disagree. It knows no clock, file or thread.

use std::cmp::Reverse;
use std::time::Duration;

use gesso_core::ids::TaskId;

use super::{
    CRASHED, EXPIRED, INLINE_PAYLOAD_LIMIT, Lease, MoveTo, NewTask, Notice, Outcome, Payload, Release,
    TERM_LIMIT, Task, TaskError, TaskState, TaskStoreError, Terms,
};
use crate::keys;

/// After this many attempts that ended without a word (process death, expired lease) a task is failed: a request
/// that kills its worker must not do so for ever. One that is not to be tried again has a single one.
pub(crate) const MAX_LOST_ATTEMPTS: u32 = 3;

/// Longer error messages are cut, because an error report must never stop a task from ending.
pub(crate) const ERROR_MESSAGE_LIMIT: usize = 1024;

/// The same of what is wrong with fields, all of it together.
const PROBLEMS_LIMIT: usize = 512;
/// What a problem takes in a record beside its own texts.
const PROBLEM_OVERHEAD: usize = 32;

/// A task together with what the store alone needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) task: Task,
    /// Order of submission, unique in the store.
    pub(crate) sequence: u64,
    pub(crate) lost_attempts: u32,
    /// Attempts that were given back because something was short.
    pub(crate) shortages: u32,
    /// Present exactly while the task is running.
    pub(crate) holder: Option<Holder>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) worker: String,
    /// By [`Clock::steady_ms`](crate::Clock::steady_ms).
    pub(crate) deadline_ms: u64,
}

impl Entry {
    pub(crate) fn new(new: NewTask, sequence: u64, now_ms: u64) -> Result<Self, TaskStoreError> {
        check_payload(&new.payload)?;
        check_name("the kind of a task", &new.kind)?;
        keys::check_owner(&new.owner).map_err(|error| TaskStoreError::Invalid(error.to_string()))?;
        check_terms(&new.terms)?;
        let task = Task {
            id: new.id,
            kind: new.kind,
            owner: new.owner,
            priority: new.priority,
            place: sequence,
            payload: new.payload,
            terms: new.terms,
            state: TaskState::Waiting,
            cancel_requested: false,
            attempt: 0,
            created_ms: now_ms,
            updated_ms: now_ms,
            started_ms: None,
            finished_ms: None,
            outcome: None,
            notice: None,
            pinned: false,
            files_gone: false,
            revision: 1,
        };
        Ok(Self { task, sequence, lost_attempts: 0, shortages: 0, holder: None })
    }

    /// By which waiting entries are leased, the lowest first.
    pub(crate) fn turn(&self) -> (Reverse<i32>, u64) {
        (Reverse(self.task.priority), self.task.place)
    }

    /// A waiting entry starts its next attempt.
    pub(crate) fn lease(
        &mut self,
        worker: &str,
        ttl: Duration,
        now_ms: u64,
        steady_ms: u64,
    ) -> Result<Lease, TaskStoreError> {
        check_name("the name of a worker", worker)?;
        let deadline_ms = deadline(ttl, steady_ms);
        self.holder = Some(Holder { worker: worker.to_owned(), deadline_ms });
        self.task.attempt += 1;
        self.task.started_ms = Some(now_ms);
        self.change(TaskState::Running, now_ms);
        Ok(Lease {
            task: self.task.clone(),
            attempt: self.task.attempt,
            worker: worker.to_owned(),
            deadline_ms,
            shortages: self.shortages,
        })
    }

    /// Whether the deadline has passed without the worker saying a word.
    pub(crate) fn has_expired(&self, steady_ms: u64) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.deadline_ms <= steady_ms)
    }

    pub(crate) fn extend(
        &mut self,
        lease: &Lease,
        ttl: Duration,
        steady_ms: u64,
    ) -> Result<(), TaskStoreError> {
        // A lease that expired unnoticed is still the newest attempt, so extending it harms nobody.
        self.holder_of(lease)?.deadline_ms = deadline(ttl, steady_ms);
        Ok(())
    }

    /// Returns whether anything changed: a worker that heard no answer may repeat itself.
    pub(crate) fn finish(
        &mut self,
        lease: &Lease,
        state: TaskState,
        mut outcome: Outcome,
        now_ms: u64,
    ) -> Result<bool, TaskStoreError> {
        if !state.is_terminal() {
            return Err(TaskStoreError::Invalid(format!(
                "a task cannot be finished as {state}; use release"
            )));
        }
        if let Some(error) = &mut outcome.error {
            bound(error);
        }
        if self.task.attempt == lease.attempt
            && self.task.state == state
            && self.task.outcome.as_ref() == Some(&outcome)
        {
            return Ok(false);
        }
        self.holder_of(lease)?;
        self.end(state, outcome, now_ms);
        Ok(true)
    }

    pub(crate) fn release(&mut self, lease: &Lease, why: Release, now_ms: u64) -> Result<(), TaskStoreError> {
        self.holder_of(lease)?;
        self.shortages += u32::from(why == Release::Shortage);
        self.return_to_wait(now_ms);
        Ok(())
    }

    /// Returns whether anything changed.
    pub(crate) fn cancel(&mut self, now_ms: u64) -> bool {
        match self.task.state {
            TaskState::Waiting => {
                self.task.cancel_requested = true;
                self.end(TaskState::Canceled, Outcome::default(), now_ms);
                true
            }
            TaskState::Running if !self.task.cancel_requested => {
                self.task.cancel_requested = true;
                self.change(TaskState::Running, now_ms);
                true
            }
            _ => false,
        }
    }

    /// When the entry expires, unless it begins. One that has begun before waits as long as it takes.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        let waits_for_the_first_time = self.task.state == TaskState::Waiting && self.task.attempt == 0;
        self.task.terms.start_by_ms.filter(|_| waits_for_the_first_time)
    }

    /// Ends a waiting task whose time to begin is over. Returns whether anything changed.
    pub(crate) fn expire(&mut self, now_ms: u64) -> bool {
        if self.expires_ms().is_none_or(|expires_ms| expires_ms > now_ms) {
            return false;
        }
        let message =
            "the task had not begun when the time it was given was over; submit it again with more".into();
        let error = Some(TaskError { code: EXPIRED.to_owned(), message, problems: Vec::new() });
        self.end(TaskState::Expired, Outcome { error, ..Outcome::default() }, now_ms);
        true
    }

    /// A task that ended badly waits again. Its attempts go on counting: their numbers are in the names of pictures.
    pub(crate) fn retry(&mut self, now_ms: u64) -> Result<(), TaskStoreError> {
        let has_failed = matches!(self.task.state, TaskState::Failed | TaskState::Expired);
        if !has_failed || self.task.files_gone {
            return Err(TaskStoreError::State(self.task.state));
        }
        self.lost_attempts = 0;
        self.shortages = 0;
        self.task.cancel_requested = false;
        self.task.terms.start_by_ms = None;
        self.task.outcome = None;
        self.task.finished_ms = None;
        self.task.notice = None;
        self.change(TaskState::Waiting, now_ms);
        Ok(())
    }

    /// A waiting task is to do something else.
    pub(crate) fn amend(
        &mut self,
        revision: u64,
        payload: Payload,
        model: Option<String>,
        now_ms: u64,
    ) -> Result<(), TaskStoreError> {
        if self.task.state != TaskState::Waiting || self.task.revision != revision {
            return Err(TaskStoreError::State(self.task.state));
        }
        check_payload(&payload)?;
        self.task.payload = payload;
        self.task.terms.model = model;
        check_terms(&self.task.terms)?;
        self.change(TaskState::Waiting, now_ms);
        Ok(())
    }

    /// Told to nobody, as it is no change of the task's state.
    pub(crate) fn rename(&mut self, name: Option<String>) -> Result<(), TaskStoreError> {
        self.task.terms.name = name;
        check_terms(&self.task.terms)
    }

    /// An attempt to tell the webhook is over.
    pub(crate) fn settle_notice(
        &mut self,
        revision: u64,
        next_ms: Option<u64>,
    ) -> Result<(), TaskStoreError> {
        if self.task.revision != revision {
            return Err(TaskStoreError::State(self.task.state));
        }
        let notice = self.task.notice.as_mut().ok_or(TaskStoreError::State(self.task.state))?;
        notice.attempts += 1;
        match next_ms {
            Some(due_ms) => notice.due_ms = due_ms,
            None => self.task.notice = None,
        }
        Ok(())
    }

    /// Retention leaves it alone from here on; told to nobody, as it is no change of the task's state. `pinned` counts those
    /// of its owner that are.
    pub(crate) fn pin(&mut self, pinned: u64, most: Option<u64>) -> Result<(), TaskStoreError> {
        if self.task.files_gone {
            return Err(TaskStoreError::State(self.task.state));
        }
        if let Some(most) = most.filter(|most| !self.task.pinned && pinned >= *most) {
            return Err(TaskStoreError::TooManyPinned(most));
        }
        self.task.pinned = true;
        Ok(())
    }

    pub(crate) fn unpin(&mut self) {
        self.task.pinned = false;
    }

    pub(crate) fn give_up_files(&mut self, revision: u64) -> Result<(), TaskStoreError> {
        if !self.task.state.is_terminal() || self.task.pinned || self.task.revision != revision {
            return Err(TaskStoreError::State(self.task.state));
        }
        self.task.files_gone = true;
        Ok(())
    }

    pub(crate) fn forget_files(&mut self) -> Result<(), TaskStoreError> {
        if !self.task.files_gone {
            return Err(TaskStoreError::State(self.task.state));
        }
        if let Some(outcome) = &mut self.task.outcome {
            outcome.images.clear();
            outcome.details = None;
        }
        if matches!(self.task.payload, Payload::Object(_)) {
            self.task.payload = Payload::Inline(String::new());
        }
        Ok(())
    }

    /// When the entry ended, where retention may forget it.
    pub(crate) fn forgettable_ms(&self) -> Option<u64> {
        let task = &self.task;
        let is_kept = task.pinned || task.notice.is_some();
        task.finished_ms.filter(|_| !is_kept && task.state.is_terminal())
    }

    /// When the entry ended, where it has files that retention may delete.
    pub(crate) fn filed_ms(&self) -> Option<u64> {
        self.forgettable_ms().filter(|_| self.task.has_files())
    }

    /// The running attempt ended without a word: its process died or its lease expired.
    pub(crate) fn lose(&mut self, now_ms: u64) {
        self.lost_attempts += 1;
        let no_retry = self.task.terms.no_retry;
        if (no_retry || self.lost_attempts >= MAX_LOST_ATTEMPTS) && !self.task.cancel_requested {
            let message = match self.lost_attempts {
                _ if no_retry => {
                    "the server or its worker stopped while the task ran, and it was not to be tried again"
                        .to_owned()
                }
                lost => format!(
                    "{lost} attempts ended because the server or its worker stopped; the request may be the cause"
                ),
            };
            let error = Some(TaskError { code: CRASHED.to_owned(), message, problems: Vec::new() });
            self.end(TaskState::Failed, Outcome { error, ..Outcome::default() }, now_ms);
        } else {
            self.return_to_wait(now_ms);
        }
    }

    /// A running task waits again, unless it was asked to stop: then nothing is left to do for it.
    pub(crate) fn return_to_wait(&mut self, now_ms: u64) {
        if self.task.cancel_requested {
            self.end(TaskState::Canceled, Outcome::default(), now_ms);
        } else {
            self.holder = None;
            self.change(TaskState::Waiting, now_ms);
        }
    }

    fn holder_of(&mut self, lease: &Lease) -> Result<&mut Holder, TaskStoreError> {
        match &mut self.holder {
            Some(holder) if self.task.attempt == lease.attempt && holder.worker == lease.worker => Ok(holder),
            _ => Err(TaskStoreError::Fenced),
        }
    }

    fn end(&mut self, state: TaskState, outcome: Outcome, now_ms: u64) {
        self.holder = None;
        self.task.outcome = Some(outcome);
        self.task.finished_ms = Some(now_ms);
        self.task.notice = self.task.terms.webhook.as_ref().map(|_| Notice { attempts: 0, due_ms: now_ms });
        self.change(state, now_ms);
    }

    fn change(&mut self, state: TaskState, now_ms: u64) {
        self.task.state = state;
        self.task.updated_ms = now_ms;
        self.task.revision += 1;
    }
}

/// What changes when one of an owner's waiting entries is moved: each entry that has another place then, as it was and as it is.
pub(crate) fn reordered(
    mut waiting: Vec<Entry>,
    entry: &Entry,
    to: &MoveTo,
) -> Result<Vec<(Entry, Entry)>, TaskStoreError> {
    waiting.sort_by_key(Entry::turn);
    let places: Vec<_> = waiting.iter().map(|entry| (entry.task.priority, entry.task.place)).collect();
    let find = |waiting: &[Entry], id: &TaskId| waiting.iter().position(|entry| entry.task.id == *id);
    let from = find(&waiting, &entry.task.id).ok_or(TaskStoreError::State(entry.task.state))?;
    let moved = waiting.remove(from);
    let to = match to {
        MoveTo::First => 0,
        MoveTo::Before(other) if *other == moved.task.id => from,
        MoveTo::Before(other) => find(&waiting, other).ok_or(TaskStoreError::NotFound)?,
        MoveTo::Last => waiting.len(),
    };
    waiting.insert(to, moved);
    let placed = waiting.into_iter().zip(places).filter_map(|(old, (priority, place))| {
        let mut new = old.clone();
        (new.task.priority, new.task.place) = (priority, place);
        (new != old).then_some((old, new))
    });
    Ok(placed.collect())
}

fn deadline(ttl: Duration, steady_ms: u64) -> u64 {
    steady_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
}

fn check_payload(payload: &Payload) -> Result<(), TaskStoreError> {
    match payload {
        Payload::Inline(text) if text.len() > INLINE_PAYLOAD_LIMIT => {
            Err(TaskStoreError::TooLarge { bytes: text.len(), limit: INLINE_PAYLOAD_LIMIT })
        }
        _ => Ok(()),
    }
}

fn check_terms(terms: &Terms) -> Result<(), TaskStoreError> {
    let texts = [
        ("model", &terms.model),
        ("name", &terms.name),
        ("fingerprint", &terms.fingerprint),
        ("webhook", &terms.webhook),
        ("trace", &terms.trace),
    ];
    let too_long =
        |(_, text): &&(&str, &Option<String>)| text.as_ref().is_some_and(|text| text.len() > TERM_LIMIT);
    match texts.iter().find(too_long) {
        Some((what, _)) => {
            Err(TaskStoreError::Invalid(format!("the {what} of a task is longer than {TERM_LIMIT} bytes")))
        }
        None => Ok(()),
    }
}

fn check_name(what: &str, name: &str) -> Result<(), TaskStoreError> {
    if keys::is_slug(name) {
        return Ok(());
    }
    Err(TaskStoreError::Invalid(format!(
        "{what} must be 1 to {} characters of a-z, A-Z, 0-9, '_' and '-'",
        keys::SLUG_LIMIT
    )))
}

/// Has an error fit its record.
fn bound(error: &mut TaskError) {
    // JSON writes a control character in six bytes, which would break the record's bound.
    let plain = |text: &mut String| *text = text.replace(char::is_control, " ");
    plain(&mut error.message);
    error.code.retain(|letter| !letter.is_control());
    cut(&mut error.message, ERROR_MESSAGE_LIMIT);
    cut(&mut error.code, keys::SLUG_LIMIT);
    let mut left = PROBLEMS_LIMIT;
    error.problems.retain_mut(|problem| {
        plain(&mut problem.field);
        plain(&mut problem.message);
        // A field by half its name would be another one.
        left = left.saturating_sub(PROBLEM_OVERHEAD + problem.field.len());
        cut(&mut problem.message, left);
        left -= problem.message.len();
        !problem.message.is_empty()
    });
}

fn cut(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_a_long_message_between_characters() {
        let mut text = "é".repeat(5);
        cut(&mut text, 3);
        assert_eq!(text, "é");
    }

    #[test]
    fn an_entry_that_is_moved_changes_the_places_between_and_no_others() {
        let entry = |id: &str, sequence, priority| {
            let new = NewTask { priority, ..crate::testing::conformance::new_task(id) };
            Entry::new(new, sequence, 1).unwrap()
        };
        let waiting = [("a", 3, 5), ("b", 1, 0), ("c", 2, 0), ("d", 7, 0)];
        let waiting = waiting.map(|(id, sequence, priority)| entry(id, sequence, priority));
        let moved = |index: usize, to: &MoveTo| {
            let changed = reordered(waiting.to_vec(), &waiting[index], to)?;
            let told = changed.iter().map(|(old, new)| {
                assert_eq!((&old.task.id, old.sequence), (&new.task.id, new.sequence));
                format!("{}:{}@{}", new.task.id, new.task.priority, new.task.place)
            });
            Ok::<_, TaskStoreError>(told.collect::<Vec<_>>().join(" "))
        };
        let before = |id: &str| MoveTo::Before(TaskId::parse(id).unwrap());
        assert_eq!(moved(2, &MoveTo::First), Ok("c:5@3 a:0@1 b:0@2".to_owned()));
        assert_eq!(moved(1, &MoveTo::Last), Ok("c:0@1 d:0@2 b:0@7".to_owned()));
        assert_eq!(moved(3, &before("c")), Ok("d:0@2 c:0@7".to_owned()));
        assert_eq!(moved(0, &before("c")), Ok("b:5@3 a:0@1".to_owned()));
        for nothing in [moved(2, &before("c")), moved(2, &before("d")), moved(0, &MoveTo::First)] {
            assert_eq!(nothing, Ok(String::new()));
        }
        assert_eq!(moved(2, &before("x")), Err(TaskStoreError::NotFound));
        let mut ended = entry("e", 9, 0);
        ended.cancel(2);
        let refused = reordered(waiting.to_vec(), &ended, &MoveTo::First);
        assert_eq!(refused, Err(TaskStoreError::State(TaskState::Canceled)));
    }

    #[test]
    fn a_deadline_beyond_time_is_the_end_of_time() {
        assert_eq!(deadline(Duration::MAX, 5), u64::MAX);
    }
}
