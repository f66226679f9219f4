//! One LoRA file in memory: its tensors by name, its metadata, its hash. Sorts the tensors by module when it meets
//! a checkpoint's names. Knows no formula and no strength.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use gesso_core::hex::hex;
use sha2::{Digest, Sha256};
use tch::Tensor;

use super::LoraError;
use super::adapter::AdapterConfig;
use super::keys::Spellings;
use super::parts::Parts;
use crate::embedding::Embedding;
use crate::error::Problem;
use crate::facts::Family;
use crate::header::{self, PREFIX_BYTES};
use crate::stored::OpenFile;
use crate::tensor_file;
use crate::tensors::{Tensors, bytes_of};

/// Begins the names of textual inversions that trainers put beside the LoRA they were trained with.
const BUNDLED: &str = "bundle_emb.";

/// Bytes read for the hash at once.
const HASHED_AT_ONCE: usize = 1 << 20;

/// A LoRA file that was read. Its tensors stay in the kind they are stored in.
pub struct LoraFile {
    name: String,
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
    hash12: String,
}

/// A file's tensors by the modules of a checkpoint, and the names that fit none.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) modules: BTreeMap<Rc<str>, Parts>,
    pub(super) unknown: Vec<String>,
}

impl fmt::Debug for LoraFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoraFile")
            .field("name", &self.name)
            .field("hash12", &self.hash12)
            .finish_non_exhaustive()
    }
}

impl LoraFile {
    /// Reads a file in whichever container it is; its name is the path's stem.
    ///
    /// # Errors
    /// [`LoraError::Unreadable`] with what is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, LoraError> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let read = || -> Result<Self, Problem> {
            let catalogue = tensor_file::open(path)?;
            let Tensors { named, metadata } = catalogue.read(|_| None)?;
            let stated = metadata.get("sshs_model_hash").filter(|hash| is_hash(hash));
            let hash = match stated {
                Some(hash) => hash.to_ascii_lowercase(),
                None => hash_of_data(&Arc::new(OpenFile::open(path)?))?,
            };
            let hash12 = hash.chars().take(12).collect();
            Ok(Self { name: name.clone(), tensors: named, metadata, hash12 })
        };
        read().map_err(|problem| LoraError::Unreadable { file: name.clone(), problem })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its tensors take.
    pub(crate) fn bytes(&self) -> u64 {
        self.tensors.values().map(bytes_of).sum()
    }

    /// The name the trainer gave it, by which prompts may call it too.
    pub fn alias(&self) -> Option<&str> {
        self.metadata.get("ss_output_name").map(String::as_str).filter(|name| !name.is_empty())
    }

    /// What the file says about itself, in the words of its trainer.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The first twelve hex digits of the hash that web UIs print: SHA-256 over everything behind the header, or
    /// what the trainer wrote into the metadata.
    pub fn hash12(&self) -> &str {
        &self.hash12
    }

    /// The family of checkpoints it was trained on, as far as metadata, names or widths tell.
    pub fn family(&self) -> Option<Family> {
        let stated = self.metadata.get("ss_base_model_version").map_or("", String::as_str);
        for (prefix, family) in [
            ("sdxl", Family::StableDiffusionXl),
            ("sd_v1", Family::StableDiffusion1),
            ("sd_v2", Family::StableDiffusion2),
            ("sd3", Family::StableDiffusion3),
            ("flux", Family::Flux),
        ] {
            if stated.starts_with(prefix) {
                return Some(family);
            }
        }
        if self.metadata.get("ss_v2").is_some_and(|v2| v2 == "True") {
            return Some(Family::StableDiffusion2);
        }
        let named =
            |words: &[&str]| self.tensors.keys().any(|key| words.iter().any(|word| key.contains(word)));
        if named(&["lora_te2_", "text_encoder_2."]) {
            return Some(Family::StableDiffusionXl);
        }
        if named(&["joint_blocks", "joint_transformer_blocks"]) {
            return Some(Family::StableDiffusion3);
        }
        if named(&["double_blocks", "single_transformer_blocks"]) {
            return Some(Family::Flux);
        }
        let context = self.tensors.iter().find(|(key, _)| {
            key.contains("attn2") && key.contains("to_k") && (key.contains("down") || key.contains("lora_A"))
        });
        match context?.1.size().get(1)? {
            768 => Some(Family::StableDiffusion1),
            1024 => Some(Family::StableDiffusion2),
            2048 => Some(Family::StableDiffusionXl),
            _ => None,
        }
    }

    /// The textual inversions bundled in the file (`bundle_emb.NAME.…`).
    ///
    /// # Errors
    /// [`LoraError::Unreadable`] when one is no embedding.
    pub fn embeddings(&self) -> Result<Vec<Embedding>, LoraError> {
        let mut bundles: BTreeMap<&str, BTreeMap<String, Tensor>> = BTreeMap::new();
        for (key, tensor) in &self.tensors {
            let Some((name, part)) = key.strip_prefix(BUNDLED).and_then(|rest| rest.split_once('.')) else {
                continue;
            };
            let part = part.strip_prefix("string_to_param.").unwrap_or(part);
            bundles.entry(name).or_default().insert(part.to_owned(), tensor.shallow_clone());
        }
        let embedding = |(name, tensors): (&str, BTreeMap<String, Tensor>)| {
            Embedding::from_tensors(name, &tensors, &self.hash12).map_err(|error| LoraError::Unreadable {
                file: self.name.clone(),
                problem: Problem::Malformed(error.to_string()),
            })
        };
        bundles.into_iter().map(embedding).collect()
    }

    /// The tensors by the checkpoint's modules.
    pub(super) fn modules(&self, spellings: &Spellings) -> Result<Sorted, LoraError> {
        let Sorted { mut modules, mut unknown } = Sorted::default();
        let config = AdapterConfig::read(&self.metadata);
        let mut has_bundled = false;
        for (key, tensor) in &self.tensors {
            if key.starts_with(BUNDLED) {
                has_bundled = true;
                continue;
            }
            let Some((module, part)) = spellings.find(key) else {
                unknown.push(key.clone());
                continue;
            };
            let parts: &mut Parts = modules.entry(module.clone()).or_default();
            if !parts.insert(part, tensor.shallow_clone()) {
                return Err(LoraError::Repeated { file: self.name.clone(), module: module.to_string() });
            }
            parts.adapter_scale = config.as_ref().and_then(|config| config.scale_of(key));
        }
        if modules.is_empty() && !has_bundled {
            return Err(LoraError::NothingFits { file: self.name.clone(), family: self.family() });
        }
        Ok(Sorted { modules, unknown })
    }
}

fn is_hash(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// SHA-256 in hex: of a safetensors file over everything behind the header, of any other over all of it.
fn hash_of_data(file: &Arc<OpenFile>) -> Result<String, Problem> {
    let mut start = [0; PREFIX_BYTES + 1];
    file.read_at(&mut start, 0)?;
    let mut reader = file.reader();
    if let [prefix @ .., b'{'] = start {
        let data = header::header_length(prefix, file.length())? + PREFIX_BYTES;
        reader.seek(SeekFrom::Start(data as u64))?;
    }
    let mut hash = Sha256::new();
    let mut bytes = vec![0; HASHED_AT_ONCE];
    loop {
        let read = reader.read(&mut bytes)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&bytes[..read]);
    }
}
