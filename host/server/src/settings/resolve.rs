//! Settings put together from flags, environment and file by a pure function, and judged. Flags win over the environment,
//! the environment over the file, the file over defaults; where nothing is said, what lies around the server decides.

use std::path::{Path, PathBuf};

use gesso_plugin_host::{PluginBudgets, RegistryAccess, Remotes, TrustedKey};
use gesso_torch::DeviceChoice;

use super::suggest::nearest;
use super::{Access, RegistrySettings, Settings};
use crate::grants::GrantBody;
use crate::http::proxies::TrustedProxies;

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
    ("GESSO_DEFAULT_MODEL", "default_model"),
    ("GESSO_DEVICE", "device"),
    ("GESSO_DTYPE", "dtype"),
    ("GESSO_THREADS", "threads"),
    ("GESSO_DETERMINISTIC", "deterministic"),
    ("GESSO_LOG_FORMAT", "log_format"),
];

/// Settings that are absent from a table of defaults.
pub(super) const OPTIONAL: [&str; 7] =
    ["default_model", "objects", "outputs", "admin_key", "tls", "public_url", "otlp_endpoint"];

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
                // With the name of the setting, which stands on a line of its own.
                message: error.to_string().trim_end().replace('\n', " "),
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

    /// In a checkout, what is not said falls to the demo checkpoint, the first-party plugins and the grants
    /// that the demo needs; elsewhere to the user's data folder.
    fn fill_from(&mut self, surroundings: &Surroundings, said: &std::collections::HashSet<String>) {
        let base = match (&surroundings.checkout, &surroundings.user_data) {
            (Some(checkout), _) => {
                if !said.contains("models") {
                    self.models = checkout.join("examples/demo-model");
                }
                if !said.contains("plugins") {
                    self.plugins = checkout.join(".gesso/plugins");
                    // What is granted to others takes nothing from it.
                    self.grants.entry("dynamic-prompts".to_owned()).or_insert_with(|| {
                        let folders = [("wildcards".to_owned(), checkout.join("examples/wildcards"))].into();
                        GrantBody { folders, ..GrantBody::default() }
                    });
                    // Its page draws with the rights of who looks at it.
                    let art_text = GrantBody { own_origin: true, ..GrantBody::default() };
                    self.grants.entry("art-text".to_owned()).or_insert(art_text);
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
        self.check_budgets()?;
        self.remotes()?;
        self.proxies()?;
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
        let addresses = [
            ("public_url", &self.public_url, "https://pictures.example"),
            ("otlp_endpoint", &self.otlp_endpoint, "http://127.0.0.1:4318"),
        ];
        if let Some((key, _, such_as)) =
            addresses.iter().find(|(_, url, _)| url.as_deref().is_some_and(|url| !is_http_url(url)))
        {
            let message = format!("{key} must begin with http:// or https:// and a host, such as {such_as}");
            return Err(SettingsError::Invalid { place: "settings".into(), message });
        }
        self.listen.parse::<std::net::SocketAddr>().map(drop).map_err(|_| SettingsError::Invalid {
            place: "settings".into(),
            message: format!(
                "listen is {:?}; it must be an IP address with a port, such as 127.0.0.1:7860 for this machine alone or \
                 0.0.0.0:7860 for all of its addresses",
                self.listen
            ),
        })
    }

    /// What single plugins may spend: that it is within reason, and that tiers are there.
    fn check_budgets(&self) -> Result<(), SettingsError> {
        let invalid = |message| SettingsError::Invalid { place: "settings".into(), message };
        for (name, tier) in &self.plugin_tiers {
            PluginBudgets::from(*tier)
                .check()
                .map_err(|problem| invalid(format!("plugin_tiers.{name}.{problem}")))?;
        }
        for (id, grant) in &self.grants {
            PluginBudgets::from(grant.budgets)
                .check()
                .map_err(|problem| invalid(format!("grants.{id}.budgets.{problem}")))?;
            let known: Vec<_> = self.plugin_tiers.keys().map(String::as_str).collect();
            if let Some(tier) = grant.tier.as_deref().filter(|tier| !known.contains(tier)) {
                let hint = nearest(tier, &known)
                    .map_or_else(String::new, |near| format!(", did you mean {near:?}?"));
                let message = format!("grants.{id}.tier is {tier:?}, which plugin_tiers do not have{hint}");
                return Err(invalid(message));
            }
        }
        Ok(())
    }

    /// Whose word is taken for where requests come from.
    pub(crate) fn proxies(&self) -> Result<TrustedProxies, SettingsError> {
        TrustedProxies::parse(&self.trusted_proxies).map_err(|message| SettingsError::Invalid {
            place: "settings".into(),
            message: format!("trusted_proxies: {message}"),
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
}

/// What browsers send as `Origin`: a scheme, a host, a port where it is another than the scheme's.
fn is_origin(text: &str) -> bool {
    let uri = text.parse::<axum::http::Uri>();
    text == "*" || uri.is_ok_and(|uri| uri.scheme().is_some() && uri.path() == "/" && !text.ends_with('/'))
}

/// What paths can be put behind.
fn is_http_url(text: &str) -> bool {
    text.parse::<axum::http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none())
}

/// Refuses keys that no setting has, one level deep, with the nearest that exists. Options and grants are named by
/// users and are not checked here.
fn check_keys(place: &str, table: &toml::Table, known: &toml::Table) -> Result<(), SettingsError> {
    let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
    names.extend(OPTIONAL);
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
