//! What tests of task stores share: a clock moved by hand and the conformance suite. Compiled for this crate's own
//! tests and, by feature `testing`, for tests of its callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

pub mod conformance;

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    now_ms: AtomicU64,
    steady_ms: AtomicU64,
}

impl ManualClock {
    /// Starts at `now_ms` (Unix milliseconds).
    pub fn new(now_ms: u64) -> Self {
        Self(Arc::new(Hands { now_ms: AtomicU64::new(now_ms), steady_ms: AtomicU64::new(now_ms) }))
    }

    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.0.steady_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the clock on the wall, without any time passing.
    pub fn set(&self, now_ms: u64) {
        self.0.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.now_ms.load(Ordering::SeqCst)
    }

    fn steady_ms(&self) -> u64 {
        self.0.steady_ms.load(Ordering::SeqCst)
    }
}
