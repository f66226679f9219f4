//! Jobs, batching and the owner thread of a device.
//!
//! Callers hold an [`EngineHandle`], submit a [`JobSpec`] and wait on a [`JobHandle`]. One OS thread owns the
//! [`Backend`](backend::Backend) and advances every running job one UNet call at a time; rows of different jobs
//! share a call when their [`BatchKey`](backend::BatchKey)s agree. This crate does not know HTTP, storage, plugins
//! or tensors.
//!
//! - [`backend`]: the trait a device implements
//! - [`policy`]: which rows go next, as a pure function
//! - [`job`]: what callers say and hear about one job
//! - [`engine`]: the owner thread

pub mod backend;
pub mod clock;
pub mod engine;
pub mod job;
pub mod policy;
mod skip;

pub use engine::{Engine, EngineHandle, EngineSettings, EngineStats, StartError};
pub use job::{
    CancelFlag, ControlUse, Drawing, Enlargement, FaceRestoration, JobError, JobHandle, JobSpec, LoraUse,
    NetworkRun, Phase, Progress, ReferenceUse, RefinerUse, Resources, SecondPass, Share, Source, SourceMask,
    SubmitError, Work,
};
