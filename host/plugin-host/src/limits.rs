//! What one call spends: memory over all memories and tables of its store, its pictures, and processor time of its task.
//! Installed on every store; read after the call to say which budget was broken. Knows no plugin.

use crate::own_time::OwnTime;
use crate::settings::Budget;
use rustix::time::{ClockId, clock_gettime};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use wasmtime::ResourceLimiter;

/// Instances and tables one component may have: a Python component has a few dozen.
const MAX_INSTANCES: usize = 200;
const MAX_TABLES: usize = 64;
const MAX_MEMORIES: usize = 8;
const MAX_TABLE_ELEMENTS: usize = 100_000;

/// Figures of one call, shared between its store and whoever waits for it, so that they outlive a dropped store.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    memory_peak: AtomicU64,
    memory_denied: AtomicBool,
    cpu_nanos: AtomicU64,
    cpu_denied: AtomicBool,
    /// Reading of the running thread's clock when the task was resumed, or [`PAUSED`].
    slice_start: AtomicU64,
}

/// No thread has a clock that reads zero once it runs a task.
const PAUSED: u64 = 0;

impl Spent {
    pub(crate) fn memory_peak(&self) -> u64 {
        self.memory_peak.load(Ordering::Relaxed)
    }

    pub(crate) fn memory_denied(&self) -> bool {
        self.memory_denied.load(Ordering::Relaxed)
    }

    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn cpu_denied(&self) -> bool {
        self.cpu_denied.load(Ordering::Relaxed)
    }

    /// The call's task starts running on this thread.
    fn resume(&self) {
        self.slice_start.store(thread_nanos(), Ordering::Relaxed);
    }

    /// The call's task gives the thread back.
    fn pause(&self) {
        self.cpu_nanos.fetch_add(self.slice(), Ordering::Relaxed);
        self.slice_start.store(PAUSED, Ordering::Relaxed);
    }

    /// Processor time since the task was last resumed.
    fn slice(&self) -> u64 {
        match self.slice_start.load(Ordering::Relaxed) {
            PAUSED => 0,
            start => thread_nanos().saturating_sub(start),
        }
    }

    /// To be asked on the thread that runs the task.
    ///
    /// # Errors
    /// Once the processor time is used up.
    pub(crate) fn check_cpu(&self, budget: Duration) -> Result<(), CpuSpent> {
        if self.cpu() + Duration::from_nanos(self.slice()) > budget {
            self.cpu_denied.store(true, Ordering::Relaxed);
            return Err(CpuSpent(budget));
        }
        Ok(())
    }
}

/// A call's task that charges the processor time of each of its turns: guest code and what the host does for it.
/// A task keeps its thread for one turn, so the thread's clock measures exactly that; waiting is free, and told apart.
pub(crate) struct Metered<F> {
    task: F,
    spent: Arc<Spent>,
    own_time: Arc<OwnTime>,
    /// Of the last turn. Kept, so that the task sees the same waker as long as the same one polls.
    waking: Option<Arc<Waking>>,
}

impl<F> Metered<F> {
    pub(crate) fn new(task: F, spent: Arc<Spent>, own_time: Arc<OwnTime>) -> Self {
        Self { task, spent, own_time, waking: None }
    }
}

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let kept = self.waking.take().filter(|waking| waking.inner.will_wake(context.waker()));
        let waking = kept.unwrap_or_else(|| Waking::new(&self.own_time, context.waker()));
        let waker = Waker::from(waking.clone());
        self.waking = Some(waking);
        self.own_time.resume();
        self.spent.resume();
        let polled = Pin::new(&mut self.task).poll(&mut Context::from_waker(&waker));
        self.spent.pause();
        if polled.is_pending() {
            self.own_time.sleep();
        }
        polled
    }
}

/// Ends the task's sleep when what it waits for has come about, however long it then waits for a thread.
struct Waking {
    own_time: Arc<OwnTime>,
    inner: Waker,
}

impl Waking {
    fn new(own_time: &Arc<OwnTime>, inner: &Waker) -> Arc<Self> {
        Arc::new(Self { own_time: own_time.clone(), inner: inner.clone() })
    }
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.own_time.wake();
        self.inner.wake_by_ref();
    }
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the call used up its {0:?} of processor time")]
pub(crate) struct CpuSpent(Duration);

/// What the pictures of one call take, host side, finished drawings that it has not taken yet among them.
#[derive(Debug)]
pub(crate) struct PictureAccount {
    used: AtomicU64,
    pub(crate) most: u64,
}

impl PictureAccount {
    pub(crate) fn new(most: u64) -> Self {
        Self { used: AtomicU64::new(0), most }
    }

