//! JSON documents by name, one file each: accounts, options, what webhooks owe. Each is replaced whole, so that a
//! crash leaves the old one or the new one. Called by the server's use cases; all of it blocks.
//!
//! It is for what is small and changes seldom. What is large or busy is a task or an object.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::keys::check_owner;
use crate::small_file;

/// A longer document is damage, or somebody's attempt to fill the memory.
pub const DOCUMENT_LIMIT: u64 = 16 << 20;

/// The documents of one folder, readable by its owner only.
#[derive(Debug, Clone)]
pub struct Documents {
    folder: PathBuf,
}

impl Documents {
    /// The folder is made when the first document is written.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// `None` when there is no such document. `InvalidData` when there is one that cannot be read as `T`, naming
    /// the file.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let path = self.path(name)?;
        let file = match small_file::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(DOCUMENT_LIMIT).read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let message = format!("{} is damaged: {error}; restore it, or move it away", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    /// Durable when it returns. `InvalidInput` for one that would be too long to be read again.
    pub fn write<T: Serialize>(&self, name: &str, document: &T) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(document)?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            let message = format!("{} bytes are more than a document may have", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        small_file::replace(&self.path(name)?, &bytes)
    }

    /// Whether there was one.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        match fs::remove_file(self.path(name)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A name is an owner's slug, so that none leaves the folder.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        check_owner(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(self.folder.join(format!("{name}.json")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_document_is_what_was_written_last_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::new(&folder.path().join("deep/er"));
        assert_eq!(documents.read::<Vec<u32>>("a").unwrap(), None);
        documents.write("a", &[1, 2]).unwrap();
        documents.write("a", &[3]).unwrap();
        let file = folder.path().join("deep/er/a.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // Rights that a copy has widened are narrowed.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Documents::new(&folder.path().join("deep/er")).read("a").unwrap(), Some(vec![3]));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(documents.remove("a").unwrap());
        assert!(!documents.remove("a").unwrap());
    }

    #[test]
    fn what_is_too_long_to_be_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::new(folder.path());
        let long = "x".repeat(DOCUMENT_LIMIT as usize);
        assert_eq!(documents.write("a", &long).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(documents.read::<String>("a").unwrap(), None);
    }

    #[test]
    fn damage_is_told_with_the_files_name_and_no_name_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::new(folder.path());
        fs::write(folder.path().join("a.json"), b"[1, ").unwrap();
        let error = documents.read::<Vec<u32>>("a").unwrap_err();
        assert!(error.to_string().contains("a.json is damaged"), "{error}");
        for name in ["", "../a", "a/b", "a.json", "."] {
            assert_eq!(documents.write(name, &1).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
    }
}
