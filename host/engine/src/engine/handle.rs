//! The engine as its callers hold it: submits jobs to the owner thread, and asks after it. Knows nothing of how a job is
//! done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::{broadcast, oneshot, watch};

use super::incoming::{Command, Incoming, Slot};
use super::lock;
use super::running::Caller;
use super::stats::EngineStats;
use crate::backend::ModelFile;
use crate::job::{JobError, JobHandle, JobSpec, Progress, SubmitError};

/// A cheap clone that submits jobs.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    pub(super) commands: mpsc::Sender<Command>,
    /// The owner thread holds the other end for as long as it runs.
    pub(super) alive: watch::Receiver<()>,
    pub(super) jobs: Arc<AtomicUsize>,
    pub(super) max_jobs: usize,
    pub(super) stats: Arc<Mutex<EngineStats>>,
    pub(super) loads: broadcast::Sender<Arc<ModelFile>>,
}

impl EngineHandle {
    /// Queues a job, or refuses at once when `max_jobs` are in.
    pub fn submit(&self, spec: JobSpec) -> Result<JobHandle, SubmitError> {
        let taken = self.jobs.fetch_add(1, Ordering::AcqRel);
        let slot = Slot(self.jobs.clone());
        if taken >= self.max_jobs {
            return Err(SubmitError::Overloaded { waiting: taken });
        }
        let (progress, progress_rx) = watch::channel(Progress::queued(&spec.work));
        let (reply, reply_rx) = oneshot::channel();
        let cancel = spec.cancel.clone();
        let caller = Caller { cancel: spec.cancel, progress, reply, slot };
        let incoming = Incoming { work: spec.work, priority: spec.priority, caller };
        self.commands.send(Command::Job(incoming)).map_err(|_| SubmitError::ShutDown)?;
        Ok(JobHandle { progress: progress_rx, reply: reply_rx, cancel })
    }

    /// Brings a checkpoint into memory ahead of the first job that draws with it.
    pub async fn load(&self, model: Arc<ModelFile>) -> Result<(), JobError> {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Load(model, reply)).map_err(|_| JobError::ShutDown)?;
        done.await.map_err(|_| JobError::ShutDown)?
    }

    /// Drops every model that no picture in flight needs from the device's memory.
    pub async fn unload(&self) -> Result<(), JobError> {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Unload(reply)).map_err(|_| JobError::ShutDown)?;
        done.await.map_err(|_| JobError::ShutDown)
    }

    /// Whether the owner thread is there to take jobs.
    pub fn is_alive(&self) -> bool {
        self.alive.has_changed().is_ok()
    }

    /// Waits for the owner thread to end, which it does under this handle where its device is lost.
    pub async fn ended(&self) {
        let mut alive = self.alive.clone();
        // Nothing is ever sent.
        while alive.changed().await.is_ok() {}
    }

    /// Jobs queued or running.
    pub fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Acquire)
    }

    pub fn stats(&self) -> EngineStats {
        lock(&self.stats).clone()
    }

    /// Every checkpoint that comes into memory from now on, for a command or for a drawing.
    pub fn loads(&self) -> broadcast::Receiver<Arc<ModelFile>> {
        self.loads.subscribe()
    }
}
