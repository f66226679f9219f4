//! One call of a guest: admitted, given a fresh store with its budget, run on the plugins' own threads, ended in
//! time, and its failure named. Used by hooks, HTTP extensions and the probe at load. Knows no worlds.

use crate::error::{FailureKind, HookError};
use crate::interfaces::{CallLog, CallState, OverWritten};
use crate::limits::{CpuSpent, Metered, Spent};
use crate::load::Loaded;
use crate::lost;
use crate::own_time::OwnTime;
use crate::settings::{Budget, Budgets, CallContext};
use crate::table::Shared;
use crate::threads::Handles;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;
use wasmtime::component::ResourceTableError;
use wasmtime::{Engine, Store, Trap, UpdateDeadline};

/// How often a waiting call looks at its cancel flag, and at how long it has waited for nothing at the most.
const CANCEL_LOOK: Duration = Duration::from_millis(25);
/// Bytes one guest-to-host call may carry in its arguments and lists.
const HOSTCALL_BYTES: usize = 64 << 20;
/// Calls that may wait for a slot, for each slot.
const WAITING_PER_SLOT: usize = 16;

/// Why the work inside a store ended without a result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// From wasmtime: a trap, a spent budget, a value that does not lift.
    Wasm(wasmtime::Error),
    /// Named by the work itself.
    Named(FailureKind, String),
    Cancelled,
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Wasm(error)
    }
}

/// Work of one call. The store is dropped when it ends, whatever the outcome: nothing survives in a guest.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the call was cancelled")]
struct CancelledInGuest;

/// What asks for drawings while it runs. Scripts' drawings are finished by picture hooks, so that neither may hold what the
/// other waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draws {
    Script,
    PictureHook,
}

/// Where and for how long a call runs.
struct Place<'a, P> {
    /// What lives as long as the guest.
    permits: P,
    budget: &'a Budget,
    /// How long it may wait while nothing is drawn for it, where that is less than its wall clock.
    own_wall: Option<Duration>,
    threads: &'a Handle,
}

pub(crate) struct Runner {
    engine: Engine,
    threads: Handles,
    budgets: Budgets,
    slots: Arc<Semaphore>,
    /// Scripts at one time. They wait for drawings most of the time, and drawings may need slots: of their own, so that they
    /// never hold what they wait for.
    script_slots: Arc<Semaphore>,
    /// Picture hooks at one time, which draw like scripts, also for the pictures of scripts.
    finisher_slots: Arc<Semaphore>,
    /// Calls of one plugin that may wait for a slot.
    most_waiting: usize,
}

impl Runner {
    pub(crate) fn new(engine: Engine, threads: Handles, budgets: Budgets, slots: usize) -> Self {
        Self {
            engine,
            threads,
            budgets,
            slots: Arc::new(Semaphore::new(slots)),
            script_slots: Arc::new(Semaphore::new(slots.div_ceil(2))),
            finisher_slots: Arc::new(Semaphore::new(slots.div_ceil(2))),
            most_waiting: slots.saturating_mul(WAITING_PER_SLOT),
        }
    }

    /// Of plugins that were granted no others.
    pub(crate) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Ends every call that waits for a slot and admits no further one.
    pub(crate) fn close(&self) {
        self.slots.close();
        self.script_slots.close();
        self.finisher_slots.close();
    }

    /// Runs `work` in a fresh store, under that budget, which is one of what was loaded.
    ///
    /// # Errors
    /// `PluginFailed`, `Overloaded` or `Cancelled`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        shared: &Arc<Shared>,
        loaded: &Loaded,
        (hook, budget): (&'static str, &Budget),
        context: &CallContext,
        work: impl FnOnce(Store<CallState>) -> Work<T> + Send + 'static,
    ) -> Result<T, HookError> {
        let running = shared.begin();
        let permits = self.admit(shared, context).await?;
        let place =
            Place { permits: (permits, running), budget, own_wall: None, threads: &self.threads.calls };
        self.run_in(place, shared, loaded, hook, context, work).await
    }

