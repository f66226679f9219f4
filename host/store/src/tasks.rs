//! The words of task storage and the trait every task store fulfils. Called by the server's use cases and workers.
//! It knows nothing of any engine: the rules are in `tasks/rules.rs`, the stores in `memory.rs` and `sled_tasks.rs`.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use gesso_core::ids::TaskId;
use tokio::sync::broadcast;

use crate::keys::ObjectKey;
use rules::Entry;

pub(crate) mod rules;

/// The longest inline payload in bytes. Longer ones go to the object store and are named by [`Payload::Object`].
pub const INLINE_PAYLOAD_LIMIT: usize = 12 * 1024;

/// The longest stored record in bytes. Larger values make sled's files grow without bound.
pub const RECORD_LIMIT: usize = 16 * 1024;

/// The longest text of [`Terms`] in bytes.
pub const TERM_LIMIT: usize = 1024;

/// The most tasks [`TaskStore::list`] returns, whatever the filter asks for.
pub const LIST_LIMIT: usize = 1000;

/// A task is failed with this code when three of its attempts ended without a word, or one where it has no more.
pub const CRASHED: &str = "crashed";

/// The code of a task that had not begun when its time was over.
pub const EXPIRED: &str = "expired";

/// A place where tasks wait, are leased to workers, and end.
///
/// Every `Ok` of a changing operation means the change is durable, and every read returns only what is durable: but for how
/// many wait ([`ahead`](Self::ahead), [`queue`](Self::queue)), in which is what is on its way to the disk.
/// An attempt is one lease; its number fences late words of a worker that lost it.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// Adds a waiting task. `Exists` if the id is taken, `TooLarge` or `Invalid` if the task cannot be stored.
    async fn submit(&self, task: NewTask) -> Result<Task, TaskStoreError>;

    /// Takes the waiting task with the highest priority, among equals the one at the first place. Leases whose deadline has
    /// passed are taken back before the choice: their attempt counts as lost.
    async fn lease(&self, worker: &str, ttl: Duration) -> Result<Option<Lease>, TaskStoreError>;

    /// Moves the deadline to `ttl` from now. The returned task tells whether a cancel was requested.
    async fn extend(&self, lease: &Lease, ttl: Duration) -> Result<Task, TaskStoreError>;

    /// Ends the task. `state` is terminal. Repeating the same words for the same attempt is answered like the first.
    async fn finish(&self, lease: &Lease, state: TaskState, outcome: Outcome)
    -> Result<Task, TaskStoreError>;

    /// Gives the task back to wait, as a draining worker does. The attempt does not count as lost.
    async fn release(&self, lease: &Lease, why: Release) -> Result<Task, TaskStoreError>;

    /// A waiting task becomes canceled at once, a running one is asked to stop, an ended one stays as it is.
    async fn cancel(&self, id: &TaskId) -> Result<Task, TaskStoreError>;

    async fn get(&self, id: &TaskId) -> Result<Option<Task>, TaskStoreError>;

    /// The tasks that pass the filter, newest first. No more records are in memory at a time than the page has, and none is read
    /// that is another owner's or in another state than the filter says.
    async fn list(&self, filter: TaskFilter) -> Result<TaskPage, TaskStoreError>;

    /// A page of the tasks that have ended, newest first, and how many there are. No record is read that is not on it.
    async fn ended(&self, filter: EndedFilter) -> Result<EndedPage, TaskStoreError>;

    /// How many waiting tasks a lease would choose before this one; `None` when it does not wait.
    async fn ahead(&self, id: &TaskId) -> Result<Option<u64>, TaskStoreError>;

    /// Has a failed or expired task wait again: without its outcome and its deadline, at its old place. `State` for
    /// one in another state.
    async fn retry(&self, id: &TaskId) -> Result<Task, TaskStoreError>;

    /// Moves a waiting task among those of its owner that wait. They share the places that they had, with the priority of each,
    /// so that nobody else's task has more or fewer before it. `State` for one that does not wait, `NotFound` also where
    /// the one to move before does not wait or is another owner's. All that change their place are written at once.
    async fn reorder(&self, id: &TaskId, to: &MoveTo) -> Result<Task, TaskStoreError>;

    /// Gives a waiting task, at this revision, another request. `State` for one that has begun or was changed since;
    /// `TooLarge` or `Invalid` as for a new one. The object of the request before is the caller's to delete, afterwards.
    async fn amend(
        &self,
        id: &TaskId,
        revision: u64,
        payload: Payload,
        model: Option<String>,
    ) -> Result<Task, TaskStoreError>;

    /// Sets [`Terms::name`], whatever the state.
    async fn rename(&self, id: &TaskId, name: Option<String>) -> Result<Task, TaskStoreError>;

    /// Forgets one task that has ended. `State` for one that has not. Its objects are the caller's to delete, before.
    async fn remove(&self, id: &TaskId) -> Result<Task, TaskStoreError>;

    /// Ends waiting tasks whose [`Terms::start_by_ms`] has passed and returns how many. A lease does so first, so that
    /// none of them ever begins.
    async fn expire_overdue(&self) -> Result<u64, TaskStoreError>;

    /// Ended tasks whose webhook is to be told now, the one that has waited longest first, without those of the owners
    /// `but`.
    async fn due_notices(&self, limit: usize, but: &[String]) -> Result<Vec<Task>, TaskStoreError>;

    /// An attempt to tell the webhook of a task's end, at this revision, is over: nothing more is due, or another
    /// attempt at this time. `State` where there is nothing to settle any more, such as after a retry.
    async fn settle_notice(
        &self,
        id: &TaskId,
        revision: u64,
        next_ms: Option<u64>,
    ) -> Result<Task, TaskStoreError>;

    /// Keeps a task and its files from retention. `State` for one whose files are given up, `TooManyPinned` where `most` of its
    /// owner's are pinned already.
    async fn pin(&self, id: &TaskId, most: Option<u64>) -> Result<Task, TaskStoreError>;

    /// Leaves a task and its files to retention again.
    async fn unpin(&self, id: &TaskId) -> Result<Task, TaskStoreError>;

    /// The first step of deleting the files of a task that has ended, at this revision: from here on it is neither tried again
    /// nor pinned. The returned task names them still. `State` for one that has not ended, is pinned, or was tried again since.
    async fn give_up_files(&self, id: &TaskId, revision: u64) -> Result<Task, TaskStoreError>;

    /// The last step: they are deleted, and the task names them no more. `State` for one whose files are not given up.
    async fn forget_files(&self, id: &TaskId) -> Result<Task, TaskStoreError>;

    /// Hears of every durable change of a task's state, from now on. A slow receiver is told how much it missed.
    fn subscribe(&self) -> broadcast::Receiver<TaskChange>;

    async fn stats(&self) -> Result<TaskStats, TaskStoreError>;

    /// How many wait, by model and priority.
    async fn queue(&self) -> Result<Vec<QueuePart>, TaskStoreError>;

    /// Up to `limit` tasks that ended before `ms` (Unix milliseconds), are not pinned and owe their webhook nothing, the oldest
    /// end first: what retention removes.
    async fn ended_before(&self, ms: u64, limit: usize) -> Result<Vec<Task>, TaskStoreError>;

    /// Of those, the ones that name files: whose files retention deletes.
    async fn filed_before(&self, ms: u64, limit: usize) -> Result<Vec<Task>, TaskStoreError>;
}

