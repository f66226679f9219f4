//! Where this crate learns the time. Given at construction, so that only the server chooses a clock and every
//! deadline can be tested without waiting.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, by the clock on the wall. It may step backwards; callers must not count on order.
    fn now_ms(&self) -> u64;

    /// The same as if nobody had set that clock since the process began, and the machine had never slept: for deadlines of
    /// what happens in this process.
    fn steady_ms(&self) -> u64;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock before 1970 reads as 0: deadlines then lie in the future, which loses nothing.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
    }

    fn steady_ms(&self) -> u64 {
        static BEGAN: LazyLock<(Instant, u64)> = LazyLock::new(|| (Instant::now(), SystemClock.now_ms()));
        let (began, began_ms) = *BEGAN;
        began_ms.saturating_add(began.elapsed().as_millis() as u64)
    }
}
