//! The one thread that changes the database. It takes what has queued up, applies it, makes it durable with one
//! flush and only then answers: group commit. Called by `SledTasks`; it knows no rule of tasks.
//!
//! An error of the disk leaves open which of the last changes are on it. The database is then closed, its readers
//! are told, and the next command opens it anew once space or the disk is back.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gesso_core::ids::TaskId;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::trees::Trees;
use super::{SledSettings, guard};
use crate::clock::Clock;
use crate::tasks::rules::Entry;
use crate::tasks::{TaskChange, TaskStoreError};

/// More waiting commands than this make callers wait their turn.
const QUEUE: usize = 1024;
/// The most commands one flush answers for.
const GROUP: usize = 256;
/// The most changes that a subscriber has not heard yet.
const CHANGES: usize = 1024;
/// How long a closed database is left alone before the next try to open it.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Applies one command and returns what tells its caller, to be run after the flush.
type Command = Box<dyn FnOnce(&mut Writer<'_>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), TaskStoreError>) + Send>;

/// What readers share with the thread.
pub(super) struct Shared {
    /// The open database, or why it is closed.
    trees: Mutex<Result<Arc<Trees>, TaskStoreError>>,
    /// The number of the newest command that may have changed the trees, and the newest that is durable.
    begun: watch::Sender<Mark>,
    durable: watch::Sender<Mark>,
    /// Tasks of whose changes some may not be durable yet.
    unsettled: Mutex<HashSet<TaskId>>,
    pub(super) changes: broadcast::Sender<TaskChange>,
}

/// A place in the order of changes. A new epoch begins when the database is opened anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    epoch: u64,
    number: u64,
}

/// The sending side; dropping it ends the thread after the queue is done.
pub(super) struct Committer {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    pub(super) shared: Arc<Shared>,
}

impl Committer {
    pub(super) fn start(
        trees: Trees,
        folder: PathBuf,
        settings: SledSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TaskStoreError> {
        let shared = Arc::new(Shared {
            trees: Mutex::new(Ok(Arc::new(trees))),
            begun: watch::Sender::default(),
            durable: watch::Sender::default(),
            unsettled: Mutex::default(),
            changes: broadcast::channel(CHANGES).0,
        });
        let (commands, queue) = mpsc::channel(QUEUE);
        let untold = HashSet::new();
        let service = Service { shared: shared.clone(), folder, settings, clock, closed_at: None, untold };
        // A thread of its own: flushes block, and sled must be written from one place.
        let thread = std::thread::Builder::new()
            .name("task-committer".to_owned())
            .spawn(move || service.run(queue))
            .map_err(|error| TaskStoreError::Unavailable(format!("no thread for the task store: {error}")))?;
        Ok(Self { commands: Some(commands), thread: Some(thread), shared })
    }

    /// Applies `operation` on the committer thread; returns when what it changed is durable.
    pub(super) async fn commit<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Writer<'_>) -> Result<T, TaskStoreError> + Send + 'static,
    ) -> Result<T, TaskStoreError> {
        let stopped = || self.shared.trees().as_ref().err().cloned().unwrap_or_else(closed);
        let (sender, receiver) = oneshot::channel();
        let command: Command = Box::new(move |writer| {
            let result = operation(writer);
            Box::new(move |flushed| {
                // An error only says that the caller no longer waits.
                let _ = sender.send(flushed.and(result));
            })
        });
        let commands = self.commands.as_ref().ok_or_else(stopped)?;
        commands.send(command).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }
}

