//! A model becomes three networks over named tensors. Judges the whole model by its outline first, then reads the
//! tensors the networks want and lets go of the file, so that replacing the file later harms nothing. Knows no
//! container: those end in a catalogue of named tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use tch::{Kind, TchError, Tensor};

use crate::diffusers_folder;
use crate::error::{LoadError, Problem};
use crate::facts::{Declared, ModelFacts};
use crate::header::Header;
use crate::layout::{Layout, TEXT, UNET, VAE};
use crate::model_cache::Held;
use crate::models::clip::TextEncoder;
use crate::models::unet::context::{Context, ContextMap};
use crate::models::unet::{Extras, UNet};
use crate::models::vae::Vae;
use crate::outline::Outline;
use crate::stored::{Catalogue, Stored};
use crate::tensor_file;
use crate::tensors::Tensors;
use crate::weights::{Padding, Weights};

/// Where files of the first months keep the text encoder.
const TEXT_OLD: &str = "cond_stage_model.transformer.";
const TEXT_PARTS: [&str; 3] = ["embeddings.", "encoder.", "final_layer_norm."];
/// Parts of names that training leaves inside the networks' own folders; no tool minds them.
const HARMLESS: [&str; 5] = ["position_ids", "text_projection", "logit_scale", ".loss.", "model_ema"];

/// The networks of one checkpoint. Text encoder and VAE compute in f32, the UNet in the kind asked for.
pub struct Networks {
    text: TextEncoder,
    unet: UNet,
    vae: Vae,
    unet_kind: Kind,
    padding: Padding,
    tensors: Tensors,
    facts: ModelFacts,
}

impl Networks {
    /// Loads a Stable Diffusion 1.x checkpoint: one file of any container, or a folder in diffusers' layout.
    ///
    /// # Errors
    /// The first thing about the file that does not fit, with its key.
    pub fn load(path: &Path, unet_kind: Kind) -> Result<Self, LoadError> {
        Self::load_beside(path, unet_kind, &[])
    }

    /// [`Networks::load`], sharing each tensor that equals the one of the same name in `resident`. Checkpoints that were
    /// trained from one another often have the text encoder or the VAE in common.
    ///
    /// # Errors
    /// As [`Networks::load`].
    pub fn load_beside(path: &Path, unet_kind: Kind, resident: &[Rc<Self>]) -> Result<Self, LoadError> {
        Checkpoint::open(path)?.build(unet_kind, resident)
    }

    /// What a sampler must know of the model.
    pub fn facts(&self) -> ModelFacts {
        self.facts
    }

    /// The tensors the networks compute with, under their names in a single-file checkpoint
    /// (`model.diffusion_model.…`, `first_stage_model.…`, `cond_stage_model.transformer.text_model.…`), each in
    /// the kind its network computes in.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// The same networks with the tensors of `overlay` in place of those of the same name, converted to their
    /// kinds. Everything else is shared with this one, which stays as it is.
    ///
    /// # Errors
    /// The first tensor of `overlay` that has no place in the networks.
    pub fn with(&self, overlay: &Tensors) -> Result<Self, Problem> {
        let mut whole = self.tensors.overlaid(overlay);
        for name in overlay.named.keys() {
            if let Some(tensor) = whole.named.get_mut(name) {
                *tensor = placed(name, tensor, self.unet_kind)?;
            }
        }
        let judged = Judged::of(&whole.outline(), Declared::default())?;
        if let Some(name) = overlay.named.keys().find(|name| !judged.wanted.contains(*name)) {
            return Err(Problem::Unknown(name.clone()));
        }
        Self::build(whole, &judged.layout, self.facts, self.unet_kind, self.padding)
    }

    /// The same networks over the same tensors, drawing pictures whose opposite edges join: each convolution of UNet and
    /// VAE reads the opposite edge where it read zeros. The column and the row of zeros that the VAE's encoder appends
    /// before it halves stay, as they do in web UIs.
    ///
    /// # Errors
    /// What libtorch says; the tensors are known to fit.
    pub fn seamless(&self) -> Result<Self, Problem> {
        let tensors = self.tensors.share();
        let layout = Judged::of(&tensors.outline(), Declared::default())?.layout;
        Self::build(tensors, &layout, self.facts, self.unet_kind, Padding::Circular)
    }

    /// Whether these are [`Networks::seamless`].
    pub fn is_seamless(&self) -> bool {
        self.padding == Padding::Circular
    }

