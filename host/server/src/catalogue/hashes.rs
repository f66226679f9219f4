//! SHA-256 of model files, computed once for each content: kept by path, size and time of change, in memory and, where
//! there is a data folder, on disk, so that a restart reads no checkpoint twice.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use gesso_core::hex::hex;
use gesso_torch::{version_of, weight_files};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What identifies a state of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    pub(crate) modified_ns: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { bytes: metadata.len(), modified_ns: modified.as_nanos() as u64 })
    }
}

/// Which bytes are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The whole file, as titles of checkpoints show it. For a folder: its weight files, in the order of their names.
    Whole,
    /// What follows the header of a safetensors file: equal for files that differ in their metadata only, which is how
    /// LoRAs are told apart. Other files are hashed whole.
    Tensors,
    /// 64 KiB from the first MiB on: what web UIs show for control networks, and what they called checkpoints by before they
    /// hashed them as a whole.
    Middle,
}

/// Where [`Part::Middle`] lies.
const MIDDLE_FROM: u64 = 1 << 20;
const MIDDLE_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    /// That the file had before it was read.
    version: String,
    sha256: String,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    known: Mutex<BTreeMap<String, Known>>,
    /// Held while a file is hashed: requests that come together wait for one reading instead of doing their own.
    hashing: Mutex<()>,
    file: Option<PathBuf>,
}

impl Hashes {
    /// `file` keeps the hashes between runs; one that cannot be read begins anew.
    pub(crate) fn open(file: Option<PathBuf>) -> Self {
        let read = |file: &PathBuf| serde_json::from_slice(&std::fs::read(file).ok()?).ok();
        let known = file.as_ref().and_then(read).unwrap_or_default();
        Self { known: Mutex::new(known), hashing: Mutex::default(), file }
    }

    /// Lower-case hex, where the file has been read in the state that it is in. Asks for that alone.
    pub(crate) fn if_known(&self, path: &Path, part: Part) -> Option<String> {
        self.cached(&key(path, part), &version_of(path).ok()?)
    }

    /// Lower-case hex. Reads the file when its state is new; call it where blocking is allowed.
    pub(crate) fn sha256(&self, path: &Path, part: Part) -> io::Result<String> {
        let key = key(path, part);
        let version = version_of(path)?;
        if let Some(hash) = self.cached(&key, &version) {
            return Ok(hash);
        }
        let _one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = self.cached(&key, &version) {
            return Ok(hash);
        }
        let mut hasher = Sha256::new();
        for file in weight_files(path)? {
            hash_file(&file, part, &mut hasher)?;
        }
        let sha256 = hex(&hasher.finalize());
        self.lock().insert(key, Known { version, sha256: sha256.clone() });
        self.save();
        Ok(sha256)
    }

    fn cached(&self, key: &str, version: &str) -> Option<String> {
        self.lock().get(key).filter(|known| known.version == version).map(|known| known.sha256.clone())
    }

    /// Losing this file costs a reading of the models, so a failure is a line in the log.
    fn save(&self) {
        let Some(file) = &self.file else { return };
        let write = || -> io::Result<()> {
            let bytes = serde_json::to_vec(&*self.lock())?;
            let fresh = file.with_extension("new");
            std::fs::write(&fresh, bytes)?;
            std::fs::rename(&fresh, file)
        };
        if let Err(error) = write() {
            tracing::warn!(file = %file.display(), %error, "the models' hashes cannot be kept");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Under which a hash is kept.
fn key(path: &Path, part: Part) -> String {
    let kind = match part {
        Part::Whole => "file",
        Part::Tensors => "tensors",
        Part::Middle => "middle",
    };
    format!("{kind}:{}", path.display())
}

fn hash_file(path: &Path, part: Part, hasher: &mut Sha256) -> io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let is_safetensors =
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"));
    if part == Part::Tensors && is_safetensors {
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        // A header that lies about its length leaves nothing to hash, and the file will not load.
        let header = u64::from_le_bytes(length);
        io::copy(&mut file.by_ref().take(header), &mut io::sink())?;
    }
    let mut rest: Box<dyn Read> = match part {
        Part::Middle => {
            file.seek(SeekFrom::Start(MIDDLE_FROM))?;
            Box::new(file.take(MIDDLE_BYTES))
        }
        Part::Whole | Part::Tensors => Box::new(file),
    };
    let mut bytes = vec![0; 1 << 20];
    loop {
        match rest.read(&mut bytes)? {
            0 => return Ok(()),
            length => hasher.update(&bytes[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sha256("abc"), FIPS 180-2 appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_restart_reads_no_file_again_and_a_changed_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (model, cache) = (folder.path().join("a.ckpt"), folder.path().join("hashes.json"));
        std::fs::write(&model, b"abc").unwrap();
        assert_eq!(Hashes::open(Some(cache.clone())).sha256(&model, Part::Whole).unwrap(), ABC);
        // Same size and time, other content: only a cache that was read back still says the old hash.
        let modified = std::fs::metadata(&model).unwrap().modified().unwrap();
        std::fs::write(&model, b"xyz").unwrap();
        std::fs::File::options().write(true).open(&model).unwrap().set_modified(modified).unwrap();
        let again = Hashes::open(Some(cache));
        assert_eq!(again.sha256(&model, Part::Whole).unwrap(), ABC);
        assert_eq!(again.if_known(&model, Part::Whole).as_deref(), Some(ABC));
        assert_eq!(again.if_known(&model, Part::Middle), None);
        std::fs::write(&model, b"longer").unwrap();
        assert_eq!(again.if_known(&model, Part::Whole), None, "it is another");
        assert_ne!(again.sha256(&model, Part::Whole).unwrap(), ABC);
    }

    #[test]
    fn the_tensors_hash_leaves_the_header_out() {
        let folder = tempfile::tempdir().unwrap();
        let hash = |header: &[u8]| {
            let path = folder.path().join("a.safetensors");
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(header);
            bytes.extend_from_slice(b"abc");
            std::fs::write(&path, bytes).unwrap();
            Hashes::default().sha256(&path, Part::Tensors).unwrap()
        };
        assert_eq!((hash(b"{}").as_str(), hash(b"{\"a\": 1}").as_str()), (ABC, ABC));
    }

    #[test]
    fn a_folder_is_read_again_when_a_file_of_it_is_replaced_by_one_that_is_older_than_another() {
        let folder = tempfile::tempdir().unwrap();
        let hashes = Hashes::default();
        let write = |part: &str, text: &str, seconds: u64| {
            let place = folder.path().join(part);
            std::fs::create_dir_all(&place).unwrap();
            let file = place.join("diffusion_pytorch_model.safetensors");
            std::fs::write(&file, text).unwrap();
            let modified = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        };
        write("unet", "a", 5);
        write("vae", "bc", 9);
        assert_eq!(hashes.sha256(folder.path(), Part::Whole).unwrap(), ABC);
        write("unet", "x", 6);
        assert_eq!(hashes.if_known(folder.path(), Part::Whole), None, "it is another");
        assert_ne!(hashes.sha256(folder.path(), Part::Whole).unwrap(), ABC);
    }

    #[test]
    fn a_damaged_cache_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (model, cache) = (folder.path().join("a.ckpt"), folder.path().join("hashes.json"));
        std::fs::write(&model, b"abc").unwrap();
        std::fs::write(&cache, b"{\"half").unwrap();
        assert_eq!(Hashes::open(Some(cache)).sha256(&model, Part::Whole).unwrap(), ABC);
    }
}
