//! Why a checkpoint cannot be used. Made by the loader and the networks' constructors; the backend turns it
//! into the engine's own error.

use std::path::{Path, PathBuf};

use tch::TchError;

/// A checkpoint that was refused, and where it lies.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct LoadError {
    pub path: PathBuf,
    #[source]
    pub problem: Problem,
}

/// What is wrong with it. Pure over the file's bytes, so it names keys and never the path.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("it cannot be read ({0}); check that the file exists and that this user may read it")]
    Unreadable(#[from] std::io::Error),
    #[error("it changed while it was read; load it again once nothing writes to it any more")]
    Changed,
    #[error("it was replaced while the request waited; ask again for what lies there now")]
    Replaced,
    #[error("it is not a whole model file ({0}); fetch it again")]
    Malformed(String),
    #[error(
        "it calls {0}; a pickle that runs code is never loaded: convert it to .safetensors where you trust it"
    )]
    Forbidden(String),
    #[error("its code names {0}; a network that reaches outside of itself is never run")]
    Script(String),
    #[error("it names {0:?} twice; save the file again with another tool")]
    Duplicate(String),
    #[error("{0}; use a Stable Diffusion 1.x checkpoint in one file or a folder in diffusers' layout")]
    Unsupported(String),
    #[error("{0}; use a ControlNet or a T2I-Adapter for Stable Diffusion 1.x")]
    Control(String),
    #[error("the tensor {0} is missing; the file is incomplete or no Stable Diffusion 1.x checkpoint")]
    Missing(String),
    #[error("the tensor {0} is not part of a Stable Diffusion 1.x network; save the checkpoint without it")]
    Unknown(String),
    #[error(
        "the tensor {key} has the shape {found:?} where {expected} is needed; the checkpoint is damaged or of another family"
    )]
    Shape { key: String, found: Vec<i64>, expected: String },
    #[error("the tensor {key} is stored as {dtype}; convert the checkpoint to F16, BF16 or F32")]
    Dtype { key: String, dtype: String },
    #[error("the metadata {key} is {value:?}, which {reason}; correct it")]
    Metadata { key: &'static str, value: String, reason: String },
    #[error("libtorch could not take its tensors ({0}); free memory or use a smaller model")]
    Device(#[from] TchError),
}

impl Problem {
    /// This problem as that of the file at `path`.
    pub(crate) fn of(self, path: &Path) -> LoadError {
        LoadError { path: path.to_owned(), problem: self }
    }
}
