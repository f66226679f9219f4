//! A model in diffusers' folder layout (`unet/`, `vae/`, `text_encoder/`, `scheduler/`) as one catalogue under the
//! names of a single-file checkpoint. Called when the path of a checkpoint is a folder. Knows which file of a part
//! to take and what its configuration says; the names' spellings are `diffusers_names.rs`'s.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::diffusers_names::{SD_UP_ATTENTION, unet_from_diffusers};
use crate::error::Problem;
use crate::facts::Declared;
use crate::layout::{NORM_NUM_GROUPS, NUM_ATTENTION_HEADS, TEXT, UNET};
use crate::stored::Catalogue;
use crate::tensor_file;
use crate::vae_file;

/// Longest configuration read. diffusers' have 2 KB.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// The names a part's file may have, the widest numbers and the safer container first.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "model", "pytorch_model"];
const VARIANTS: [&str; 3] = ["", ".fp16", ".non_ema"];
const EXTENSIONS: [&str; 2] = ["safetensors", "bin"];

/// Opens the parts of a model folder.
///
/// # Errors
/// [`Problem::Unsupported`] for a folder that lacks a part, otherwise the first name or file that does not fit.
pub(crate) fn open(folder: &Path) -> Result<(Catalogue, Declared), Problem> {
    let mut whole = Catalogue::default();
    let mut add = |part: &str, rename: &dyn Fn(&str) -> Option<String>| -> Result<(), Problem> {
        let opened = tensor_file::open(&part_file(folder, part)?)?;
        for (name, stored) in opened.tensors {
            let name = rename(&name).ok_or_else(|| Problem::Unknown(format!("{part}/{name}")))?;
            whole.tensors.insert(name, stored);
        }
        Ok(())
    };
    add("unet", &|name| unet_from_diffusers(name, SD_UP_ATTENTION).map(|name| format!("{UNET}{name}")))?;
    // transformers wrote `text_model.` before each name until its version 5.
    add("text_encoder", &|name| Some(format!("{TEXT}{}", name.strip_prefix("text_model.").unwrap_or(name))))?;
    let vae = tensor_file::open(&part_file(folder, "vae")?)?;
    whole.tensors.extend(vae_file::canonical(vae.tensors)?);
    whole.metadata = settings(&config(folder, "unet/config.json")?);
    let declared = Declared::in_scheduler(&config(folder, "scheduler/scheduler_config.json")?)?;
    Ok((whole, declared))
}

/// The file of one part that is to be read.
pub(crate) fn part_file(folder: &Path, part: &str) -> Result<PathBuf, Problem> {
    let place = folder.join(part);
    for extension in EXTENSIONS {
        for variant in VARIANTS {
            for stem in STEMS {
                let path = place.join(format!("{stem}{variant}.{extension}"));
                if path.is_file() {
                    return Ok(path);
                }
            }
        }
    }
    let part = if part.is_empty() { "VAE" } else { part };
    Err(Problem::Unsupported(format!("it is a folder without the {part} of a model in diffusers' layout")))
}

/// What shapes cannot tell, in the words of a single file's metadata.
fn settings(unet: &Value) -> BTreeMap<String, String> {
    // diffusers calls the number of heads `attention_head_dim` in every model of 1.x.
    let heads = unet.get("num_attention_heads").filter(|heads| heads.is_u64());
    let heads = heads.or_else(|| unet.get("attention_head_dim").filter(|heads| heads.is_u64()));
    let groups = unet.get("norm_num_groups").filter(|groups| groups.is_u64());
    let given = [(NUM_ATTENTION_HEADS, heads), (NORM_NUM_GROUPS, groups)];
    given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_string()))).collect()
}

/// A configuration of a model folder; an empty one where there is none.
fn config(folder: &Path, name: &str) -> Result<Value, Problem> {
    let file = match File::open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Value::Null),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut text)?;
    // Not by its path: clients are told.
    serde_json::from_slice(&text).map_err(|error| Problem::Malformed(format!("{name} is not JSON: {error}")))
}
