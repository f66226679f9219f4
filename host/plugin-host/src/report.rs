//! What a chain of hooks tells beside what came of it: who changed something, and who was left out. Filled by the chains, told
//! to clients by the server.

use crate::error::HookError;
use crate::table::Entry;
use serde::{Deserialize, Serialize};

/// A plugin that changed something of a request, in the version that did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActingPlugin {
    pub id: String,
    pub version: String,
}

impl ActingPlugin {
    pub(crate) fn of(entry: &Entry) -> Self {
        let version = entry.active.as_ref().map(|loaded| loaded.manifest.version.clone());
        Self { id: entry.id.clone(), version: version.unwrap_or_default() }
    }
}

/// What one chain tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainReport {
    /// In the order in which they acted.
    pub acted: Vec<ActingPlugin>,
    /// Remarks for the client: which plugins were left out, and why.
    pub warnings: Vec<String>,
}

impl ChainReport {
    pub(crate) fn note_change(&mut self, entry: &Entry) {
        self.acted.push(ActingPlugin::of(entry));
    }

    pub(crate) fn note_left_out(&mut self, entry: &Entry, error: &HookError) {
        let title = entry.served.as_ref().and_then(|manifest| manifest.title.as_deref());
        self.warnings.push(format!("{} was left out: {error}", title.unwrap_or(&entry.id)));
    }
}
