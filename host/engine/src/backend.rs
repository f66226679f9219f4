//! What the engine asks of whatever draws: synchronous, batch in, result out. Knows nothing of queues, HTTP or
//! tensors. Implementations: `gesso-torch` on libtorch, the server's that makes pictures up for measurements, and the fake of
//! the engine's own tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gesso_core::hires::{HiresTarget, LatentUpscaler};
use gesso_core::numbers::Numbers;
use gesso_core::pixels::Pixels;
use gesso_core::prompt::Conditioning;
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{Call, Start};
use gesso_core::schedule::NoiseSchedule;
use gesso_core::step_hook::{StepHook, StepHookError};

use crate::job::{RefinerUse, Resources, Share, Source};

/// A model file on disk, as the server's catalogue found it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelFile {
    /// File name without folder and extension; of a textual inversion in a picture the name that is in it.
    pub name: String,
    pub path: PathBuf,
    /// Differs when the content does: size and time of change. A file replaced under its name is another model, and a
    /// backend refuses to load it for whoever was to have the one before. Empty where any will do.
    pub version: String,
}

/// Rows may share a UNet call only when their keys are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchKey {
    pub model: Arc<ModelFile>,
    /// What is patched into the model for these rows; empty when nothing is.
    pub patches: String,
    /// Latent rows and columns.
    pub latent_height: u32,
    pub latent_width: u32,
    /// How many rows the share of their drawings lets into one call; at least 1.
    pub rows_max: usize,
}

/// One pass of a job: everything its pictures have in common.
#[derive(Debug, Clone, Copy)]
pub struct PassSpec<'a> {
    pub model: &'a Arc<ModelFile>,
    pub resources: &'a Resources,
    pub request: &'a GenerateRequest,
    /// Pixels of this pass, multiples of 8.
    pub width: u32,
    pub height: u32,
    /// Sampler steps of this pass.
    pub steps: u32,
    /// The second, high-resolution pass.
    pub is_second: bool,
    pub positive: &'a Conditioning,
    pub negative: &'a Conditioning,
    /// The picture that is drawn over; `None` for a text-to-image and for a second pass.
    pub source: Option<&'a Source>,
    /// What may go on with the pictures; opened together with the pass, so that both are in memory.
    pub refiner: Option<&'a RefinerUse>,
    pub share: Share,
}

impl<'a> PassSpec<'a> {
    /// The same pass as its refiner draws it.
    pub fn refined(&self) -> Option<PassSpec<'a>> {
        let RefinerUse { model, resources } = self.refiner?;
        Some(PassSpec { model, resources, refiner: None, ..*self })
    }
}

/// What checkpoints take of the memory, with what is laid over them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Residency {
    /// Of the machine's memory: what is drawn with there, or waits there to be copied to the device.
    pub host: Tier,
    /// Of the device's; `None` where it has no memory of its own.
    pub device: Option<Tier>,
}

/// What checkpoints take of one kind of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tier {
    /// Bytes of each. What several share is counted for each of them.
    pub models: Vec<(Arc<ModelFile>, u64)>,
    /// Of all of them; what several share is counted once.
    pub bytes: u64,
    /// What they are kept within, as far as those in use allow it; `u64::MAX` where nothing bounds them.
    pub bytes_max: u64,
}

impl Tier {
    /// Bytes by the models' names. A file that was replaced while it is in memory is there twice, under one name.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for (model, bytes) in &self.models {
            *all.entry(model.name.clone()).or_default() += bytes;
        }
        all
    }
}

/// A pass that is ready to draw.
#[derive(Debug, Clone)]
pub struct OpenPass<P> {
    pub pass: P,
    pub key: BatchKey,
    /// The noise levels the model was trained with, and what it predicts at them.
    pub schedule: NoiseSchedule,
    /// The pass as its refiner draws it, with the same noise levels; it has no refiner itself.
    pub refiner: Option<Box<OpenPass<P>>>,
    /// What of its resources has no effect; it is drawn all the same.
    pub warnings: Vec<String>,
}

