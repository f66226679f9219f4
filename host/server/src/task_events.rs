//! What happens to one task, as it happens: its state, its progress, its end. For those who listen by SSE or WebSocket.
//! Each event tells where the task is and not what changed, so that a listener that missed some has missed nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use gesso_core::ids::TaskId;
use gesso_engine::Progress;
use gesso_store::{Task, TaskChange, TaskState};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::listeners::Listening;
use crate::tasks;

/// Progress is told no oftener, beside changes of state.
const PACE: Duration = Duration::from_millis(200);
/// How often to look whether a task that runs has any progress to tell yet.
const LOOK: Duration = Duration::from_millis(200);

/// One event. `id` names the place in the task's life, so that a listener that comes back can say what it has.
#[derive(Debug, Clone)]
pub(crate) struct TaskEvent {
    pub(crate) id: String,
    pub(crate) kind: EventKind,
    pub(crate) task: Task,
    /// While it runs.
    pub(crate) progress: Option<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// Its state is another.
    Status,
    /// It is further.
    Progress,
    /// It has ended; the last event.
    Done,
}

impl EventKind {
    /// The name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Status => "task.status",
            Self::Progress => "task.progress",
            Self::Done => "task.done",
        }
    }
}

/// The events of a task from now on: first where it is, unless that is what `seen` names. The stream ends with the
/// task, or when the server drains.
///
/// # Errors
/// There is no such task for this caller.
pub(crate) async fn follow(
    app: Arc<App>,
    caller: &Caller,
    id: &TaskId,
    seen: Option<String>,
) -> Result<impl Stream<Item = TaskEvent> + use<>, AppError> {
    let changes = app.tasks.subscribe();
    tasks::get(&app, caller, id).await?;
    let listening = app.listeners.enter(&caller.name)?;
    let follower = Follower {
        draining: app.draining.clone(),
        app,
        id: id.clone(),
        changes,
        seen,
        revision: 0,
        calls: 0,
        progress: None,
        ended: false,
        _listening: listening,
    };
    let events = futures::stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((event, follower))
    });
    // Bodies may be asked once more after their end, by what compresses them.
    Ok(events.fuse())
}

struct Follower {
    app: Arc<App>,
    id: TaskId,
    changes: broadcast::Receiver<TaskChange>,
    draining: watch::Receiver<bool>,
    seen: Option<String>,
    /// Of the task, as it was told last.
    revision: u64,
    /// Calls that were told last.
    calls: u32,
    progress: Option<watch::Receiver<Progress>>,
    ended: bool,
    _listening: Listening,
}

impl Follower {
    async fn next(&mut self) -> Option<TaskEvent> {
        loop {
            if self.ended || *self.draining.borrow() {
                return None;
            }
            // A task that was removed, and a store that cannot answer, end the stream: the client asks again.
            let task = self.app.tasks.get(&self.id).await.ok()??;
            self.find_progress();
            let progress = self.progress.as_ref().map(|progress| progress.borrow().clone());
            let calls = progress.as_ref().map_or(0, |progress| progress.calls_done);
            let kind = match (task.state.is_terminal(), task.revision != self.revision) {
                (true, _) => Some(EventKind::Done),
                (false, true) => Some(EventKind::Status),
                (false, false) => (calls != self.calls).then_some(EventKind::Progress),
            };
            if let Some(kind) = kind {
                self.ended = kind == EventKind::Done;
                (self.revision, self.calls) = (task.revision, calls);
                let id = format!("{}.{calls}", task.revision);
                // What the client has already is not told again, but for the end: it may have missed that it was one.
                if self.seen.take().as_ref() != Some(&id) || kind == EventKind::Done {
                    return Some(TaskEvent { id, kind, task, progress });
                }
                continue;
            }
            self.wait(task.state == TaskState::Running).await?;
        }
    }

    /// Progress begins when the worker hands the task to the engine, which nothing announces.
    fn find_progress(&mut self) {
        let running = self.app.running.get(&self.id);
        let mut progress = running.and_then(|running| running.progress);
        if let Some(progress) = &mut progress {
            progress.mark_unchanged();
        }
        self.progress = progress;
    }

    /// Until something may have happened to this task; `None` when nothing will any more.
    async fn wait(&mut self, is_running: bool) -> Option<()> {
        let Self { changes, draining, progress, id, .. } = self;
        let further = async {
            match progress {
                // What moves faster than anybody looks is told at this pace.
                Some(progress) => {
                    tokio::time::sleep(PACE).await;
                    // An error says that it is over, which the store tells soon.
                    if progress.changed().await.is_err() {
                        tokio::time::sleep(LOOK).await;
                    }
                }
                None if is_running => tokio::time::sleep(LOOK).await,
                // The store announces when it begins.
                None => std::future::pending().await,
            }
        };
        let changed = async {
            loop {
                match changes.recv().await {
                    Ok(change) if change.id != *id => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return Some(()),
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        tokio::select! {
            changed = changed => changed,
            () = further => Some(()),
            _ = draining.changed() => None,
        }
    }
}
