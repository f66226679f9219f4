//! A VAE by itself: bare names, under `first_stage_model.` or `vae.`, or as diffusers spells them, in a file of any
//! container or a folder. Comes out under the names of a single-file checkpoint, to be laid over a model's own.
//! Knows no network; whether the shapes fit is found where it is laid over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::diffusers_folder;
use crate::diffusers_names::{vae_attention_from_diffusers, vae_from_diffusers};
use crate::error::{LoadError, Problem};
use crate::layout::VAE;
use crate::stored::Stored;
use crate::tensor_file;
use crate::tensors::Tensors;

/// What every VAE has, whatever stands before it.
const MARK: &str = "decoder.conv_in.weight";
/// What stands before a VAE's names; a whole checkpoint's own comes first.
const PREFIXES: [&str; 3] = [VAE, "vae.", ""];
/// The parts of the network; training leaves others beside them.
const PARTS: [&str; 4] = ["encoder.", "decoder.", "quant_conv.", "post_quant_conv."];

impl Tensors {
    /// Reads the VAE of a file or folder, under `first_stage_model.`. A whole checkpoint gives its own.
    ///
    /// # Errors
    /// Why it cannot be read, or [`Problem::Missing`] when it holds no VAE.
    pub fn read_vae(path: &Path) -> Result<Self, LoadError> {
        let read = || {
            let file = match path {
                folder if folder.join("vae").is_dir() => diffusers_folder::part_file(folder, "vae")?,
                folder if folder.is_dir() => diffusers_folder::part_file(folder, "")?,
                file => file.to_owned(),
            };
            let mut catalogue = tensor_file::open(&file)?;
            catalogue.tensors = canonical(catalogue.tensors)?;
            catalogue.read(|_| None)
        };
        read().map_err(|problem: Problem| problem.of(path))
    }
}

/// The tensors of a VAE among `tensors`, under the names of a single-file checkpoint.
pub(crate) fn canonical(tensors: BTreeMap<String, Stored>) -> Result<BTreeMap<String, Stored>, Problem> {
    let prefix = PREFIXES.iter().find(|prefix| tensors.contains_key(&format!("{prefix}{MARK}")));
    let prefix = prefix.ok_or_else(|| Problem::Missing(format!("{VAE}{MARK}")))?;
    let of_diffusers = tensors.keys().any(|name| name.starts_with(&format!("{prefix}decoder.up_blocks.")));
    let names: BTreeSet<String> = tensors.keys().cloned().collect();
    // As in a checkpoint, what stands under another name gives way to what stands under today's.
    let gives_way = |name: &str| {
        let today = vae_attention_from_diffusers(name).filter(|_| !of_diffusers);
        today.is_some_and(|today| names.contains(&format!("{prefix}{today}")))
    };
    let mut renamed = BTreeMap::new();
    for (full, stored) in tensors {
        let Some(name) = full.strip_prefix(prefix) else { continue };
        if !PARTS.iter().any(|part| name.starts_with(part)) || gives_way(name) {
            continue;
        }
        let name = match of_diffusers {
            true => vae_from_diffusers(name).ok_or_else(|| Problem::Unknown(full.clone()))?,
            false => vae_attention_from_diffusers(name).unwrap_or_else(|| name.to_owned()),
        };
        // Projections are matrices in diffusers and 1x1 convolutions in single files.
        let is_matrix = name.contains(".attn_1.") && stored.shape().len() == 2;
        let stored = if is_matrix { stored.into_convolution() } else { stored };
        let name = format!("{VAE}{name}");
        if renamed.contains_key(&name) {
            return Err(Problem::Duplicate(name));
        }
        renamed.insert(name, stored);
    }
    Ok(renamed)
}
