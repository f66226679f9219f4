//! The three networks of a checkpoint: what the backend, and checks against references, call. Built from tensors that were
//! read and judged elsewhere; knows no file.

use std::cell::OnceCell;
use std::path::Path;
use std::rc::{Rc, Weak};

use tch::{Device, Kind, TchError, Tensor};

use crate::checkpoint::{Checkpoint, Judged};
use crate::compute::{Compute, send, send_as};
use crate::error::{LoadError, Problem};
use crate::facts::{Declared, ModelFacts};
use crate::host_model::HostModel;
use crate::layout::{Layout, TEXT, UNET, VAE};
use crate::model_cache::Held;
use crate::models::clip::TextEncoder;
use crate::models::unet::context::{Context, ContextMap};
use crate::models::unet::{Extras, UNet};
use crate::models::vae::Vae;
use crate::tensors::Tensors;
use crate::weights::{Padding, Weights};

/// The networks of one checkpoint, where and as [`Compute`] says. The text encoder computes in f32.
pub struct Networks {
    text: TextEncoder,
    unet: UNet,
    vae: Vae,
    /// The VAE in f32, made when the first picture overflowed half precision.
    wide_vae: OnceCell<(Tensors, Vae)>,
    layout: Layout,
    compute: Compute,
    padding: Padding,
    tensors: Tensors,
    facts: ModelFacts,
    /// What they were copied to the device from, as long as that is in memory.
    origin: Weak<HostModel>,
    /// What of that which was laid over them has no effect.
    warnings: Vec<String>,
}

impl Networks {
    /// Loads a Stable Diffusion 1.x checkpoint: one file of any container, or a folder in diffusers' layout. A kind
    /// alone means a UNet of that kind on the processor.
    ///
    /// # Errors
    /// The first thing about the file that does not fit, with its key.
    pub fn load(path: &Path, compute: impl Into<Compute>) -> Result<Self, LoadError> {
        Self::load_beside(path, compute, &[])
    }

