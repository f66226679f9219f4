//! How long a call has waited while nothing was drawn for it. Scripts and picture hooks may wait for drawings for hours, but not
//! for nothing meanwhile. Waiting for a thread is not the call's doing, and not counted. Fed by the call's task and by what is drawn for it, read by whoever waits for the call. Ends nothing
//! itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct OwnTime(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Before `since`.
    waited: Duration,
    /// Present while the task sleeps and nothing is drawn.
    since: Option<Instant>,
    sleeps: bool,
    /// Since the task's turn began.
    is_woken: bool,
    under_way: usize,
}

impl State {
    /// Counts up to now by what held, and goes on by what holds after the change.
    fn change(&mut self, now: Instant, change: impl FnOnce(&mut Self)) {
        self.waited = self.waited_at(now);
        change(self);
        self.since = (self.sleeps && self.under_way == 0).then_some(now);
    }

    fn waited_at(&self, now: Instant) -> Duration {
        self.waited + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl OwnTime {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call's task runs.
    pub(crate) fn resume(&self) {
        self.lock().change(Instant::now(), |state| (state.sleeps, state.is_woken) = (false, false));
    }

    /// The call's task gives its thread back until something happens, unless that has happened in this turn.
    pub(crate) fn sleep(&self) {
        self.lock().change(Instant::now(), |state| state.sleeps = !state.is_woken);
    }

    /// The call's task has something to do, and runs once it has a thread.
    pub(crate) fn wake(&self) {
        self.lock().change(Instant::now(), |state| (state.sleeps, state.is_woken) = (false, true));
    }

    /// Something is drawn for the call until what comes back is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.lock().change(Instant::now(), |state| state.under_way += 1);
        UnderWay(self.clone())
    }

    pub(crate) fn waited(&self) -> Duration {
        self.lock().waited_at(Instant::now())
    }
}

/// Work of the server that a call may wait for.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<OwnTime>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().change(Instant::now(), |state| state.under_way -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sleep_with_nothing_under_way_counts() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        type Change = (u64, fn(&mut State));
        let changes: [Change; 7] = [
            // Runs until 2, sleeps until 5.
            (2, |state| state.sleeps = true),
            (5, |state| state.sleeps = false),
            (7, |state| state.under_way += 2),
            // Sleeps from 8 on; the last of two drawings ends at 30.
            (8, |state| state.sleeps = true),
            (20, |state| state.under_way -= 1),
            (30, |state| state.under_way -= 1),
            (34, |state| state.under_way += 1),
        ];
        let (mut state, mut counted) = (State::default(), Vec::new());
        for (second, change) in changes {
            state.change(at(second), change);
            counted.push(state.waited_at(at(second)).as_secs());
        }
        assert_eq!(counted, [0, 3, 3, 3, 3, 3, 7]);
        assert_eq!(state.waited_at(at(1000)), Duration::from_secs(7));
        state.change(at(1000), |state| state.under_way -= 1);
        assert_eq!(state.waited_at(at(1002)), Duration::from_secs(9));
    }

    #[test]
    fn what_is_under_way_ends_with_its_guard() {
        let own = Arc::<OwnTime>::default();
        own.sleep();
        let drawing = own.begin();
        let before = own.waited();
        assert!(own.lock().since.is_none());
        drop(drawing);
        assert!(own.lock().since.is_some() && own.waited() >= before);
        own.wake();
        assert!(own.lock().since.is_none());
    }

    #[test]
    fn a_task_that_is_woken_in_its_turn_does_not_sleep() {
        let own = OwnTime::default();
        for (wakes, sleeps) in [(true, false), (false, true)] {
            own.resume();
            if wakes {
                own.wake();
            }
            own.sleep();
            assert_eq!(own.lock().since.is_some(), sleeps);
        }
    }
}
