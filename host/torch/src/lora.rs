//! LoRA and its relatives: files of small tensors that change a checkpoint's weights. A patch never touches the
//! checkpoint: [`patch`] makes new tensors for the modules that change, and whoever lays them over the others and
//! drops them again has the checkpoint as it was, bit for bit. Called by whoever holds the networks; knows no
//! prompt syntax and no folder.
//!
//! - [`LoraFile`]: one file in memory
//! - [`patch`], [`patch_fitting`]: what a list of them makes of a checkpoint
//! - [`BlockWeights`]: strength by block of the UNet

mod adapter;
mod blocks;
mod file;
mod keys;
mod kinds;
mod parts;

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use tch::{Device, Kind, TchError, Tensor};

pub use blocks::{BlockWeights, BlockWeightsError};
pub use file::LoraFile;

use self::file::Sorted;
use self::keys::Spellings;
use self::kinds::Misfit;
use self::parts::Parts;
use crate::error::Problem;
use crate::facts::Family;
use crate::layout::UNET;
use crate::tensors::Tensors;

/// One file and how strongly it acts.
#[derive(Debug, Clone)]
pub struct LoraUse {
    pub file: Rc<LoraFile>,
    /// Strength on the text encoder; 0 leaves it alone.
    pub text: f64,
    /// Strength on the UNet.
    pub unet: f64,
    /// Factors on top of the strengths, by block.
    pub blocks: Option<BlockWeights>,
    /// Ranks kept of a plain LoRA; all without it.
    pub dyn_dim: Option<usize>,
}

impl LoraUse {
    /// The file on the whole checkpoint at one strength.
    pub fn new(file: Rc<LoraFile>, strength: f64) -> Self {
        Self { file, text: strength, unet: strength, blocks: None, dyn_dim: None }
    }

    fn strength(&self, module: &str) -> f64 {
        let strength = if module.starts_with(UNET) { self.unet } else { self.text };
        strength * self.blocks.as_ref().map_or(1.0, |blocks| blocks.factor(module))
    }
}

/// Why a list of LoRAs cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    #[error("the LoRA {file}: {problem}")]
    Unreadable {
        file: String,
        #[source]
        problem: Problem,
    },
    #[error("no tensor of the LoRA {file} fits this checkpoint{}; use one made for its family", made_for(*.family))]
    NothingFits { file: String, family: Option<Family> },
    #[error("the LoRA {file} does not fit this checkpoint{}: {module}: {reason}", made_for(*.family))]
    Misfit { file: String, family: Option<Family>, module: String, reason: String },
    #[error("the LoRA {file} has two tensors for one part of {module}; save it again with another tool")]
    Repeated { file: String, module: String },
    #[error("libtorch could not apply the LoRA ({0}); free memory or use fewer")]
    Torch(#[from] TchError),
}

fn made_for(family: Option<Family>) -> String {
    family.map_or_else(String::new, |family| format!("; it is for {family}"))
}

impl LoraError {
    /// The file that was made for other checkpoints, where that is why.
    fn misfit(&self) -> Option<&str> {
        match self {
            Self::NothingFits { file, .. } | Self::Misfit { file, .. } => Some(file),
            _ => None,
        }
    }
}

/// What of a file had no effect. The picture is drawn all the same, as in web UIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Tensors that name no module of the checkpoint: how many, and the first few.
    Unknown { file: String, count: usize, first: Vec<String> },
    /// A change of a bias that the checkpoint's module does not have.
    NoBias { file: String, module: String },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { file, count, first } => {
                let first = first.join(", ");
                write!(f, "{count} tensors of the LoRA {file} fit no part of this checkpoint: {first}")?;
                if *count > NAMED_MAX { f.write_str(", …") } else { Ok(()) }
            }
            Self::NoBias { file, module } => {
                write!(f, "the LoRA {file} changes a bias that {module} of this checkpoint does not have")
            }
        }
    }
}

/// Unknown tensors that a warning names.
const NAMED_MAX: usize = 5;

/// The tensors of `base` that `loras` change, each in its own kind: what [`crate::Networks::with`] lays over the others.
///
/// `base` has the names of a single-file checkpoint (`model.diffusion_model.…`, `cond_stage_model.…`) and is left
/// as it is. Files act in order, each on the weights that the ones before made, as in web UIs; the arithmetic is
/// in f32, one module at a time.
///
/// # Errors
/// [`LoraError`] for the first file that does not fit at all or has tensors of the wrong size.
pub fn patch(base: &Tensors, loras: &[LoraUse]) -> Result<(Tensors, Vec<Warning>), LoraError> {
    let _guard = tch::no_grad_guard();
    let spellings = Spellings::of(base.named.keys());
    let mut warnings = Vec::new();
    let mut found = Vec::with_capacity(loras.len());
    for lora in loras {
        let Sorted { modules, unknown } = lora.file.modules(&spellings)?;
        if !unknown.is_empty() {
            let (file, count) = (lora.file.name().to_owned(), unknown.len());
            let first = unknown.into_iter().take(NAMED_MAX).collect();
            warnings.push(Warning::Unknown { file, count, first });
        }
        found.push((lora, modules));
    }
    let names: BTreeSet<&Rc<str>> = found.iter().flat_map(|(_, modules)| modules.keys()).collect();
    let mut overlay = Tensors::default();
    for module in names {
        let acting = found.iter().filter_map(|(lora, modules)| {
            let strength = lora.strength(module);
            let parts = modules.get(module).filter(|_| strength != 0.0)?;
            Some(Acting { lora, parts, strength })
        });
        patch_module(base, module, acting, &mut overlay, &mut warnings)?;
    }
    Ok((overlay, warnings))
}

