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

use tch::{Kind, TchError, Tensor};

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
    /// [`Problem::Changed`] when the file was cut short or written to since it was opened: parts of what was read
    /// may be old, parts new.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), Problem> {
        self.file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::Changed,
            _ => Problem::Unreadable(error),
        })?;
        let now = self.file.metadata()?;
        let same = now.len() == self.length && now.modified().ok() == self.modified;
        if same { Ok(()) } else { Err(Problem::Changed) }
    }

    /// A reader with a place of its own in the same file.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        Reader { file: self.clone(), position: 0 }
    }
}

/// Reads a file from front to back, or wherever it is sent. Ends where the file ended when it was opened.
#[derive(Debug)]
pub(crate) struct Reader {
    file: Arc<OpenFile>,
    position: u64,
}

impl io::Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.file.length.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = bytes.len().min(left);
        let read = self.file.file.read_at(&mut bytes[..wanted], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl io::Seek for Reader {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let place = match to {
            io::SeekFrom::Start(place) => Some(place),
            io::SeekFrom::End(offset) => self.file.length.checked_add_signed(offset),
            io::SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// Where bytes are read from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(Arc<OpenFile>),
    /// What had to be unpacked first.
    Memory(Arc<Vec<u8>>),
}

impl Source {
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), Problem> {
        match self {
            Self::File(file) => file.read_at(bytes, offset),
            Self::Memory(whole) => {
                let from = usize::try_from(offset).ok().and_then(|offset| whole.get(offset..));
                let part = from.and_then(|from| from.get(..bytes.len()));
                bytes.copy_from_slice(part.ok_or(Problem::Changed)?);
                Ok(())
            }
        }
    }
}

/// A run of bytes that holds elements of one kind; tensors are views of it.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    pub(crate) source: Source,
    /// Byte at which the first element begins.
    pub(crate) start: u64,
    pub(crate) elements: u64,
    pub(crate) kind: Option<Kind>,
}

/// One tensor of a file that is still open; clones share the file.
#[derive(Debug, Clone)]
pub struct Stored {
    storage: Storage,
    /// First element of the tensor, counted from the start of its storage.
    offset: u64,
    shape: Vec<i64>,
    /// Elements from one place to the next along each dimension; `None` where the elements lie in order.
    strides: Option<Vec<i64>>,
    /// Elements from the first to the last, both counted: what is read for it.
    span: u64,
}

impl Stored {
    /// A tensor whose elements lie in order from the start of its storage.
    ///
    /// # Errors
    /// [`Problem::Malformed`] for a shape that the storage does not hold.
    pub(crate) fn contiguous(storage: Storage, shape: Vec<i64>) -> Result<Self, Problem> {
        Self::checked(storage, 0, shape, None)
    }

    /// A view of a storage, as PyTorch writes tensors down.
    ///
    /// # Errors
    /// [`Problem::Malformed`] for a view that leaves its storage or repeats elements of it.
    pub(crate) fn view(
        storage: Storage,
        offset: u64,
        shape: Vec<i64>,
        strides: Vec<i64>,
    ) -> Result<Self, Problem> {
        if shape.len() != strides.len() {
            let (rank, strides) = (shape.len(), strides.len());
            return Err(Problem::Malformed(format!("a tensor of rank {rank} has {strides} strides")));
        }
        let mut step = 1i64;
        let mut in_order = true;
        for (size, stride) in shape.iter().zip(&strides).rev() {
            in_order &= *size == 1 || *stride == step;
            step = step.saturating_mul(*size);
        }
        Self::checked(storage, offset, shape, (!in_order).then_some(strides))
    }