/// Waiting tasks of one model and priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePart {
    pub model: Option<String>,
    pub priority: i32,
    /// At least 1.
    pub waiting: u64,
}

/// What a caller hands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    pub id: TaskId,
    /// What to do, in `[a-z0-9_-]`, at most 64 characters: `txt2img`.
    pub kind: String,
    /// Whose task it is: an owner slug, see [`crate::keys::check_owner`].
    pub owner: String,
    /// Higher runs first.
    pub priority: i32,
    pub payload: Payload,
    pub terms: Terms,
}

/// What was asked about a task beside what it draws. Texts are at most [`TERM_LIMIT`] bytes long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The model it is for, by which it can be listed.
    pub model: Option<String>,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Tells the request from another one, for callers that repeat themselves.
    pub fingerprint: Option<String>,
    /// A task that has not begun by then expires. Unix milliseconds.
    pub start_by_ms: Option<u64>,
    /// How long an attempt may take; the worker's to keep.
    pub run_ms_max: Option<u64>,
    /// An attempt that ends without a word fails the task, the first too.
    pub no_retry: bool,
    /// The URL to tell when it has ended.
    pub webhook: Option<String>,
    /// The trace that it belongs to, as W3C's `traceparent`.
    pub trace: Option<String>,
}

/// Where a waiting task is moved to among those of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveTo {
    First,
    Before(TaskId),
    Last,
}

