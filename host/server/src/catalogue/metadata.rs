//! What LoRA files say about themselves, read once for each state of a file: the name their trainer gave them, by which
//! prompts may call them too, and whatever else clients show.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::hashes::Stamp;

/// The trainer's name for a LoRA.
const OUTPUT_NAME: &str = "ss_output_name";

/// A file's own words.
pub(crate) type Words = Arc<BTreeMap<String, String>>;

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Metadata(Mutex<HashMap<PathBuf, (Stamp, Words)>>);

impl Metadata {
    /// Empty for a file that cannot be read or says nothing.
    pub(super) fn of(&self, path: &Path) -> Words {
        let Ok(stamp) = Stamp::of(path) else { return Words::default() };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some((_, words)) = known.filter(|(known, _)| *known == stamp) {
            return words;
        }
        let read = gesso_torch::Tensors::read_metadata(path);
        let words =
            Words::new(read.inspect_err(|error| tracing::warn!(%error, "no LoRA")).unwrap_or_default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), (stamp, words.clone()));
        words
    }
}

/// The name a trainer gave the file.
pub(crate) fn alias(words: &Words) -> Option<&str> {
    words.get(OUTPUT_NAME).map(String::as_str).filter(|name| !name.is_empty())
}
