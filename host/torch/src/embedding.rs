//! Textual inversions: files that hold a few vectors which stand for a word in a prompt (Gal et al. 2022). Reads
//! every form in circulation. Called by whoever keeps the folder of embeddings; knows no prompt.

mod hidden;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use gesso_core::hex::hex;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tch::{Kind, TchError, Tensor};

use crate::error::{LoadError, Problem};
use crate::stored::Stored;
use crate::tensors::Tensors;
use crate::torch_file::{PICKLE_MAGIC, ZIP_MAGIC};
use crate::value::Value;

/// Most vectors taken: the tokens of one chunk, into which they must fit.
const VECTORS_MAX: i64 = 75;
/// Largest file read. The largest embeddings have 75 vectors of 2048 numbers; a picture around one has megabytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
const PNG_MAGIC: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// First bytes of a WebP file, and those behind its length.
const WEBP_MAGIC: ([u8; 4], [u8; 4]) = (*b"RIFF", *b"WEBP");
/// Where pictures carry an embedding.
const PNG_KEYWORD: &str = "sd-ti-embedding";

/// The vectors that stand for a name in prompts.
pub struct Embedding {
    pub name: String,
    /// `[vectors, width]` in f32. Of a Stable Diffusion XL file, both encoders' vectors side by side.
    pub vectors: Tensor,
    /// Training steps it had.
    pub step: Option<u64>,
    /// Short hash of the checkpoint it was trained on.
    pub checkpoint: Option<String>,
    pub checkpoint_name: Option<String>,
    /// The first twelve hex digits of the file's SHA-256, as web UIs print them.
    pub hash12: String,
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.vectors.size();
        f.debug_struct("Embedding").field("name", &self.name).field("size", &size).finish_non_exhaustive()
    }
}

/// Why a file is no embedding.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    #[error(transparent)]
    Unreadable(#[from] LoadError),
    #[error("the embedding cannot be read: {0}")]
    Broken(#[from] Problem),
    #[error("the embedding holds {0} tensors instead of one; use a file with one embedding")]
    Several(usize),
    #[error("the embedding has the shape {0:?} where up to 75 vectors are needed; use another file")]
    Shape(Vec<i64>),
    #[error("the picture carries no embedding that can be read ({0}); use the file that the trainer wrote")]
    Picture(String),
    #[error("libtorch could not take its numbers ({0}); free memory")]
    Torch(#[from] TchError),
}

/// An embedding that is of another width than the checkpoint at hand. Web UIs list it as skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the embedding {name} is {found} wide and this checkpoint takes {wanted}; use one made for its family"
)]
pub struct Skipped {
    pub name: String,
    pub found: i64,
    pub wanted: i64,
}

impl Embedding {
    /// Reads a file of any form; it is named by the path's stem or, in a picture, by what that says.
    ///
    /// # Errors
    /// [`EmbeddingError`] with what is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, EmbeddingError> {
        let bytes = read(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let hash = hex(&Sha256::digest(&bytes)[..6]);
        let is_webp = bytes.starts_with(&WEBP_MAGIC.0) && bytes.get(8..12) == Some(&WEBP_MAGIC.1[..]);
        if is_webp || bytes.starts_with(&PNG_MAGIC) {
            return Self::from_picture(&name, &bytes, &hash);
        }
        if bytes.starts_with(&ZIP_MAGIC)
            || bytes.first() == Some(&PICKLE_MAGIC) && bytes.get(8) != Some(&b'{')
        {
            return Self::from_value(&name, &Value::read(path)?, &hash);
        }
        Self::from_tensors(&name, &Tensors::read(path)?.named, &hash)
    }