    /// Runs what waits for drawings under a budget of its own, in a slot of its own kind, of which one plugin never has all where
    /// there are several. The pool has room for half as many of each kind beside the calls. While nothing is drawn for it, it
    /// waits no longer than a hook may.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn run_drawing<T: Send + 'static>(
        &self,
        kind: Draws,
        shared: &Arc<Shared>,
        loaded: &Loaded,
        context: &CallContext,
        work: impl FnOnce(Store<CallState>) -> Work<T> + Send + 'static,
    ) -> Result<T, HookError> {
        let (own, slots, hook) = match kind {
            Draws::Script => (&shared.script_slots, &self.script_slots, "run"),
            Draws::PictureHook => (&shared.finisher_slots, &self.finisher_slots, "finish"),
        };
        let running = shared.begin();
        // As long as it takes: those that hold slots of this kind wait for drawings.
        let permits = tokio::select! {
            biased;
            permits = both(own, slots) => permits?,
            () = cancelled(context) => return Err(HookError::Cancelled),
        };
        let place = Place {
            permits: (permits, running),
            budget: &loaded.budgets.script,
            own_wall: Some(loaded.budgets.hook.wall),
            threads: &self.threads.calls,
        };
        self.run_in(place, shared, loaded, hook, context, work).await
    }

    /// Runs what the device's thread waits for, on threads of its own and without a slot: there is one such thread, so that calls
    /// of it follow each other, and the pool has room for those that it no longer waits for.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn run_step<T: Send + 'static>(
        &self,
        shared: &Arc<Shared>,
        loaded: &Loaded,
        context: &CallContext,
        work: impl FnOnce(Store<CallState>) -> Work<T> + Send + 'static,
    ) -> Result<T, HookError> {
        let place = Place {
            permits: shared.begin(),
            budget: &loaded.budgets.step,
            own_wall: None,
            threads: &self.threads.steps,
        };
        self.run_in(place, shared, loaded, "on-step", context, work).await
    }

    /// Begins what calls [`Self::run_step`], on the threads of step hooks.
    pub(crate) fn spawn_step(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.threads.steps.spawn(work);
    }

    /// As [`Self::run`], without a slot: changes are made one at a time, and the pool has room for them beside the calls.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn probe<T: Send + 'static>(
        &self,
        shared: &Arc<Shared>,
        loaded: &Loaded,
        (hook, budget): (&'static str, &Budget),
        context: &CallContext,
        work: impl FnOnce(Store<CallState>) -> Work<T> + Send + 'static,
    ) -> Result<T, HookError> {
        let place = Place { permits: shared.begin(), budget, own_wall: None, threads: &self.threads.calls };
        self.run_in(place, shared, loaded, hook, context, work).await
    }

    async fn run_in<P: Send + 'static, T: Send + 'static>(
        &self,
        Place { permits, budget, own_wall, threads }: Place<'_, P>,
        shared: &Arc<Shared>,
        loaded: &Loaded,
        hook: &'static str,
        context: &CallContext,
        work: impl FnOnce(Store<CallState>) -> Work<T> + Send + 'static,
    ) -> Result<T, HookError> {
        // Whoever took it from the table, or waited with it for a slot, may have done so before rights were taken away.
        if loaded.revocations != shared.revocations() {
            return Err(shared.not_loaded(hook, lost::REVOKED));
        }
        let (spent, own_time) = (Arc::new(Spent::default()), Arc::new(OwnTime::default()));
        let log = Arc::new(CallLog::new(shared.log.clone(), &context.request_id, budget));
        let accounts = (spent.clone(), own_time.clone());
        let state =
            CallState::new(budget, loaded.capabilities.clone(), context.clone(), log.clone(), accounts);
        let (engine, cpu, account, own) = (self.engine.clone(), budget.cpu, spent.clone(), own_time.clone());
        let span = tracing::info_span!("plugin", id = %shared.id, call = hook);
        let guest = async move {
            // Held until the guest has really ended, which may be after nobody waits for it any more.
            let _permits = permits;
            let task = work(limited_store(&engine, state, account.clone(), cpu));
            Metered::new(task, account, own).await
        };
        let task = threads.spawn(guest.instrument(span.clone()));
        let began = Instant::now();
        let waited = waits_for_nothing(&own_time, own_wall);
        let outcome = self.wait(task, context, budget, waited).instrument(span).await;
        let result = outcome.map_err(|failure| self.name(shared, (hook, budget), failure, &spent, &log));
        shared.count(&result, &spent, began.elapsed());
        log.finish(None);
        result
    }

    /// Slots for a call that waits for no drawing.
    async fn admit(
        &self,
        plugin: &Shared,
        context: &CallContext,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), HookError> {
        if plugin.waiting.fetch_add(1, Ordering::Relaxed) >= self.most_waiting {
            plugin.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(HookError::Overloaded);
        }
        let _waiting = CountDown(&plugin.waiting);
        tokio::select! {
            biased;
            permits = both(&plugin.slots, &self.slots) => permits,
            () = cancelled(context) => Err(HookError::Cancelled),
            () = tokio::time::sleep(self.budgets.hook.wall) => Err(HookError::Overloaded),
        }
    }

    /// Waits outside the plugins' runtime, whose timers a spinning guest could starve.
    async fn wait<T>(
        &self,
        task: JoinHandle<Result<T, Failure>>,
        context: &CallContext,
        budget: &Budget,
        waited_for_nothing: impl Future<Output = Duration>,
    ) -> Result<T, Failure> {
        let mut task = AbortOnDrop(task);
        let deadline = Instant::now() + budget.wall;
        tokio::select! {
            biased;
            joined = &mut task.0 => match joined {
                Ok(result) => result,
                Err(error) if error.is_cancelled() => Err(Failure::Cancelled),
                Err(_) => Err(Failure::Named(FailureKind::Host, "the host failed on the guest's behalf".to_owned())),
            },
            () = cancelled(context) => Err(Failure::Cancelled),
            () = tokio::time::sleep_until(deadline) => {
                let text = format!("it gave no result within {:?}", budget.wall);
                Err(Failure::Named(FailureKind::WallClock, text))
            }
            most = waited_for_nothing => {
                let text = format!("it waited for {most:?} in all while nothing was drawn for it");
                Err(Failure::Named(FailureKind::WallClock, text))
            }
        }
    }

    fn name(
        &self,
        shared: &Shared,
        (hook, budget): (&'static str, &Budget),
        failure: Failure,
        spent: &Spent,
        log: &CallLog,
    ) -> HookError {
        let (reason, message) = match failure {
            Failure::Cancelled => return HookError::Cancelled,
            Failure::Named(reason, message) => (reason, message),
            Failure::Wasm(error) if error.is::<CancelledInGuest>() => return HookError::Cancelled,
            Failure::Wasm(error) => {
                let (reason, mut message) = classify(&error, spent, budget);
                if reason == FailureKind::Trap
                    && let Some(panic) = log.panic_text()
                {
                    message = format!("{message}: {panic}");
                }
                // The whole trace is for the plugin's author.
                log.finish(Some(&format!("{hook}: {error:#}")));
                (reason, message)
            }
        };
        HookError::PluginFailed { plugin: shared.id.clone(), hook, reason, message }
    }
}

