//! Drawing for scripts: what the server offers them. The server counts what a script spends; here a drawing is a handle
//! that ends with the script.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use gesso_core::pixels::Pixels;
use tokio::sync::oneshot;

use crate::budgets::DrawingBudget;

/// Draws on behalf of calls that may.
pub trait Inference: Send + Sync {
    /// The same for one plugin, whose drawings are counted as `most` says.
    fn for_plugin(self: Arc<Self>, plugin: &str, most: DrawingBudget) -> Arc<dyn Inference>;

    /// Begins a drawing and comes back at once; what is wrong with it is its result. `params` is a request body; with
    /// pictures it is image to image.
    fn generate(&self, params: String, init_images: Vec<Pixels>, mask: Option<Pixels>) -> Job;

    /// The picture, each side times `factor`.
    fn upscale(&self, picture: Pixels, upscaler: String, factor: f64) -> InferenceAnswer<Pixels>;

    /// Words for the picture, by the model of that name.
    fn interrogate(&self, picture: Pixels, model: String) -> InferenceAnswer<String>;
}

/// Work other than a drawing, under way; dropping it ends it.
pub type InferenceAnswer<T> = Pin<Box<dyn Future<Output = Result<T, InferenceError>> + Send>>;

/// What came of a drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    pub images: Vec<Pixels>,
    /// One for each picture.
    pub infotexts: Vec<String>,
    /// The web UI's `info`, a JSON object.
    pub info: String,
}

/// Why there is no drawing, by what the script can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferenceError {
    /// The request is wrong; the text is for the client.
    #[error("{0}")]
    Invalid(String),
    /// The script has spent what it may.
    #[error("{0}")]
    Limit(String),
    #[error("the drawing was cancelled")]
    Cancelled,
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Failed(String),
}

/// A drawing under way; dropping it cancels it.
pub struct Job {
    /// The share that is done.
    pub(crate) progress: Box<dyn Fn() -> f32 + Send>,
    pub(crate) cancel: Box<dyn Fn() + Send>,
    result: oneshot::Receiver<Result<Drawn, InferenceError>>,
    /// What it was given, on the account of the call's pictures while it lives.
    pub(crate) given_bytes: u64,
}

impl Job {
    /// `progress` is the share that is done.
    pub fn new(
        progress: impl Fn() -> f32 + Send + 'static,
        cancel: impl Fn() + Send + 'static,
        result: oneshot::Receiver<Result<Drawn, InferenceError>>,
    ) -> Self {
        Self { progress: Box::new(progress), cancel: Box::new(cancel), result, given_bytes: 0 }
    }

    pub(crate) async fn finish(mut self) -> Result<Drawn, InferenceError> {
        let ended = || InferenceError::Unavailable("the server ended before the drawing".into());
        (&mut self.result).await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        (self.cancel)();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}
