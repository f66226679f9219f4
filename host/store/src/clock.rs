//! Where this crate learns the time. Given at construction, so that only the server chooses a clock and every
//! deadline can be tested without waiting.

use std::time::{SystemTime, UNIX_EPOCH};

/// A source of wall-clock time. It may step backwards; callers must not count on order.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock before 1970 reads as 0: deadlines then lie in the future, which loses nothing.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
    }
}