    fn checked(
        storage: Storage,
        offset: u64,
        shape: Vec<i64>,
        strides: Option<Vec<i64>>,
    ) -> Result<Self, Problem> {
        let wrong = |what: &str| Problem::Malformed(format!("a tensor of shape {shape:?} {what}"));
        let (mut count, mut last) = (1u64, 0u64);
        for (index, size) in shape.iter().enumerate() {
            let size = u64::try_from(*size).map_err(|_| wrong("has a size below zero"))?;
            count = count.checked_mul(size).ok_or_else(|| wrong("is larger than numbers go"))?;
            if let Some(strides) = &strides {
                let stride = u64::try_from(strides[index]).map_err(|_| wrong("runs backwards"))?;
                let far = stride.checked_mul(size.saturating_sub(1)).and_then(|far| far.checked_add(last));
                last = far.ok_or_else(|| wrong("is larger than numbers go"))?;
            }
        }
        let span = match (count, &strides) {
            (0, _) => 0,
            (_, None) => count,
            (_, Some(_)) => last.saturating_add(1),
        };
        let end = span.checked_add(offset).ok_or_else(|| wrong("is larger than numbers go"))?;
        if end > storage.elements {
            return Err(wrong("ends behind the end of its storage"));
        }
        // A view that repeats elements can be as large as it likes on a storage of one.
        if count > storage.elements {
            return Err(wrong("repeats the elements of its storage"));
        }
        Ok(Self { storage, offset, shape, strides, span })
    }

    pub(crate) fn form(&self) -> Form {
        Form { kind: self.storage.kind, shape: self.shape.clone() }
    }

    pub(crate) fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// A matrix as the 1x1 convolution that computes the same.
    pub(crate) fn into_convolution(mut self) -> Self {
        self.shape.extend([1, 1]);
        if let Some(strides) = &mut self.strides {
            strides.extend([1, 1]);
        }
        self
    }

    /// Bytes that are read for this tensor.
    pub(crate) fn bytes(&self) -> u64 {
        let size = self.storage.kind.map_or(1, Kind::elt_size_in_bytes);
        self.span.saturating_mul(size as u64)
    }

    /// Reads the tensor in its stored kind, its elements in order.
    ///
    /// # Errors
    /// [`Problem::Changed`] when the file was written to since it was opened, [`Problem::Device`] when memory is
    /// out.
    pub fn read(&self) -> Result<Tensor, Problem> {
        let Some(kind) = self.storage.kind else {
            return Err(Problem::Malformed(format!("a tensor is stored as {}", self.form().kind_name())));
        };
        let overflow = || Problem::Malformed("the place of a tensor overflows".into());
        let skip = self.offset.checked_mul(kind.elt_size_in_bytes() as u64);
        let start = skip.and_then(|skip| skip.checked_add(self.storage.start)).ok_or_else(overflow)?;
        let fill = |bytes: &mut [u8]| -> Result<(), Problem> {
            self.storage.source.read_at(bytes, start)?;
            if kind == Kind::Bool {
                // Any byte but 0 and 1 is no bool.
                bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
            }
            Ok(())
        };
        match &self.strides {
            None => tensor_memory::filled(&self.shape, kind, fill),
            Some(strides) => {
                let span = i64::try_from(self.span).map_err(|_| overflow())?;
                let span = tensor_memory::filled(&[span], kind, fill)?;
                Ok(span.f_as_strided(&self.shape, strides, 0)?.f_contiguous()?)
            }
        }
    }
}

/// Every tensor of a file, or of several that make one model. The files stay open with them.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) tensors: BTreeMap<String, Stored>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Catalogue {
    pub(crate) fn outline(&self) -> Outline {
        let tensors = self.tensors.iter().map(|(name, stored)| (name.clone(), stored.form())).collect();
        Outline { tensors, metadata: self.metadata.clone() }
    }

    /// Reads every tensor; `kind` says what each becomes by name, `None` leaves it as it is stored.
    ///
    /// # Errors
    /// As [`Stored::read`].
    pub(crate) fn read(&self, kind: impl Fn(&str) -> Option<Kind>) -> Result<Tensors, Problem> {
        self.read_each(|name, tensor| match kind(name) {
            Some(kind) => tensor.f_to_kind(kind),
            None => Ok(tensor),
        })
    }

    /// Reads every tensor; `change` makes of each, by name, what is kept, before the next is read.
    ///
    /// # Errors
    /// As [`Stored::read`], or what `change` says.
    pub(crate) fn read_each(
        &self,
        change: impl Fn(&str, Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Tensors, Problem> {
        let mut named = BTreeMap::new();
        for (name, stored) in &self.tensors {
            named.insert(name.clone(), change(name, stored.read()?)?);
        }
        Ok(Tensors { named, metadata: self.metadata.clone() })
    }
}