impl Drop for Committer {
    /// Waits for the queue to be done, a few milliseconds, so that the folder is free when the store is gone.
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // The thread catches panics of its commands; should it have panicked itself, nothing is left to save.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Runs `read` on the blocking pool, and returns its result when all it may have seen is durable: what a reader
    /// was told must not be taken back by a crash.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Trees) -> Result<T, TaskStoreError> + Send + 'static,
    ) -> Result<T, TaskStoreError> {
        self.read_of(Told::All, read).await
    }

    /// [`Shared::read`] of one task, which waits for what was changed of this one alone: under load something is always
    /// on its way to the disk, and whoever looks at a task would wait for all of it.
    pub(super) async fn read_task<T: Send + 'static>(
        self: &Arc<Self>,
        id: &TaskId,
        read: impl FnOnce(&Trees) -> Result<T, TaskStoreError> + Send + 'static,
    ) -> Result<T, TaskStoreError> {
        self.read_of(Told::Task(id.clone()), read).await
    }

    /// [`Shared::read`] of how many wait, which are others a moment later in any case: it waits for nothing.
    pub(super) async fn read_queue<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Trees) -> Result<T, TaskStoreError> + Send + 'static,
    ) -> Result<T, TaskStoreError> {
        self.read_of(Told::Queue, read).await
    }

    async fn read_of<T: Send + 'static>(
        self: &Arc<Self>,
        told: Told,
        read: impl FnOnce(&Trees) -> Result<T, TaskStoreError> + Send + 'static,
    ) -> Result<T, TaskStoreError> {
        let shared = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let epoch = shared.begun.borrow().epoch;
            let trees = shared.trees().clone()?;
            let value = read(&trees)?;
            // After the read: a task is unsettled from before it is changed, until it is durable or the epoch is over. And
            // before the look at the epoch, which is over before what was lost with it counts as settled.
            let is_settled = match &told {
                Told::All => false,
                Told::Task(id) => !shared.unsettled().contains(id),
                Told::Queue => true,
            };
            Ok((value, is_settled, epoch, *shared.begun.borrow()))
        });
        let joined = task.await.map_err(|error| TaskStoreError::Corrupt(format!("a read failed: {error}")));
        let (value, is_settled, epoch, seen) = joined??;
        if is_settled && seen.epoch == epoch {
            return Ok(value);
        }
        let mut durable = self.durable.subscribe();
        let reached = durable.wait_for(|mark| mark.epoch != epoch || mark.number >= seen.number).await;
        match reached {
            Ok(mark) if mark.epoch == epoch && seen.epoch == epoch => Ok(value),
            _ => Err(closed()),
        }
    }

    /// [`Shared::read`] for what takes long. `read` asks again and again whether it is to go on, which is an error
    /// once nobody waits for it or the database is to be closed: that waits for every reader.
    pub(super) async fn read_while_wanted<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Trees, &dyn Fn() -> Result<(), TaskStoreError>) -> Result<T, TaskStoreError>
        + Send
        + 'static,
    ) -> Result<T, TaskStoreError> {
        // Dropped with this future.
        let waiter = Arc::new(());
        let waited_for = Arc::downgrade(&waiter);
        let shared = self.clone();
        let result = self.read(move |trees| {
            let is_open = || shared.trees().as_ref().is_ok_and(|open| std::ptr::eq(&**open, trees));
            let is_wanted = || waited_for.strong_count() > 0 && is_open();
            read(trees, &|| if is_wanted() { Ok(()) } else { Err(closed()) })
        });
        let result = result.await;
        drop(waiter);
        result
    }

    fn tell(&self, changes: Vec<TaskChange>) {
        for change in changes {
            // An error only says that nobody listens.
            let _ = self.changes.send(change);
        }
    }

    fn trees(&self) -> MutexGuard<'_, Result<Arc<Trees>, TaskStoreError>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsettled(&self) -> MutexGuard<'_, HashSet<TaskId>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a read is told of, and so what it waits for.
enum Told {
    /// Any number of tasks.
    All,
    Task(TaskId),
    Queue,
}

/// The trees as one command may change them.
pub(super) struct Writer<'a> {
    pub(super) trees: &'a Trees,
    pub(super) now_ms: u64,
    /// For deadlines of leases.
    pub(super) steady_ms: u64,
    shared: &'a Shared,
    folder: &'a std::path::Path,
    settings: &'a SledSettings,
    changes: &'a mut Vec<TaskChange>,
    wrote: &'a mut bool,
}