fn limited_store(engine: &Engine, state: CallState, spent: Arc<Spent>, cpu: Duration) -> Store<CallState> {
    let mut store = Store::new(engine, state);
    let handles = store.data().handles();
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_max_component_handles(handles);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |store| {
        if store.data().is_cancelled() {
            return Err(CancelledInGuest.into());
        }
        spent.check_cpu(cpu)?;
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

/// Which rule a wasmtime error stands for, and a sentence.
fn classify(error: &wasmtime::Error, spent: &Spent, budget: &Budget) -> (FailureKind, String) {
    if spent.cpu_denied() || error.is::<CpuSpent>() {
        return (FailureKind::Cpu, format!("it used up its {:?} of processor time", budget.cpu));
    }
    if spent.memory_denied() {
        let text = format!("it asked for more than its {} MiB of memory", budget.memory_bytes >> 20);
        return (FailureKind::Memory, text);
    }
    if let Some(over) = error.downcast_ref::<OverWritten>() {
        return (FailureKind::Memory, over.to_string());
    }
    let cause = error.root_cause().to_string();
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full))
        || cause.contains("handle") && cause.contains("limit")
    {
        return (FailureKind::Handles, format!("it held more than {} handles", budget.handles));
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return (FailureKind::Trap, format!("it left with exit status {}", exit.0));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => (FailureKind::Trap, "it overflowed its stack".to_owned()),
        // Compiled languages keep a stack in linear memory, which ends where memory does.
        Some(Trap::MemoryOutOfBounds) => (
            FailureKind::Trap,
            "it reached outside of its memory, as code does that overflowed its stack".to_owned(),
        ),
        Some(trap) => (FailureKind::Trap, format!("it trapped ({trap})")),
        None => (FailureKind::BadReturn, format!("what it passed to the host cannot be read ({cause})")),
    }
}

/// A slot of the plugin and one of the host, in this order, so that calls queued for a busy plugin hold nothing others need.
async fn both(
    own: &Arc<Semaphore>,
    host: &Arc<Semaphore>,
) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), HookError> {
    let own = own.clone().acquire_owned().await;
    let host = host.clone().acquire_owned().await;
    match (own, host) {
        (Ok(own), Ok(host)) => Ok((own, host)),
        _ => Err(HookError::Overloaded),
    }
}

/// Comes back with `most` once the call has waited for so long on its own account; never where there is no such bound.
async fn waits_for_nothing(own_time: &OwnTime, most: Option<Duration>) -> Duration {
    let Some(most) = most else { return std::future::pending().await };
    loop {
        let left = most.saturating_sub(own_time.waited());
        if left.is_zero() {
            return most;
        }
        tokio::time::sleep(left.max(CANCEL_LOOK)).await;
    }
}

async fn cancelled(context: &CallContext) {
    while !context.cancelled.load(Ordering::Relaxed) {
        tokio::time::sleep(CANCEL_LOOK).await;
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct CountDown<'a>(&'a AtomicUsize);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