/// The request a worker will carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// JSON text of at most [`INLINE_PAYLOAD_LIMIT`] bytes.
    Inline(String),
    /// An object that was stored before the task was submitted. Once the task's files are deleted, an empty text stands here.
    Object(ObjectKey),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Canceled,
    /// It had not begun when its time was over.
    Expired,
}

impl TaskState {
    /// Every state, in the order of a task's life.
    pub const ALL: [TaskState; 6] =
        [Self::Waiting, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled, Self::Expired];

    /// Whether a task in this state never changes again.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A task as the store knows it. All times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    pub kind: String,
    pub owner: String,
    pub priority: i32,
    /// Of those that wait with its priority the lowest goes first. Unique in the store; the order of submission, until tasks are
    /// moved.
    pub place: u64,
    pub payload: Payload,
    pub terms: Terms,
    pub state: TaskState,
    /// Set while a running task has been asked to stop and has not ended yet, and kept afterwards.
    pub cancel_requested: bool,
    /// The number of the newest lease, from 1; 0 before the first.
    pub attempt: u32,
    pub created_ms: u64,
    pub updated_ms: u64,
    /// When the newest attempt began.
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    /// Present exactly when the state is terminal.
    pub outcome: Option<Outcome>,
    /// Present while its webhook has still to be told of its end.
    pub notice: Option<Notice>,
    /// Retention leaves it alone.
    pub pinned: bool,
    /// Its files are being deleted, or were.
    pub files_gone: bool,
    /// From 1; grows by one with every change that [`TaskStore::subscribe`] tells of.
    pub revision: u64,
}

impl Task {
    /// Whether it names objects: pictures, a result, a request that was too large for its record.
    pub fn has_files(&self) -> bool {
        let of = |outcome: &Outcome| !outcome.images.is_empty() || outcome.details.is_some();
        matches!(self.payload, Payload::Object(_)) || self.outcome.as_ref().is_some_and(of)
    }
}

/// What is owed to a task's webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// Attempts that came to nothing.
    pub attempts: u32,
    /// When the next one is due, Unix milliseconds.
    pub due_ms: u64,
}

/// How a task ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Objects that were stored before the task was finished.
    pub images: Vec<ObjectKey>,
    /// The result JSON: parameters and info.
    pub details: Option<ObjectKey>,
    pub error: Option<TaskError>,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people. Cut to 1,024 bytes when stored.
    pub message: String,
    /// What is wrong with which field of the request, where that is why. What is beyond 512 bytes together is not stored.
    pub problems: Vec<TaskProblem>,
}

/// What is wrong with a field of a task's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskProblem {
    /// As the request names it; `body` is the request as a whole.
    pub field: String,
    /// A sentence for people.
    pub message: String,
}

/// The right of one worker to carry out one attempt until a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub task: Task,
    pub attempt: u32,
    pub worker: String,
    /// By [`Clock::steady_ms`](crate::Clock::steady_ms): whoever sets the clock takes no attempt away.
    pub deadline_ms: u64,
    /// Attempts before this one that were given back for a [`Release::Shortage`], since the task was submitted or retried.
    pub shortages: u32,
}

/// Why a worker gives a task back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The worker rests or ends, which says nothing of the task.
    Rest,
    /// Something was short that may be there again, such as memory.
    Shortage,
}

/// Which tasks to list; `None` means any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFilter {
    /// Any of these; none means any at all.
    pub states: Vec<TaskState>,
    pub owner: Option<String>,
    /// [`Terms::model`].
    pub model: Option<String>,
    /// Only those behind this place: the [`TaskPage::next`] of the page before.
    pub after: Option<u64>,
    /// At most [`LIST_LIMIT`].
    pub limit: usize,
}

/// Some of the tasks that a filter accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskPage {
    pub tasks: Vec<Task>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<u64>,
}

