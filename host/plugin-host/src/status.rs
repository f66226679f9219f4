//! What an admin sees of a plugin. Built by the table, serialised by the server.

use crate::audience::Audience;
use crate::budgets::PluginBudgets;
use crate::manifest::Wants;
use crate::on_failure::OnFailures;
use crate::registry::{Called, VersionRef};
use crate::remote::Source;
use crate::settings::Grants;
use crate::stores::StoreUse;
use serde::Serialize;
use std::collections::BTreeMap;

/// One plugin as it stands now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginStatus {
    pub id: String,
    pub state: PluginState,
    /// Version of the active build, or of the refused one where none is active.
    pub version: Option<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub licence: Option<String>,
    pub worlds: Vec<String>,
    pub hooks: Vec<String>,
    /// SHA-256 of the active build, hex.
    pub digest: Option<String>,
    /// Where the active build was brought from, if not uploaded or laid into the folder.
    pub source: Option<Source>,
    /// The Ed25519 key that signed the active build, hex.
    pub signed_by: Option<String>,
    pub wants: Wants,
    pub granted: Grants,
    /// What calls of the active build may spend. Drawings that are counted together with those of other plugins have no figure.
    pub budgets: Option<PluginBudgets>,
    pub settings_schema: Option<serde_json::Value>,
    pub arguments_schema: Option<serde_json::Value>,
    /// Where its HTTP API is mounted, if it has one.
    pub route: Option<String>,
    /// Where else it answers.
    pub aliases: Vec<String>,
    pub enabled: bool,
    pub on_failure: OnFailures,
    pub called: Called,
    pub serves: Audience,
    /// Whether a request may leave it out.
    pub may_be_left_out: bool,
    /// Place in the chain of hooks, from 0.
    pub position: usize,
    /// Calls under way, with those that wait for their turn.
    pub running: usize,
    pub calls: u64,
    pub failures: u64,
    /// The same by what was broken, see [`FailureKind`](crate::FailureKind).
    pub failures_by_reason: BTreeMap<&'static str, u64>,
    /// Text of the newest failed call.
    pub last_failure: Option<String>,
    /// Highest linear memory of one call, bytes.
    pub memory_peak_bytes: u64,
    /// From start to end: what half of the newest calls, and 95 of 100, did not exceed, milliseconds.
    pub wall_ms_p50: Option<f64>,
    pub wall_ms_p95: Option<f64>,
    /// Processor time of all calls, milliseconds.
    pub cpu_ms: u64,
    /// What it keeps.
    pub data: StoreUse,
    /// What a roll-back returns to.
    pub previous: Option<VersionRef>,
    /// Why a newer build in the folder is not the active one.
    pub refused_update: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum PluginState {
    Active,
    /// Loaded, but switched off by the admin.
    Disabled,
    Refused {
        reason: String,
    },
}
