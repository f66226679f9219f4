//! A checkpoint file becomes three networks. Judges the whole file by its header first, then copies tensors out
//! of a memory map and lets go of it, so that replacing the file later harms nothing.

use std::path::Path;

use memmap2::Mmap;
use tch::{Kind, TchError, Tensor};

use crate::error::{LoadError, Problem};
use crate::header::Header;
use crate::layout::{Layout, UNET, VAE};
use crate::mapped;
use crate::models::clip::TextEncoder;
use crate::models::unet::UNet;
use crate::models::vae::Vae;
use crate::weights::Weights;

/// The networks of one checkpoint. Text encoder and VAE compute in f32, the UNet in the kind asked for.
pub struct Networks {
    text: TextEncoder,
    unet: UNet,
    vae: Vae,
    unet_kind: Kind,
}

impl Networks {
    /// Loads a single-file Stable Diffusion 1.x checkpoint.
    ///
    /// # Errors
    /// The first thing about the file that does not fit, with its key.
    pub fn load(path: &Path, unet_kind: Kind) -> Result<Self, LoadError> {
        Checkpoint::open(path)?.build(unet_kind)
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
        self.text.forward(tokens, clip_skip)
    }

    /// The noise in `x` `[batch, 4, rows, columns]` at `timesteps` `[batch]` (f32) under `context`
    /// `[batch, tokens, width]`; all but the timesteps in [`Networks::unet_kind`].
    pub fn predict_noise(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        context: &Tensor,
    ) -> Result<Tensor, TchError> {
        self.unet.forward(x, timesteps, context)
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

/// A file that was found good by its header and is still mapped.
pub(crate) struct Checkpoint<'a> {
    path: &'a Path,
    map: Mmap,
    header: Header,
    layout: Layout,
}

impl<'a> Checkpoint<'a> {
    pub(crate) fn open(path: &'a Path) -> Result<Self, LoadError> {
        let open = || {
            let map = mapped::map(path)?;
            let header = Header::parse(&map)?;
            let layout = check(&header)?;
            Ok(Self { path, map, header, layout })
        };
        open().map_err(|problem| LoadError { path: path.to_owned(), problem })
    }

    /// Copies the tensors out and unmaps the file.
    pub(crate) fn build(self, unet_kind: Kind) -> Result<Networks, LoadError> {
        build(&Weights::new(&self.header, Some(&self.map)), &self.layout, unet_kind)
            .map_err(|problem| LoadError { path: self.path.to_owned(), problem })
    }
}

/// Judges the bytes of a checkpoint file without taking a tensor from it.
///
/// # Errors
/// What [`Networks::load`] would refuse it for, memory aside.
pub fn inspect(file: &[u8]) -> Result<Layout, Problem> {
    check(&Header::parse(file)?)
}

fn check(header: &Header) -> Result<Layout, Problem> {
    let layout = Layout::detect(header)?;
    let weights = Weights::new(header, None);
    build(&weights, &layout, Kind::Float)?;
    // Training leaves such names inside the networks' own folders; no tool minds them.
    let harmless = ["position_ids", "text_projection", "logit_scale", ".loss.", "model_ema"];
    match weights
        .left_over(&[UNET, VAE, layout.text_prefix])
        .find(|key| !harmless.iter().any(|word| key.contains(word)))
    {
        Some(key) => Err(Problem::Unknown(key.to_owned())),
        None => Ok(layout),
    }
}

fn build(weights: &Weights<'_>, layout: &Layout, unet_kind: Kind) -> Result<Networks, Problem> {
    Ok(Networks {
        text: TextEncoder::load(&weights.scope(layout.text_prefix, Kind::Float), &layout.text)?,
        unet: UNet::load(&weights.scope(UNET, unet_kind), &layout.unet)?,
        vae: Vae::load(&weights.scope(VAE, Kind::Float), &layout.vae)?,
        unet_kind,
    })
}
