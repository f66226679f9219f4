//! Backend code as the owner thread runs it: a panic is an error, and who asks hears which checkpoint comes into memory. Knows
//! nothing of jobs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use tokio::sync::broadcast;

use super::{EngineStats, lock};
use crate::backend::{Backend, ModelFile};
use crate::job::JobError;

/// [`guarded`], while everybody may hear which checkpoint comes into memory, of those that are not there yet. The first of
/// several is told to be on its way, and each once all are there.
pub(super) fn bringing<B: Backend, T>(
    backend: &mut B,
    stats: &Mutex<EngineStats>,
    loads: &broadcast::Sender<Arc<ModelFile>>,
    models: &[Arc<ModelFile>],
    work: impl FnOnce(&mut B) -> Result<T, JobError>,
) -> Result<T, JobError> {
    let loaded = backend.loaded();
    let coming: Vec<_> = models.iter().filter(|model| !loaded.contains(model)).collect();
    let Some(first) = coming.first() else { return guarded(|| work(backend)) };
    lock(stats).loading = Some(Arc::clone(first));
    let outcome = guarded(|| work(backend));
    let mut stats = lock(stats);
    stats.loading = None;
    stats.take_in(backend);
    for model in coming.into_iter().filter(|model| stats.loaded.contains(model)) {
        // An error says that nobody listens.
        drop(loads.send(model.clone()));
    }
    outcome
}

/// Runs backend code so that a panic becomes an error of the jobs at hand.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, JobError>) -> Result<T, JobError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        tracing::error!(panic = %text, "the backend panicked");
        Err(JobError::Panicked(text))
    })
}
