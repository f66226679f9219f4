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
        let by_hash = name.len() >= 8
            && name.chars().all(|digit| digit.is_ascii_hexdigit())
            && self.sha256.starts_with(&name.to_ascii_lowercase());
        by_hash
            || [self.file.name.as_str(), &self.file_name, &self.title()]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The models folder.
#[derive(Debug)]
pub(crate) struct Catalogue {
    folder: PathBuf,
    default: Option<String>,
    hashes: Mutex<HashMap<PathBuf, (u64, SystemTime, String)>>,
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
        Self { folder, default, hashes: Mutex::default() }
    }

    /// All checkpoints, by name. Reads the folder, and the files that are new or changed; call it where blocking
    /// is allowed.
    pub(crate) fn scan(&self) -> Result<Vec<Checkpoint>, CatalogueError> {
        let mut found = Vec::new();
        self.scan_folder(&self.folder, "", 0, &mut found)?;
        found.sort_by(|a, b| a.file_name.cmp(&b.file_name));
        Ok(found)
    }

    /// The checkpoint a client named by title, file name, stem or hash; the default one for `None`.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Checkpoint, CatalogueError> {
        let all = self.scan()?;
        let Some(name) = name.or(self.default.as_deref()) else {
            return all.into_iter().next().ok_or_else(|| CatalogueError::Empty(self.folder.clone()));
        };
        if let Some(found) = all.iter().find(|checkpoint| checkpoint.answers_to(name)) {
            return Ok(found.clone());
        }
        let hint = all
            .iter()
            .map(|checkpoint| (strsim::jaro_winkler(&checkpoint.file.name, name), &checkpoint.file.name))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(score, _)| *score > 0.7)
            .map_or_else(String::new, |(_, near)| format!(" (did you mean {near:?}?)"));
        let shown: String = name.chars().take(100).collect();
        Err(CatalogueError::Unknown { name: shown, hint })
    }

    fn scan_folder(
        &self,
        folder: &Path,
        prefix: &str,
        depth: u32,
        found: &mut Vec<Checkpoint>,
    ) -> Result<(), CatalogueError> {
        const MAX_DEPTH: u32 = 4;
        let unreadable = |source| CatalogueError::Unreadable { path: folder.to_owned(), source };
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            let file_name = format!("{prefix}{name}");
            if path.is_dir() {
                if depth < MAX_DEPTH && !name.starts_with('.') {
                    self.scan_folder(&path, &format!("{file_name}/"), depth + 1, found)?;
                }
            } else if let Some(stem) = name.strip_suffix(".safetensors") {
                match self.hash(&path) {
                    Ok(sha256) => found.push(Checkpoint {
                        file: Arc::new(ModelFile { name: stem.to_owned(), path }),
                        file_name,
                        sha256,
                    }),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "skipping an unreadable model")
                    }
                }
            }
        }
        Ok(())
    }

    /// Cached by size and time of change.
    fn hash(&self, path: &Path) -> std::io::Result<String> {
        let metadata = std::fs::metadata(path)?;
        let stamp = (metadata.len(), metadata.modified()?);
        if let Some((size, modified, hash)) = self.lock().get(path)
            && (*size, *modified) == stamp
        {
            return Ok(hash.clone());
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
