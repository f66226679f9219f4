//! What callers say and hear about one job: its work, its progress, its pictures, its cancel flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gesso_core::control::ControlUnit;
use gesso_core::numbers::Numbers;
use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_core::step_hook::StepHook;
use tokio::sync::{oneshot, watch};

use crate::backend::{BackendError, FaceRestorer, ModelFile, PixelUpscaler, Upscale};
use crate::skip::{Skip, Skipping};

/// Asks a job to stop, or a drawing to end early, as a whole or by one batch; the owner thread looks at it before every UNet
/// call.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag {
    cancelled: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
    skip: Skip,
}

impl CancelFlag {
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// A drawing that has begun ends with its pictures as they are by then, and is cancelled where it has none. Other work
    /// goes on.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// The first batch that is not through ends with its pictures as they are by then, each after its first UNet call at the
    /// earliest; later batches are drawn in full. Changes nothing while an earlier skip takes effect, before a drawing
    /// begins, and for other work.
    pub fn skip(&self) {
        self.skip.ask();
    }

    /// From [`CancelFlag::skip`] until the batch has ended.
    pub fn is_skipping(&self) -> bool {
        self.skip.is_on()
    }

    /// Whether any batch was ended early.
    pub fn has_skipped(&self) -> bool {
        self.skip.was_heeded()
    }

    /// A flag for one of several drawings: of skips each reaches the first of them alone, all else is its own.
    pub fn part(&self) -> Self {
        Self { skip: self.skip.clone(), ..Self::default() }
    }

    pub(crate) fn heed_skip(&self) -> Option<Skipping> {
        self.skip.heed()
    }

    pub(crate) fn shares_skip(&self, other: &Self) -> bool {
        self.skip.is(&other.skip)
    }

    /// Takes a skip back that came too early or too late for its batch.
    pub(crate) fn forget_skip(&self) {
        self.skip.forget();
    }

    /// The flag that [`CancelFlag::cancel`] raises, for code that watches it under another name.
    pub fn shared(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }
}

impl From<Arc<AtomicBool>> for CancelFlag {
    /// A flag that others raise.
    fn from(cancelled: Arc<AtomicBool>) -> Self {
        Self { cancelled, ..Self::default() }
    }
}

/// One job.
#[derive(Debug, Clone)]
pub struct JobSpec {
    pub work: Work,
    /// Higher goes first; waiting raises it (see [`crate::policy`]).
    pub priority: i32,
    pub cancel: CancelFlag,
}

/// What a job does on the device.
#[derive(Debug, Clone)]
pub enum Work {
    Draw(Box<Drawing>),
    Enlarge(Enlargement),
    RestoreFaces(FaceRestoration),
    RunNetwork(NetworkRun),
}

/// A request to draw, with every name in it looked up.
#[derive(Debug, Clone)]
pub struct Drawing {
    pub request: GenerateRequest,
    pub model: Arc<ModelFile>,
    pub resources: Resources,
    /// The picture that is drawn over, prepared at the request's size.
    pub source: Option<Source>,
    /// What goes on with the pictures of the first pass, from where the request's refiner says.
    pub refiner: Option<RefinerUse>,
    /// The second pass, where the request asks for one.
    pub second: Option<SecondPass>,
    /// What acts within the steps, in order.
    pub step_hooks: Arc<[Arc<dyn StepHook>]>,
    pub share: Share,
}

impl Drawing {
    /// Text to image with nothing but a checkpoint.
    pub fn new(request: GenerateRequest, model: Arc<ModelFile>) -> Self {
        Self {
            request,
            model,
            resources: Resources::default(),
            source: None,
            refiner: None,
            second: None,
            step_hooks: Arc::default(),
            share: Share::default(),
        }
    }

    /// The checkpoint that it begins with.
    pub(crate) fn opening_model(&self) -> &Arc<ModelFile> {
        let begins = self.second.as_ref().filter(|second| second.picture.is_some());
        begins.map_or(&self.model, |second| &second.model)
    }
}

/// What a drawing may have of the machine. The default is what every drawing may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Threads for one operator on the processor, from 1; 0 is as for every drawing.
    pub threads: Option<u32>,
    /// Bytes of the memory that is drawn in, the machine's where the device has none of its own: for the networks and for what
    /// is computed beside them. Calls are made smaller to stay within it, and a picture that takes more alone is refused.
    pub bytes_max: Option<u64>,
}

/// The files and pictures a pass uses beside its checkpoint.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// Replaces the checkpoint's own VAE.
    pub vae: Option<Arc<ModelFile>>,
    pub loras: Vec<LoraUse>,
    /// Each with its strength.
    pub hypernetworks: Vec<(Arc<ModelFile>, f64)>,
    /// Every textual inversion that a prompt may name.
    pub embeddings: Arc<Vec<Arc<ModelFile>>>,
    pub control: Vec<ControlUse>,
    pub references: Vec<ReferenceUse>,
    /// What lies under the noise that pictures begin from: RGB, of the pass's size. Nothing, where they are enlarged ones.
    pub underlay: Option<Arc<Pixels>>,
}

/// Another checkpoint that draws the end of a pass, with what it uses beside itself.
#[derive(Debug, Clone)]
pub struct RefinerUse {
    pub model: Arc<ModelFile>,
    pub resources: Resources,
}

/// A LoRA and how strongly it acts.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraUse {
    pub file: Arc<ModelFile>,
    pub text: f64,
    pub unet: f64,
    /// Use only the first so many ranks.
    pub rank: Option<u32>,
    /// Multipliers by block of the UNet, in the order of the LoRA block weights; `None` is 1 everywhere.
    pub blocks: Option<Vec<f64>>,
    /// First sampler step it acts in, from 0.
    pub start_step: u32,
    /// Sampler step from which on it acts no more.
    pub stop_step: Option<u32>,
}

