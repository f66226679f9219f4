//! What an admin lets a plugin do, as the settings file (`[grants.<id>]`) and `PUT /plugins/{id}/grants` say it: one type,
//! so that what can be granted in one place can be in the other. The plugin host's own, which it stores, is `Grants`. Budgets of
//! a grant are written as those that several plugins share (`[plugin_tiers.<name>]`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use gesso_plugin_host::{CallBudget, Grants, PluginBudgets};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What an admin lets a plugin do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantBody {
    /// Name the plugin uses -> absolute path of a folder on the server that it may read.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub(crate) folders: BTreeMap<String, PathBuf>,
    /// Hosts it may send requests to: `https://pictures.example`, `*.example:8443`, `http://127.0.0.1:9000`.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Whether names among these hosts may stand for addresses of the server's machine and of private networks.
    #[serde(default)]
    pub(crate) private_addresses: bool,
    /// Networks it may run: names, `*` for all, or how names begin with `*` behind it.
    #[serde(default)]
    pub(crate) models: Vec<String>,
    /// Whether its step hook may read numbers off the device, for which everything there waits.
    #[serde(default)]
    pub(crate) read_tensors: bool,
    /// Bytes it may keep as small values, keys counted; 0 for none.
    #[serde(default)]
    pub(crate) kv_bytes: u64,
    /// Bytes it may keep as blobs, names counted; 0 for none.
    #[serde(default)]
    pub(crate) blob_bytes: u64,
    /// Paths beside `/ext/<id>/` at which it answers, of those that it wants: `/adetailer/v1`.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// Whether browsers take its pages for the server's own, so that their scripts act with the rights of who looks at them.
    #[serde(default)]
    pub(crate) own_origin: bool,
    /// What its calls may spend, where that is neither what its tier says nor what every plugin's may.
    #[serde(default)]
    pub(crate) budgets: BudgetsBody,
    /// Budgets that it shares with other plugins: the name of one of the settings' `plugin_tiers`.
    pub(crate) tier: Option<String>,
    /// The plugin's own settings.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) settings: serde_json::Map<String, Value>,
}

/// What the calls of a plugin may spend, by what they are for. What is left out is as it is for every plugin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetsBody {
    /// Hooks but those of pictures and steps, and the HTTP API.
    #[serde(default)]
    pub(crate) hook: CallBudgetBody,
    /// Scripts and picture hooks.
    #[serde(default)]
    pub(crate) script: CallBudgetBody,
    /// Annotators.
    #[serde(default)]
    pub(crate) annotator: CallBudgetBody,
    /// Input fetchers.
    #[serde(default)]
    pub(crate) fetcher: CallBudgetBody,
    /// Step hooks, which everything on the device waits for: 10 seconds at most.
    #[serde(default)]
    pub(crate) step: CallBudgetBody,
    /// Drawings and enlargements that it may ask for in one request; 0 for none. Left out, they count with those of the
    /// request's other plugins against `limits.script_jobs_max`.
    pub(crate) script_jobs_max: Option<u32>,
    /// Megapixels times steps over all of them; left out, as above with `limits.script_megapixel_steps_max`.
    pub(crate) script_megapixel_steps_max: Option<u32>,
}

/// What one call may spend. What is left out is as it is for every plugin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallBudgetBody {
    /// Processor time, milliseconds.
    pub(crate) cpu_ms: Option<u64>,
    /// From start to end, milliseconds.
    pub(crate) wall_ms: Option<u64>,
    /// Memory, MiB.
    pub(crate) memory_mib: Option<u64>,
}

impl From<CallBudgetBody> for CallBudget {
    fn from(body: CallBudgetBody) -> Self {
        let CallBudgetBody { cpu_ms, wall_ms, memory_mib } = body;
        Self { cpu_ms, wall_ms, memory_mib }
    }
}

impl From<BudgetsBody> for PluginBudgets {
    fn from(body: BudgetsBody) -> Self {
        let BudgetsBody {
            hook,
            script,
            annotator,
            fetcher,
            step,
            script_jobs_max,
            script_megapixel_steps_max,
        } = body;
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

impl From<GrantBody> for Grants {
    fn from(body: GrantBody) -> Self {
        let GrantBody {
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
        } = body;
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
            settings: Value::Object(settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_said_is_granted() {
        let said = json!({
            "folders": {"a": "/a"}, "hosts": ["https://a.example"], "private_addresses": true, "models": ["*"],
            "read_tensors": true, "kv_bytes": 1, "blob_bytes": 2, "aliases": ["/a"],
            "own_origin": true,
            "budgets": {
                "hook": {"cpu_ms": 1, "wall_ms": 2, "memory_mib": 3}, "script": {"cpu_ms": 4, "wall_ms": 5, "memory_mib": 6},
                "annotator": {"cpu_ms": 7, "wall_ms": 8, "memory_mib": 9},
                "fetcher": {"cpu_ms": 10, "wall_ms": 11, "memory_mib": 12},
                "step": {"cpu_ms": 13, "wall_ms": 14, "memory_mib": 15},
                "script_jobs_max": 16, "script_megapixel_steps_max": 17,
            },
            "tier": "trusted", "settings": {"b": 3},
        });
        let body: GrantBody = serde_json::from_value(said.clone()).unwrap();
        assert_eq!(serde_json::to_value(Grants::from(body)).unwrap(), said);
        for unknown in [json!({"sockets": true}), json!({"budgets": {"script": {"cpu": 1}}})] {
            assert!(serde_json::from_value::<GrantBody>(unknown.clone()).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_grant_that_says_nothing_of_budgets_leaves_them_as_they_are() {
        let body: GrantBody = serde_json::from_value(json!({"hosts": []})).unwrap();
        assert_eq!(Grants::from(body).budgets, PluginBudgets::default());
        let body: GrantBody = serde_json::from_value(json!({"budgets": {"hook": {"cpu_ms": 5}}})).unwrap();
        let hook = CallBudget { cpu_ms: Some(5), ..CallBudget::default() };
        assert_eq!(Grants::from(body).budgets, PluginBudgets { hook, ..PluginBudgets::default() });
    }
}
