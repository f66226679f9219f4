//! The model files: found by scanning, named as clients name them, hashed once.
//!
//! Request text never becomes a path: it is looked up among the files that were found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gesso_engine::backend::ModelFile;

mod facts;
mod hashes;
mod kind;
mod metadata;
mod scan;

use facts::Facts;
pub(crate) use facts::ModelFacts;
use hashes::Hashes;
pub(crate) use hashes::{Part, Stamp};
pub(crate) use kind::Kind;
use metadata::Metadata;
pub(crate) use metadata::{Words, alias};
pub(crate) use scan::Found;

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

    /// `file [0123456789]`, as infotexts name a refiner.
    pub(crate) fn short_title(&self) -> String {
        format!("{} [{}]", self.file.name, self.short_hash())
    }

    fn answers_to(&self, name: &str) -> bool {
        is_hash(name) && self.sha256.starts_with(&name.to_ascii_lowercase())
            || [self.file.name.as_str(), &self.file_name, &self.title(), &self.short_title()]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The short and the full spellings of a hash: 8, 10 or 64 digits, and what lies between.
fn is_hash(name: &str) -> bool {
    (8..=64).contains(&name.len()) && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The models folder.
#[derive(Debug)]
pub(crate) struct Catalogue {
    folder: PathBuf,
    default: Option<String>,
    hashes: Hashes,
    metadata: Metadata,
    facts: Facts,
}

/// Why a name gives no model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogueError {
    #[error("there is no {noun} {name:?}{hint}; {remedy}")]
    Unknown { noun: &'static str, name: String, hint: String, remedy: String },
    #[error("there is no model yet; put a .safetensors or .ckpt checkpoint into the models folder")]
    Empty,
    /// Where it lies is in the log: it is no client's business.
    #[error("the models folder cannot be read ({0}); see the server's log")]
    Unreadable(std::io::Error),
}

impl Catalogue {
    /// `hashes` is the file that keeps hashes between runs.
    pub(crate) fn new(folder: PathBuf, default: Option<String>, hashes: Option<PathBuf>) -> Self {
        let (metadata, facts) = (Metadata::default(), Facts::default());
        Self { folder, default, hashes: Hashes::open(hashes), metadata, facts }
    }

    /// All checkpoints, by name. Reads the folder, and the files that are new or changed; call it where blocking
    /// is allowed.
    pub(crate) fn checkpoints(&self) -> Result<Vec<Checkpoint>, CatalogueError> {
        Ok(self.files(Kind::Checkpoint)?.into_iter().filter_map(|found| self.hashed(found)).collect())
    }

    /// The checkpoint a client named by title, file name, stem or hash; the default one for `None`. Only the file
    /// that is named gets hashed, unless the name is a hash.
    pub(crate) fn checkpoint(&self, name: Option<&str>) -> Result<Checkpoint, CatalogueError> {
        let files = self.files(Kind::Checkpoint)?;
        let Some(name) = name.or(self.default.as_deref()) else {
            let first = files.into_iter().find_map(|found| self.hashed(found));
            return first.ok_or(CatalogueError::Empty);
        };
        if let Some(found) = named(&files, name).cloned().and_then(|found| self.hashed(found))
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
        Err(unknown(Kind::Checkpoint, &files, name))
    }

    /// The files of a kind, by name.
    pub(crate) fn files(&self, kind: Kind) -> Result<Vec<Found>, CatalogueError> {
        scan::scan(&self.folder, kind).map_err(|error| unreadable(&self.folder, error))
    }

    /// The file of a kind that a client named by file name or stem, in any case, with or without ` [hash]`; a LoRA also
    /// by the name its trainer gave it, unless several have it.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Result<Arc<ModelFile>, CatalogueError> {
        let files = self.files(kind)?;
        let by_alias = || match self.by_alias(kind, &files, name)[..] {
            [only] => Some(only),
            _ => None,
        };
        let found = named(&files, name).or_else(by_alias).ok_or_else(|| unknown(kind, &files, name))?;
        self.model_file(found)
    }

    fn by_alias<'a>(&self, kind: Kind, files: &'a [Found], name: &str) -> Vec<&'a Found> {
        if kind != Kind::Lora {
            return Vec::new();
        }
        let is_named = |found: &&Found| alias(&self.metadata.of(&found.path)) == Some(name);
        files.iter().filter(is_named).collect()
    }

    /// What a LoRA says about itself.
    pub(crate) fn words(&self, found: &Found) -> Words {
        self.metadata.of(&found.path)
    }

    /// A file as the engine names it. Its version is its size and time of change.
    pub(crate) fn model_file(&self, found: &Found) -> Result<Arc<ModelFile>, CatalogueError> {
        let stamp = Stamp::of(&found.path).map_err(|error| unreadable(&found.path, error))?;
        let version = format!("{}-{}", stamp.bytes, stamp.modified_ns);
        Ok(Arc::new(ModelFile { name: found.stem.clone(), path: found.path.clone(), version }))
    }

    /// The VAE that goes with a checkpoint by its name: `<stem>.vae.*` beside it, or among the VAEs under the
    /// checkpoint's own stem.
    pub(crate) fn vae_of(&self, checkpoint: &ModelFile) -> Result<Option<Arc<ModelFile>>, CatalogueError> {
        if let Some(folder) = checkpoint.path.parent() {
            for extension in Kind::Vae.extensions() {
                let path = folder.join(format!("{}.vae.{extension}", checkpoint.name));
                if path.is_file() {
                    let stem = format!("{}.vae", checkpoint.name);
                    let file_name = format!("{stem}.{extension}");
                    return self.model_file(&Found { stem, path, file_name }).map(Some);
                }
            }
        }
        let files = self.files(Kind::Vae)?;
        let own = [checkpoint.name.clone(), format!("{}.vae", checkpoint.name)];
        let found = files.iter().find(|found| own.iter().any(|stem| found.stem.eq_ignore_ascii_case(stem)));
        found.map(|found| self.model_file(found)).transpose()
    }

    /// What a checkpoint is made for; `None` when it cannot be drawn with. Reads the file's head when it is new.
    pub(crate) fn facts(&self, checkpoint: &ModelFile) -> Option<ModelFacts> {
        self.facts.of(checkpoint)
    }

    /// SHA-256 of a file that was found, lower-case hex; `None`, and a line in the log, when it cannot be read.
    pub(crate) fn sha256(&self, path: &Path, part: Part) -> Option<String> {
        self.hashes
            .sha256(path, part)
            .inspect_err(
                |error| tracing::warn!(path = %path.display(), %error, "skipping an unreadable model"),
            )
            .ok()
    }

    fn hashed(&self, found: Found) -> Option<Checkpoint> {
        let sha256 = self.sha256(&found.path, Part::Whole)?;
        let file = ModelFile { name: found.stem, path: found.path, version: sha256.clone() };
        Some(Checkpoint { file: Arc::new(file), file_name: found.file_name, sha256 })
    }
}

