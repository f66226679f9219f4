//! What owners set once for all of their requests: the web UI's options that differ from the defaults. Each owner has
//! their own, with a number that grows with every change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gesso_core::hires::UpscaleTiles;
use gesso_store::Documents;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::blocking::blocking;
use crate::catalogue::{Catalogue, CatalogueError};
use crate::error::AppError;
use crate::http::wire::extras::{self, Operation};
use crate::http::wire::fields::FieldProblem;
use crate::http::wire::file_format::FileFormat;
use crate::http::wire::generate::Defaults;
use crate::http::wire::interrogate::TagOptions;
use crate::http::wire::options;
use crate::http::wire::output_options::OutputOptions;
use crate::lock::lock;

/// One owner's, at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OptionSet {
    /// 0 as long as nothing was set.
    pub(crate) version: u64,
    pub(crate) options: Map<String, Value>,
}

impl OptionSet {
    /// In which kind of file pictures come.
    pub(crate) fn file_format(&self) -> Result<FileFormat, AppError> {
        FileFormat::of(&self.as_body()).map_err(AppError::Invalid)
    }

    /// Which tags of pictures are told, and how.
    pub(crate) fn tag_options(&self) -> Result<TagOptions, AppError> {
        TagOptions::of(&self.as_body()).map_err(AppError::Invalid)
    }

    /// How networks enlarge pictures.
    pub(crate) fn upscale_tiles(&self) -> Result<UpscaleTiles, AppError> {
        extras::upscale_tiles(&self.as_body()).map_err(AppError::Invalid)
    }

    /// In which order the extras do what they do.
    pub(crate) fn operation_order(&self) -> Result<[Operation; 3], AppError> {
        extras::operation_order(&self.as_body()).map_err(AppError::Invalid)
    }

    /// Whether pictures hold how they were made.
    pub(crate) fn tells_in_pictures(&self) -> Result<bool, AppError> {
        let outputs = OutputOptions::of(&self.as_body()).map_err(AppError::Invalid)?;
        Ok(outputs.tells_in_pictures)
    }

    /// Of a request that overrides none of them.
    fn as_body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        options::lay_under(&mut body, &self.options);
        body
    }
}

/// Everybody's.
pub(crate) struct SavedOptions {
    documents: Documents,
    known: Mutex<HashMap<String, Arc<OptionSet>>>,
    /// Held while a file is read into `known` or changed, so that what is known is what was written last.
    files: Mutex<()>,
}

/// Owners whose options are kept in memory.
const KNOWN_MAX: usize = 1_000;

impl SavedOptions {
    pub(crate) fn new(documents: Documents) -> Self {
        Self { documents, known: Mutex::default(), files: Mutex::default() }
    }

    /// The owner's options; none were set as long as there is no file.
    pub(crate) async fn of(self: &Arc<Self>, owner: &str) -> Result<Arc<OptionSet>, AppError> {
        if let Some(set) = self.known(owner) {
            return Ok(set);
        }
        let (saved, owner) = (self.clone(), owner.to_owned());
        // The blocking pool: a file.
        blocking(move || {
            let _one_at_a_time = lock(&saved.files);
            saved.read(&owner)
        })
        .await?
    }

    /// Lays `change` over the owner's options, durably. A checkpoint that it names has to be in the catalogue.
    ///
    /// # Errors
    /// Every option that is not known or whose value cannot be read; nothing is changed then.
    pub(crate) async fn change(
        self: &Arc<Self>,
        (defaults, catalogue): (Defaults, Arc<Catalogue>),
        owner: &str,
        change: Map<String, Value>,
    ) -> Result<Arc<OptionSet>, AppError> {
        let (saved, owner) = (self.clone(), owner.to_owned());
        // The blocking pool: files, and the heads of checkpoints.
        blocking(move || {
            let _one_at_a_time = lock(&saved.files);
            let before = saved.read(&owner)?;
            let mut merged =
                options::change(&defaults, &before.options, &change).map_err(AppError::Invalid)?;
            settle_checkpoint(&catalogue, &before.options, &change, &mut merged)?;
            if merged == before.options {
                return Ok(before);
            }
            let set = Arc::new(OptionSet { version: before.version + 1, options: merged });
            saved
                .documents
                .write(&owner, &*set)
                .map_err(|error| AppError::Internal(format!("the options cannot be written: {error}")))?;
            saved.keep(&owner, set.clone());
            Ok(set)
        })
        .await?
    }

    /// What is known, or what can be read of what the file says.
    fn read(&self, owner: &str) -> Result<Arc<OptionSet>, AppError> {
        if let Some(set) = self.known(owner) {
            return Ok(set);
        }
        let read = self.documents.read::<OptionSet>(owner);
        let mut set = read.map_err(|error| AppError::Internal(error.to_string()))?.unwrap_or_default();
        for FieldProblem { field, message } in options::drop_unreadable(&mut set.options) {
            tracing::warn!(owner, option = field, "a saved option is left at its default: {message}");
        }
        let set = Arc::new(set);
        self.keep(owner, set.clone());
        Ok(set)
    }

    fn known(&self, owner: &str) -> Option<Arc<OptionSet>> {
        lock(&self.known).get(owner).cloned()
    }

    fn keep(&self, owner: &str, set: Arc<OptionSet>) {
        let mut known = lock(&self.known);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(owner.to_owned(), set);
    }
}

/// A checkpoint must be there, and one that can be drawn with, unless it is drawn with already: clients post back all that they
/// were told. The one that is drawn with anyway is not kept, so that a new default is followed.
fn settle_checkpoint(
    catalogue: &Catalogue,
    before: &Map<String, Value>,
    change: &Map<String, Value>,
    merged: &mut Map<String, Value>,
) -> Result<(), AppError> {
    let Some(name) = change.get(options::CHECKPOINT).filter(|value| !value.is_null()) else { return Ok(()) };
    let name = name.as_str().unwrap_or_default();
    let refused = |error: CatalogueError| match error {
        CatalogueError::Unusable { .. } => AppError::unusable_model(options::CHECKPOINT, error.to_string()),
        _ => AppError::invalid(options::CHECKPOINT, error.to_string()),
    };
    let named = catalogue.checkpoint(Some(name)).map_err(refused)?;
    if catalogue.checkpoint(None).is_ok_and(|default| default.file == named.file) {
        merged.shift_remove(options::CHECKPOINT);
        return Ok(());
    }
    let file_name = Value::from(named.file_name);
    if before.get(options::CHECKPOINT) != Some(&file_name) {
        catalogue.drawable(Some(name)).map_err(refused)?;
    }
    merged.insert(options::CHECKPOINT.into(), file_name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn what_cannot_be_read_any_more_is_the_default_and_the_rest_stands() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::new(folder.path());
        let kept = json!({"grid_background_color": "white", "n_rows": "few", "eta_ddim": 0.5, "font": "x"});
        let set = OptionSet { version: 3, options: kept.as_object().unwrap().clone() };
        documents.write("ann", &set).unwrap();
        let saved = Arc::new(SavedOptions::new(documents));
        let read = saved.of("ann").await.unwrap();
        assert_eq!(Value::Object(read.options.clone()), json!({"eta_ddim": 0.5, "font": "x"}));
        assert_eq!(read.version, 3);
    }
}