/// Where a picture of a pass begins.
#[derive(Debug)]
pub enum Origin<'a, S> {
    /// From noise, or from the picture of this place among the pass's sources.
    Fresh { picture: u32 },
    /// From the result of the pass before, enlarged.
    Enlarged { sample: S, upscale: &'a Upscale },
    /// From a picture that stands in for that result, enlarged: RGB, of any size, the same for all pictures of the pass.
    Given { picture: &'a Pixels, upscale: &'a Upscale },
}

/// How a finished latent is enlarged for the second pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Upscale {
    pub target: HiresTarget,
    pub by: UpscaleBy,
}

/// What enlarges it.
#[derive(Debug, Clone, PartialEq)]
pub enum UpscaleBy {
    Latent(LatentUpscaler),
    Pixels(PixelUpscaler),
}

/// What enlarges pictures.
#[derive(Debug, Clone, PartialEq)]
pub enum PixelUpscaler {
    Lanczos,
    Nearest,
    Network { file: Arc<ModelFile>, tile: u32, overlap: u32 },
}

/// What restores the faces of pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct FaceRestorer {
    /// Draws a face anew.
    pub network: Arc<ModelFile>,
    /// Finds the faces.
    pub detector: Arc<ModelFile>,
    /// Tells a face from hair and background, so that only it is pasted back.
    pub parser: Arc<ModelFile>,
    /// 0 for the most beautiful face to 1 for the most like the picture's; a network without a choice ignores it.
    pub fidelity: f64,
}

/// The random numbers of a picture's start; each is standard normal, channels x latent rows x latent columns.
#[derive(Debug, Clone, Default)]
pub struct StartNoise {
    pub noise: Vec<f32>,
    /// What lies under the mask when the request fills it with noise.
    pub fill: Option<Vec<f32>>,
}

/// One picture of one job in a batch: its tensors, the call its sampler wants next, and the noise for it.
#[derive(Debug)]
pub struct Row<'a, S> {
    pub sample: &'a mut S,
    pub call: &'a Call,
    /// UNet calls of this pass before this one: the clock of scheduled prompts.
    pub calls_before: u32,
    /// Masked pictures: put the kept part back before the call instead of after it.
    pub blend_before: bool,
    /// Standard normal, channels x latent rows x latent columns; present when the call asks for a draw.
    pub noise: Option<Vec<f32>>,
    /// Which picture of its drawing it is, and in which pass.
    pub picture: u32,
    /// The picture's own.
    pub seed: u64,
    pub is_second: bool,
    /// What acts within its steps, in order.
    pub hooks: &'a [Arc<dyn StepHook>],
}

/// What a UNet call gives back for a row: the number its [`Call::measure`] asks for.
pub type Measured = Option<f64>;

/// Why the backend could not do it. None of these ends the owner thread but [`BackendError::Lost`].
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum BackendError {
    #[error("the model file cannot be used: {0}")]
    Model(String),
    #[error("the request does not fit this model: {0}")]
    Request(String),
    #[error("{0}")]
    Lora(String),
    /// What a control network is given does not fit it; `index` is that of [`ControlUse`](crate::ControlUse).
    #[error("{message}")]
    Control { index: usize, message: String },
    /// One that is laid over the checkpoint in place of its own.
    #[error("the VAE cannot be used: {0}")]
    Vae(String),
    /// The same of one field of the request, by its wire name; `why` names it too.
    #[error("the request does not fit this model: {why}")]
    Field { field: &'static str, why: String },
    #[error("the device is out of memory: {0}")]
    OutOfMemory(String),
    #[error(
        "the picture turned into NaN at step {step}; try another sampler, a lower CFG scale, or --dtype f32"
    )]
    NotANumber { step: u32 },
    /// At start-up alone.
    #[error("{0}")]
    NoDevice(String),
    #[error("the job was cancelled")]
    Cancelled,
    #[error(transparent)]
    StepHook(StepHookError),
    #[error("libtorch failed: {0}")]
    Device(String),
    /// Nothing can be computed any more until the process begins anew.
    #[error("the device is lost until the server starts again: {0}")]
    Lost(String),
}

