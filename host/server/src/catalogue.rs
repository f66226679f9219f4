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
            // Without one that can be drawn with it is the first all the same: whoever loads it says what is wrong.
            let drawable = files.iter().find(|found| self.facts.of(&found.path).is_some());
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

    /// Why nothing can be drawn with what the folder holds, or not with the default, as a sentence with the remedy; `None`
    /// where something can. It names folders, so it is for whoever runs the program and for no client. Reads as much as
    /// [`Catalogue::checkpoints`] does, without hashing; call it where blocking is allowed.
    pub(crate) fn shortage(&self) -> Option<String> {
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
        if !files.iter().any(|found| self.facts.of(&found.path).is_some()) {
            let why = gesso_torch::inspect_model(&first.path).err()?;
            return Some(format!(
                "no checkpoint in {folder} can be drawn with ({} there): {why}",
                files.len()
            ));
        }
        let default = self.default.as_deref()?;
        let is_missing = named(&files, default).0.is_empty() && !is_hash(default);
        is_missing.then(|| format!("default_model: {}", unknown(Kind::Checkpoint, &files, default)))
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
        let (called, hash) = named(&files, name);
        // Control networks of one name in several folders are told apart by what their titles say of them.
        let is_meant = |found: &&Found| hash.is_some_and(|hash| self.has_short_hash(&found.path, hash));
        let several = if called.len() > 1 { &called[..] } else { &[] };
        let found = several.iter().copied().find(is_meant).or_else(|| called.first().copied());
        let found = found.or_else(by_alias).ok_or_else(|| unknown(kind, &files, name))?;
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
        self.facts.of(&checkpoint.path)
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

/// Those of this file name or stem.
fn called<'a>(files: &'a [Found], name: &str) -> Vec<&'a Found> {
    let is_called =
        |found: &&Found| [&found.file_name, &found.stem].iter().any(|own| own.eq_ignore_ascii_case(name));
    files.iter().filter(is_called).collect()
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
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

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

    /// Writes files into a folder and its folders.
    fn write(folder: &Path, files: &[(&str, &[u8])]) {
        for (file, bytes) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    #[test]
    fn brackets_are_part_of_a_name_unless_a_hash_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[
                ("Lora/ink.safetensors", b""),
                ("Lora/ink [v2].safetensors", b""),
                ("a.ckpt", b"xyz"),
                ("a [v2].ckpt", b"abc"),
            ],
        );
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        let lora = |name| catalogue.find(Kind::Lora, name).map(|file| file.name.clone()).ok();
        for (name, found) in [
            ("ink", Some("ink")),
            ("Ink [V2]", Some("ink [v2]")),
            ("ink [0123456789ab]", Some("ink")),
            ("ink [v2] [0123456789ab]", Some("ink [v2]")),
            ("ink [v3]", None),
        ] {
            assert_eq!(lora(name).as_deref(), found, "{name}");
        }
        let title = "a [v2].ckpt [ba7816bf8f]";
        for name in ["a [v2].ckpt", "a [v2]", title, "a [v2] [ba7816bf8f]"] {
            assert_eq!(catalogue.checkpoint(Some(name)).unwrap().title(), title, "{name}");
        }
        assert!(catalogue.checkpoint(Some("a [v3].ckpt")).is_err());
    }

    #[test]
    fn a_hash_tells_files_of_one_name_apart() {
        let folder = tempfile::tempdir().unwrap();
        let middle = [vec![0; 1 << 20], b"abc".to_vec()].concat();
        write(
            folder.path(),
            &[
                ("ControlNet/one/canny.pth", b"one"),
                ("ControlNet/two/canny.pth", &middle),
                ("one/a.ckpt", b"one"),
                ("two/a.ckpt", b"abc"),
            ],
        );
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        let control = |name| catalogue.find(Kind::Control, name).unwrap().path.clone();
        assert_eq!(control("canny [ba7816bf]"), folder.path().join("ControlNet/two/canny.pth"));
        // Web UIs hash in more than one way, and one that fits none is no reason to refuse.
        for name in ["canny", "canny [01234567]"] {
            assert_eq!(control(name), folder.path().join("ControlNet/one/canny.pth"), "{name}");
        }
        assert_eq!(catalogue.checkpoint(Some("a [ba7816bf8f]")).unwrap().file_name, "two/a.ckpt");
        assert_eq!(catalogue.checkpoint(Some("a")).unwrap().file_name, "one/a.ckpt");
    }

    #[test]
    fn a_checkpoint_answers_to_its_old_hash_of_eight_digits() {
        let folder = tempfile::tempdir().unwrap();
        let middle = [vec![0; 1 << 20], b"abc".to_vec()].concat();
        write(folder.path(), &[("a.ckpt", &middle), ("b.ckpt", b"xyz")]);
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        for name in ["ba7816bf", "BA7816BF", "a.ckpt [ba7816bf]", "a [ba7816bf]"] {
            assert_eq!(catalogue.checkpoint(Some(name)).unwrap().file_name, "a.ckpt", "{name}");
        }
        // More digits than the old hash had are of the other one.
        assert!(catalogue.checkpoint(Some("ba7816bf8f")).is_err());
        // That of a whole file goes before, once it is known.
        std::fs::write(folder.path().join("c.ckpt"), b"abc").unwrap();
        assert_eq!(catalogue.checkpoint(Some("ba7816bf8f")).unwrap().file_name, "c.ckpt");
        assert_eq!(catalogue.checkpoint(Some("ba7816bf")).unwrap().file_name, "c.ckpt");
    }

    #[test]
    fn no_checkpoint_is_read_as_a_whole_for_the_old_hash_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let middle = [vec![0; 1 << 20], b"abc".to_vec()].concat();
        write(folder.path(), &[("a.ckpt", b"xyz"), ("b.ckpt", &middle)]);
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        assert_eq!(catalogue.checkpoint(Some("ba7816bf")).unwrap().file_name, "b.ckpt");
        let is_read =
            |name: &str| catalogue.hashes.if_known(&folder.path().join(name), Part::Whole).is_some();
        assert_eq!((is_read("a.ckpt"), is_read("b.ckpt")), (false, true));
    }

    #[test]
    fn the_default_is_a_checkpoint_that_can_be_drawn_with() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[("a.ckpt", b"something else")]);
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        assert_eq!(catalogue.checkpoint(None).unwrap().file_name, "a.ckpt", "none better is there");
        let demo = "../../examples/demo-model/demo-v1.safetensors";
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join(demo);
        std::fs::copy(demo, folder.path().join("b.safetensors")).unwrap();
        assert_eq!(catalogue.checkpoint(None).unwrap().file_name, "b.safetensors");
    }

    #[test]
    fn what_keeps_a_folder_from_being_drawn_with_is_said_with_the_folder_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let shortage = |default: Option<&str>| {
            Catalogue::new(folder.path().join("models"), default.map(str::to_owned), None).shortage()
        };
        let place = folder.path().join("models").display().to_string();
        let is_said = |word: &str| {
            let said = shortage(None).unwrap();
            assert!(said.contains(&place) && said.contains(word), "{said}");
        };
        is_said("cannot be read");
        std::fs::create_dir(folder.path().join("models")).unwrap();
        is_said("--models");
        // The head of a Stable Diffusion XL checkpoint, whose second text encoder tells it.
        let tensor = r#"{"dtype":"F16","shape":[1],"data_offsets":[0,2]}"#;
        let header = format!(r#"{{"conditioner.embedders.1.model.ln_final.weight":{tensor}}}"#);
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 2][..]].concat();
        std::fs::write(folder.path().join("models/large.safetensors"), bytes).unwrap();
        is_said("it is a Stable Diffusion XL");
        let demo =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo-model/demo-v1.safetensors");
        std::fs::copy(demo, folder.path().join("models/demo.safetensors")).unwrap();
        assert_eq!(shortage(None), None);
        assert_eq!(shortage(Some("Demo.safetensors")), None);
        let said = shortage(Some("dema")).unwrap();
        assert!(said.contains("default_model") && said.contains("did you mean \"demo\"?"), "{said}");
    }

    /// A PNG with a textual inversion of one vector in its text.
    fn picture(name: &str) -> Vec<u8> {
        let tensor = serde_json::json!({"*": {"TORCHTENSOR": [[0.5, 0.25]]}});
        let json = serde_json::json!({"name": name, "string_to_param": tensor});
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        let text = BASE64_STANDARD.encode(json.to_string());
        encoder.add_text_chunk("sd-ti-embedding".into(), text).unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0; 3]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn a_textual_inversion_in_a_picture_is_called_what_the_picture_says() {
        let folder = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 4] = [
            ("embeddings/download 1.png", &picture("night")),
            ("embeddings/unnamed.PNG", &picture("")),
            ("embeddings/broken.webp", b"no picture"),
            ("embeddings/easy.pt", b""),
        ];
        write(folder.path(), &files);
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        let names = || -> Vec<_> {
            catalogue.embeddings().unwrap().into_iter().map(|file| file.name.clone()).collect()
        };
        assert_eq!(names(), ["broken", "night", "easy", "unnamed"]);
        write(folder.path(), &[("embeddings/download 1.png", &picture("another night"))]);
        assert_eq!(names(), ["broken", "another night", "easy", "unnamed"]);
    }

    #[test]
    fn a_vae_goes_with_the_checkpoint_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.ckpt", "a.vae.pt", "b.ckpt", "VAE/b.safetensors", "c.ckpt"] {
            write(folder.path(), &[(file, file.as_bytes())]);
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