    /// `tensors` are in their networks' kinds and of the layout.
    fn build(
        tensors: Tensors,
        layout: &Layout,
        facts: ModelFacts,
        unet_kind: Kind,
        padding: Padding,
    ) -> Result<Self, Problem> {
        let (text, unet, vae) = assemble(&Weights::of(&tensors), layout, unet_kind, padding)?;
        Ok(Self { text, unet, vae, unet_kind, padding, tensors, facts })
    }

    pub fn unet_kind(&self) -> Kind {
        self.unet_kind
    }

    /// Layers of the text encoder; the highest clip skip that leaves one is this.
    pub fn text_layers(&self) -> usize {
        self.text.layer_count()
    }

    /// `[batch, tokens]` ids (int64) to `[batch, tokens, width]` in f32. `clip_skip` 1 uses every layer.
    pub fn encode_text(&self, tokens: &Tensor, clip_skip: u32) -> Result<Tensor, TchError> {
        self.encode_text_with(tokens, clip_skip, &[])
    }

    /// [`Networks::encode_text`] of one row, with vectors `[count, width]` in place of the tokens from each place on:
    /// textual inversions (Gal et al. 2022).
    pub fn encode_text_with(
        &self,
        tokens: &Tensor,
        clip_skip: u32,
        embeddings: &[(i64, &Tensor)],
    ) -> Result<Tensor, TchError> {
        self.text.forward(tokens, clip_skip, embeddings)
    }

    /// Numbers in the vector of a token.
    pub fn text_width(&self) -> i64 {
        self.text.width()
    }

    /// The noise in `x` `[batch, 4, rows, columns]` at `timesteps` `[batch]` (f32) under `context`
    /// `[batch, tokens, width]`; all but the timesteps in [`Networks::unet_kind`].
    pub fn predict_noise(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        context: &Tensor,
    ) -> Result<Tensor, TchError> {
        self.predict_noise_with(x, timesteps, &self.context(context, None)?, &Extras::default())
    }

    /// Projects a text, `[batch, tokens, width]` in [`Networks::unet_kind`], for every cross-attention, so that the
    /// calls of a picture need not. `map` changes what is read, as hypernetworks do.
    pub fn context(&self, text: &Tensor, map: Option<&dyn ContextMap>) -> Result<Context, TchError> {
        self.unet.context(text, map)
    }

    /// [`Networks::predict_noise`] under a projected text and whatever else acts on the call. `x` has
    /// [`Networks::input_channels`] channels.
    pub fn predict_noise_with(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        context: &Context,
        extras: &Extras<'_>,
    ) -> Result<Tensor, TchError> {
        self.unet.forward(x, timesteps, context, extras)
    }

    /// Channels that the UNet reads: 4, or 9 with mask and masked latent behind the latent (inpainting), or 8 with the
    /// picture's latent behind it (editing).
    pub fn input_channels(&self) -> i64 {
        self.unet.input_channels()
    }

    /// Pictures `[batch, 3, height, width]` in -1..1 to the mean of their latents, not yet times 0.18215.
    pub fn encode_picture(&self, pictures: &Tensor) -> Result<Tensor, TchError> {
        self.vae.encode_mean(pictures)
    }

    /// Latents, already divided by 0.18215, to pictures `[batch, 3, height, width]`, about -1..1.
    pub fn decode_latent(&self, latents: &Tensor) -> Result<Tensor, TchError> {
        self.vae.decode(latents)
    }
}

impl Held for Networks {
    fn pieces(&self) -> impl Iterator<Item = (usize, u64)> {
        self.tensors.named.values().map(|tensor| {
            let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
            (tensor.data_ptr() as usize, bytes as u64)
        })
    }
}

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
    pub(crate) fn bytes(&self, unet_kind: Kind) -> u64 {
        let bytes = |(name, stored): (&String, &Stored)| {
            let elements =
                stored.shape().iter().fold(1u64, |product, size| product.saturating_mul(*size as u64));
            elements.saturating_mul(kind_of(name, unet_kind).elt_size_in_bytes() as u64)
        };
        self.catalogue.tensors.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Reads the tensors, but shares those that `resident` has already, and closes the files.
    pub(crate) fn build(self, unet_kind: Kind, resident: &[Rc<Networks>]) -> Result<Networks, LoadError> {
        let _guard = tch::no_grad_guard();
        let build = || {
            // One by one, so that what is shared is never in memory twice but for one tensor.
            let tensors = self.catalogue.read_each(|name, tensor| {
                resident_or_new(resident, name, placed(name, &tensor, unet_kind)?)
            })?;
            Networks::build(tensors, &self.layout, self.facts, unet_kind, Padding::Zeros)
        };
        build().map_err(|problem| problem.of(self.path))
    }
}

