//! Tasks being drawn by this process: their live progress and their cancel flags, by task id.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gesso_core::ids::TaskId;
use gesso_engine::{CancelFlag, Phase, Progress};
use tokio::sync::watch;

use crate::accounts::Caller;

/// One task under way.
#[derive(Debug, Clone)]
pub(crate) struct RunningTask {
    pub(crate) id: TaskId,
    pub(crate) owner: String,
    pub(crate) started: Instant,
    pub(crate) cancel: CancelFlag,
    /// `None` while plugins work on the request.
    pub(crate) progress: Option<watch::Receiver<Progress>>,
    /// Whether an interrupt leaves it the pictures it has, and not a cancel alone ends it.
    pub(crate) is_interruptible: bool,
    /// Whether it draws batches, of which a skip may end one.
    is_skippable: bool,
    /// Whether clients are shown the picture on its way.
    has_preview: bool,
    /// Whether nothing is left but to store and tell its end.
    is_ending: bool,
}

impl RunningTask {
    /// The engine's progress, without a preview where its request wants none.
    pub(crate) fn live(&self) -> Option<Progress> {
        let mut live = self.progress.as_ref()?.borrow().clone();
        if !self.has_preview {
            live.preview = None;
        }
        Some(live)
    }

    /// Whether it draws batches, and one is under way, of which nobody would know later what a skip was for.
    pub(crate) fn draws_batches(&self) -> bool {
        let is_under_way = |progress: &watch::Receiver<Progress>| {
            matches!(progress.borrow().phase, Phase::Preparing | Phase::Sampling)
        };
        self.is_skippable && self.progress.as_ref().is_some_and(is_under_way)
    }

    /// Share done, capped below 1: only a stored result is the end.
    pub(crate) fn fraction(&self) -> f64 {
        self.progress.as_ref().map_or(0.0, |progress| progress.borrow().fraction()).min(0.99)
    }

