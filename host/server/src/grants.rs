//! What an admin lets a plugin do, as the settings file (`[grants.<id>]`) and `PUT /plugins/{id}/grants` say it: one type,
//! so that what can be granted in one place can be in the other. The plugin host's own, which it stores, is `Grants`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gesso_plugin_host::Grants;
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
    /// The plugin's own settings.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) settings: serde_json::Map<String, Value>,
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
            "read_tensors": true, "kv_bytes": 1, "blob_bytes": 2, "aliases": ["/a"], "settings": {"b": 3},
        });
        let body: GrantBody = serde_json::from_value(said.clone()).unwrap();
        assert_eq!(serde_json::to_value(Grants::from(body)).unwrap(), said);
        let unknown: Result<GrantBody, _> = serde_json::from_value(json!({"sockets": true}));
        assert!(unknown.is_err());
    }
}
