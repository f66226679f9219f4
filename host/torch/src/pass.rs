//! One pass of a job on libtorch: networks, contexts, control, references and the source, shared by the pass's pictures; and
//! the pictures in flight themselves. Knows which text stands behind a call, not how it is encoded.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use gesso_core::control::ControlUnit;
use gesso_core::prompt::Conditioning;
use tch::{Device, TchError, Tensor};

use crate::compute::send;
use crate::control::{ControlModel, Hint};
use crate::joins::Joins;
use crate::latent::Latents;
use crate::memory::Portion;
use crate::model_cache::bytes;
use crate::models::unet::context::Context;
use crate::networks::Networks;
use crate::reference::Referred;
use crate::resident::Hypernetworks;
use crate::source::{EncodedSource, Kept};
use crate::underlay::Underlay;

/// A latent is an eighth of its picture's size.
pub(crate) const PIXELS_PER_LATENT: u32 = 8;

/// What the pictures of a pass share.
pub struct Pass {
    pub(crate) positive: Conditioning,
    pub(crate) negative: Conditioning,
    /// At least one, in the order of the steps.
    pub(crate) stretches: Vec<Stretch>,
    /// Changes what attentions read.
    pub(crate) map: Option<Rc<Hypernetworks>>,
    /// Share of the tokens that self-attentions go without.
    pub(crate) merging: f64,
    pub(crate) units: Vec<Unit>,
    /// Pictures that are drawn after.
    pub(crate) references: Vec<Referred>,
    /// What lies under the noise that its pictures begin from.
    pub(crate) underlay: Option<Underlay>,
    pub(crate) cfg_scale: f64,
    /// Guidance by the picture, for edit checkpoints.
    pub(crate) image_cfg_scale: f64,
    pub(crate) source: Option<EncodedSource>,
    /// Further channels of the UNet's input when there is no source.
    pub(crate) channels: Option<Tensor>,
    /// What its pictures begin from where one stands in for the pass before, once the first of them has begun.
    pub(crate) given: OnceCell<Tensor>,
    /// Latent rows and columns.
    pub(crate) size: (i64, i64),
    /// Where the latents are.
    pub(crate) device: Device,
    /// Sampler steps of the pass.
    pub(crate) steps: u32,
    /// Threads for its operators on the processor; `None` is as many as any.
    pub(crate) threads: Option<u32>,
    /// Its pictures are decoded as a whole where memory allows it, and not in tiles in any case.
    pub(crate) decodes_whole: bool,
    /// What it may compute in beside its networks; a picture that takes more to be encoded is encoded in tiles.
    pub(crate) computing_bytes: u64,
    /// Its pictures that fit into one UNet call, each with and without the prompt.
    pub(crate) rows_max: usize,
    /// What of its LoRAs has no effect.
    pub(crate) warnings: Vec<String>,
}

/// Steps that run through the same networks.
pub(crate) struct Stretch {
    /// The first step that is behind it; `None` for the last stretch.
    pub(crate) until: Option<u32>,
    pub(crate) networks: Rc<Networks>,
    pub(crate) contexts: Contexts,
}

/// The texts of a pass as one network reads them, by their places in the pass's conditionings.
pub(crate) struct Contexts {
    pub(crate) positive: Vec<Rc<Context>>,
    pub(crate) negative: Vec<Rc<Context>>,
}

/// A text of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) is_positive: bool,
    /// Its place in the conditioning.
    pub(crate) index: usize,
}

impl Contexts {
    pub(crate) fn of(&self, text: Text) -> Result<&Rc<Context>, TchError> {
        let side = if text.is_positive { &self.positive } else { &self.negative };
        side.get(text.index).ok_or_else(|| TchError::Shape(format!("{text:?} was not encoded")))
    }
}

/// A control network at work in a pass.
pub(crate) struct Unit {
    pub(crate) model: Rc<ControlModel>,
    pub(crate) unit: ControlUnit,
    /// One factor for each tensor the network gives.
    pub(crate) scales: Vec<f64>,
    pub(crate) hint: Hint,
    /// Where it acts.
    pub(crate) region: Option<Tensor>,
    pub(crate) contexts: Contexts,
}

impl Pass {
    /// What runs at a step of the sampler.
    pub(crate) fn at_step(&self, step: u32) -> Result<&Stretch, TchError> {
        let found = self.stretches.iter().find(|stretch| stretch.until.is_none_or(|until| step < until));
        found.or(self.stretches.last()).ok_or_else(|| TchError::Shape("a pass without networks".into()))
    }

    /// The control networks that act at a step.
    pub(crate) fn units_at(&self, step: u32) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(move |unit| unit.unit.active(step, self.steps))
    }

    /// The pictures that are drawn after at a step.
    pub(crate) fn references_at(&self, step: u32) -> impl Iterator<Item = &Referred> {
        // Without a weight nothing reads it, and the call that records it is saved.
        let acts = move |unit: &ControlUnit| unit.weight > 0.0 && unit.active(step, self.steps);
        self.references.iter().filter(move |referred| acts(&referred.unit))
    }

    /// A draw as a latent of this pass, on its device.
    pub(crate) fn draw(&self, noise: &[f32]) -> Result<Tensor, TchError> {
        send(&Latents::draw(noise, self.size)?, self.device)
    }

    /// The networks that encode and decode pictures.
    pub(crate) fn networks(&self) -> Result<&Rc<Networks>, TchError> {
        Ok(&self.at_step(0)?.networks)
    }
}

/// Bytes of the networks that the calls of some passes run through; what they share counts once.
pub(crate) fn network_bytes<'a>(passes: impl Iterator<Item = &'a Pass>) -> u64 {
    bytes(passes.flat_map(|pass| &pass.stretches).map(|stretch| &stretch.networks))
}

/// One picture in flight.
pub struct Sample {
    /// What its calls run through: the pass that it was begun in, or the one that refines it.
    pub(crate) pass: Rc<Pass>,
    /// The pass that it was begun in, whose VAE decodes it.
    pub(crate) home: Rc<Pass>,
    pub(crate) latents: Latents,
    /// Further channels of the UNet's input.
    pub(crate) channels: Option<Tensor>,
    pub(crate) kept: Option<Kept>,
    /// What the pictures that are drawn after are noised with, where there are any.
    pub(crate) reference_noise: Option<Tensor>,
    /// The texts of the calls that it is the first row of.
    pub(crate) joins: Rc<Joins>,
    /// How much of what it asks fits in memory at a time, as far as that has shown.
    pub(crate) portion: Cell<Portion>,
    /// The sampler's step of the latest call, for messages, and how many calls were before that step.
    pub(crate) step: u32,
    pub(crate) step_began: u32,
}

impl Sample {
    /// The finished latent, `[1, 4, rows, columns]`, with the kept part as it was.
    pub(crate) fn result(&self) -> Result<Tensor, TchError> {
        match &self.kept {
            Some(kept) => kept.settle(&self.latents.x),
            None => Ok(self.latents.x.shallow_clone()),
        }
    }
}
