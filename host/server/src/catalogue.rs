//! The model files: found by scanning, named as clients name them, hashed once.
//!
//! Request text never becomes a path: it is looked up among the files that were found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gesso_engine::backend::ModelFile;

mod facts;
mod hashes;
mod inner_names;
mod kind;
mod metadata;
mod scan;

use facts::Facts;
pub(crate) use facts::ModelFacts;
use hashes::Hashes;
pub(crate) use hashes::{Part, Stamp};
use inner_names::InnerNames;
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
}

/// Digits of the hash that web UIs once gave checkpoints, and still give control networks: the beginning of that of
/// [`Part::Middle`].
const SHORT_HASH_DIGITS: usize = 8;

/// The short and the full spellings of a hash: 8, 10 or 64 digits, and what lies between.
fn is_hash(name: &str) -> bool {
    (SHORT_HASH_DIGITS..=64).contains(&name.len()) && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The models folder.
#[derive(Debug)]
pub(crate) struct Catalogue {
    folder: PathBuf,
    default: Option<String>,
    hashes: Hashes,
    metadata: Metadata,
    facts: Facts,
    inner_names: InnerNames,
}

/// Why a name gives no model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogueError {
    #[error("there is no {noun} {name:?}{hint}; {remedy}")]
    Unknown { noun: &'static str, name: String, hint: String, remedy: String },
    /// It is there. The sentence is of its head.
    #[error("{file_name}: {problem}")]
    Unusable { file_name: String, problem: Arc<str> },
    #[error("there is no model yet; put a .safetensors or .ckpt checkpoint into the models folder")]
    Empty,
    /// Where it lies is in the log: it is no client's business.
    #[error("the models folder cannot be read ({0}); see the server's log")]
    Unreadable(std::io::Error),
}

impl Catalogue {
    /// `hashes` is the file that keeps hashes between runs.
    pub(crate) fn new(folder: PathBuf, default: Option<String>, hashes: Option<PathBuf>) -> Self {
        Self {
            folder,
            default,
            hashes: Hashes::open(hashes),
            metadata: Metadata::default(),
            facts: Facts::default(),
            inner_names: InnerNames::default(),
        }
    }

    /// All checkpoints, by name. Reads the folder, and the files that are new or changed; call it where blocking
    /// is allowed.
    pub(crate) fn checkpoints(&self) -> Result<Vec<Checkpoint>, CatalogueError> {
        Ok(self.files(Kind::Checkpoint)?.into_iter().filter_map(|found| self.hashed(found)).collect())
    }

    /// The checkpoint a client named by title, file name, stem or hash; the default one for `None`. Only the file
    /// that is named gets hashed, unless the name is a hash that no file is known by.
    pub(crate) fn checkpoint(&self, name: Option<&str>) -> Result<Checkpoint, CatalogueError> {
        let files = self.files(Kind::Checkpoint)?;
        let hashed = |found: &Found| self.hashed(found.clone());
        let Some(name) = name.or(self.default.as_deref()) else {
            // Without one that can be drawn with it is the first all the same: whoever draws with it is told what is wrong.
            let drawable = files.iter().find(|found| self.facts.of(&found.path).is_ok());
            let found = drawable.and_then(hashed).or_else(|| files.iter().find_map(hashed));
            return found.ok_or(CatalogueError::Empty);
        };
        let (called, hash) = named(&files, name);
        let is_meant = |found: &Checkpoint| hash.is_none_or(|hash| self.has_hash(found, hash));
        let mut found = called.into_iter().filter_map(hashed).find(is_meant);
        if found.is_none() && is_hash(name) {
            let digits = name.to_ascii_lowercase();
            let is_it = |sha256: String| sha256.starts_with(&digits);
            // A whole checkpoint takes seconds to read: what tells sooner is asked of all of them first.
            let known = |found: &&Found| self.hashes.if_known(&found.path, Part::Whole).is_some_and(is_it);
            let short = |found: &&Found| self.has_short_hash(&found.path, name);
            let whole = |found: &&Found| self.sha256(&found.path, Part::Whole).is_some_and(is_it);
            let sooner = files.iter().find(known).or_else(|| files.iter().find(short));
            found = sooner.or_else(|| files.iter().find(whole)).and_then(hashed);
        }
        found.ok_or_else(|| unknown(Kind::Checkpoint, &files, name))
    }

    /// As [`Catalogue::checkpoint`], for whoever is about to draw. Reads the file's head when it is new.
    ///
    /// # Errors
    /// [`CatalogueError::Unusable`] too.
    pub(crate) fn drawable(&self, name: Option<&str>) -> Result<Checkpoint, CatalogueError> {
        let checkpoint = self.checkpoint(name)?;
        match self.facts.of(&checkpoint.file.path) {
            Ok(_) => Ok(checkpoint),
            Err(problem) => Err(CatalogueError::Unusable { file_name: checkpoint.file_name, problem }),
        }
    }

    fn has_hash(&self, checkpoint: &Checkpoint, hash: &str) -> bool {
        checkpoint.sha256.starts_with(&hash.to_ascii_lowercase())
            || self.has_short_hash(&checkpoint.file.path, hash)
    }

    /// Whether it is the hash of [`SHORT_HASH_DIGITS`] of a file.
    fn has_short_hash(&self, path: &Path, hash: &str) -> bool {
        let digits = hash.to_ascii_lowercase();
        let is_it = |sha256: String| sha256.starts_with(&digits);
        hash.len() == SHORT_HASH_DIGITS && self.sha256(path, Part::Middle).is_some_and(is_it)
    }

    /// Why nothing can be drawn with what the folder holds, or not with the checkpoint of this name, or with the default where none
    /// is named, as a sentence with the remedy; `None` where something can. It names folders, so it is for whoever runs the program
    /// and for no client. Reads as much as [`Catalogue::checkpoints`] does, without hashing; call it where blocking is allowed.
    pub(crate) fn shortage(&self, name: Option<&str>) -> Option<String> {
        let folder = self.folder.display();
        let files = match scan::scan(&self.folder, Kind::Checkpoint) {
            Ok(files) => files,
            Err(error) => {
                return Some(format!(
                    "the models folder {folder} cannot be read ({error}); make it, or name another with --models"
                ));
            }
        };
        let Some(first) = files.first() else {
            return Some(format!(
                "there is no checkpoint in {folder}; put a .safetensors or .ckpt of Stable Diffusion 1.x into it, or name \
                 another folder with --models, such as a web UI's own models folder"
            ));
        };
        let can_draw = |found: &Found| self.facts.of(&found.path).is_ok();
        if let Err(why) = self.facts.of(&first.path)
            && !files.iter().any(can_draw)
        {
            let (count, name) = (files.len(), &first.file_name);
            return Some(format!(
                "no checkpoint in {folder} can be drawn with ({count} there): {name}: {why}"
            ));
        }
        let (who, name) = match (name, self.default.as_deref()) {
            (Some(name), _) => ("", name),
            (None, default) => ("default_model: ", default?),
        };
        let (called, _) = named(&files, name);
        match called.first() {
            None if is_hash(name) => None,
            None => Some(format!("{who}{}", unknown(Kind::Checkpoint, &files, name))),
            Some(_) if called.iter().copied().any(can_draw) => None,
            Some(found) => {
                let problem = self.facts.of(&found.path).err()?;
                let file_name = found.file_name.clone();
                Some(format!("{who}{}", CatalogueError::Unusable { file_name, problem }))
            }
        }
    }

    /// The files of a kind, by name.
    pub(crate) fn files(&self, kind: Kind) -> Result<Vec<Found>, CatalogueError> {
        scan::scan(&self.folder, kind).map_err(|error| unreadable(&self.folder, error))
    }

    /// The file of a kind that a client named by file name or stem, in any case, with or without ` [hash]`; a LoRA also
    /// by the name its trainer gave it, unless several have it.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Result<Arc<ModelFile>, CatalogueError> {
        self.find_among(kind, &self.files(kind)?, name)
    }

    /// The same among files that were listed already, for whoever looks up many names.
    pub(crate) fn find_among(
        &self,
        kind: Kind,
        files: &[Found],
        name: &str,
    ) -> Result<Arc<ModelFile>, CatalogueError> {
        let by_alias = || match self.by_alias(kind, files, name)[..] {
            [only] => Some(only),
            _ => None,
        };
        let (called, hash) = named(files, name);
        // Control networks of one name in several folders are told apart by what their titles say of them.
        let is_meant = |found: &&Found| hash.is_some_and(|hash| self.has_short_hash(&found.path, hash));
        let several = if called.len() > 1 { &called[..] } else { &[] };
        let found = several.iter().copied().find(is_meant).or_else(|| called.first().copied());
        let found = found.or_else(by_alias).ok_or_else(|| unknown(kind, files, name))?;
        self.model_file(found)
    }

    /// Every textual inversion, under the name by which prompts call it: a picture has it in itself, unlike other files.
    /// Reads the pictures that are new or changed.
    pub(crate) fn embeddings(&self) -> Result<Vec<Arc<ModelFile>>, CatalogueError> {
        let files = self.files(Kind::Embedding)?;
        let named = |found: &Found| {
            let file = self.model_file(found).ok()?;
            Some(match self.inner_names.of(&found.path) {
                Some(name) => Arc::new(ModelFile { name, ..ModelFile::clone(&file) }),
                None => file,
            })
        };
        Ok(files.iter().filter_map(named).collect())
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

    /// A file as the engine names it.
    pub(crate) fn model_file(&self, found: &Found) -> Result<Arc<ModelFile>, CatalogueError> {
        let version = gesso_torch::version_of(&found.path).map_err(|error| unreadable(&found.path, error))?;
        Ok(Arc::new(ModelFile { name: found.stem.clone(), path: found.path.clone(), version }))
    }

    /// The VAE that goes with a checkpoint by its name: one beside it, or among the VAEs the one under the checkpoint's own
    /// stem, else the shortest name that begins with it: web UIs take any that does.
    pub(crate) fn vae_of(&self, checkpoint: &ModelFile) -> Result<Option<Arc<ModelFile>>, CatalogueError> {
        let beside = self.vae_beside(checkpoint)?;
        if beside.is_some() {
            return Ok(beside);
        }
        let files = self.files(Kind::Vae)?;
        let own = [checkpoint.name.clone(), format!("{}.vae", checkpoint.name)];
        let found = own.iter().find_map(|stem| called(&files, stem).into_iter().next());
        let begins = |found: &&Found| found.stem.starts_with(&checkpoint.name);
        let nearest = || files.iter().filter(begins).min_by_key(|found| found.stem.len());
        found.or_else(nearest).map(|found| self.model_file(found)).transpose()
    }

    /// `<stem>.vae.*` beside a checkpoint, which is among no list.
    pub(crate) fn vae_beside(
        &self,
        checkpoint: &ModelFile,
    ) -> Result<Option<Arc<ModelFile>>, CatalogueError> {
        let Some(folder) = checkpoint.path.parent() else { return Ok(None) };
        for extension in Kind::Vae.extensions() {
            let path = folder.join(format!("{}.vae.{extension}", checkpoint.name));
            if path.is_file() {
                let stem = format!("{}.vae", checkpoint.name);
                let file_name = format!("{stem}.{extension}");
                return self.model_file(&Found { stem, path, file_name }).map(Some);
            }
        }
        Ok(None)
    }

    /// What a checkpoint is made for; `None` when it cannot be drawn with. Reads the file's head when it is new.
    pub(crate) fn facts(&self, checkpoint: &ModelFile) -> Option<ModelFacts> {
        self.facts.of(&checkpoint.path).ok()
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
        // Asked first: what replaces the file while it is hashed is of another version.
        let version = gesso_torch::version_of(&found.path);
        let sha256 = self.sha256(&found.path, Part::Whole)?;
        let file = ModelFile { name: found.stem, path: found.path, version: version.ok()? };
        Some(Checkpoint { file: Arc::new(file), file_name: found.file_name, sha256 })
    }
}

/// The one that has this name, first the one that is spelled just so: names may differ by case alone.
pub(crate) fn spelled<'a, T>(all: &'a [T], name: &str, own: impl Fn(&T) -> &str) -> Option<&'a T> {
    let exact = all.iter().find(|one| own(one) == name);
    exact.or_else(|| all.iter().find(|one| own(one).eq_ignore_ascii_case(name)))
}