    /// Time to the end, by the pace so far.
    pub(crate) fn eta(&self) -> Duration {
        self.progress.as_ref().and_then(|progress| progress.borrow().eta).unwrap_or_default()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct RunningTasks {
    tasks: Mutex<BTreeMap<TaskId, RunningTask>>,
    /// Seconds that a task took lately.
    pace: Mutex<f64>,
}

/// Of the newest task in the mean.
const WEIGHT: f64 = 0.2;

impl RunningTasks {
    /// Enters a task; it leaves when the guard is dropped.
    pub(crate) fn enter(&self, id: TaskId, owner: &str, cancel: CancelFlag) -> RunningGuard<'_> {
        let task = RunningTask {
            id: id.clone(),
            owner: owner.into(),
            started: Instant::now(),
            cancel,
            progress: None,
            is_interruptible: false,
            is_skippable: false,
            has_preview: true,
            is_ending: false,
        };
        let started = task.started;
        self.lock().insert(id.clone(), task);
        RunningGuard { tasks: self, id, started }
    }

    pub(crate) fn get(&self, id: &TaskId) -> Option<RunningTask> {
        self.lock().get(id).cloned()
    }

    /// The one that has run longest of those that the caller may see, which is what the web UI's global progress shows.
    ///
    /// None that is ending: whoever has its answer finds no trace of it, and stops the next one with what they send.
    pub(crate) fn oldest(&self, caller: &Caller) -> Option<RunningTask> {
        let tasks = self.lock();
        let seen = tasks.values().filter(|task| caller.may_see(&task.owner) && !task.is_ending);
        seen.min_by_key(|task| task.started).cloned()
    }

    /// How long a task waits that is at this place in the queue, from 1, by what tasks took lately.
    pub(crate) fn wait_estimate(&self, place: u64, at_once: usize) -> Duration {
        let seconds = *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = self.count() as f64;
        // Tasks beside each other share the device, so that together they take as long as one after the other.
        Duration::try_from_secs_f64(seconds * (busy + place as f64) / at_once.max(1) as f64)
            .unwrap_or_default()
    }

    /// Takes in how long a task took.
    pub(crate) fn took(&self, time: Duration) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        *pace = if *pace == 0.0 {
            time.as_secs_f64()
        } else {
            *pace * (1.0 - WEIGHT) + time.as_secs_f64() * WEIGHT
        };
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Raises the flag, if the task runs here.
    pub(crate) fn cancel(&self, id: &TaskId) {
        if let Some(task) = self.lock().get(id) {
            task.cancel.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, RunningTask>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the task out when dropped.
#[derive(Debug)]
pub(crate) struct RunningGuard<'a> {
    tasks: &'a RunningTasks,
    id: TaskId,
    /// Tells this attempt from a newer one of the same task.
    started: Instant,
}

impl RunningGuard<'_> {
    pub(crate) fn show(&self, progress: watch::Receiver<Progress>) {
        if let Some(task) = self.tasks.lock().get_mut(&self.id) {
            task.progress = Some(progress);
        }
    }

    /// From here on nobody is shown the picture before it is done.
    pub(crate) fn hides_preview(&self) {
        if let Some(task) = self.tasks.lock().get_mut(&self.id) {
            task.has_preview = false;
        }
    }

    /// From here on it counts as done for those who ask what is drawn, before the first of them can know its end.
    pub(crate) fn ends(&self) {
        if let Some(task) = self.tasks.lock().get_mut(&self.id) {
            task.is_ending = true;
        }
    }

    /// From here on an interrupt is heeded.
    pub(crate) fn heeds_interrupt(&self) {
        if let Some(task) = self.tasks.lock().get_mut(&self.id) {
            task.is_interruptible = true;
        }
    }

    /// From here on a skip is heeded.
    pub(crate) fn heeds_skip(&self) {
        if let Some(task) = self.tasks.lock().get_mut(&self.id) {
            task.is_skippable = true;
        }
    }
}

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        let mut tasks = self.tasks.lock();
        if tasks.get(&self.id).is_some_and(|task| task.started == self.started) {
            tasks.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_wants_no_preview_shows_its_progress_without_one() {
        let tasks = RunningTasks::default();
        let id = TaskId::parse("a").unwrap();
        let guard = tasks.enter(id.clone(), "ann", CancelFlag::default());
        let pixel = gesso_core::pixels::Pixels::new(1, 1, gesso_core::pixels::PixelFormat::Gray8, vec![0]);
        let drawn = Progress { step: 3, preview: pixel.map(std::sync::Arc::new), ..Progress::default() };
        guard.show(watch::channel(drawn).1);
        assert!(tasks.get(&id).unwrap().live().unwrap().preview.is_some());
        guard.hides_preview();
        let live = tasks.get(&id).unwrap().live().unwrap();
        assert_eq!((live.step, live.preview.is_none()), (3, true));
    }

    #[test]
    fn a_task_that_ends_is_no_longer_what_is_drawn() {
        let tasks = RunningTasks::default();
        let [first, second] = ["a", "b"].map(|id| TaskId::parse(id).unwrap());
        let guard = tasks.enter(first.clone(), "ann", CancelFlag::default());
        let caller = Caller::anyone();
        let oldest = || tasks.oldest(&caller).map(|task| task.id);
        assert_eq!(oldest(), Some(first.clone()));
        guard.ends();
        assert_eq!(oldest(), None);
        let _second = tasks.enter(second.clone(), "ann", CancelFlag::default());
        assert_eq!(oldest(), Some(second));
        assert!(tasks.get(&first).is_some(), "its own progress is told until its end is stored");
    }

    #[test]
    fn an_attempt_that_ends_late_leaves_the_newer_ones_entry() {
        let tasks = RunningTasks::default();
        let id = TaskId::parse("a").unwrap();
        let old = tasks.enter(id.clone(), "ann", CancelFlag::default());
        let flag = CancelFlag::default();
        let new = tasks.enter(id.clone(), "ann", flag.clone());
        drop(old);
        tasks.cancel(&id);
        assert!(flag.is_cancelled());
        drop(new);
        assert_eq!(tasks.count(), 0);
    }
}