impl Writer<'_> {
    /// See [`Trees::replace`]. Subscribers hear of a new revision after the flush.
    pub(super) fn replace(&mut self, old: Option<&Entry>, new: Option<&Entry>) -> Result<(), TaskStoreError> {
        self.begin(old.into_iter().chain(new));
        self.trees.replace(old, new)?;
        if let Some(new) = new
            && old.is_none_or(|old| old.task.revision != new.task.revision)
        {
            self.changes.push(TaskChange::of(&new.task));
        }
        Ok(())
    }

    /// See [`Trees::place`]. Nobody hears of it, as no task's state is another.
    pub(super) fn place(&mut self, moved: &[(Entry, Entry)]) -> Result<(), TaskStoreError> {
        self.begin(moved.iter().map(|(_, new)| new));
        self.trees.place(moved)
    }

    /// To be called before these are changed.
    fn begin<'e>(&mut self, changed: impl Iterator<Item = &'e Entry>) {
        *self.wrote = true;
        self.shared.unsettled().extend(changed.map(|entry| entry.task.id.clone()));
        self.shared.begun.send_modify(|mark| mark.number += 1);
    }

    /// Refuses growth while the volume is nearly full, so that running tasks can still end.
    pub(super) fn check_space(&self) -> Result<(), TaskStoreError> {
        guard::check_space(self.folder, self.settings)
    }
}

/// What the thread owns.
struct Service {
    shared: Arc<Shared>,
    folder: PathBuf,
    settings: SledSettings,
    clock: Arc<dyn Clock>,
    /// When the database was closed, or last failed to open.
    closed_at: Option<Instant>,
    /// Tasks of whose changes some may be on the disk though they failed: nobody was told.
    untold: HashSet<TaskId>,
}

impl Service {
    fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut group = Vec::with_capacity(GROUP);
        while queue.blocking_recv_many(&mut group, GROUP) > 0 {
            self.reopen_if_due();
            let trees = self.shared.trees().clone();
            match trees {
                Ok(trees) => {
                    if let Err(error) = self.commit(&trees, &mut group) {
                        drop(trees);
                        self.close(error);
                    }
                }
                // Dropped commands learn from their callers' side why.
                Err(_) => group.clear(),
            }
        }
        let trees = std::mem::replace(&mut *self.shared.trees(), Err(closed()));
        drop_trees(trees);
    }

    /// Applies the group and answers it. An error means that the database can no longer be trusted to be on disk.
    fn commit(&mut self, trees: &Arc<Trees>, group: &mut Vec<Command>) -> Result<(), TaskStoreError> {
        let mut changes = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        let mut wrote = false;
        let mut failure = None;
        for command in group.drain(..) {
            let mut writer = Writer {
                trees,
                now_ms: self.clock.now_ms(),
                steady_ms: self.clock.steady_ms(),
                shared: &self.shared,
                folder: &self.folder,
                settings: &self.settings,
                changes: &mut changes,
                wrote: &mut wrote,
            };
            // A panic inside sled must not end the thread on which every task depends.
            match catch_unwind(AssertUnwindSafe(|| command(&mut writer))) {
                Ok(answer) => answers.push(answer),
                Err(_) => {
                    failure = Some(gave_up());
                    break;
                }
            }
        }
        let flushed = match failure {
            Some(error) => Err(error),
            None if wrote => {
                catch_unwind(AssertUnwindSafe(|| trees.flush())).unwrap_or_else(|_| Err(gave_up()))
            }
            None => Ok(()),
        };
        if flushed.is_ok() {
            let begun = *self.shared.begun.borrow();
            self.shared.durable.send_replace(begun);
            // Nothing is changed but by this thread.
            self.shared.unsettled().clear();
            self.shared.tell(changes);
        }
        for answer in answers {
            answer(flushed.clone());
        }
        flushed
    }

    fn close(&mut self, error: TaskStoreError) {
        tracing::error!(%error, "the task store is closed until its disk answers again");
        let trees = std::mem::replace(&mut *self.shared.trees(), Err(error));
        let next_epoch = |mark: &mut Mark| *mark = Mark { epoch: mark.epoch + 1, number: 0 };
        self.shared.begun.send_modify(next_epoch);
        self.shared.durable.send_modify(next_epoch);
        self.untold.extend(self.shared.unsettled().drain());
        drop_trees(trees);
        self.closed_at = Some(Instant::now());
    }

    fn reopen_if_due(&mut self) {
        if self.closed_at.is_none_or(|since| since.elapsed() < REOPEN_AFTER) {
            return;
        }
        // A panic inside sled, such as when it lets go of files that it could not read, must not end the thread either.
        let opened = catch_unwind(AssertUnwindSafe(|| self.open_again())).unwrap_or_else(|_| Err(gave_up()));
        tracing::info!(again = opened.is_ok(), "the task store was opened after a disk error");
        match opened {
            Ok((trees, changes)) => {
                *self.shared.trees() = Ok(Arc::new(trees));
                self.closed_at = None;
                self.untold.clear();
                self.shared.tell(changes);
            }
            Err(error) => {
                *self.shared.trees() = Err(error);
                self.closed_at = Some(Instant::now());
            }
        }
    }

    /// The database, and what is to be told of it: whoever waits for a change that failed and is on the disk all the same is to
    /// look again. Who repeats it changes nothing, and so tells nobody.
    fn open_again(&self) -> Result<(Trees, Vec<TaskChange>), TaskStoreError> {
        let trees = guard::open(&self.folder, &self.settings)?;
        let stored = self.untold.iter().filter_map(|id| trees.get(id.as_str().as_bytes()).transpose());
        let changes = stored.map(|entry| entry.map(|entry| TaskChange::of(&entry.task)));
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        Ok((trees, changes))
    }
}

