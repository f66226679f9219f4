//! Settings as data: resolved from flags, environment and file by a pure function; nothing here opens, reads or
//! starts anything. Flags win over the environment, the environment over the file, the file over defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gesso_plugin_host::{RegistryAccess, Remotes, TrustedKey};
use gesso_torch::DeviceChoice;
use serde::{Deserialize, Serialize};

use crate::accounts::Allowance;

pub(crate) mod cli;
mod suggest;

use suggest::nearest;

/// Everything the server can be told, with units in the names. `None` means "decided at start-up".
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Address and port; port 0 picks a free one.
    pub(crate) listen: String,
    /// Tasks, pictures, keys, plugin state. One server at a time.
    pub(crate) data: PathBuf,
    /// Checkpoints (.safetensors), in folders as deep as liked.
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
    /// Bytes that checkpoints in memory may take together, with the LoRAs laid over them; 0 is half of the machine's
    /// memory. The one in use is kept whatever it takes.
    pub(crate) resident_bytes_max: u64,
    /// The same of a CUDA device's memory, with what a picture is computed in; 0 is all that is free at start-up. A
    /// checkpoint that is in the machine's memory is copied there and not read again.
    pub(crate) device_bytes_max: u64,
    /// Default source of noise: NV or CPU.
    pub(crate) randn_source: String,
    /// What URLs to this server begin with, when a proxy stands before it; unset is http://, or https:// with `tls`, and
    /// the host that the client asked.
    pub(crate) public_url: Option<String>,
    /// How long signed picture URLs last.
    pub(crate) signed_url_seconds: u64,
    /// Tasks that ended so many hours ago are forgotten, with their pictures; 0 keeps them.
    pub(crate) retention_hours: u64,
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
    /// `pictures_per_day`; 0 is no bound.
    pub(crate) allowance: Allowance,
    /// Habits of the serverless product that some clients rely on.
    pub(crate) compat: CompatSettings,
    /// What one plugin call may use.
    pub(crate) plugin_budget: BudgetSettings,
    /// Ed25519 public keys, 64 hex digits each: where there are any, only plugins that one of them signed are loaded.
    pub(crate) plugin_keys: Vec<String>,
    /// Registries of plugins by host and port, such as `"registry.lan:5000"`: those on this machine or in a private
    /// network, and those that want a name. Others that speak TLS need no entry.
    pub(crate) registries: BTreeMap<String, RegistrySettings>,
    /// What each plugin may touch, by plugin id. Nothing is granted by default.
    pub(crate) grants: BTreeMap<String, GrantSettings>,
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
pub(crate) struct GrantSettings {
    /// Name the plugin uses -> folder it may read.
    pub(crate) folders: BTreeMap<String, PathBuf>,
    /// Hosts it may send requests to: `https://pictures.example`, `*.example:8443`, `http://127.0.0.1:9000`.
    pub(crate) hosts: Vec<String>,
    /// Whether names among these hosts may stand for addresses of this machine and of private networks.
    pub(crate) private_addresses: bool,
    /// Networks it may run: names, `*` for all, or how names begin with `*` behind it.
    pub(crate) models: Vec<String>,
    /// Whether its step hook may read numbers off the device, for which everything there waits.
    pub(crate) read_tensors: bool,
    /// Bytes it may keep as small values, keys counted; 0 for none.
    pub(crate) kv_bytes: u64,
    /// Bytes it may keep as blobs, names counted; 0 for none.
    pub(crate) blob_bytes: u64,
    /// Paths beside `/ext/<id>/` at which it answers, of those that its manifest wants.
    pub(crate) aliases: Vec<String>,
    /// The plugin's own settings.
    pub(crate) settings: serde_json::Map<String, serde_json::Value>,
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

/// What was found where the server was started: a checkout of the project, and the user's data folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) checkout: Option<PathBuf>,
    pub(crate) user_data: Option<PathBuf>,
}

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum SettingsError {
    #[error("{place}: unknown setting {key:?}{hint}; `gesso serve --print-settings` shows them all")]
    Unknown { place: String, key: String, hint: String },
    #[error("{place}: {message}")]
    Invalid { place: String, message: String },
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
            signed_url_seconds: 3600,
            retention_hours: 0,
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
            },
            compat: CompatSettings::default(),
            plugin_budget: BudgetSettings::default(),
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

/// An admin key that short could be guessed.
pub(crate) const ADMIN_KEY_CHARS_MIN: usize = 16;
/// What presigned URLs of object stores last at most.
const SIGNED_URL_SECONDS_MAX: u64 = 604_800;

/// Environment variables that say the same as a flag.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("GESSO_LISTEN", "listen"),
    ("GESSO_DATA", "data"),
    ("GESSO_MODELS", "models"),
    ("GESSO_PLUGINS", "plugins"),
    ("GESSO_ADMIN_KEY", "admin_key"),
    ("GESSO_ACCESS", "access"),
    ("GESSO_PUBLIC_URL", "public_url"),
];