/// [`patch`] without the files that do not fit, which is told with what else has no effect. As in web UIs, the picture is
/// drawn all the same.
///
/// # Errors
/// As [`patch`], but for what is left out.
pub fn patch_fitting(base: &Tensors, mut loras: Vec<LoraUse>) -> Result<(Tensors, Vec<String>), LoraError> {
    let mut told = Vec::new();
    loop {
        match patch(base, &loras) {
            Ok((overlay, warnings)) => {
                told.extend(warnings.iter().map(Warning::to_string));
                return Ok((overlay, told));
            }
            Err(error) => {
                let Some(file) = error.misfit() else { return Err(error) };
                loras.retain(|lora| lora.file.name() != file);
                told.push(format!("Lora left out: {error}"));
            }
        }
    }
}

/// One file's parts for the module at hand.
struct Acting<'a> {
    lora: &'a LoraUse,
    parts: &'a Parts,
    strength: f64,
}

fn patch_module<'a>(
    base: &Tensors,
    module: &str,
    acting: impl Iterator<Item = Acting<'a>>,
    overlay: &mut Tensors,
    warnings: &mut Vec<Warning>,
) -> Result<(), LoraError> {
    let mut weight = Patched::of(base, format!("{module}.weight"))?;
    let mut bias = Patched::of(base, format!("{module}.bias"))?;
    let device = weight.as_ref().or(bias.as_ref()).map_or(Device::Cpu, |tensor| tensor.value.device());
    for Acting { lora, parts, strength } in acting {
        let refused = |misfit| lora.file.misfit(module, misfit);
        let parts = &parts.on(device)?;
        if let Some(weight) = &mut weight {
            let changed = changed(parts, &weight.value, lora.dyn_dim, strength).map_err(refused)?;
            if let Some(changed) = changed {
                weight.set(changed);
            }
        }
        if kinds::changes_bias(parts) {
            let Some(bias) = &mut bias else {
                let (file, module) = (lora.file.name().to_owned(), module.to_owned());
                warnings.push(Warning::NoBias { file, module });
                continue;
            };
            if let Some(change) = kinds::bias_change(parts, &bias.value).map_err(refused)? {
                bias.set(bias.value.f_add(&change.f_mul_scalar(strength)?)?);
            }
        }
    }
    for tensor in [weight, bias].into_iter().flatten().filter(|tensor| tensor.is_changed) {
        overlay.named.insert(tensor.name, tensor.value.f_to_kind(tensor.kind)?);
    }
    Ok(())
}

/// Inputs of the first convolution of an inpainting checkpoint, and how many of them are the latent.
const INPAINTING: (i64, i64) = (9, 4);

/// The weight with what `parts` do to it, or `None` when they only touch the bias. Files are made for checkpoints that
/// read the latent alone; on an inpainting one they leave what its first convolution reads beside it as it is.
fn changed(
    parts: &Parts,
    weight: &Tensor,
    dyn_dim: Option<usize>,
    strength: f64,
) -> Result<Option<Tensor>, Misfit> {
    let (inputs, of_latent) = INPAINTING;
    let whole = kinds::weight_change(parts, weight, dyn_dim);
    let is_first = matches!(weight.size()[..], [_, channels, _, _] if channels == inputs);
    if !is_first || !matches!(whole, Err(Misfit::Shape { .. })) {
        return Ok(whole?.map(|change| change.added_to(weight, strength)).transpose()?);
    }
    let latent = weight.f_narrow(1, 0, of_latent)?.f_contiguous()?;
    let Some(change) = kinds::weight_change(parts, &latent, dyn_dim)? else { return Ok(None) };
    let beside = weight.f_narrow(1, of_latent, inputs - of_latent)?;
    Ok(Some(Tensor::f_cat(&[change.added_to(&latent, strength)?, beside], 1)?))
}

/// A tensor of the checkpoint on its way to another; `value` is in f32 and never written in place, because it
/// may share the checkpoint's memory.
struct Patched {
    name: String,
    kind: Kind,
    value: Tensor,
    is_changed: bool,
}

impl Patched {
    fn of(base: &Tensors, name: String) -> Result<Option<Self>, TchError> {
        let Some(tensor) = base.get(&name) else { return Ok(None) };
        let value = tensor.f_to_kind(Kind::Float)?;
        Ok(Some(Self { name, kind: tensor.kind(), value, is_changed: false }))
    }

    fn set(&mut self, value: Tensor) {
        self.value = value;
        self.is_changed = true;
    }
}

impl LoraFile {
    fn misfit(&self, module: &str, misfit: Misfit) -> LoraError {
        match misfit {
            Misfit::Torch(error) => LoraError::Torch(error),
            other => LoraError::Misfit {
                file: self.name().to_owned(),
                family: self.family(),
                module: module.to_owned(),
                reason: other.to_string(),
            },
        }
    }
}

/// Whether a LoRA file's tensor name is found in the table of names that a checkpoint with `names` gives. For
/// fuzzing: any names must be answered.
#[doc(hidden)]
pub fn knows_key(names: &[String], key: &str) -> bool {
    Spellings::of(names).find(key).is_some()
}