    /// Whether as much was left, and is taken now.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|total| *total <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        let fewer = |used: u64| Some(used.saturating_sub(bytes));
        // Never refused.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Processor time of the current thread.
fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Sums over the whole store. wasmtime's own `StoreLimits` holds each memory to the limit by itself, so that eight
/// memories would get eight times as much.
pub(crate) struct SummingLimiter {
    memory_bytes: u64,
    memory_used: u64,
    table_elements: usize,
    spent: Arc<Spent>,
}

impl SummingLimiter {
    pub(crate) fn new(budget: &Budget, spent: Arc<Spent>) -> Self {
        Self { memory_bytes: budget.memory_bytes, memory_used: 0, table_elements: 0, spent }
    }
}

impl ResourceLimiter for SummingLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.memory_used.saturating_add(desired.saturating_sub(current) as u64);
        if used > self.memory_bytes {
            self.spent.memory_denied.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        self.memory_used = used;
        self.spent.memory_peak.fetch_max(used, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if elements > MAX_TABLE_ELEMENTS {
            self.spent.memory_denied.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        self.table_elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn memories_share_one_limit_and_the_peak_is_kept() {
        let spent = Arc::new(Spent::default());
        let budget = Budget { memory_bytes: 10 << 20, ..Budget::default() };
        let mut limiter = SummingLimiter::new(&budget, spent.clone());
        assert!(limiter.memory_growing(0, 6 << 20, None).unwrap());
        assert!(limiter.memory_growing(0, 4 << 20, None).unwrap());
        assert!(!spent.memory_denied());
        assert!(!limiter.memory_growing(4 << 20, 5 << 20, None).unwrap());
        assert!(spent.memory_denied());
        assert_eq!(spent.memory_peak(), 10 << 20);
    }

    #[test]
    fn tables_share_one_limit() {
        let mut limiter = SummingLimiter::new(&Budget::default(), Arc::default());
        assert!(limiter.table_growing(0, 60_000, None).unwrap());
        assert!(!limiter.table_growing(0, 60_000, None).unwrap());
    }

    #[test]
    fn an_account_of_pictures_takes_what_fits_and_no_more() {
        let account = PictureAccount::new(10);
        assert!(account.take(6) && !account.take(5) && account.take(4) && !account.take(u64::MAX));
        account.give_back(3);
        assert_eq!(account.used(), 7);
        account.give_back(100);
        assert!(account.take(10) && !account.take(1));
    }

    /// Whether time that passes now counts as slept.
    fn counts(own_time: &OwnTime) -> bool {
        let before = own_time.waited();
        std::thread::sleep(Duration::from_millis(2));
        own_time.waited() > before
    }

    /// How often it was woken.
    #[derive(Default)]
    struct Wakes(AtomicU64);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn giving_the_thread_to_others_is_no_sleep() {
        let own_time = Arc::<OwnTime>::default();
        let mut turns = 0;
        let task = std::future::poll_fn(move |context: &mut Context<'_>| {
            turns += 1;
            match turns {
                // As a guest's does between two ticks.
                1 => context.waker().wake_by_ref(),
                3 => return Poll::Ready(()),
                _ => {}
            }
            Poll::Pending
        });
        let mut metered = Metered::new(task, Arc::default(), own_time.clone());
        // Each turn is followed by a moment in which others have the thread.
        let naps = [false, false, true].map(|ends| {
            let polled = Pin::new(&mut metered).poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(polled.is_ready(), ends);
            counts(&own_time)
        });
        assert_eq!(naps, [false, true, false]);
    }

    #[test]
    fn waiting_for_a_thread_is_no_sleep() {
        let (own_time, last) = (Arc::<OwnTime>::default(), Arc::<Mutex<Option<Waker>>>::default());
        let seen = last.clone();
        let task = std::future::poll_fn(move |context: &mut Context<'_>| {
            *seen.lock().unwrap() = Some(context.waker().clone());
            Poll::<()>::Pending
        });
        let mut metered = Metered::new(task, Arc::default(), own_time.clone());
        let mut poll = |by: &Arc<Wakes>| {
            let waker = Waker::from(by.clone());
            assert!(Pin::new(&mut metered).poll(&mut Context::from_waker(&waker)).is_pending());
            last.lock().unwrap().clone().unwrap()
        };
        let [first, second] = [(); 2].map(|()| Arc::<Wakes>::default());
        let waker = poll(&first);
        assert!(counts(&own_time));
        waker.wake();
        assert!(!counts(&own_time), "it is woken and was not polled yet");
        let waker = poll(&first);
        assert!(counts(&own_time), "it sleeps again");
        // The task keeps what it has noted for as long as the same one polls it, and who polled last is woken.
        assert!(waker.will_wake(&poll(&first)));
        poll(&second).wake();
        assert_eq!([first, second].map(|wakes| wakes.0.load(Ordering::Relaxed)), [1, 1]);
        assert!(!counts(&own_time));
    }

    #[tokio::test]
    async fn waiting_is_free_and_working_is_not() {
        let spent = Arc::new(Spent::default());
        let account = spent.clone();
        let task = Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let start = thread_nanos();
            while thread_nanos() - start < 5_000_000 {}
            assert!(account.check_cpu(Duration::from_millis(4)).is_err());
        });
        Metered::new(task, spent.clone(), Arc::default()).await;
        let used = spent.cpu();
        assert!(used >= Duration::from_millis(5) && used < Duration::from_millis(80), "{used:?}");
        assert!(spent.cpu_denied());
    }
}
