//! What owners set once for all of their requests: the web UI's options that differ from the defaults. Each owner has
//! their own, with a number that grows with every change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gesso_store::Documents;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::wire::fields::FieldProblem;
use crate::http::wire::file_format::FileFormat;
use crate::http::wire::options;

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
        let mut body = Map::new();
        options::lay_under(&mut body, &self.options);
        FileFormat::of(&body).map_err(AppError::Invalid)
    }
}

/// Everybody's.
pub(crate) struct SavedOptions {
    documents: Documents,
    known: Mutex<HashMap<String, Arc<OptionSet>>>,
    /// Held while options are changed, so that changes come one after the other.
    changing: tokio::sync::Mutex<()>,
}

/// Owners whose options are kept in memory.
const KNOWN_MAX: usize = 1_000;

impl SavedOptions {
    pub(crate) fn new(documents: Documents) -> Self {
        Self { documents, known: Mutex::default(), changing: tokio::sync::Mutex::default() }
    }

    /// The owner's options; none were set as long as there is no file.
    pub(crate) async fn of(self: &Arc<Self>, owner: &str) -> Result<Arc<OptionSet>, AppError> {
        if let Some(set) = self.known(owner) {
            return Ok(set);
        }
        let (documents, name) = (self.documents.clone(), owner.to_owned());
        // The blocking pool: a file.
        let read = blocking(move || documents.read::<OptionSet>(&name)).await?;
        let set = Arc::new(read.map_err(|error| AppError::Internal(error.to_string()))?.unwrap_or_default());
        self.keep(owner, set.clone());
        Ok(set)
    }

    /// Lays `change` over the owner's options, durably.
    ///
    /// # Errors
    /// Every option that is not known or whose value cannot be read; nothing is changed then.
    pub(crate) async fn change(
        self: &Arc<Self>,
        app: &App,
        owner: &str,
        change: &Map<String, Value>,
    ) -> Result<Arc<OptionSet>, AppError> {
        let _one_at_a_time = self.changing.lock().await;
        let before = self.of(owner).await?;
        let mut merged =
            options::change(&app.defaults, &before.options, change).map_err(AppError::Invalid)?;
        self.settle_checkpoint(app, change, &mut merged).await?;
        if merged == before.options {
            return Ok(before);
        }
        let set = Arc::new(OptionSet { version: before.version + 1, options: merged });
        let (documents, name, written) = (self.documents.clone(), owner.to_owned(), set.clone());
        // The blocking pool: a file.
        blocking(move || documents.write(&name, &*written))
            .await?
            .map_err(|error| AppError::Internal(format!("the options cannot be written: {error}")))?;
        self.keep(owner, set.clone());
        Ok(set)
    }

    /// A checkpoint must be there; the one that is drawn with anyway is not kept, so that a new default is followed.
    async fn settle_checkpoint(
        &self,
        app: &App,
        change: &Map<String, Value>,
        merged: &mut Map<String, Value>,
    ) -> Result<(), AppError> {
        let Some(name) = change.get(options::CHECKPOINT).filter(|value| !value.is_null()) else {
            return Ok(());
        };
        let name = name.as_str().unwrap_or_default().to_owned();
        let catalogue = app.catalogue.clone();
        // The blocking pool: folders and the heads of files.
        let (named, default) =
            blocking(move || (catalogue.checkpoint(Some(&name)), catalogue.checkpoint(None))).await?;
        let named = named.map_err(|error| {
            AppError::Invalid(vec![FieldProblem {
                field: options::CHECKPOINT.into(),
                message: error.to_string(),
            }])
        })?;
        match default {
            Ok(default) if default.file == named.file => merged.shift_remove(options::CHECKPOINT),
            _ => merged.insert(options::CHECKPOINT.into(), named.file_name.into()),
        };
        Ok(())
    }

    fn known(&self, owner: &str) -> Option<Arc<OptionSet>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(owner).cloned()
    }

    fn keep(&self, owner: &str, set: Arc<OptionSet>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(owner.to_owned(), set);
    }
}
