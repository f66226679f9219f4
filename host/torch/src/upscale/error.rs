//! Why a picture could not be enlarged or restored. Shared by the upscalers and the face restorers; the caller
//! turns it into its own answer.

use std::path::{Path, PathBuf};

use tch::TchError;

use crate::error::Problem;

/// What stopped a picture network.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Another file is needed. `why` names what was found and what to use.
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    /// The picture or the numbers that came with it do not fit.
    #[error("{0}")]
    Request(String),
    #[error("the work on the picture was cancelled")]
    Cancelled,
    #[error("the network gave values that are no numbers; compute in f32, or fetch its file again")]
    NotANumber,
    #[error("libtorch could not compute ({0}); free memory, or use smaller tiles")]
    Device(#[from] TchError),
}

/// What a problem of the weights file at `path` is to the caller. `kind` is what the file looks like: "an ESRGAN
/// upscaler", say.
pub(crate) fn refuse(path: &Path, kind: &str, problem: Problem) -> PictureError {
    let why = match problem {
        Problem::Device(error) => return PictureError::Device(error),
        Problem::Missing(key) => {
            format!("it looks like {kind}, but the tensor {key} is missing; fetch the file again")
        }
        Problem::Shape { key, found, expected } => format!(
            "it looks like {kind}, but the tensor {key} has the shape {found:?} where {expected} is needed; \
             fetch the file again, or use one of the published form"
        ),
        Problem::Unknown(key) => format!(
            "it looks like {kind}, but it also has the tensor {key}, which that network does not; use a file of \
             the published form"
        ),
        other => other.to_string(),
    };
    PictureError::File { path: path.to_owned(), why }
}
