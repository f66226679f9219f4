//! The names of textual inversions in pictures, read once for each state of a file: a picture says itself what it is called,
//! and whoever shares it may call the file anything.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gesso_torch::embedding::Embedding;

use super::hashes::Stamp;

/// What files that are pictures end in. The others are called as their file is.
const PICTURES: [&str; 2] = ["png", "webp"];

/// The cache.
#[derive(Debug, Default)]
pub(super) struct InnerNames(Mutex<HashMap<PathBuf, (Stamp, Option<String>)>>);

impl InnerNames {
    /// `None` for a file that is no picture, or is none with a textual inversion in it: whoever loads it says why.
    pub(super) fn of(&self, path: &Path) -> Option<String> {
        let extension = path.extension()?.to_str()?;
        if !PICTURES.iter().any(|picture| picture.eq_ignore_ascii_case(extension)) {
            return None;
        }
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(path).ok()?;
        if let Some((known, name)) = lock().get(path)
            && *known == stamp
        {
            return name.clone();
        }
        let name = Embedding::load(path).ok().map(|embedding| embedding.name);
        lock().insert(path.to_owned(), (stamp, name.clone()));
        name
    }
}
