//! Tensors as they lie in an open file, not read yet. Every container's reader makes these; the loader reads the
//! ones it wants. A file that others cut short or write to meanwhile gives an error, never a signal: it is read
//! by position and never mapped. Knows neither containers nor networks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tch::{Kind, Tensor};

use crate::error::Problem;
use crate::outline::{Form, Outline};
use crate::tensor_memory;
use crate::tensors::Tensors;

/// A regular file, open for reading by position.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    length: u64,
    modified: Option<SystemTime>,
}

impl OpenFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        // A pipe would block the open itself, so the kind of file is asked for first.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file").into());
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, length: metadata.len(), modified: metadata.modified().ok() })
    }

    /// Bytes in the file when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`Problem::Changed`] when the file has become shorter.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), Problem> {
        self.file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::Changed,
            _ => Problem::Unreadable(error),
        })
    }

    /// Refuses a file that was written to since it was opened: parts of what was read may be old, parts new.
    pub(crate) fn check_unchanged(&self) -> Result<(), Problem> {
        let now = self.file.metadata()?;
        let same = now.len() == self.length && now.modified().ok() == self.modified;
        if same { Ok(()) } else { Err(Problem::Changed) }
    }
}

/// A run of bytes that holds elements of one kind; tensors are views of it.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    pub(crate) file: Arc<OpenFile>,
    /// Byte at which the first element begins.
    pub(crate) start: u64,
    pub(crate) elements: u64,
    pub(crate) kind: Option<Kind>,
}

/// One tensor of a file.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    storage: Storage,
    shape: Vec<i64>,
}

impl Stored {
    /// A tensor whose elements lie in order from the start of its storage.
    ///
    /// # Errors
    /// [`Problem::Malformed`] for a shape that the storage does not hold.
    pub(crate) fn contiguous(storage: Storage, shape: Vec<i64>) -> Result<Self, Problem> {
        let mut sizes = shape.iter().map(|size| u64::try_from(*size).ok());
        let count = sizes.try_fold(1u64, |count, size| count.checked_mul(size?));
        match count {
            Some(count) if count <= storage.elements => Ok(Self { storage, shape }),
            _ => Err(Problem::Malformed(format!("a tensor of shape {shape:?} ends behind its storage"))),
        }
    }

    pub(crate) fn form(&self) -> Form {
        Form { kind: self.storage.kind, shape: self.shape.clone() }
    }

    /// Reads the tensor in its stored kind, its elements in order.
    ///
    /// # Errors
    /// [`Problem::Changed`] when the file has become shorter, [`Problem::Device`] when memory is out.
    pub(crate) fn read(&self) -> Result<Tensor, Problem> {
        let Some(kind) = self.storage.kind else {
            return Err(Problem::Malformed(format!("a tensor is stored as {}", self.form().kind_name())));
        };
        let fill = |bytes: &mut [u8]| -> Result<(), Problem> {
            self.storage.file.read_at(bytes, self.storage.start)?;
            if kind == Kind::Bool {
                // Any byte but 0 and 1 is no bool.
                bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
            }
            Ok(())
        };
        tensor_memory::filled(&self.shape, kind, fill)
    }
}

/// Every tensor of a file, or of several that make one model.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) tensors: BTreeMap<String, Stored>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) files: Vec<Arc<OpenFile>>,
}

impl Catalogue {
    pub(crate) fn outline(&self) -> Outline {
        let tensors = self.tensors.iter().map(|(name, stored)| (name.clone(), stored.form())).collect();
        Outline { tensors, metadata: self.metadata.clone() }
    }

    /// Reads every tensor; `kind` says what each becomes by name, `None` leaves it as it is stored.
    ///
    /// # Errors
    /// [`Problem::Changed`] when one of the files was written to since it was opened.
    pub(crate) fn read(&self, kind: impl Fn(&str) -> Option<Kind>) -> Result<Tensors, Problem> {
        let mut named = BTreeMap::new();
        for (name, stored) in &self.tensors {
            let tensor = stored.read()?;
            let tensor = match kind(name) {
                Some(kind) => tensor.f_to_kind(kind)?,
                None => tensor,
            };
            named.insert(name.clone(), tensor);
        }
        for file in &self.files {
            file.check_unchanged()?;
        }
        Ok(Tensors { named, metadata: self.metadata.clone() })
    }
}
