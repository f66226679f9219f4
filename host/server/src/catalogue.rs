//! The checkpoints in the models folder: found by scanning, named as clients name them, hashed once.
//!
//! Request text never becomes a path: it is looked up among the files that were found.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use gesso_engine::backend::ModelFile;
use sha2::{Digest, Sha256};

/// One checkpoint as clients see it.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub(crate) file: Arc<ModelFile>,
    /// Name with extension, with `/` between folders.
    pub(crate) file_name: String,
    /// Of the whole file, lower-case hex.
    pub(crate) sha256: String,
}

impl Checkpoint {
    /// First ten digits of the hash, as infotexts and titles show it.
    pub(crate) fn short_hash(&self) -> &str {
        &self.sha256[..10]
    }

    /// `file.safetensors [0123456789]`.
    pub(crate) fn title(&self) -> String {
        format!("{} [{}]", self.file_name, self.short_hash())
    }

    fn answers_to(&self, name: &str) -> bool {
        is_hash(name) && self.sha256.starts_with(&name.to_ascii_lowercase())
            || [self.file.name.as_str(), &self.file_name, &self.title()]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The short and the full spellings of a hash: 8, 10 or 64 digits, and what lies between.
fn is_hash(name: &str) -> bool {
    (8..=64).contains(&name.len()) && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// A checkpoint whose hash has not been asked for.
#[derive(Debug, Clone)]
struct Found {
    stem: String,
    path: PathBuf,
    file_name: String,
}

/// The models folder.
#[derive(Debug)]
pub(crate) struct Catalogue {
    folder: PathBuf,
    default: Option<String>,
    hashes: Mutex<HashMap<PathBuf, (u64, SystemTime, String)>>,
    /// Held while a file is hashed: requests that come together wait for one reading instead of doing their own.
    hashing: Mutex<()>,
}

/// Why a name gives no checkpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogueError {
    #[error("there is no model {name:?}; GET /models lists what is there{hint}")]
    Unknown { name: String, hint: String },
    #[error("there is no model in {0}; put a .safetensors checkpoint there")]
    Empty(PathBuf),
    #[error("the models folder {path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
}

impl Catalogue {
    pub(crate) fn new(folder: PathBuf, default: Option<String>) -> Self {
        Self { folder, default, hashes: Mutex::default(), hashing: Mutex::default() }
    }

    /// All checkpoints, by name. Reads the folder, and the files that are new or changed; call it where blocking
    /// is allowed.
    pub(crate) fn scan(&self) -> Result<Vec<Checkpoint>, CatalogueError> {
        Ok(self.files()?.into_iter().filter_map(|found| self.hashed(found)).collect())
    }

    /// The checkpoint a client named by title, file name, stem or hash; the default one for `None`. Only the file
    /// that is named gets hashed, unless the name is a hash.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Checkpoint, CatalogueError> {
        let files = self.files()?;
        let Some(name) = name.or(self.default.as_deref()) else {
            let first = files.into_iter().find_map(|found| self.hashed(found));
            return first.ok_or_else(|| CatalogueError::Empty(self.folder.clone()));
        };
        let bare = name.rsplit_once(" [").map_or(name, |(file_name, _)| file_name);
        let by_name = files.iter().find(|found| {
            found.stem.eq_ignore_ascii_case(bare) || found.file_name.eq_ignore_ascii_case(bare)
        });
        if let Some(found) = by_name.cloned().and_then(|found| self.hashed(found))
            && found.answers_to(name)
        {
            return Ok(found);
        }
        if is_hash(name)
            && let Some(found) = files
                .iter()
                .cloned()
                .filter_map(|found| self.hashed(found))
                .find(|found| found.answers_to(name))
        {
            return Ok(found);
        }
        let hint = files
            .iter()
            .map(|found| (strsim::jaro_winkler(&found.stem, name), &found.stem))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(score, _)| *score > 0.7)
            .map_or_else(String::new, |(_, near)| format!(" (did you mean {near:?}?)"));
        let shown: String = name.chars().take(100).collect();
        Err(CatalogueError::Unknown { name: shown, hint })
    }

