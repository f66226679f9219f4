//! A model's file becomes named tensors in memory. Judges the whole model by its outline first, then reads the tensors
//! the networks want and lets go of the file, so that replacing the file later harms nothing. Knows no container:
//! those end in a catalogue of named tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tch::Kind;

use crate::compute::Compute;
use crate::diffusers_folder;
use crate::diffusers_names::vae_attention_from_diffusers;
use crate::error::{LoadError, Problem};
use crate::facts::{Declared, ModelFacts};
use crate::header::Header;
use crate::host_model::{HostModel, kept, pinned_bytes};
use crate::layout::{Layout, TEXT, UNET, VAE};
use crate::networks::assemble;
use crate::outline::Outline;
use crate::stored::Catalogue;
use crate::tensor_file;
use crate::tensors::Tensors;
use crate::weights::{Padding, Weights};

/// Where files of the first months keep the text encoder.
const TEXT_OLD: &str = "cond_stage_model.transformer.";
const TEXT_PARTS: [&str; 3] = ["embeddings.", "encoder.", "final_layer_norm."];
/// Parts of names that training leaves inside the networks' own folders; no tool minds them.
const HARMLESS: [&str; 5] = ["position_ids", "text_projection", "logit_scale", ".loss.", "model_ema"];

/// A model that was found good by its outline; its files are still open.
pub(crate) struct Checkpoint<'a> {
    path: &'a Path,
    catalogue: Catalogue,
    layout: Layout,
    facts: ModelFacts,
}

impl<'a> Checkpoint<'a> {
    pub(crate) fn open(path: &'a Path) -> Result<Self, LoadError> {
        let open = || {
            let (mut catalogue, declared) = match path.is_dir() {
                true => diffusers_folder::open(path)?,
                false => (tensor_file::open(path)?, Declared::beside(path)?),
            };
            catalogue.tensors = canonical(catalogue.tensors);
            let judged = Judged::of(&catalogue.outline(), declared)?;
            catalogue.tensors.retain(|name, _| judged.wanted.contains(name));
            Ok(Self { path, catalogue, layout: judged.layout, facts: judged.facts })
        };
        open().map_err(|problem: Problem| problem.of(path))
    }

    /// Bytes that the networks' tensors take in memory when none is shared.
    pub(crate) fn bytes(&self, compute: Compute) -> u64 {
        self.each_bytes(compute).fold(0, u64::saturating_add)
    }

    /// The same of the machine's memory, where they wait to be copied to a device of its own.
    pub(crate) fn waiting_bytes(&self, compute: Compute) -> u64 {
        let is_pinned = compute.device.is_cuda();
        let taken = |bytes| if is_pinned { pinned_bytes(bytes) } else { bytes };
        self.each_bytes(compute).map(taken).fold(0, u64::saturating_add)
    }

    fn each_bytes(&self, compute: Compute) -> impl Iterator<Item = u64> {
        self.catalogue.tensors.iter().map(move |(name, stored)| {
            let elements =
                stored.shape().iter().fold(1u64, |product, size| product.saturating_mul(*size as u64));
            elements.saturating_mul(compute.kind_of(name).elt_size_in_bytes() as u64)
        })
    }

    /// Reads the tensors into the machine's memory, in the kinds of `compute`, but shares those that `beside` has already;
    /// then closes the files.
    pub(crate) fn read<'t>(
        self,
        compute: Compute,
        beside: impl Iterator<Item = &'t Tensors>,
    ) -> Result<HostModel, LoadError> {
        let _guard = tch::no_grad_guard();
        let beside: Vec<_> = beside.collect();
        // One by one, so that what is shared is never in memory twice but for one tensor.
        let tensors = self.catalogue.read_each(|name, tensor| kept(name, &tensor, compute, &beside));
        let tensors = tensors.map_err(|problem| problem.of(self.path))?;
        let is_pinned = compute.device.is_cuda();
        Ok(HostModel { tensors, layout: self.layout, facts: self.facts, is_pinned })
    }
}

/// Judges the model at `path` by the heads of its files: no tensor is read.
///
/// # Errors
/// What [`crate::Networks::load`] would refuse it for, memory aside.
pub fn inspect_model(path: &Path) -> Result<(Layout, ModelFacts), LoadError> {
    Checkpoint::open(path).map(|checkpoint| (checkpoint.layout, checkpoint.facts))
}

/// Judges the bytes of a `.safetensors` checkpoint without taking a tensor from it.
///
/// # Errors
/// What [`crate::Networks::load`] would refuse it for, memory aside.
pub fn inspect(file: &[u8]) -> Result<Layout, Problem> {
    let mut outline = Header::of_file(file)?.outline();
    outline.tensors = canonical(outline.tensors);
    Judged::of(&outline, Declared::default()).map(|judged| judged.layout)
}

/// An outline that holds a whole model.
pub(crate) struct Judged {
    pub(crate) layout: Layout,
    facts: ModelFacts,
    /// The names of the networks' tensors.
    pub(crate) wanted: BTreeSet<String>,
}

impl Judged {
    pub(crate) fn of(outline: &Outline, declared: Declared) -> Result<Self, Problem> {
        let layout = Layout::detect(outline)?;
        let facts = ModelFacts::of(outline, declared, layout.unet.input_channels)?;
        let weights = Weights::judged(outline);
        assemble(&weights, &layout, Kind::Float.into(), Padding::Zeros)?;
        let wanted = weights.into_taken();
        let ours = |name: &&String| [UNET, VAE, TEXT].iter().any(|prefix| name.starts_with(prefix));
        let unknown = outline
            .tensors
            .keys()
            .filter(ours)
            .find(|name| !wanted.contains(*name) && !HARMLESS.iter().any(|word| name.contains(word)));
        match unknown {
            Some(name) => Err(Problem::Unknown(name.clone())),
            None => Ok(Self { layout, facts, wanted }),
        }
    }
}

/// The same tensors under the names that single-file checkpoints have today. What stands under another name gives way
/// to what stands under today's.
fn canonical<T>(tensors: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let (others, mut whole): (BTreeMap<_, _>, BTreeMap<_, _>) =
        tensors.into_iter().partition(|(name, _)| today(name).is_some());
    for (name, tensor) in others {
        if let Some(name) = today(&name) {
            whole.entry(name).or_insert(tensor);
        }
    }
    whole
}

/// Today's name of a tensor that has another.
fn today(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix(VAE) {
        return vae_attention_from_diffusers(rest).map(|name| format!("{VAE}{name}"));
    }
    let rest = name.strip_prefix(TEXT_OLD)?;
    let is_text = TEXT_PARTS.iter().any(|part| rest.starts_with(part));
    is_text.then(|| format!("{TEXT}{rest}"))
}