    /// From what a trainer saved with PyTorch: a dict around the tensor, or a dict of tensors.
    fn from_value(name: &str, value: &Value, hash12: &str) -> Result<Self, EmbeddingError> {
        let text = |key: &str| value.get(key).and_then(Value::as_text).map(str::to_owned);
        let tensors = value.get("string_to_param").unwrap_or(value).state_dict()?;
        let read = |(name, stored): (String, Stored)| Ok::<_, Problem>((name, stored.read()?));
        let tensors = tensors.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            step: value.get("step").and_then(Value::as_int).and_then(|step| u64::try_from(step).ok()),
            checkpoint: text("sd_checkpoint"),
            checkpoint_name: text("sd_checkpoint_name"),
            ..Self::from_tensors(name, &tensors, hash12)?
        })
    }

    /// From named tensors: one, under whatever name, or the two of Stable Diffusion XL.
    ///
    /// # Errors
    /// [`EmbeddingError::Several`] for other numbers of them, [`EmbeddingError::Shape`] for no vectors.
    pub(crate) fn from_tensors(
        name: &str,
        tensors: &BTreeMap<String, Tensor>,
        hash12: &str,
    ) -> Result<Self, EmbeddingError> {
        if let (Some(large), Some(small)) = (tensors.get("clip_g"), tensors.get("clip_l")) {
            let (large, small) = (vectors(large)?, vectors(small)?);
            if large.size2()?.0 != small.size2()?.0 {
                return Err(EmbeddingError::Shape(small.size()));
            }
            return Ok(Self::new(name, Tensor::f_cat(&[large, small], 1)?, hash12));
        }
        let mut all = tensors.values();
        match (all.next(), all.next()) {
            (Some(tensor), None) => Ok(Self::new(name, vectors(tensor)?, hash12)),
            _ => Err(EmbeddingError::Several(tensors.len())),
        }
    }

    /// From a picture with JSON in base64 in its text chunk, or packed into its colours.
    fn from_picture(name: &str, file: &[u8], hash12: &str) -> Result<Self, EmbeddingError> {
        let picture = |reason: &dyn fmt::Display| EmbeddingError::Picture(reason.to_string());
        let text = if file.starts_with(&PNG_MAGIC) {
            let reader = png::Decoder::new(std::io::Cursor::new(file)).read_info();
            embedded_text(reader.map_err(|error| picture(&error))?.info())
        } else {
            None
        };
        let json = match text {
            Some(text) => base64::engine::general_purpose::STANDARD
                .decode(text.trim())
                .map_err(|error| picture(&error))?,
            None if is_preview(name) => return Err(picture(&"it is the preview of another file")),
            None => hidden::json(file).map_err(|reason| picture(&reason))?,
        };
        let data: Json = serde_json::from_slice(&json).map_err(|error| picture(&error))?;
        let named = data.get("name").and_then(Json::as_str).filter(|name| !name.is_empty());
        let parameters = data.get("string_to_param").and_then(Json::as_object);
        let parameters = parameters.ok_or_else(|| picture(&"it has no string_to_param"))?;
        let mut tensors = BTreeMap::new();
        for (key, value) in parameters {
            tensors
                .insert(key.clone(), listed_tensor(value)?.ok_or_else(|| picture(&"a tensor is no table"))?);
        }
        let embedding = Self::from_tensors(named.unwrap_or(name), &tensors, hash12)?;
        let text = |key: &str| data.get(key).and_then(Json::as_str).map(str::to_owned);
        Ok(Self {
            step: data.get("step").and_then(Json::as_u64),
            checkpoint: text("sd_checkpoint"),
            checkpoint_name: text("sd_checkpoint_name"),
            ..embedding
        })
    }

    fn new(name: &str, vectors: Tensor, hash12: &str) -> Self {
        let (name, hash12) = (name.to_owned(), hash12.to_owned());
        Self { name, vectors, step: None, checkpoint: None, checkpoint_name: None, hash12 }
    }

    /// Numbers in one vector.
    pub fn width(&self) -> i64 {
        self.vectors.size().get(1).copied().unwrap_or(0)
    }

    /// The vectors, if they are as wide as the checkpoint's text encoder.
    ///
    /// # Errors
    /// [`Skipped`] if not.
    pub fn for_width(&self, wanted: i64) -> Result<&Tensor, Skipped> {
        let found = self.width();
        if found == wanted {
            Ok(&self.vectors)
        } else {
            Err(Skipped { name: self.name.clone(), found, wanted })
        }
    }
}

/// Whether a file's stem is that of the picture which web UIs show for another (`name.preview.png`). Many folders have one
/// for each embedding, and whether colours hide something is not known before all of the picture is decoded.
fn is_preview(stem: &str) -> bool {
    stem.to_lowercase().ends_with(".preview")
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(Problem::Malformed("it is larger than any embedding".into()));
    }
    Ok(std::fs::read(path)?)
}

/// One vector or a table of them, in f32 and whatever kind it was.
fn vectors(tensor: &Tensor) -> Result<Tensor, EmbeddingError> {
    let table = match tensor.size()[..] {
        [width] if width > 0 => tensor.f_unsqueeze(0)?,
        [count, width] if (1..=VECTORS_MAX).contains(&count) && width > 0 => tensor.shallow_clone(),
        _ => return Err(EmbeddingError::Shape(tensor.size())),
    };
    Ok(table.f_detach()?.f_to_kind(Kind::Float)?.f_contiguous()?)
}

fn embedded_text(info: &png::Info<'_>) -> Option<String> {
    let plain = info.uncompressed_latin1_text.iter();
    if let Some(chunk) = plain.into_iter().find(|chunk| chunk.keyword == PNG_KEYWORD) {
        return Some(chunk.text.clone());
    }
    if let Some(chunk) = info.compressed_latin1_text.iter().find(|chunk| chunk.keyword == PNG_KEYWORD) {
        return chunk.get_text().ok();
    }
    info.utf8_text.iter().find(|chunk| chunk.keyword == PNG_KEYWORD)?.get_text().ok()
}

/// A tensor written down as nested lists, `{"TORCHTENSOR": [[…], …]}`.
fn listed_tensor(value: &Json) -> Result<Option<Tensor>, TchError> {
    let rows = |value: &Json| -> Option<Vec<Vec<f32>>> {
        let number = |value: &Json| value.as_f64().map(|number| number as f32);
        let row = |value: &Json| value.as_array()?.iter().map(number).collect::<Option<Vec<_>>>();
        value.get("TORCHTENSOR")?.as_array()?.iter().map(row).collect()
    };
    let Some(rows) = rows(value) else { return Ok(None) };
    let width = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != width) {
        return Ok(None);
    }
    let numbers: Vec<f32> = rows.iter().flatten().copied().collect();
    Tensor::f_from_slice(&numbers)?.f_reshape([rows.len() as i64, width as i64]).map(Some)
}
