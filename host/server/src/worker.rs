//! Takes tasks through their lives: leases one, has it drawn, keeps the lease meanwhile, and only then reports.
//!
//! A crash at any point leaves at worst an orphan object, until the task ends in another attempt or is forgotten: the record
//! says `succeeded` only after every picture is in the object store, under a key that names the attempt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gesso_core::ids::TaskId;
use gesso_engine::CancelFlag;
use gesso_store::{Lease, Outcome, Release, Task, TaskState, TaskStore, TaskStoreError};
use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

use crate::app::App;
use crate::draw;
use crate::error::AppError;
use crate::http::calls::Replays;
use crate::traces;
use crate::upkeep;

/// A lease outlives three missed heartbeats.
const LEASE: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How soon a store that could not take the end of a task is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(1);
/// A task that met shortages that often fails with the last one's reason.
const SHORTAGES_MAX: u32 = 5;
/// How often to look for tasks when no change was announced, such as after another process's lease ran out.
const IDLE_POLL: Duration = Duration::from_secs(5);
/// The same while the server drains.
const LAST_POLL: Duration = Duration::from_millis(50);

/// Leases and draws until the device is lost, or the server drains and no client waits for what has not begun, then
/// waits for what runs.
pub(crate) async fn run(app: Arc<App>, replays: Replays) {
    let slots = Arc::new(Semaphore::new(app.settings.concurrent_tasks));
    let mut changes = app.tasks.subscribe();
    let mut draining = app.draining.clone();
    let mut paused = app.pause.watch();
    let mut drawing = tokio::task::JoinSet::new();
    let goes_on = || {
        // Without a device every task would be handed back at once.
        if !app.engine.is_alive() {
            return false;
        }
        let is_stopping = *app.stopping.borrow();
        !app.is_draining() || app.waiters.are_there() && !app.pause.is_on() && !is_stopping
    };
    loop {
        if !goes_on() {
            app.waiters.set_late(true);
            // Who came in between is not left waiting.
            if !goes_on() {
                break;
            }
            app.waiters.set_late(false);
        }
        if app.pause.is_on() {
            tokio::select! {
                _ = paused.wait_for(|is_paused| !is_paused) => {}
                _ = draining.changed() => {}
            }
            continue;
        }
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        // Waiting for a slot may have taken long.
        if !goes_on() || app.pause.is_on() {
            continue;
        }
        match app.tasks.lease("local", LEASE).await {
            Ok(Some(lease)) if app.pause.is_on() => hand_back(&app, &lease, Release::Rest).await,
            Ok(Some(lease)) => {
                let (app, replays) = (app.clone(), replays.clone());
                let task = &lease.task;
                let span = tracing::info_span!("task", id = %task.id, kind = task.kind, owner = task.owner);
                traces::continue_from(&span, task.terms.trace.as_deref());
                let work = async move {
                    work(&app, &replays, lease).await;
                    drop(slot);
                };
                // A tokio worker: this task only waits; the work is on the device thread and in the pools.
                drawing.spawn(work.instrument(span));
            }
            Ok(None) => {
                drop(slot);
                tokio::select! {
                    _ = changes.recv() => {}
                    _ = paused.changed() => {}
                    _ = draining.changed() => {}
                    // A client that goes away is announced by nobody.
                    () = tokio::time::sleep(if app.is_draining() { LAST_POLL } else { IDLE_POLL }) => {}
                }
            }
            Err(error) => {
                drop(slot);
                tracing::error!(%error, "no task could be leased; trying again in a moment");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        while drawing.try_join_next().is_some() {}
    }
    while drawing.join_next().await.is_some() {}
}

/// One task from its lease to its terminal state.
async fn work(app: &Arc<App>, replays: &Replays, lease: Lease) {
    let id = lease.task.id.clone();
    let cancel = CancelFlag::default();
    let running = app.running.enter(id.clone(), &lease.task.owner, cancel.clone());
    let started = Instant::now();
    // A cancel between the lease and the line above found no flag to raise.
    if app.tasks.get(&id).await.is_ok_and(|task| task.is_some_and(|task| task.cancel_requested)) {
        cancel.cancel();
    }
    let mut run_ms_max = lease.task.terms.run_ms_max;
    if let Some(model) = &lease.task.terms.model {
        app.functions.used(model).await;
        let timeout =
            app.functions.timeout(model).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        run_ms_max = run_ms_max.into_iter().chain(timeout).min();
    }
    let no_retry = lease.task.terms.no_retry;
    let mut stopping = app.stopping.clone();
    let result = tokio::select! {
        biased;
        () = async { drop(stopping.wait_for(|stop| *stop).await) } => Err(Failure::Stopped),
        result = draw::draw((app, replays), &lease, &running, &cancel) => result.map_err(Failure::App),
        () = time_is_up(run_ms_max) => {
            cancel.cancel();
            Err(Failure::App(AppError::TimedOut))
        }
        fenced = keep_lease(app, &lease, &cancel) => Err(fenced),
    };
    let useless = useless_up_to(&result, &lease);
    if useless > 0 {
        // A tokio worker: it waits for the object store, and nobody waits for it.
        tokio::spawn(upkeep::delete_leftovers(app.objects.clone(), lease.task.clone(), useless));
    }
    let (mut state, outcome) = match result {
        Ok(outcome) if outcome.error.is_some() => (TaskState::Failed, outcome),
        Ok(outcome) => (TaskState::Succeeded, outcome),
        Err(Failure::Fenced) => {
            tracing::warn!(task = %id, attempt = lease.attempt, "another attempt owns the task; result dropped");
            return;
        }
        Err(Failure::Stopped) if no_retry => {
            let message = "the server shut down before the task had ended, and it was not to be tried again";
            failed(&id, &AppError::Unavailable(message.into()))
        }
        Err(Failure::Stopped) => return hand_back(app, &lease, Release::Rest).await,
        // A passing shortage is no reason to lose an acknowledged task.
        Err(Failure::App(AppError::Overloaded(_) | AppError::Unavailable(_)))
            if !no_retry && lease.shortages + 1 < SHORTAGES_MAX =>
        {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return hand_back(app, &lease, Release::Shortage).await;
        }
        Err(Failure::App(AppError::Cancelled)) => (TaskState::Canceled, Outcome::default()),
        Err(Failure::App(error)) => failed(&id, &error),
    };
    if state == TaskState::Succeeded {
        app.running.took(started.elapsed());
    }
    let mut code = code_of(&outcome);
    running.ends();
    let ended = insist(&app.stopping, || finish(&*app.tasks, &lease, state, outcome.clone())).await;
    match ended {
        Ok((task, fits)) => {
            (state, code) = (task.state, task.outcome.as_ref().map_or_else(String::new, code_of));
            tracing::info!(task = %id, ?state, seconds = started.elapsed().as_secs_f64(), "task ended");
            if !fits {
                // A tokio worker: it waits for the object store, and nobody waits for it.
                tokio::spawn(upkeep::delete_leftovers(app.objects.clone(), task, lease.attempt));
            }
        }
        Err(error) => {
            tracing::error!(task = %id, %error, "the end of a task could not be stored; its lease will run out")
        }
    }
    metrics::counter!("gesso_tasks_ended_total", "state" => state.as_str(), "code" => code).increment(1);
    metrics::histogram!("gesso_task_seconds").record(started.elapsed().as_secs_f64());
}

/// Up to which attempt nothing that was stored is a part of the task's result.
fn useless_up_to(result: &Result<Outcome, Failure>, lease: &Lease) -> u32 {
    match result {
        Ok(_) => lease.attempt - 1,
        // There is no time for it; the next attempt does it, where there is to be one.
        Err(Failure::Stopped) if !lease.task.terms.no_retry => 0,
        Err(_) => lease.attempt,
    }
}

/// Tells the store an end until it is taken: while its disk is full or it is being opened anew, what was drawn is not to be drawn
/// once more. Given up when the lease has run out for certain, or the server ends; what comes too late is refused as another's.
async fn insist<T, F: Future<Output = Result<T, TaskStoreError>>>(
    stopping: &watch::Receiver<bool>,
    mut end: impl FnMut() -> F,
) -> Result<T, TaskStoreError> {
    let began = Instant::now();
    loop {
        match end().await {
            Err(error @ (TaskStoreError::Full(_) | TaskStoreError::Unavailable(_)))
                if began.elapsed() < LEASE && !*stopping.borrow() =>
            {
                tracing::warn!(%error, "the end of a task could not be stored yet");
            }
            ended => return ended,
        }
        tokio::time::sleep(TOLD_AGAIN).await;
    }
}

/// Ends the task, and returns with it whether its outcome fits its record. Where it does not the task fails: left to its lease,
/// it would be drawn again and come to the same.
async fn finish(
    tasks: &dyn TaskStore,
    lease: &Lease,
    state: TaskState,
    outcome: Outcome,
) -> Result<(Task, bool), TaskStoreError> {
    let pictures = outcome.images.len();
    match tasks.finish(lease, state, outcome).await {
        Err(TaskStoreError::TooLarge { .. }) => {
            let message = format!(
                "the task came to {pictures} pictures, whose names do not fit its record; ask for fewer of them in one task"
            );
            let (state, outcome) = failed(&lease.task.id, &AppError::Unprocessable(message));
            Ok((tasks.finish(lease, state, outcome).await?, false))
        }
        ended => Ok((ended?, true)),
    }
}

/// The stable word for why it failed, empty where it did not.
fn code_of(outcome: &Outcome) -> String {
    outcome.error.as_ref().map_or_else(String::new, |error| error.code.clone())
}

fn failed(id: &TaskId, error: &AppError) -> (TaskState, Outcome) {
    tracing::warn!(task = %id, code = error.code(), %error, "task failed");
    (TaskState::Failed, Outcome { error: Some(error.to_task_error()), ..Outcome::default() })
}

/// Never, for a task without a bound.
async fn time_is_up(run_ms_max: Option<u64>) {
    match run_ms_max {
        Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        None => std::future::pending().await,
    }
}

/// Why a task has no pictures.
enum Failure {
    App(AppError),
    /// The lease was lost to a newer attempt.
    Fenced,
    /// The server ends before the task.
    Stopped,
}

/// The task waits again; the attempt does not count as lost.
async fn hand_back(app: &App, lease: &Lease, why: Release) {
    match app.tasks.release(lease, why).await {
        Ok(_) => tracing::info!(task = %lease.task.id, "task handed back; it runs again"),
        Err(error) => {
            tracing::warn!(task = %lease.task.id, %error, "task not handed back; its lease will run out")
        }
    }
}

/// Extends the lease and passes on cancel requests; returns only when the lease is lost.
async fn keep_lease(app: &App, lease: &Lease, cancel: &CancelFlag) -> Failure {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        match app.tasks.extend(lease, LEASE).await {
            Ok(task) if task.cancel_requested => cancel.cancel(),
            Ok(_) => {}
            Err(TaskStoreError::Fenced) => {
                cancel.cancel();
                return Failure::Fenced;
            }
            Err(error) => tracing::warn!(task = %lease.task.id, %error, "the lease could not be extended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use gesso_store::testing::conformance::{new_task, outcome};
    use gesso_store::{
        ImageFormat, MemoryTasks, NewTask, ObjectKey, SledSettings, SledTasks, SystemClock, Terms,
    };

    use super::*;

    #[tokio::test]
    async fn an_outcome_that_does_not_fit_its_record_fails_the_task() {
        let folder = tempfile::tempdir().unwrap();
        let settings = SledSettings { reserve_bytes: Some(0), ..SledSettings::default() };
        let tasks = SledTasks::open(folder.path(), settings, Arc::new(SystemClock)).await.unwrap();
        tasks.submit(new_task("many")).await.unwrap();
        let lease = tasks.lease("local", LEASE).await.unwrap().unwrap();
        // Every second number, which no record shortens.
        let image =
            |number: u32| ObjectKey::image("default", &lease.task.id, 1, 2 * number, ImageFormat::Png);
        let images: Vec<_> = (1..=3_000).map(|number| image(number).unwrap()).collect();
        let many = Outcome { images, ..outcome(&lease) };
        let (task, fits) = finish(&tasks, &lease, TaskState::Succeeded, many).await.unwrap();
        assert_eq!((task.state, fits), (TaskState::Failed, false));
        let stored = tasks.get(&task.id).await.unwrap().unwrap().outcome.unwrap();
        assert!(stored.images.is_empty());
        let error = stored.error.unwrap();
        assert_eq!(error.code, "unprocessable");
        assert!(error.message.contains("3000 pictures") && error.message.contains("fewer"), "{error:?}");

        tasks.submit(new_task("one")).await.unwrap();
        let lease = tasks.lease("local", LEASE).await.unwrap().unwrap();
        let (task, fits) = finish(&tasks, &lease, TaskState::Succeeded, outcome(&lease)).await.unwrap();
        assert_eq!((task.state, fits), (TaskState::Succeeded, true));
    }

    #[tokio::test]
    async fn an_end_that_the_store_cannot_take_is_told_again_until_the_server_ends() {
        let (end_server, stopping) = watch::channel(false);
        let full = || TaskStoreError::Full("no space".to_owned());
        let mut told = 0;
        let taken = insist(&stopping, || {
            told += 1;
            let is_back = told == 2;
            async move { if is_back { Ok(()) } else { Err(full()) } }
        });
        assert_eq!(taken.await, Ok(()));
        let fenced = insist(&stopping, || async { Err::<(), _>(TaskStoreError::Fenced) });
        assert_eq!(fenced.await, Err(TaskStoreError::Fenced), "it is another's to tell");
        end_server.send_replace(true);
        let began = Instant::now();
        assert_eq!(insist(&stopping, || async { Err::<(), _>(full()) }).await, Err(full()));
        assert!(began.elapsed() < TOLD_AGAIN);
    }

    #[tokio::test]
    async fn what_is_stopped_is_left_to_a_next_attempt_alone() {
        let tasks = MemoryTasks::new(Arc::new(SystemClock));
        for (id, no_retry, useless) in [("again", false, 0), ("once", true, 1)] {
            let terms = Terms { no_retry, ..Terms::default() };
            tasks.submit(NewTask { terms, ..new_task(id) }).await.unwrap();
            let lease = tasks.lease("local", LEASE).await.unwrap().unwrap();
            assert_eq!(useless_up_to(&Err(Failure::Stopped), &lease), useless, "{id}");
        }
    }
}
