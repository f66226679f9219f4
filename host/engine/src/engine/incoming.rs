//! What handles send to the owner thread. Knows nothing of how it is done.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::running::Caller;
use crate::backend::ModelFile;
use crate::job::{JobError, Work};

/// What reaches the owner thread.
#[derive(Debug)]
pub(super) enum Command {
    Job(Incoming),
    /// Done between two steps, before any job that came after it.
    Load(Arc<ModelFile>, oneshot::Sender<Result<(), JobError>>),
    /// Unanswered where it panicked.
    Unload(oneshot::Sender<()>),
}

/// A job on its way to the owner thread.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) work: Work,
    pub(super) priority: i32,
    pub(super) caller: Caller,
}

impl Incoming {
    /// Pictures in flight while it runs.
    pub(super) fn images(&self) -> usize {
        match &self.work {
            Work::Draw(drawing) => drawing.request.image_count() as usize,
            Work::Enlarge(_) | Work::RestoreFaces(_) | Work::RunNetwork(_) => 1,
        }
    }

    /// The checkpoint it begins with.
    pub(super) fn model(&self) -> Option<&PathBuf> {
        match &self.work {
            Work::Draw(drawing) => Some(&drawing.opening_model().path),
            Work::Enlarge(_) | Work::RestoreFaces(_) | Work::RunNetwork(_) => None,
        }
    }
}

/// A place among the `max_jobs`; given back when dropped, wherever that happens.
#[derive(Debug)]
pub(super) struct Slot(pub(super) Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