fn named<'a>(files: &'a [Found], name: &str) -> Option<&'a Found> {
    let bare = name.rsplit_once(" [").map_or(name, |(file_name, _)| file_name);
    files
        .iter()
        .find(|found| found.file_name.eq_ignore_ascii_case(bare) || found.stem.eq_ignore_ascii_case(bare))
}

fn unreadable(path: &Path, error: std::io::Error) -> CatalogueError {
    tracing::error!(path = %path.display(), %error, "models cannot be read");
    CatalogueError::Unreadable(error)
}

fn unknown(kind: Kind, files: &[Found], name: &str) -> CatalogueError {
    let hint = files
        .iter()
        .map(|found| (strsim::jaro_winkler(&found.stem, name), &found.stem))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.7)
        .map_or_else(String::new, |(_, near)| format!(" (did you mean {near:?}?)"));
    let remedy = match kind {
        Kind::Checkpoint => "GET /models lists what is there".into(),
        other => format!("put it into the folder {} inside the models folder", other.folders()[0]),
    };
    CatalogueError::Unknown { noun: kind.noun(), name: name.chars().take(100).collect(), hint, remedy }
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
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        // sha256("abc"), FIPS 180-2 appendix B.1.
        let title = "sub/dreamy.safetensors [ba7816bf8f]";
        let short_title = "dreamy [ba7816bf8f]";
        let names =
            ["dreamy", "Dreamy", "sub/dreamy.safetensors", title, short_title, "ba7816bf", "ba7816bf8f"];
        for name in names {
            assert_eq!(catalogue.checkpoint(Some(name)).unwrap().title(), title, "{name}");
        }
        assert_eq!(catalogue.checkpoint(None).unwrap().title(), title);
        let error = catalogue.checkpoint(Some("dreamyy")).unwrap_err().to_string();
        assert!(error.contains("did you mean \"dreamy\"?"), "{error}");
        assert!(catalogue.checkpoint(Some("../sub/dreamy.safetensors")).is_err());
        assert!(catalogue.checkpoint(Some("dreamy [0123456789]")).is_err());
    }

    #[test]
    fn a_vae_goes_with_the_checkpoint_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.ckpt", "a.vae.pt", "b.ckpt", "VAE/b.safetensors", "c.ckpt"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        let vae = |name| {
            let checkpoint = catalogue.checkpoint(Some(name)).unwrap();
            catalogue.vae_of(&checkpoint.file).unwrap().map(|vae| vae.path.clone())
        };
        assert_eq!(vae("a"), Some(folder.path().join("a.vae.pt")));
        assert_eq!(vae("b"), Some(folder.path().join("VAE/b.safetensors")));
        assert_eq!(vae("c"), None);
    }

    #[test]
    fn a_lora_answers_to_its_trainers_name_unless_two_have_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("Lora")).unwrap();
        let write = |file: &str, name: &str| {
            let header = format!(r#"{{"__metadata__":{{"ss_output_name":"{name}"}}}}"#);
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.into_bytes());
            std::fs::write(folder.path().join("Lora").join(file), bytes).unwrap();
        };
        write("a.safetensors", "ink");
        write("b.safetensors", "oil");
        write("c.safetensors", "oil");
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        assert_eq!(catalogue.find(Kind::Lora, "ink").unwrap().name, "a");
        assert!(catalogue.find(Kind::Lora, "oil").is_err());
        write("c.safetensors", "chalk, longer");
        assert_eq!(catalogue.find(Kind::Lora, "oil").unwrap().name, "b");
    }

    #[test]
    fn a_missing_lora_is_named_with_the_folder_it_belongs_in() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        let error = catalogue.find(Kind::Lora, "style").unwrap_err().to_string();
        assert_eq!(error, "there is no LoRA \"style\"; put it into the folder Lora inside the models folder");
    }
}