    fn files(&self) -> Result<Vec<Found>, CatalogueError> {
        let mut found = Vec::new();
        self.list_folder(&self.folder, "", 0, &mut found)?;
        found.sort_by(|a, b| a.file_name.cmp(&b.file_name));
        Ok(found)
    }

    fn list_folder(
        &self,
        folder: &Path,
        prefix: &str,
        depth: u32,
        found: &mut Vec<Found>,
    ) -> Result<(), CatalogueError> {
        const MAX_DEPTH: u32 = 4;
        let unreadable = |source| CatalogueError::Unreadable { path: folder.to_owned(), source };
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            let file_name = format!("{prefix}{name}");
            if path.is_dir() {
                if depth < MAX_DEPTH
                    && !name.starts_with('.')
                    && let Err(error) = self.list_folder(&path, &format!("{file_name}/"), depth + 1, found)
                {
                    tracing::warn!(%error, "skipping an unreadable folder");
                }
            } else if let Some(stem) = name.strip_suffix(".safetensors") {
                found.push(Found { stem: stem.to_owned(), path, file_name });
            }
        }
        Ok(())
    }

    /// With its hash; `None`, and a line in the log, when the file cannot be read.
    fn hashed(&self, found: Found) -> Option<Checkpoint> {
        match self.hash(&found.path) {
            Ok(sha256) => {
                let file = ModelFile { name: found.stem, path: found.path, version: sha256.clone() };
                Some(Checkpoint { file: Arc::new(file), file_name: found.file_name, sha256 })
            }
            Err(error) => {
                tracing::warn!(path = %found.path.display(), %error, "skipping an unreadable model");
                None
            }
        }
    }

    /// Cached by size and time of change.
    fn hash(&self, path: &Path) -> std::io::Result<String> {
        let metadata = std::fs::metadata(path)?;
        let stamp = (metadata.len(), metadata.modified()?);
        if let Some(hash) = self.cached(path, stamp) {
            return Ok(hash);
        }
        let _one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = self.cached(path, stamp) {
            return Ok(hash);
        }
        let mut hasher = Sha256::new();
        let mut reader = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(path)?);
        loop {
            let part = reader.fill_buf()?;
            if part.is_empty() {
                break;
            }
            hasher.update(part);
            let length = part.len();
            reader.consume(length);
        }
        let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.lock().insert(path.to_owned(), (stamp.0, stamp.1, hash.clone()));
        Ok(hash)
    }

    fn cached(&self, path: &Path, stamp: (u64, SystemTime)) -> Option<String> {
        let hashes = self.lock();
        let (size, modified, hash) = hashes.get(path)?;
        ((*size, *modified) == stamp).then(|| hash.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (u64, SystemTime, String)>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_checkpoint_by_every_name_clients_use_and_suggests_a_near_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/dreamy.safetensors"), b"abc").unwrap();
        std::fs::write(folder.path().join("notes.txt"), b"").unwrap();
        let catalogue = Catalogue::new(folder.path().to_owned(), None);
        // sha256("abc"), FIPS 180-2 appendix B.1.
        let title = "sub/dreamy.safetensors [ba7816bf8f]";
        for name in ["dreamy", "Dreamy", "sub/dreamy.safetensors", title, "ba7816bf", "ba7816bf8f"] {
            assert_eq!(catalogue.find(Some(name)).unwrap().title(), title, "{name}");
        }
        assert_eq!(catalogue.find(None).unwrap().title(), title);
        let error = catalogue.find(Some("dreamyy")).unwrap_err().to_string();
        assert!(error.contains("did you mean \"dreamy\"?"), "{error}");
        assert!(catalogue.find(Some("../sub/dreamy.safetensors")).is_err());
    }
}