/// The files that may be meant: those that are called so, brackets and all; else those that a title names, and the hash
/// behind their name in it.
fn named<'a>(files: &'a [Found], name: &'a str) -> (Vec<&'a Found>, Option<&'a str>) {
    let as_given = called(files, name);
    if !as_given.is_empty() {
        return (as_given, None);
    }
    let title = name.strip_suffix(']').and_then(|title| title.rsplit_once(" ["));
    match title.filter(|(_, hash)| is_hash(hash)) {
        Some((bare, hash)) => (called(files, bare), Some(hash)),
        None => (Vec::new(), None),
    }
}

/// Those of this file name, with its folders or without, or of this stem, in the order of [`spelled`].
fn called<'a>(files: &'a [Found], name: &str) -> Vec<&'a Found> {
    let rank = |found: &Found| {
        // Web UIs call what lies in a folder by its path here, by its last part there.
        let last = found.file_name.rsplit('/').next().unwrap_or_default();
        let own = [found.file_name.as_str(), last, found.stem.as_str()];
        let in_any_case = || own.iter().position(|own| own.eq_ignore_ascii_case(name));
        let exact = own.iter().position(|own| *own == name);
        exact.or_else(|| in_any_case().map(|place| own.len() + place))
    };
    let mut called: Vec<_> = files.iter().filter_map(|found| Some((rank(found)?, found))).collect();
    called.sort_by_key(|(rank, _)| *rank);
    called.into_iter().map(|(_, found)| found).collect()
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
mod tests;
