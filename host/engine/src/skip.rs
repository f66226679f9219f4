//! A request to end one batch early, on its way from whoever asks to the drawing that heeds it. Knows no batches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by the drawings of one task, so that one request ends one batch of one of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Skip(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// Some batch has ended early.
    was_heeded: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Asked,
    UnderWay,
}

impl Skip {
    /// Changes nothing while one is asked for or takes effect.
    pub(crate) fn ask(&self) {
        self.go(Stage::Idle, Stage::Asked);
    }

    /// Takes back what no drawing has heeded.
    pub(crate) fn forget(&self) {
        self.go(Stage::Asked, Stage::Idle);
    }

    /// What was asked for, for the one drawing that gets it.
    pub(crate) fn heed(&self) -> Option<Skipping> {
        self.go(Stage::Asked, Stage::UnderWay).then(|| Skipping(self.clone()))
    }

    /// Whether both are of one task.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Asked for, or taking effect.
    pub(crate) fn is_on(&self) -> bool {
        self.lock().stage != Stage::Idle
    }

    pub(crate) fn was_heeded(&self) -> bool {
        self.lock().was_heeded
    }

    /// Goes from one stage to another; false where it is not at the first.
    fn go(&self, from: Stage, to: Stage) -> bool {
        let mut state = self.lock();
        let is_there = state.stage == from;
        if is_there {
            state.stage = to;
            state.was_heeded |= to == Stage::UnderWay;
        }
        is_there
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A skip that takes effect, until it is dropped.
#[derive(Debug)]
pub(crate) struct Skipping(Skip);

impl Drop for Skipping {
    fn drop(&mut self) {
        self.0.go(Stage::UnderWay, Stage::Idle);
    }
}