    /// [`Networks::load`], sharing each tensor that equals the one of the same name in `resident`. Checkpoints that were
    /// trained from one another often have the text encoder or the VAE in common.
    ///
    /// # Errors
    /// As [`Networks::load`].
    pub fn load_beside(
        path: &Path,
        compute: impl Into<Compute>,
        resident: &[Rc<Self>],
    ) -> Result<Self, LoadError> {
        let _guard = tch::no_grad_guard();
        let compute = compute.into();
        let model =
            Checkpoint::open(path)?.read(compute, resident.iter().map(|networks| &networks.tensors))?;
        Rc::new(model)
            .networks(compute, compute.device != Device::Cpu, resident)
            .map_err(|problem| problem.of(path))
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
                *tensor = placed(name, tensor, self.compute)?;
            }
        }
        let judged = Judged::of(&whole.outline(), Declared::default())?;
        if let Some(name) = overlay.named.keys().find(|name| !judged.wanted.contains(*name)) {
            return Err(Problem::Unknown(name.clone()));
        }
        Self::build(whole, judged.layout, self.facts, self.compute, self.padding)
    }

    /// The same networks over the same tensors, drawing pictures whose opposite edges join: each convolution of UNet and
    /// VAE reads the opposite edge where it read zeros. The column and the row of zeros that the VAE's encoder appends
    /// before it halves stay, as they do in web UIs.
    ///
    /// # Errors
    /// What libtorch says; the tensors are known to fit.
    pub fn seamless(&self) -> Result<Self, Problem> {
        let tensors = self.tensors.share();
        Self::build(tensors, self.layout.clone(), self.facts, self.compute, Padding::Circular)
    }

    /// Whether these are [`Networks::seamless`].
    pub fn is_seamless(&self) -> bool {
        self.padding == Padding::Circular
    }

    /// `tensors` are placed for their networks and of the layout.
    pub(crate) fn build(
        tensors: Tensors,
        layout: Layout,
        facts: ModelFacts,
        compute: Compute,
        padding: Padding,
    ) -> Result<Self, Problem> {
        let (text, unet, vae) = assemble(&Weights::of(&tensors), &layout, compute, padding)?;
        let (wide_vae, origin, warnings) = (OnceCell::new(), Weak::new(), Vec::new());
        Ok(Self { text, unet, vae, wide_vae, layout, compute, padding, tensors, facts, origin, warnings })
    }

    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn with_origin(self, origin: &Rc<HostModel>) -> Self {
        Self { origin: Rc::downgrade(origin), ..self }
    }

    pub(crate) fn origin(&self) -> Option<Rc<HostModel>> {
        self.origin.upgrade()
    }

    pub fn unet_kind(&self) -> Kind {
        self.compute.unet
    }

    /// Where the networks compute. What goes into the UNet must be there; texts, pictures and latents of the VAE are
    /// brought there.
    pub fn device(&self) -> Device {
        self.compute.device
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
        self.text.forward(&send(tokens, self.device())?, clip_skip, embeddings)
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

    /// What the UNet's self-attentions are given in a call, which another call may read beside its own picture
    /// ([`Reference`](crate::Reference)): `[batch, tokens, channels]` each, in the order of the call.
    pub fn hidden_states(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        context: &Context,
        map: Option<&dyn ContextMap>,
    ) -> Result<Vec<Tensor>, TchError> {
        self.unet.hidden_states(x, timesteps, context, map)
    }

    /// Channels that the UNet reads: 4, or 9 with mask and masked latent behind the latent (inpainting), or 8 with the
    /// picture's latent behind it (editing).
    pub fn input_channels(&self) -> i64 {
        self.unet.input_channels()
    }

    /// Pictures `[batch, 3, height, width]` in -1..1 to the mean of their latents, not yet times 0.18215; in f32.
    pub fn encode_picture(&self, pictures: &Tensor) -> Result<Tensor, TchError> {
        self.through_vae(pictures, Vae::encode_mean)
    }

    /// Latents, already divided by 0.18215, to pictures `[batch, 3, height, width]`, about -1..1; in f32.
    pub fn decode_latent(&self, latents: &Tensor) -> Result<Tensor, TchError> {
        self.decode_latent_unless(latents, &|| false)
    }

    /// [`Networks::decode_latent`], which ends with some error soon after `is_cancelled` says so: a large picture takes a
    /// processor minutes.
    pub(crate) fn decode_latent_unless(
        &self,
        latents: &Tensor,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Tensor, TchError> {
        self.through_vae(latents, |vae, latents| vae.decode(latents, is_cancelled))
    }

    /// Runs the VAE, and once more in f32 when half precision overflows. Every picture is tried in half precision first,
    /// so that what it looks like does not depend on the pictures before it.
    fn through_vae(
        &self,
        x: &Tensor,
        run: impl Fn(&Vae, &Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Tensor, TchError> {
        let out = run(&self.vae, &send_as(x, self.device(), self.compute.vae)?)?.f_to_kind(Kind::Float)?;
        if self.compute.vae != Kind::Half || is_finite(&out)? || !is_finite(x)? {
            return Ok(out);
        }
        tracing::info!("the VAE overflowed half precision; the picture runs through it in f32");
        run(self.wide_vae()?, &send_as(x, self.device(), Kind::Float)?)
    }

    fn wide_vae(&self) -> Result<&Vae, TchError> {
        if let Some((_, vae)) = self.wide_vae.get() {
            return Ok(vae);
        }
        let mut wide = Tensors::default();
        for (name, tensor) in self.tensors.named.iter().filter(|(name, _)| name.starts_with(VAE)) {
            wide.named.insert(name.clone(), tensor.f_to_kind(Kind::Float)?);
        }
        let scope = |weights: &Weights<'_>| {
            Vae::load(&weights.scope(VAE, Kind::Float).padded(self.padding), &self.layout.vae)
        };
        let vae = scope(&Weights::of(&wide)).map_err(|problem| match problem {
            Problem::Device(error) => error,
            other => TchError::Shape(other.to_string()),
        })?;
        Ok(&self.wide_vae.get_or_init(|| (wide, vae)).1)
    }
}

fn is_finite(tensor: &Tensor) -> Result<bool, TchError> {
    bool::try_from(tensor.f_isfinite()?.f_all()?)
}

impl Held for Networks {
    fn pieces(&self) -> impl Iterator<Item = (usize, u64)> {
        let wide = self.wide_vae.get().into_iter().flat_map(|(tensors, _)| tensors.pieces());
        self.tensors.pieces().chain(wide)
    }
}

/// A tensor as its network computes with it: on its device, in its kind, and the VAE's convolutions with their channels
/// innermost, which oneDNN runs faster on large pictures (`docs/performance.md`). Shares the numbers where they are so
/// already.
pub(crate) fn placed(name: &str, tensor: &Tensor, compute: Compute) -> Result<Tensor, TchError> {
    let tensor = tensor.f_to_device_(compute.device, compute.kind_of(name), false, false)?;
    if name.starts_with(VAE) && tensor.dim() == 4 {
        return tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2]);
    }
    Ok(tensor)
}

/// Takes the networks' tensors.
pub(crate) fn assemble(
    weights: &Weights<'_>,
    layout: &Layout,
    compute: Compute,
    padding: Padding,
) -> Result<(TextEncoder, UNet, Vae), Problem> {
    Ok((
        TextEncoder::load(&weights.scope(TEXT, Kind::Float), &layout.text)?,
        UNet::load(&weights.scope(UNET, compute.unet).padded(padding), &layout.unet)?,
        Vae::load(&weights.scope(VAE, compute.vae).padded(padding), &layout.vae)?,
    ))
}
