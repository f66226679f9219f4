//! Opens a file of tensors, whatever its container: told by what the file begins with, never by its name. Called
//! by everything that loads a model or a part of one. Knows no network and gives no name another spelling.

use std::collections::BTreeMap;
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

    /// What a file says about itself; reads no tensor.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, LoadError> {
        open(path).map(|catalogue| catalogue.metadata).map_err(|problem| problem.of(path))
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
    Ok(Catalogue { tensors: value.state_dict()?, metadata: value.texts() })
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
    Ok(catalogue)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;

    use super::*;

    /// A file of one tensor, 1 2 3 4 in f32.
    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.safetensors");
        fs::write(&path, bytes([1.0, 2.0, 3.0, 4.0])).unwrap();
        (folder, path)
    }

    fn bytes(values: [f32; 4]) -> Vec<u8> {
        let header = r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes
    }

    fn values(catalogue: &Catalogue) -> Result<Vec<f32>, Problem> {
        let tensors = catalogue.read(|_| None)?;
        Ok(Vec::try_from(&tensors.named["w"]).unwrap())
    }

    #[test]
    fn a_file_cut_short_while_it_is_read_gives_an_error_and_no_signal() {
        let (_folder, path) = written();
        let catalogue = open(&path).unwrap();
        for length in [70, 20, 0] {
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            assert!(matches!(values(&catalogue), Err(Problem::Changed)), "{length} bytes");
        }
    }

    #[test]
    fn a_file_written_to_while_it_is_read_gives_an_error() {
        let (_folder, path) = written();
        let catalogue = open(&path).unwrap();
        // The clock of the file system may be coarse.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all(&bytes([5.0; 4])).unwrap();
        assert!(matches!(values(&catalogue), Err(Problem::Changed)));
    }

    #[test]
    fn a_file_replaced_or_deleted_while_it_is_read_gives_what_was_opened() {
        let (folder, path) = written();
        let catalogue = open(&path).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, bytes([5.0; 4])).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(values(&catalogue).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(values(&open(&path).unwrap()).unwrap(), [5.0; 4]);
        fs::remove_file(&path).unwrap();
        assert_eq!(values(&catalogue).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert!(matches!(open(&path), Err(Problem::Unreadable(_))));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(open(folder.path()), Err(Problem::Unreadable(_))));
        assert!(matches!(open(Path::new("/dev/zero")), Err(Problem::Unreadable(_))));
    }
}