impl Settings {
    /// Puts the layers together. `file` is the text of the settings file and its path; `overrides` are flags and
    /// environment, already as one table of strings.
    pub(crate) fn resolve(
        surroundings: &Surroundings,
        file: Option<(&Path, &str)>,
        overrides: &[(String, String, String)],
    ) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let mut said = std::collections::HashSet::new();
        if let Some((path, text)) = file {
            let place = path.display().to_string();
            let table: toml::Table =
                text.parse().map_err(|error: toml::de::Error| SettingsError::Invalid {
                    place: place.clone(),
                    message: error.to_string().trim_end().replace('\n', " "),
                })?;
            check_keys(&place, &table, &toml::Table::try_from(&settings).unwrap_or_default())?;
            said.extend(table.keys().cloned());
            settings = table.try_into().map_err(|error: toml::de::Error| SettingsError::Invalid {
                place,
                message: error.message().to_owned(),
            })?;
        }
        for (place, key, value) in overrides {
            settings.set(place, key, value)?;
            said.insert(key.clone());
        }
        settings.fill_from(surroundings, &said);
        settings.check()?;
        Ok(settings)
    }

    /// Sets one of the plain settings from text.
    fn set(&mut self, place: &str, key: &str, value: &str) -> Result<(), SettingsError> {
        match key {
            "listen" => self.listen = value.into(),
            "data" => self.data = value.into(),
            "models" => self.models = value.into(),
            "plugins" => self.plugins = value.into(),
            "admin_key" => self.admin_key = Some(value.into()),
            "default_model" => self.default_model = Some(value.into()),
            "objects" => self.objects = Some(value.into()),
            "public_url" => self.public_url = Some(value.into()),
            "access" => {
                self.access = match value {
                    "auto" => Access::Auto,
                    "open" => Access::Open,
                    "closed" => Access::Closed,
                    _ => {
                        let message = format!("access is {value:?}; it must be one of auto, open, closed");
                        return Err(SettingsError::Invalid { place: place.into(), message });
                    }
                };
            }
            "device" => self.device = value.into(),
            "dtype" => self.dtype = value.into(),
            "log_format" => self.log_format = value.into(),
            "deterministic" => {
                self.deterministic = value.parse().map_err(|_| SettingsError::Invalid {
                    place: place.into(),
                    message: format!("{value:?} is neither true nor false"),
                })?;
            }
            "threads" => {
                self.threads = value.parse().map_err(|_| SettingsError::Invalid {
                    place: place.into(),
                    message: format!("{value:?} is not a number of threads"),
                })?;
            }
            _ => return Err(unknown(place, key, &["listen", "data", "models", "plugins", "admin_key"])),
        }
        Ok(())
    }

    /// In a checkout, what is not said falls to the demo checkpoint, the first-party plugins and the one grant
    /// that the demo needs; elsewhere to the user's data folder.
    fn fill_from(&mut self, surroundings: &Surroundings, said: &std::collections::HashSet<String>) {
        let base = match (&surroundings.checkout, &surroundings.user_data) {
            (Some(checkout), _) => {
                if !said.contains("models") {
                    self.models = checkout.join("examples/demo-model");
                }
                if !said.contains("plugins") {
                    self.plugins = checkout.join(".gesso/plugins");
                    if !said.contains("grants") {
                        let folders = [("wildcards".to_owned(), checkout.join("examples/wildcards"))].into();
                        let grant = GrantSettings { folders, ..GrantSettings::default() };
                        self.grants = [("dynamic-prompts".to_owned(), grant)].into();
                    }
                }
                Some(checkout.join(".gesso"))
            }
            (None, Some(user_data)) => {
                if !said.contains("models") {
                    self.models = user_data.join("gesso/models");
                }
                if !said.contains("plugins") {
                    self.plugins = user_data.join("gesso/plugins");
                }
                Some(user_data.join("gesso"))
            }
            (None, None) => None,
        };
        if let Some(base) = base
            && !said.contains("data")
        {
            self.data = base.join("data");
        }
    }

    fn check(&self) -> Result<(), SettingsError> {
        let one_of = |key: &str, value: &str, known: &[&str]| {
            if known.contains(&value) {
                return Ok(());
            }
            let message = format!("{key} is {value:?}; it must be one of {}", known.join(", "));
            Err(SettingsError::Invalid { place: "settings".into(), message })
        };
        one_of("dtype", &self.dtype, &["auto", "f32", "bf16", "f16"])?;
        self.device
            .parse::<DeviceChoice>()
            .map_err(|message| SettingsError::Invalid { place: "settings".into(), message })?;
        one_of("log_format", &self.log_format, &["text", "json"])?;
        one_of("randn_source", &self.randn_source, &["NV", "CPU"])?;
        let positive = [
            ("concurrent_tasks", self.concurrent_tasks),
            ("resident_models", self.resident_models),
            ("waiting_tasks_max", self.waiting_tasks_max),
            ("plugin_budget.concurrent_calls", self.plugin_budget.concurrent_calls),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            let message = format!("{key} must be at least 1");
            return Err(SettingsError::Invalid { place: "settings".into(), message });
        }
        if self.admin_key.as_ref().is_some_and(|key| key.trim().len() < ADMIN_KEY_CHARS_MIN) {
            let message = format!(
                "admin_key must have at least {ADMIN_KEY_CHARS_MIN} characters; leave it out to have one made"
            );
            return Err(SettingsError::Invalid { place: "settings".into(), message });
        }
        if let Some(message) = self.plugin_keys.iter().find_map(|key| TrustedKey::parse(key).err()) {
            let message = format!("plugin_keys: {message}");
            return Err(SettingsError::Invalid { place: "settings".into(), message });
        }
        self.remotes()?;
        if !(1..=SIGNED_URL_SECONDS_MAX).contains(&self.signed_url_seconds) {
            let message =
                format!("signed_url_seconds must be between 1 and {SIGNED_URL_SECONDS_MAX}, a week");
            return Err(SettingsError::Invalid { place: "settings".into(), message });
        }
        if let Some(origin) = self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            let message = format!(
                "cors_origins has {origin:?}; it must be a scheme and a host, such as https://studio.example, or *"
            );
            return Err(SettingsError::Invalid { place: "settings".into(), message });
        }
        self.listen.parse::<std::net::SocketAddr>().map(drop).map_err(|_| SettingsError::Invalid {
            place: "settings".into(),
            message: format!(
                "listen is {:?}; it must be an address with a port, such as 127.0.0.1:7860",
                self.listen
            ),
        })
    }

    /// Where plugins may be brought from.
    pub(crate) fn remotes(&self) -> Result<Remotes, SettingsError> {
        let listed = self.registries.iter().map(|(name, registry)| {
            let RegistrySettings { username, password, plain_http } = registry.clone();
            (name.clone(), RegistryAccess { username, password, plain_http })
        });
        Remotes::new(listed).map_err(|message| SettingsError::Invalid {
            place: "settings".into(),
            message: format!("registries: {message}"),
        })
    }

    /// As TOML, with secrets hidden.
    pub(crate) fn print(&self) -> String {
        let mut shown = self.clone();
        let hidden = "(hidden in this listing)".to_owned();
        shown.admin_key = shown.admin_key.map(|_| hidden.clone());
        for (key, value) in &mut shown.object_options {
            if key.contains("key") || key.contains("token") || key.contains("secret") {
                value.clone_from(&hidden);
            }
        }
        for registry in shown.registries.values_mut() {
            registry.password = registry.password.take().map(|_| hidden.clone());
        }
        for value in shown.grants.values_mut().flat_map(|grant| grant.settings.values_mut()) {
            *value = hidden.clone().into();
        }
        toml::to_string_pretty(&shown)
            .unwrap_or_else(|error| format!("# the settings cannot be shown: {error}\n"))
    }
}

