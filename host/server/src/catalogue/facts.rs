//! What checkpoints are made for, read once for each state of a file from its head.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::hashes::Stamp;

/// What of a checkpoint shows in the answers to those who draw with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelFacts {
    /// Its UNet reads a mask and the masked picture.
    pub(crate) inpaints: bool,
    /// Its UNet reads the picture that an instruction is about.
    pub(crate) edits_pictures: bool,
    /// Numbers in the vector of a token.
    pub(crate) text_width: i64,
}

/// The cache, with the state of the file each was read in.
#[derive(Debug, Default)]
pub(super) struct Facts(Mutex<HashMap<PathBuf, (Stamp, Option<ModelFacts>)>>);

impl Facts {
    /// `None` for a file that cannot be drawn with: whoever loads it says why.
    pub(super) fn of(&self, path: &Path) -> Option<ModelFacts> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of_model(path).ok()?;
        if let Some((known, facts)) = lock().get(path)
            && *known == stamp
        {
            return *facts;
        }
        let facts = gesso_torch::inspect_model(path).ok().map(|(layout, facts)| ModelFacts {
            inpaints: facts.inpaints(),
            edits_pictures: facts.edits_pictures(),
            text_width: layout.text.width,
        });
        lock().insert(path.to_owned(), (stamp, facts));
        facts
    }
}