/// A device that draws. Lives on one owner thread, made there by a [`BackendFactory`], so it need not be `Send`.
pub trait Backend {
    /// What the pictures of a pass share: networks, contexts, the encoded source. Cheap to clone.
    type Pass: Clone;
    /// The tensors of one picture in flight. Dropping it frees them.
    type Sample;

    /// Loads the models when needed, encodes the prompts and the source. The share of a pass is for it and its refiner
    /// together.
    ///
    /// # Errors
    /// [`BackendError::Request`] too for a refiner that was trained on other noise.
    fn open_pass(&mut self, spec: &PassSpec<'_>) -> Result<OpenPass<Self::Pass>, BackendError>;

    /// Sets up one picture: `x = latent * start.latent + noise * start.noise`.
    ///
    /// `is_cancelled` is looked at between the parts of a long enlargement.
    fn begin(
        &mut self,
        pass: &Self::Pass,
        origin: Origin<'_, Self::Sample>,
        start: Start,
        noise: StartNoise,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Self::Sample, BackendError>;

    /// One UNet call for rows of equal [`BatchKey`]. The outer error fails every row; an inner one its own row.
    fn step(
        &mut self,
        rows: &mut [Row<'_, Self::Sample>],
    ) -> Result<Vec<Result<Measured, BackendError>>, BackendError>;

    /// Has a picture under way go on in the pass that refines its own. `picture` is its place among the pass's sources.
    ///
    /// The latent stays, and so do the part of it that is kept and what decodes it.
    fn hand_over(&mut self, sample: &mut Self::Sample, refiner: &Self::Pass, picture: u32);

    /// A small picture of the current estimate, by a linear map from latent to RGB. Cheap enough for every step.
    fn preview(&mut self, sample: &Self::Sample) -> Result<Pixels, BackendError>;

    /// Makes the current estimate of the finished latent the latent itself: the drawing ends before its last call.
    fn settle(&mut self, sample: &mut Self::Sample);

    /// Decodes the latent into the finished picture: RGB, or RGBA of a softly inpainted one, whose alpha says how much of
    /// it is to be seen over what it was drawn over.
    ///
    /// `is_cancelled` is looked at between the parts of it: a large picture takes long.
    fn finish(
        &mut self,
        sample: Self::Sample,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError>;

    /// Enlarges a picture by a factor, whatever the network's own is.
    fn enlarge(
        &mut self,
        picture: &Pixels,
        factor: f64,
        by: &PixelUpscaler,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError>;

    /// Restores every face of a picture, which keeps its size; without a face it comes back as it was.
    ///
    /// `is_cancelled` is looked at between faces.
    fn restore_faces(
        &mut self,
        picture: &Pixels,
        by: &FaceRestorer,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError>;

    /// What a network of its own making makes of its inputs. It cannot be interrupted.
    fn run_network(
        &mut self,
        network: &Arc<ModelFile>,
        inputs: &[Numbers],
    ) -> Result<Vec<Numbers>, BackendError>;

    /// Brings a checkpoint into the device's memory.
    fn load(&mut self, model: &Arc<ModelFile>) -> Result<(), BackendError>;

    /// Drops every model that nothing in flight needs from the device's memory.
    fn unload(&mut self);

    /// The checkpoints in the device's memory. Asked after every step, so it has to be cheap.
    fn loaded(&self) -> Vec<Arc<ModelFile>>;

    /// What checkpoints take of the memory. Asked after every step, so it has to be cheap.
    fn residency(&self) -> Residency;

    /// What the device calls itself and how it computes, for start-up messages and metrics.
    fn describe(&self) -> String;
}

/// Makes the backend on the owner thread.
pub type BackendFactory<B> = Box<dyn FnOnce() -> Result<B, BackendError> + Send>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_replaced_in_memory_is_counted_with_the_one_before() {
        let model = |name: &str, version: &str| {
            Arc::new(ModelFile { name: name.into(), path: "/m".into(), version: version.into() })
        };
        let models = vec![(model("a", "1"), 3), (model("b", "1"), 5), (model("a", "2"), 4)];
        let tier = Tier { models, ..Tier::default() };
        assert_eq!(tier.by_name(), BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 5)]));
    }
}
