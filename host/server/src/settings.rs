//! Settings as data: every one with its default and its help. Where they come from is `settings/resolve.rs`; nothing here
//! opens, reads or starts anything.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::accounts::Allowance;
use crate::grants::{BudgetsBody, GrantBody};
use crate::quotas::PINNED_TASKS_MAX;

pub(crate) mod cli;
mod resolve;
mod suggest;

use resolve::OPTIONAL;
pub(crate) use resolve::{ADMIN_KEY_CHARS_MIN, ENVIRONMENT, SettingsError, Surroundings};

/// Everything the server can be told, with units in the names. `None` means "decided at start-up".
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Address and port; port 0 picks a free one.
    pub(crate) listen: String,
    /// Tasks, pictures, keys, plugin state. One server at a time.
    pub(crate) data: PathBuf,
    /// Checkpoints (.safetensors, .ckpt, diffusers' folders) and what belongs to them, in the folders that web UIs have.
    pub(crate) models: PathBuf,
    /// Plugins (.wasm); watched while the server runs.
    pub(crate) plugins: PathBuf,
    /// The checkpoint for requests that name none; unset is the first by name.
    pub(crate) default_model: Option<String>,
    /// Where pictures go: a folder, or s3://bucket/prefix; unset is `objects` in `data`.
    pub(crate) objects: Option<String>,
    /// Folder for pictures of requests with `save_images`, by user, kind and date; unset is `outputs` in `data`.
    pub(crate) outputs: Option<PathBuf>,
    /// Keys of the object store, e.g. `aws_endpoint`, `aws_access_key_id`.
    pub(crate) object_options: BTreeMap<String, String>,
    /// The admin's: a bearer key, and the password of the user `admin`; unset makes one in `data/admin-key` at the first
    /// start.
    pub(crate) admin_key: Option<String>,
    /// Whether requests need credentials: closed (all do), open (only the admin's do), or auto, which is open as long
    /// as nobody has an account and only this machine can reach the server.
    pub(crate) access: Access,
    /// How many days an API key lasts at most, from when it is made; 0 lets keys last for ever. Keys that are there stay.
    pub(crate) api_key_days_max: u64,
    /// How many hours a session lasts at most, however much it is used; one that is not used ends after an hour. 0 is no bound.
    pub(crate) session_hours_max: u64,
    /// Origins whose pages may use the APIs from a browser, such as `https://studio.example`; `*` is any.
    pub(crate) cors_origins: Vec<String>,
    /// Where the server speaks TLS itself: `certificate` and `key`, files in PEM, which SIGHUP has read again.
    pub(crate) tls: Option<TlsSettings>,
    /// auto, cpu, cuda or cuda:N. `auto` takes the first CUDA device, where there is one.
    pub(crate) device: String,
    /// auto, f32, bf16 or f16. `auto` is f16 on CUDA, and measures once at start-up on a processor.
    pub(crate) dtype: String,
    /// CPU threads for libtorch; 0 is one per core.
    pub(crate) threads: usize,
    /// Computes every picture alone, so that it is the same to the bit whatever else is drawn beside it. Pictures that
    /// share a step come out faster, and within a grey level of that.
    pub(crate) deterministic: bool,
    /// Checkpoints kept in the machine's memory.
    pub(crate) resident_models: usize,
    /// Bytes that checkpoints in memory may take together, with the LoRAs laid over them and with the control networks,
    /// upscalers and other networks beside them, which go first; 0 is half of the machine's memory, or of what the server's
    /// container or service may use. What is in use is kept whatever it takes.
    pub(crate) resident_bytes_max: u64,
    /// The same of a CUDA device's memory, with what a picture is computed in; 0 is all that is free at start-up. What was
    /// unused longest goes first there, whatever it is: a checkpoint that is in the machine's memory is copied back and not
    /// read again.
    pub(crate) device_bytes_max: u64,
    /// Default source of noise: NV or CPU.
    pub(crate) randn_source: String,
    /// What URLs to this server begin with, when a proxy stands before it; unset is http://, or https:// with `tls`, and
    /// the host that the client asked.
    pub(crate) public_url: Option<String>,
    /// Addresses and networks, such as `10.0.0.0/8`, of proxies that stand before the server: what these say of who asks, by
    /// `X-Forwarded-For` or `Forwarded`, and of the scheme and the path, by `X-Forwarded-Proto` and `X-Forwarded-Prefix`,
    /// is believed, and of nobody else.
    pub(crate) trusted_proxies: Vec<String>,
    /// How long signed picture URLs last.
    pub(crate) signed_url_seconds: u64,
    /// Tasks that ended so many hours ago are forgotten, with their pictures, unless they are pinned; 0 keeps them.
    pub(crate) retention_hours: u64,
    /// Pictures and results of tasks that ended so many hours ago are deleted, unless they are pinned, while the tasks stay
    /// as `retention_hours` says; 0 keeps them as long as the tasks.
    pub(crate) result_retention_hours: u64,
    /// Hosts whose URLs tasks may name to be told of their end, as in a plugin's grant: `https://*` is every public one.
    pub(crate) webhook_hosts: Vec<String>,
    /// Whether names among these hosts may stand for addresses of this machine and of private networks.
    pub(crate) webhook_private_addresses: bool,
    /// Seconds from each attempt to tell a webhook that failed to the next; after the last it is given up.
    pub(crate) webhook_retry_seconds: Vec<u64>,
    /// How long a draining server waits for running tasks.
    pub(crate) drain_seconds: u64,
    /// Tasks drawn at the same time; their steps share UNet calls.
    pub(crate) concurrent_tasks: usize,
    /// Tasks waiting at most; one more is answered 429.
    pub(crate) waiting_tasks_max: usize,
    /// text or json.
    pub(crate) log_format: String,
    /// A collector that spans are sent to over OTLP (HTTP), such as `http://127.0.0.1:4318`.
    pub(crate) otlp_endpoint: Option<String>,
    /// What requests may ask for.
    pub(crate) limits: LimitSettings,
    /// What each owner may use up, unless their account says otherwise: `requests_per_minute`, `tasks_at_once`,
    /// `pictures_per_day`, `pinned_tasks`; 0 is no bound.
    pub(crate) allowance: Allowance,
    /// Habits of the serverless product and of web UIs that some clients rely on.
    pub(crate) compat: CompatSettings,
    /// What one plugin call may use.
    pub(crate) plugin_budget: BudgetSettings,
    /// Budgets that several plugins share, by the name that their grants say as `tier`: `[plugin_tiers.trusted.script]` with
    /// `cpu_ms`, `wall_ms` and `memory_mib`.
    pub(crate) plugin_tiers: BTreeMap<String, BudgetsBody>,
    /// Ed25519 public keys, 64 hex digits each: where there are any, only plugins that one of them signed are loaded.
    pub(crate) plugin_keys: Vec<String>,
    /// Registries of plugins by host and port, such as `"registry.lan:5000"`: those on this machine or in a private
    /// network, and those that want a name. Others that speak TLS need no entry.
    pub(crate) registries: BTreeMap<String, RegistrySettings>,
    /// What each plugin may touch, by plugin id. Nothing is granted by default.
    pub(crate) grants: BTreeMap<String, GrantBody>,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitSettings {
    pub(crate) side_px_max: u32,
    pub(crate) pixels_max: u64,
    pub(crate) steps_max: u32,
    pub(crate) images_max: u32,
    pub(crate) prompt_bytes_max: usize,
    pub(crate) body_bytes_max: usize,
    /// Drawings and enlargements that one script may ask for.
    pub(crate) script_jobs_max: u32,
    /// Megapixels times steps over all drawings of a script; 512x512 in 20 steps is 5.
    pub(crate) script_megapixel_steps_max: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSettings {
    /// The server's own, then those that vouch for it.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Whether requests need credentials.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    #[default]
    Auto,
    Open,
    Closed,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CompatSettings {
    /// Missing and wrong credentials are answered 410, as there, and not 401.
    pub(crate) login_410: bool,
    /// Calls of the web UI's routes are answered 200 whatever came of them, as there; the body says what did.
    pub(crate) passed_on_200: bool,
    /// `GET /models/{name}` answers with a list of one model, as there, and not with the model.
    pub(crate) model_in_list: bool,
    /// How `/sdapi`, `/controlnet` and the other routes of web UIs tell of failures: a1111 or forge.
    pub(crate) webui_errors: WebUiErrors,
}

/// How failures are written in the web UI's dialect. Fields that are wrong, and paths that are not there, are told in the
/// same way by both.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WebUiErrors {
    /// `{error, detail, body, errors}`; answers have `X-Process-Time`.
    #[default]
    A1111,
    /// `{detail}`.
    Forge,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BudgetSettings {
    pub(crate) cpu_ms: u64,
    pub(crate) wall_ms: u64,
    pub(crate) memory_mib: u64,
    pub(crate) concurrent_calls: usize,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RegistrySettings {
    pub(crate) username: Option<String>,
    /// A password, or a token that stands for one.
    pub(crate) password: Option<String>,
    /// Whether it speaks HTTP and no TLS.
    pub(crate) plain_http: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7860".into(),
            data: "gesso-data".into(),
            models: "models".into(),
            plugins: "plugins".into(),
            default_model: None,
            objects: None,
            outputs: None,
            object_options: BTreeMap::new(),
            admin_key: None,
            access: Access::Auto,
            api_key_days_max: 0,
            session_hours_max: 12,
            cors_origins: Vec::new(),
            tls: None,
            device: "auto".into(),
            dtype: "auto".into(),
            threads: 0,
            deterministic: false,
            resident_models: 2,
            resident_bytes_max: 0,
            device_bytes_max: 0,
            randn_source: "NV".into(),
            public_url: None,
            trusted_proxies: Vec::new(),
            signed_url_seconds: 3600,
            retention_hours: 0,
            result_retention_hours: 0,
            webhook_hosts: vec!["https://*".into()],
            webhook_private_addresses: false,
            // As Standard Webhooks recommends: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
            webhook_retry_seconds: vec![5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
            drain_seconds: 60,
            concurrent_tasks: 8,
            waiting_tasks_max: 1000,
            log_format: "text".into(),
            otlp_endpoint: None,
            limits: LimitSettings::default(),
            allowance: Allowance {
                requests_per_minute: Some(0),
                tasks_at_once: Some(0),
                pictures_per_day: Some(0),
                pinned_tasks: Some(PINNED_TASKS_MAX),
            },
            compat: CompatSettings::default(),
            plugin_budget: BudgetSettings::default(),
            plugin_tiers: BTreeMap::new(),
            plugin_keys: Vec::new(),
            registries: BTreeMap::new(),
            grants: BTreeMap::new(),
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            side_px_max: 2048,
            pixels_max: 2048 * 2048,
            steps_max: 150,
            images_max: 16,
            prompt_bytes_max: 16 * 1024,
            body_bytes_max: 32 * 1024 * 1024,
            script_jobs_max: 512,
            script_megapixel_steps_max: 50_000,
        }
    }
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { cpu_ms: 2_000, wall_ms: 10_000, memory_mib: 64, concurrent_calls: 16 }
    }
}

impl Settings {
    /// As TOML, with secrets hidden, and with a remark that names what is not set.
    pub(crate) fn print(&self) -> String {
        let mut shown = self.clone();
        let hidden = "(hidden in this listing)".to_owned();
        shown.admin_key = shown.admin_key.map(|_| hidden.clone());
        for (key, value) in &mut shown.object_options {
            let key = key.to_ascii_lowercase();
            if ["key", "token", "secret"].iter().any(|word| key.contains(word)) {
                value.clone_from(&hidden);
            }
        }
        // Names and passwords may stand in an address.
        shown.otlp_endpoint =
            shown.otlp_endpoint.map(|url| match (url.split_once("://"), url.rsplit_once('@')) {
                (Some((scheme, _)), Some((_, host))) => format!("{scheme}://hidden@{host}"),
                _ => url,
            });
        for registry in shown.registries.values_mut() {
            registry.password = registry.password.take().map(|_| hidden.clone());
        }
        for value in shown.grants.values_mut().flat_map(|grant| grant.settings.values_mut()) {
            *value = hidden.clone().into();
        }
        let is_set = toml::Table::try_from(&shown).unwrap_or_default();
        let unset: Vec<_> = OPTIONAL.into_iter().filter(|key| !is_set.contains_key(*key)).collect();
        let unset = if unset.is_empty() { "nothing".to_owned() } else { unset.join(", ") };
        let settings = toml::to_string_pretty(&shown)
            .unwrap_or_else(|error| format!("# the settings cannot be shown: {error}\n"));
        format!("# Not set: {unset}. docs/settings.md says what each setting means.\n{settings}")
    }
}

#[cfg(test)]
mod tests;