impl TaskPage {
    /// Of entries newest first, one more than `limit` of them when there are that many.
    pub(crate) fn new(mut entries: Vec<Entry>, limit: usize) -> Self {
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.sequence);
        Self { tasks: entries.into_iter().map(|entry| entry.task).collect(), next }
    }
}

impl Default for TaskFilter {
    fn default() -> Self {
        Self { states: Vec::new(), owner: None, model: None, after: None, limit: 100 }
    }
}

impl TaskFilter {
    pub(crate) fn accepts(&self, task: &Task) -> bool {
        (self.states.is_empty() || self.states.contains(&task.state))
            && self.owner.as_deref().is_none_or(|owner| owner == task.owner)
            && self.model.as_ref().is_none_or(|model| task.terms.model.as_ref() == Some(model))
    }
}

/// Which ended tasks to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedFilter {
    /// `None` means anybody's.
    pub owner: Option<String>,
    /// Any of these; those in which a task has not ended find nothing.
    pub states: Vec<TaskState>,
    /// Only those that are pinned.
    pub pinned: bool,
    /// How many of the newest are left out.
    pub offset: usize,
    /// At most [`LIST_LIMIT`].
    pub limit: usize,
}

impl EndedFilter {
    pub(crate) fn accepts(&self, task: &Task) -> bool {
        task.state.is_terminal()
            && self.states.contains(&task.state)
            && self.owner.as_deref().is_none_or(|owner| owner == task.owner)
            && (task.pinned || !self.pinned)
    }
}

/// Some of the tasks that have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedPage {
    pub tasks: Vec<Task>,
    /// Of all pages.
    pub total: usize,
}

/// Told to subscribers after a change is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskChange {
    pub id: TaskId,
    pub state: TaskState,
    pub revision: u64,
}

impl TaskChange {
    pub(crate) fn of(task: &Task) -> Self {
        Self { id: task.id.clone(), state: task.state, revision: task.revision }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskStats {
    pub waiting: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub canceled: u64,
    pub expired: u64,
    /// Bytes of the store's files; 0 for the memory store.
    pub size_on_disk: u64,
}

impl TaskStats {
    pub fn total(&self) -> u64 {
        self.waiting + self.running + self.ended()
    }

    /// Tasks that never change again.
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.canceled + self.expired
    }

    pub(crate) fn of_state(&mut self, state: TaskState) -> &mut u64 {
        match state {
            TaskState::Waiting => &mut self.waiting,
            TaskState::Running => &mut self.running,
            TaskState::Succeeded => &mut self.succeeded,
            TaskState::Failed => &mut self.failed,
            TaskState::Canceled => &mut self.canceled,
            TaskState::Expired => &mut self.expired,
        }
    }
}

/// What went wrong, named by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskStoreError {
    /// Answer "not found".
    #[error("there is no task with this id; it may have been removed by retention")]
    NotFound,
    /// Answer "conflict".
    #[error("a task with this id exists already; choose another id or leave it out")]
    Exists,
    /// Drop the attempt's results: another attempt, or none, has the right to speak.
    #[error("the lease is no longer valid; discard this attempt's results")]
    Fenced,
    /// Answer "conflict", with the state.
    #[error("the task is {0}, and this can be done in another state only")]
    State(TaskState),
    /// Answer "conflict": the owner is to unpin another one first.
    #[error("{0} tasks of this owner are pinned already, as many as may be; unpin one of them first")]
    TooManyPinned(u64),
    /// Move the payload to the object store, or refuse it.
    #[error("the task needs {bytes} bytes where {limit} are allowed; store large inputs as objects")]
    TooLarge { bytes: usize, limit: usize },
    /// Correct the call.
    #[error("{0}")]
    Invalid(String),
    /// Answer "insufficient storage" until space is freed.
    #[error("the disk of the data folder is full ({0}); free some space, the server goes on by itself")]
    Full(String),
    /// Stop the other process, or choose another folder.
    #[error("another process uses this data folder ({0}); stop it or choose another folder")]
    InUse(String),
    /// Stop and restore a backup; nothing was changed.
    #[error(
        "the task store is damaged: {0}; move its folder away and restore the newest backup into a new one (gesso store restore)"
    )]
    Corrupt(String),
    /// Try again later.
    #[error("the task store cannot answer now: {0}; try again shortly")]
    Unavailable(String),
}