/// What browsers send as `Origin`: a scheme, a host, a port where it is another than the scheme's.
fn is_origin(text: &str) -> bool {
    let uri = text.parse::<axum::http::Uri>();
    text == "*" || uri.is_ok_and(|uri| uri.scheme().is_some() && uri.path() == "/" && !text.ends_with('/'))
}

/// Refuses keys that no setting has, one level deep, with the nearest that exists. Options and grants are named by
/// users and are not checked here.
fn check_keys(place: &str, table: &toml::Table, known: &toml::Table) -> Result<(), SettingsError> {
    let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
    // Optional settings are absent from a table of defaults.
    names.extend(["default_model", "objects", "outputs", "admin_key", "public_url", "tls", "otlp_endpoint"]);
    for (key, value) in table {
        if !names.contains(&key.as_str()) {
            return Err(unknown(place, key, &names));
        }
        if let (Some(inner), Some(toml::Value::Table(known))) = (value.as_table(), known.get(key))
            && ["limits", "plugin_budget", "allowance", "compat"].contains(&key.as_str())
        {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            if let Some(key) = inner.keys().find(|key| !names.contains(&key.as_str())) {
                return Err(unknown(place, key, &names));
            }
        }
    }
    Ok(())
}

fn unknown(place: &str, key: &str, known: &[&str]) -> SettingsError {
    let hint = nearest(key, known).map_or_else(String::new, |near| format!(", did you mean {near:?}?"));
    SettingsError::Unknown { place: place.into(), key: key.into(), hint }
}

#[cfg(test)]
mod tests;
