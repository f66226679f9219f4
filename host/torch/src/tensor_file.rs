//! Opens a file of tensors, whatever its container: told by what the file begins with, never by its name. Called
//! by everything that loads a model or a part of one. Knows no network and gives no name another spelling.

use std::path::Path;
use std::sync::Arc;

use crate::error::{LoadError, Problem};
use crate::header::{self, Header, PREFIX_BYTES};
use crate::stored::{Catalogue, OpenFile, Source, Storage, Stored};
use crate::tensors::Tensors;
use crate::torch_file;

impl Tensors {
    /// Reads a file of tensors, in the kinds they are stored in and under the names the file gives them.
    ///
    /// # Errors
    /// Why the file cannot be read, with its path.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        open(path).and_then(|catalogue| catalogue.read(|_| None)).map_err(|problem| problem.of(path))
    }
}

/// What a file holds; it stays open until the catalogue is dropped.
pub(crate) fn open(path: &Path) -> Result<Catalogue, Problem> {
    let file = Arc::new(OpenFile::open(path)?);
    let mut prefix = [0; PREFIX_BYTES];
    if file.length() < PREFIX_BYTES as u64 {
        return Err(Problem::Malformed("it is shorter than eight bytes".into()));
    }
    file.read_at(&mut prefix, 0)?;
    let mut brace = [0];
    if file.length() > PREFIX_BYTES as u64 {
        file.read_at(&mut brace, PREFIX_BYTES as u64)?;
    }
    // A header in JSON begins with its brace; a bare pickle can begin with any length.
    let pickled = prefix.starts_with(&torch_file::ZIP_MAGIC) || prefix[0] == torch_file::PICKLE_MAGIC;
    if brace == *b"{" || !pickled {
        return safetensors(file, prefix);
    }
    let value = torch_file::open(&file)?;
    Ok(Catalogue { tensors: value.state_dict()?, metadata: value.texts(), files: vec![file] })
}

fn safetensors(file: Arc<OpenFile>, prefix: [u8; PREFIX_BYTES]) -> Result<Catalogue, Problem> {
    let mut bytes = vec![0; header::header_length(prefix, file.length())?];
    file.read_at(&mut bytes, PREFIX_BYTES as u64)?;
    let header = Header::parse(&bytes, file.length())?;
    let mut catalogue = Catalogue { metadata: header.metadata, ..Catalogue::default() };
    for (name, entry) in header.tensors {
        // The header is checked already; of a kind that libtorch lacks the size of an element is not known here.
        let size = entry.form.kind.map(|kind| kind.elt_size_in_bytes() as u64);
        let storage = Storage {
            source: Source::File(file.clone()),
            start: entry.bytes.start,
            elements: size.map_or(u64::MAX, |size| (entry.bytes.end - entry.bytes.start) / size),
            kind: entry.form.kind,
        };
        catalogue.tensors.insert(name, Stored::contiguous(storage, entry.form.shape)?);
    }
    catalogue.files.push(file);
    Ok(catalogue)
}
