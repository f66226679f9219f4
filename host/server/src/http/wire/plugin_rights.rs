//! What an admin sees of a plugin's rights: grants, budgets, and what its failures cost. The other parts of the view are in
//! `plugin`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gesso_plugin_host::{
    CallBudget, Grants, HookWorld, OnFailure, OnFailures, PluginBudgets, SettingsVersion,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What an admin lets a plugin do, as it was granted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantsView {
    /// Name the plugin uses -> absolute path of a folder on the server that it may read.
    #[schema(value_type = BTreeMap<String, String>)]
    folders: BTreeMap<String, PathBuf>,
    /// Hosts it may send requests to.
    hosts: Vec<String>,
    /// Whether names among these hosts may stand for addresses of the server's machine and of private networks.
    private_addresses: bool,
    /// Networks it may run.
    models: Vec<String>,
    /// Whether its step hook may read numbers off the device.
    read_tensors: bool,
    /// Bytes it may keep as small values, keys counted; 0 for none.
    kv_bytes: u64,
    /// Bytes it may keep as blobs, names counted; 0 for none.
    blob_bytes: u64,
    /// Paths beside its own at which it answers.
    aliases: Vec<String>,
    /// Whether browsers take its pages for the server's own.
    own_origin: bool,
    /// What its calls may spend; null where its tier or the settings say it.
    budgets: BudgetsView,
    /// Budgets that it shares with other plugins, by the name in the settings' `plugin_tiers`; null where none was named.
    #[schema(required)]
    tier: Option<String>,
    /// The plugin's own settings; null where none were given.
    #[schema(value_type = Option<Object>, required)]
    settings: Value,
}

/// What the calls of a plugin may spend, by what they are for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetsView {
    /// Hooks but those of pictures and steps, and the HTTP API.
    hook: CallBudgetView,
    /// Scripts and picture hooks.
    script: CallBudgetView,
    /// Annotators.
    annotator: CallBudgetView,
    /// Input fetchers.
    fetcher: CallBudgetView,
    /// Step hooks.
    step: CallBudgetView,
    /// Drawings and enlargements that it may ask for in one request; null where they count with those of the request's other
    /// plugins (`limits.script_jobs_max`).
    #[schema(required)]
    script_jobs_max: Option<u32>,
    /// Megapixels times steps over all of them; null as above (`limits.script_megapixel_steps_max`).
    #[schema(required)]
    script_megapixel_steps_max: Option<u32>,
}

/// What one call may spend; null where that is not said here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallBudgetView {
    /// Processor time, milliseconds.
    #[schema(required)]
    cpu_ms: Option<u64>,
    /// From start to end, milliseconds.
    #[schema(required)]
    wall_ms: Option<u64>,
    /// Memory, MiB.
    #[schema(required)]
    memory_mib: Option<u64>,
}

/// Settings as a plugin was given them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingsVersionView {
    /// From 1, and never given twice.
    number: u64,
    /// Unix milliseconds; null of those that stood in the settings file.
    #[schema(required)]
    time_ms: Option<u64>,
    /// The user who gave them; null of those that stood in the settings file.
    #[schema(required)]
    by: Option<String>,
    /// All of them.
    #[schema(value_type = Object)]
    settings: Value,
}

/// What a failed call does to the request: `fail` or `skip`, or an object with one of them for each world whose calls a request can
/// go on without (`grid-hook`, `infotext-hook`, `picture-hook`, `request-hook`, `save-hook`, `step-hook`), or for `before` and
/// `after` of a `request-hook`, and for `*`, which is those that it does not name: `fail` where that is left out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OnFailuresView {
    /// For every world.
    Word(&'static str),
    /// By world.
    Worlds(BTreeMap<&'static str, &'static str>),
}

impl From<Grants> for GrantsView {
    fn from(grants: Grants) -> Self {
        let Grants {
            folders,
            hosts,
            private_addresses,
            models,
            read_tensors,
            kv_bytes,
            blob_bytes,
            aliases,
            own_origin,
            budgets,
            tier,
            settings,
        } = grants;
        Self {
            folders,
            hosts,
            private_addresses,
            models,
            read_tensors,
            kv_bytes,
            blob_bytes,
            aliases,
            own_origin,
            budgets: budgets.into(),
            tier,
            settings,
        }
    }
}

impl From<PluginBudgets> for BudgetsView {
    fn from(budgets: PluginBudgets) -> Self {
        let PluginBudgets {
            hook,
            script,
            annotator,
            fetcher,
            step,
            script_jobs_max,
            script_megapixel_steps_max,
        } = budgets;
        Self {
            hook: hook.into(),
            script: script.into(),
            annotator: annotator.into(),
            fetcher: fetcher.into(),
            step: step.into(),
            script_jobs_max,
            script_megapixel_steps_max,
        }
    }
}

impl From<CallBudget> for CallBudgetView {
    fn from(budget: CallBudget) -> Self {
        let CallBudget { cpu_ms, wall_ms, memory_mib } = budget;
        Self { cpu_ms, wall_ms, memory_mib }
    }
}

impl From<SettingsVersion> for SettingsVersionView {
    fn from(version: SettingsVersion) -> Self {
        let SettingsVersion { number, time_ms, by, settings } = version;
        Self { number, time_ms, by, settings }
    }
}

impl From<OnFailures> for OnFailuresView {
    fn from(on_failure: OnFailures) -> Self {
        let word = |said| match said {
            OnFailure::Fail => "fail",
            OnFailure::Skip => "skip",
        };
        let (others, worlds) = on_failure.said();
        let mut all: BTreeMap<_, _> =
            worlds.map(|(world, said): (HookWorld, _)| (world.as_str(), word(said))).collect();
        if all.is_empty() {
            return Self::Word(word(others));
        }
        all.insert("*", word(others));
        Self::Worlds(all)
    }
}