/// A ControlNet or T2I adapter with its picture.
#[derive(Debug, Clone)]
pub struct ControlUse {
    /// Which of the request's units it is, for messages.
    pub index: usize,
    pub file: Arc<ModelFile>,
    pub unit: ControlUnit,
    /// The control map at the pass's size, RGB.
    pub hint: Arc<Pixels>,
    /// Where the map is hidden from the network, white: what inpainting networks make up.
    pub hidden: Option<Arc<Pixels>>,
    /// Where it acts: white is everywhere.
    pub region: Option<Arc<Pixels>>,
}

/// A picture that is drawn after by the checkpoint's own attentions.
#[derive(Debug, Clone)]
pub struct ReferenceUse {
    pub unit: ControlUnit,
    /// At the pass's size, RGB.
    pub picture: Arc<Pixels>,
}

/// The pictures that are drawn over, at the size of the pass (or at their own for [`ResizeMode::Latent`]).
///
/// [`ResizeMode::Latent`]: gesso_core::img2img::ResizeMode::Latent
#[derive(Debug, Clone)]
pub struct Source {
    /// One for each picture of a batch, or one for all of them. RGB.
    pub pictures: Vec<Arc<Pixels>>,
    pub mask: Option<SourceMask>,
}

/// What is repainted.
#[derive(Debug, Clone)]
pub struct SourceMask {
    /// Grey, of the pictures' size; white is repainted.
    pub pixels: Arc<Pixels>,
    /// The same for the latent, rows x columns, 1 is repainted.
    pub latent: Arc<Vec<f32>>,
}

/// What the second pass uses.
#[derive(Debug, Clone)]
pub struct SecondPass {
    pub model: Arc<ModelFile>,
    pub resources: Resources,
    /// What goes on with the pictures of this pass, from where the request's refiner says.
    pub refiner: Option<RefinerUse>,
    pub upscale: Upscale,
    /// Stands in for what the first pass would draw, for every picture: that pass is not opened. RGB, of any size.
    pub picture: Option<Arc<Pixels>>,
    /// What the pass may have of the machine, where that is not what the drawing may.
    pub share: Option<Share>,
}

/// A picture to be made larger.
#[derive(Debug, Clone)]
pub struct Enlargement {
    pub picture: Arc<Pixels>,
    pub factor: f64,
    pub by: PixelUpscaler,
}

/// A picture whose faces are to be restored.
#[derive(Debug, Clone)]
pub struct FaceRestoration {
    pub picture: Arc<Pixels>,
    pub by: FaceRestorer,
}

/// A network that is run as it is, for a plugin.
#[derive(Debug, Clone)]
pub struct NetworkRun {
    pub network: Arc<ModelFile>,
    pub inputs: Arc<Vec<Numbers>>,
}

/// What a job made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Made {
    Pictures(Vec<Pixels>),
    Numbers(Vec<Numbers>),
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    #[default]
    Queued,
    /// Loading the model, encoding the prompts.
    Preparing,
    Sampling,
    Finished,
}

/// Published after every UNet call of the job.
#[derive(Debug, Clone, Default)]
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
    /// What of the passes opened so far has no effect, each thing once.
    pub warnings: Vec<String>,
}

impl Progress {
    pub(crate) fn queued(work: &Work) -> Self {
        let (steps, images_total) = match work {
            Work::Draw(drawing) => (drawing.request.opening_pass().steps, drawing.request.image_count()),
            Work::Enlarge(_) | Work::RestoreFaces(_) => (1, 1),
            Work::RunNetwork(_) => (1, 0),
        };
        Self {
            phase: Phase::Queued,
            calls_done: 0,
            calls_total: 0,
            step: 0,
            steps,
            images_done: 0,
            images_total,
            eta: None,
            preview: None,
            warnings: Vec::new(),
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
    Backend(BackendError),
    #[error("the drawing code panicked ({0}); the server goes on, please report the request that did it")]
    Panicked(String),
    #[error("the engine is shutting down")]
    ShutDown,
}

impl From<BackendError> for JobError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Cancelled => Self::Cancelled,
            other => Self::Backend(other),
        }
    }
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
    pub(crate) reply: oneshot::Receiver<Result<Made, JobError>>,
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

    /// Waits for the pictures, in order; a job that makes none gives none. Of an interrupted drawing these are the first ones,
    /// up to the first that had not begun.
    pub async fn finish(self) -> Result<Vec<Pixels>, JobError> {
        self.reply.await.unwrap_or(Err(JobError::ShutDown)).map(Made::pictures)
    }

    /// Waits for what [`Work::RunNetwork`] makes, in the order of the network's outputs.
    pub async fn finish_numbers(self) -> Result<Vec<Numbers>, JobError> {
        match self.reply.await.unwrap_or(Err(JobError::ShutDown))? {
            Made::Numbers(numbers) => Ok(numbers),
            Made::Pictures(_) => Ok(Vec::new()),
        }
    }

    /// Waits on the calling thread; must not be called from async code.
    pub fn blocking_finish(self) -> Result<Vec<Pixels>, JobError> {
        self.reply.blocking_recv().unwrap_or(Err(JobError::ShutDown)).map(Made::pictures)
    }
}

impl Made {
    fn pictures(self) -> Vec<Pixels> {
        match self {
            Self::Pictures(pictures) => pictures,
            Self::Numbers(_) => Vec::new(),
        }
    }
}
