//! What the engine asks of whatever draws: synchronous, batch in, result out. Knows nothing of queues, HTTP or
//! tensors. Two implementations: `gesso-torch` on libtorch, and the fake of the engine's own tests.

use std::path::PathBuf;
use std::sync::Arc;

use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::Call;

/// A checkpoint on disk, as the server's catalogue found it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelFile {
    /// File name without folder and extension.
    pub name: String,
    pub path: PathBuf,
    /// Differs when the content does; the server gives its hash. A file replaced under its name is another model.
    pub version: String,
}

/// Rows may share a UNet call only when their keys are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchKey {
    pub model: Arc<ModelFile>,
    /// Latent rows and columns.
    pub latent_height: u32,
    pub latent_width: u32,
    /// Tokens of the positive and of the negative context.
    pub context_lengths: (u32, u32),
}

/// One picture of one job in a batch: its tensors, the call its sampler wants next, and the noise for it.
#[derive(Debug)]
pub struct Row<'a, S> {
    pub sample: &'a mut S,
    pub call: &'a Call,
    /// Standard normal, channels x latent rows x latent columns; present when [`Call::needs_noise`].
    pub noise: Option<Vec<f32>>,
}

/// Why the backend could not do it. None of these ends the owner thread.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum BackendError {
    #[error("the model file cannot be used: {0}")]
    Model(String),
    #[error("the request does not fit this model: {0}")]
    Request(String),
    #[error("the device is out of memory: {0}")]
    OutOfMemory(String),
    #[error(
        "the picture turned into NaN at step {step}; try another sampler, a lower CFG scale, or --dtype f32"
    )]
    NotANumber { step: u32 },
    #[error("libtorch failed: {0}")]
    Device(String),
}

/// A device that draws. Lives on one owner thread, made there by a [`BackendFactory`], so it need not be `Send`.
pub trait Backend {
    /// The tensors of one picture in flight. Dropping it frees them.
    type Sample;

    /// Loads the model when needed, encodes the prompts and sets the latent to `noise * initial_scale`.
    ///
    /// `noise` is standard normal, 4 x height/8 x width/8.
    fn begin(
        &mut self,
        model: &Arc<ModelFile>,
        request: &GenerateRequest,
        noise: Vec<f32>,
        initial_scale: f64,
    ) -> Result<(Self::Sample, BatchKey), BackendError>;

    /// One UNet call for rows of equal [`BatchKey`], and for each row what its [`Call::measure`] asks. The outer error
    /// fails every row; an inner one its own row.
    fn step(
        &mut self,
        rows: &mut [Row<'_, Self::Sample>],
    ) -> Result<Vec<Result<Option<f64>, BackendError>>, BackendError>;

    /// A small picture of the current estimate, by a linear map from latent to RGB. Cheap enough for every step.
    fn preview(&mut self, sample: &Self::Sample) -> Result<Pixels, BackendError>;

    /// Decodes the latent into the finished picture.
    fn finish(&mut self, sample: Self::Sample) -> Result<Pixels, BackendError>;

    /// What the device calls itself and how it computes, for start-up messages and metrics.
    fn describe(&self) -> String;
}

/// Makes the backend on the owner thread.
pub type BackendFactory<B> = Box<dyn FnOnce() -> Result<B, BackendError> + Send>;
