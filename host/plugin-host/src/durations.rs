//! How long the newest calls of a plugin took: enough of them to tell a median and a slow one. Knows no plugin.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Calls that are remembered.
const CALLS: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Durations(Mutex<VecDeque<Duration>>);

impl Durations {
    pub(crate) fn note(&self, took: Duration) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == CALLS {
            calls.pop_front();
        }
        calls.push_back(took);
    }

    /// The durations that half of the calls, and 95 of 100, did not exceed.
    pub(crate) fn median_and_slow(&self) -> Option<(Duration, Duration)> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = calls.iter().copied().collect();
        drop(calls);
        sorted.sort_unstable();
        let at =
            |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some((at(50)?, at(95)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_of_the_newest_calls() {
        let durations = Durations::default();
        assert_eq!(durations.median_and_slow(), None);
        for millis in 1..=100 {
            durations.note(Duration::from_millis(millis));
        }
        assert_eq!(durations.median_and_slow(), Some((Duration::from_millis(50), Duration::from_millis(95))));
        (0..CALLS).for_each(|_| durations.note(Duration::from_millis(7)));
        assert_eq!(durations.median_and_slow(), Some((Duration::from_millis(7), Duration::from_millis(7))));
    }
}
