//! What callers say and hear about one job: its request, its progress, its pictures, its cancel flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use tokio::sync::{oneshot, watch};

use crate::backend::{BackendError, ModelFile};

/// Asks a job to stop; the owner thread looks at it before every UNet call.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The flag itself, for code that watches it under another name.
    pub fn shared(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// One request to draw.
#[derive(Debug, Clone)]
pub struct JobSpec {
    pub model: Arc<ModelFile>,
    pub request: GenerateRequest,
    /// Higher goes first; waiting raises it (see [`crate::policy`]).
    pub priority: i32,
    pub cancel: CancelFlag,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Queued,
    /// Loading the model, encoding the prompts.
    Preparing,
    Sampling,
    Finished,
}

/// Published after every UNet call of the job.
#[derive(Debug, Clone)]
pub struct Progress {
    pub phase: Phase,
    /// UNet calls of all pictures: done and in total.
    pub calls_done: u32,
    pub calls_total: u32,
    /// Sampler step of the picture that is furthest behind, and the steps asked for.
    pub step: u32,
    pub steps: u32,
    pub images_done: u32,
    pub images_total: u32,
    /// Time to the end at the pace since sampling began; `None` before the first call returned.
    pub eta: Option<Duration>,
    /// A small picture of the first unfinished image.
    pub preview: Option<Arc<Pixels>>,
}

impl Progress {
    pub(crate) fn queued(request: &GenerateRequest) -> Self {
        Self {
            phase: Phase::Queued,
            calls_done: 0,
            calls_total: 0,
            step: 0,
            steps: request.steps,
            images_done: 0,
            images_total: request.image_count(),
            eta: None,
            preview: None,
        }
    }

    /// Share of the UNet calls done, 0..=1.
    pub fn fraction(&self) -> f64 {
        match self.phase {
            Phase::Finished => 1.0,
            _ if self.calls_total == 0 => 0.0,
            _ => f64::from(self.calls_done) / f64::from(self.calls_total),
        }
    }
}

/// Why a job ended without pictures.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum JobError {
    #[error("the job was cancelled")]
    Cancelled,
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("the drawing code panicked ({0}); the server goes on, please report the request that did it")]
    Panicked(String),
    #[error("the engine is shutting down")]
    ShutDown,
}

/// Why a job was not taken.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SubmitError {
    #[error("{waiting} jobs are waiting already; try again in a few seconds")]
    Overloaded { waiting: usize },
    #[error("the engine is shutting down")]
    ShutDown,
}

/// The caller's end of a job. Dropping it cancels the job: nobody would see the pictures.
#[derive(Debug)]
pub struct JobHandle {
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) reply: oneshot::Receiver<Result<Vec<Pixels>, JobError>>,
    pub(crate) cancel: CancelFlag,
}

impl JobHandle {
    /// A receiver of its own, for as many listeners as wanted.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    pub fn cancel_flag(&self) -> CancelFlag {
        self.cancel.clone()
    }

    /// Waits for the pictures, in order.
    pub async fn finish(self) -> Result<Vec<Pixels>, JobError> {
        self.reply.await.unwrap_or(Err(JobError::ShutDown))
    }

    /// Waits on the calling thread; must not be called from async code.
    pub fn blocking_finish(self) -> Result<Vec<Pixels>, JobError> {
        self.reply.blocking_recv().unwrap_or(Err(JobError::ShutDown))
    }
}