/// Waits for readers to let go, then closes the files. sled syncs when it is dropped and panics if that fails.
fn drop_trees(trees: Result<Arc<Trees>, TaskStoreError>) {
    let Ok(mut trees) = trees else { return };
    loop {
        match Arc::try_unwrap(trees) {
            Ok(last) => {
                if catch_unwind(AssertUnwindSafe(|| drop(last))).is_err() {
                    tracing::error!("the task store could not be closed cleanly");
                }
                return;
            }
            Err(shared) => {
                trees = shared;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn gave_up() -> TaskStoreError {
    TaskStoreError::Unavailable("the database gave up".to_owned())
}

fn closed() -> TaskStoreError {
    TaskStoreError::Unavailable("it is closed, or about to be opened anew after a disk error".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use tokio::task::JoinHandle;

    use super::*;
    use crate::clock::SystemClock;
    use crate::sled_tasks::SledTasks;
    use crate::tasks::{NewTask, Payload, TaskFilter, TaskStore};
    use crate::testing::conformance::new_task;

    const TASKS: usize = 20;

    /// Tells of each write and holds it for as long as the other end of `go` is there.
    struct Held {
        writes: mpsc::UnboundedSender<()>,
        go: std::sync::mpsc::Receiver<()>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // Errors say that nobody listens, and that it may go on.
            self.writes.send(()).ok();
            self.go.recv().ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A backup that is held in its first write.
    struct Begun {
        backup: JoinHandle<Result<u64, TaskStoreError>>,
        writes: mpsc::UnboundedReceiver<()>,
        go: std::sync::mpsc::Sender<()>,
    }

    impl Begun {
        async fn of(tasks: &Arc<SledTasks>) -> Self {
            let (wrote, mut writes) = mpsc::unbounded_channel();
            let (go, held) = std::sync::mpsc::channel();
            let (tasks, writer) = (tasks.clone(), Held { writes: wrote, go: held });
            let backup = tokio::spawn(async move { tasks.backup(writer).await });
            writes.recv().await.unwrap();
            Self { backup, writes, go }
        }
    }

    /// Writes until the writer is gone.
    async fn left(mut writes: mpsc::UnboundedReceiver<()>) -> usize {
        let mut left = 0;
        while writes.recv().await.is_some() {
            left += 1;
        }
        left
    }

    /// With tasks of which each is a write of its own.
    async fn store(folder: &Path) -> Arc<SledTasks> {
        let settings = SledSettings { reserve_bytes: Some(0), ..SledSettings::default() };
        let tasks = SledTasks::open(folder, settings, Arc::new(SystemClock)).await.unwrap();
        for number in 0..TASKS {
            let payload = Payload::Inline(format!("\"{}\"", "x".repeat(8_192)));
            tasks.submit(NewTask { payload, ..new_task(&format!("t{number}")) }).await.unwrap();
        }
        Arc::new(tasks)
    }

    #[tokio::test]
    async fn a_read_of_a_task_waits_for_what_was_changed_of_it_and_not_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = store(folder.path()).await;
        let (changed, mut is_changed) = mpsc::unbounded_channel();
        let (go, held) = std::sync::mpsc::channel::<()>();
        let writer = tasks.clone();
        let writing = tokio::spawn(async move {
            let change = move |writer: &mut Writer<'_>| {
                let old = writer.trees.get(b"t1")?.unwrap();
                let mut new = old.clone();
                new.rename(Some("changed".to_owned()))?;
                writer.replace(Some(&old), Some(&new))?;
                changed.send(()).unwrap();
                // An error says that it may go on. Nothing is flushed before.
                held.recv().ok();
                Ok(())
            };
            writer.committer.commit(change).await
        });
        is_changed.recv().await.unwrap();
        let id = |text: &str| TaskId::parse(text).unwrap();
        assert_eq!(tasks.get(&id("t0")).await.unwrap().unwrap().terms.name, None);
        assert_eq!(tasks.get(&id("none")).await, Ok(None));
        assert_eq!(tasks.ahead(&id("t2")).await, Ok(Some(2)));
        assert_eq!(tasks.queue().await.unwrap()[0].waiting, TASKS as u64);
        let (reader, own) = (tasks.clone(), id("t1"));
        let mut reading = tokio::spawn(async move { reader.get(&own).await });
        let a_moment = Duration::from_millis(200);
        assert!(tokio::time::timeout(a_moment, &mut reading).await.is_err(), "a crash could take it back");
        let listing = tasks.list(TaskFilter::default());
        assert!(tokio::time::timeout(a_moment, listing).await.is_err(), "it is among those listed");
        drop(go);
        writing.await.unwrap().unwrap();
        let read = reading.await.unwrap().unwrap().unwrap();
        assert_eq!(read.terms.name.as_deref(), Some("changed"));
    }

    #[tokio::test]
    async fn who_waits_for_a_change_that_failed_is_to_look_again_once_the_database_is_open_again() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = store(folder.path()).await;
        let mut changes = tasks.subscribe();
        let change = |writer: &mut Writer<'_>| -> Result<(), TaskStoreError> {
            let old = writer.trees.get(b"t1")?.unwrap();
            let mut new = old.clone();
            new.cancel(writer.now_ms);
            writer.replace(Some(&old), Some(&new))?;
            panic!("as sled does when it gives up")
        };
        assert!(tasks.committer.commit(change).await.is_err());
        assert!(changes.try_recv().is_err(), "it is not known to be on the disk");
        let mut tries = 0;
        while tasks.expire_overdue().await.is_err() {
            tries += 1;
            assert!(tries < 300, "it stays closed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let told = changes.try_recv().unwrap();
        let task = tasks.get(&new_task("t1").id).await.unwrap().unwrap();
        assert_eq!(told, TaskChange::of(&task));
        assert!(changes.try_recv().is_err(), "nothing happened to the others");
    }

    #[tokio::test]
    async fn what_was_read_while_the_database_was_closed_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = store(folder.path()).await;
        let shared = tasks.committer.shared.clone();
        let of_the_thread = shared.clone();
        // As the thread does when a flush has failed: what was lost is in nobody's way any more.
        let read = move |_: &Trees| {
            let next_epoch = |mark: &mut Mark| *mark = Mark { epoch: mark.epoch + 1, number: 0 };
            of_the_thread.begun.send_modify(next_epoch);
            of_the_thread.durable.send_modify(next_epoch);
            of_the_thread.unsettled().clear();
            Ok(())
        };
        assert_eq!(shared.read_task(&new_task("t1").id, read).await, Err(closed()));
    }

    #[tokio::test]
    async fn a_backup_that_nobody_waits_for_ends_early() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = store(folder.path()).await;
        let Begun { backup, writes, go } = Begun::of(&tasks).await;
        backup.abort();
        assert!(backup.await.unwrap_err().is_cancelled());
        drop(go);
        let left = left(writes).await;
        assert!(left < TASKS / 2, "{left} writes for {TASKS} tasks");
    }

    #[tokio::test]
    async fn a_backup_ends_early_where_the_database_is_to_be_closed() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = store(folder.path()).await;
        let Begun { backup, writes, go } = Begun::of(&tasks).await;
        let shared = &tasks.committer.shared;
        // As the thread does before it waits for readers.
        let open = std::mem::replace(&mut *shared.trees(), Err(closed()));
        drop(go);
        let left = left(writes).await;
        assert!(left < TASKS / 2, "{left} writes for {TASKS} tasks");
        assert_eq!(backup.await.unwrap(), Err(closed()));
        *shared.trees() = open;
        assert_eq!(tasks.backup(std::io::sink()).await, Ok(TASKS as u64));
    }
}