/// Judges the model at `path` by the heads of its files: no tensor is read.
///
/// # Errors
/// What [`Networks::load`] would refuse it for, memory aside.
pub fn inspect_model(path: &Path) -> Result<(Layout, ModelFacts), LoadError> {
    Checkpoint::open(path).map(|checkpoint| (checkpoint.layout, checkpoint.facts))
}

/// Judges the bytes of a `.safetensors` checkpoint without taking a tensor from it.
///
/// # Errors
/// What [`Networks::load`] would refuse it for, memory aside.
pub fn inspect(file: &[u8]) -> Result<Layout, Problem> {
    let mut outline = Header::of_file(file)?.outline();
    outline.tensors = canonical(outline.tensors);
    Judged::of(&outline, Declared::default()).map(|judged| judged.layout)
}

/// An outline that holds a whole model.
struct Judged {
    layout: Layout,
    facts: ModelFacts,
    /// The names of the networks' tensors.
    wanted: BTreeSet<String>,
}

impl Judged {
    fn of(outline: &Outline, declared: Declared) -> Result<Self, Problem> {
        let layout = Layout::detect(outline)?;
        let facts = ModelFacts::of(outline, declared, layout.unet.input_channels)?;
        let weights = Weights::judged(outline);
        assemble(&weights, &layout, Kind::Float, Padding::Zeros)?;
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

/// The same tensors under the names that single-file checkpoints have today. A text encoder under its older name
/// gives way to one under today's.
fn canonical<T>(tensors: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let (old, mut whole): (BTreeMap<_, _>, BTreeMap<_, _>) =
        tensors.into_iter().partition(|(name, _)| today(name).is_some());
    for (name, tensor) in old {
        if let Some(name) = today(&name) {
            whole.entry(name).or_insert(tensor);
        }
    }
    whole
}

/// Today's name of a text encoder's tensor that has an older one.
fn today(name: &str) -> Option<String> {
    let rest = name.strip_prefix(TEXT_OLD)?;
    let is_text = TEXT_PARTS.iter().any(|part| rest.starts_with(part));
    is_text.then(|| format!("{TEXT}{rest}"))
}

/// The tensor of that name in `resident` that equals `tensor`, or else `tensor` itself. Comparing ends at the first
/// numbers that differ, so it costs the time of reading what is shared once from memory, and unlike a hash nothing for
/// checkpoints that have nothing in common.
fn resident_or_new(resident: &[Rc<Networks>], name: &str, tensor: Tensor) -> Result<Tensor, TchError> {
    for known in resident.iter().filter_map(|networks| networks.tensors.get(name)) {
        if known.kind() == tensor.kind() && known.size() == tensor.size() && known.f_equal(&tensor)? {
            return Ok(known.shallow_clone());
        }
    }
    Ok(tensor)
}

/// A tensor as its network computes with it: in its kind, and the VAE's convolutions with their channels innermost,
/// which oneDNN runs faster on large pictures (`docs/performance.md`). Shares the numbers where they are so already.
fn placed(name: &str, tensor: &Tensor, unet_kind: Kind) -> Result<Tensor, TchError> {
    let tensor = tensor.f_to_kind(kind_of(name, unet_kind))?;
    if name.starts_with(VAE) && tensor.dim() == 4 {
        return tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2]);
    }
    Ok(tensor)
}

/// The kind that the network of a tensor computes in.
fn kind_of(name: &str, unet_kind: Kind) -> Kind {
    if name.starts_with(UNET) { unet_kind } else { Kind::Float }
}

fn assemble(
    weights: &Weights<'_>,
    layout: &Layout,
    unet_kind: Kind,
    padding: Padding,
) -> Result<(TextEncoder, UNet, Vae), Problem> {
    Ok((
        TextEncoder::load(&weights.scope(TEXT, Kind::Float), &layout.text)?,
        UNet::load(&weights.scope(UNET, unet_kind).padded(padding), &layout.unet)?,
        Vae::load(&weights.scope(VAE, Kind::Float).padded(padding), &layout.vae)?,
    ))
}
