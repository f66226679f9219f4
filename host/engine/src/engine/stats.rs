//! What the owner thread tells of itself, for metrics and for those who ask which checkpoints are there. Written by that
//! thread alone; knows no job.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, ModelFile, Residency};

/// Counters since the start, for metrics.
#[derive(Debug, Clone, Default)]
pub struct EngineStats {
    /// What the backend calls itself.
    pub device: String,
    pub unet_calls: u64,
    /// Rows over all calls; divided by `unet_calls` it is the mean batch.
    pub rows: u64,
    /// Calls by their rows: the first is of calls with one row. The last is of those with as many rows as there is a place
    /// for, or more.
    pub batches: [u64; 16],
    /// Time of the backend's calls. A device that works behind the host's back takes longer than it tells here.
    pub unet_time: Duration,
    pub images: u64,
    pub failed_jobs: u64,
    /// The checkpoints in the device's memory, after the last step or command.
    pub loaded: Vec<Arc<ModelFile>>,
    /// The checkpoint that is on its way there, for a command or for a pass, which it is until the pass is open.
    pub loading: Option<Arc<ModelFile>>,
    /// What checkpoints take of the memory, after the last step or command.
    pub residency: Residency,
}

impl EngineStats {
    /// Takes in what the backend holds now.
    pub(super) fn take_in(&mut self, backend: &impl Backend) {
        self.loaded = backend.loaded();
        self.residency = backend.residency();
    }
}
