//! What the host remembers between runs, in `registry.json`: order, switches, grants and the versions of each
//! plugin. Written whole and atomically. Read and written by the host handle only.

use crate::audience::Audience;
use crate::compile::{read_bounded, write_atomically};
use crate::error::{InstallError, StartError};
use crate::on_failure::OnFailures;
use crate::remote::Source;
use crate::settings::Grants;
use crate::settings_versions::SettingsVersion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Of the file, both ways: what is longer is neither written nor read.
const MAX_BYTES: u64 = 16 << 20;

/// Which requests the hooks of a plugin are called for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Called {
    /// All of them.
    #[default]
    Always,
    /// Those that name it under `alwayson_scripts`, by id or title.
    Named,
}

/// Which build of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRef {
    pub version: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
    /// Where it was brought from; `None` of what was uploaded or laid into the folder.
    #[serde(default)]
    pub source: Option<Source>,
}

/// A change of an admin's switches; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    pub enabled: Option<bool>,
    pub on_failure: Option<OnFailures>,
    pub called: Option<Called>,
    pub serves: Option<Audience>,
    pub may_be_left_out: Option<bool>,
    /// New place in the chain of hooks, from 0.
    pub position: Option<usize>,
}

impl Policy {
    /// What it changes, as an admin writes it.
    pub(crate) fn told(&self) -> String {
        let said = serde_json::to_value(self).unwrap_or_default();
        let changed = said.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let changed: Vec<_> = changed.map(|(name, value)| format!("{name} {value}")).collect();
        if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") }
    }
}

/// The stored record of one plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) enabled: bool,
    pub(crate) on_failure: OnFailures,
    pub(crate) called: Called,
    pub(crate) serves: Audience,
    /// Whether a request may leave it out; what an admin relies on may not.
    pub(crate) may_be_left_out: bool,
    /// Grants given through the API; `None` leaves the settings file's.
    pub(crate) grants: Option<Grants>,
    /// The settings of these grants, and those before them, oldest first.
    pub(crate) settings_versions: Vec<SettingsVersion>,
    /// The build that served last.
    pub(crate) current: Option<VersionRef>,
    pub(crate) previous: Option<VersionRef>,
    /// The build that is stored and waits for grants.
    pub(crate) waiting: Option<VersionRef>,
    /// The settings, as JSON, that these builds were last loaded with; `None` where that was before they were kept. Not numbers of
    /// `settings_versions`, which has none of those in the settings file and drops old ones. One line each: the file is indented.
    pub(crate) current_settings: Option<String>,
    pub(crate) previous_settings: Option<String>,
}

impl Record {
    /// Where the build of that digest was brought from.
    pub(crate) fn source_of(&self, digest: &str) -> Option<&Source> {
        let known = [&self.waiting, &self.current, &self.previous].into_iter().flatten();
        known.filter(|version| version.digest == digest).find_map(|version| version.source.as_ref())
    }
}

impl Default for Record {
    fn default() -> Self {
        Self {
            enabled: true,
            on_failure: OnFailures::default(),
            called: Called::Always,
            serves: Audience::default(),
            may_be_left_out: false,
            grants: None,
            settings_versions: Vec::new(),
            current: None,
            previous: None,
            waiting: None,
            current_settings: None,
            previous_settings: None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Registry {
    /// Ids in the order their hooks run.
    pub(crate) order: Vec<String>,
    pub(crate) plugins: BTreeMap<String, Record>,
    #[serde(skip)]
    path: PathBuf,
}

impl Registry {
    /// Reads the file; a missing one is an empty registry.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let failed = |reason: String| StartError::Registry { path: path.to_owned(), reason };
        let mut registry = match std::fs::File::open(path) {
            Ok(mut file) => {
                let bytes = read_bounded(&mut file, MAX_BYTES).map_err(|error| failed(error.to_string()))?;
                serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(failed(error.to_string())),
        };
        registry.path = path.to_owned();
        Ok(registry)
    }

    /// # Errors
    /// `TooLarge` for one that could not be read again; the file stays as it was then, as with any other error.
    pub(crate) fn save(&self) -> Result<(), InstallError> {
        let failed = |source| InstallError::Storage { path: self.path.clone(), source };
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::other).map_err(failed)?;
        let bytes = json.len() as u64;
        if bytes > MAX_BYTES {
            return Err(InstallError::TooLarge { bytes, most: MAX_BYTES });
        }
        write_atomically(&self.path, &[&json]).map_err(failed)
    }

    /// The record of `id`, made at the end of the order where it is new.
    pub(crate) fn record_mut(&mut self, id: &str) -> &mut Record {
        if !self.order.iter().any(|known| known == id) {
            self.order.push(id.to_owned());
        }
        self.plugins.entry(id.to_owned()).or_default()
    }

    /// Digests of every version that may be wanted again.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &str> {
        self.plugins
            .values()
            .flat_map(|record| [&record.current, &record.previous])
            .flatten()
            .map(|version| version.digest.as_str())
    }

    pub(crate) fn forget(&mut self, id: &str) {
        self.order.retain(|known| known != id);
        self.plugins.remove(id);
    }

    /// Moves `id` to that place among those that are there: the order has ids too whose files are gone.
    pub(crate) fn move_to(&mut self, id: &str, position: usize, is_there: impl Fn(&str) -> bool) {
        self.order.retain(|known| known != id);
        let mut there = self.order.iter().enumerate().filter(|(_, known)| is_there(known.as_str()));
        let place = there.nth(position).map_or(self.order.len(), |(place, _)| place);
        self.order.insert(place, id.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::on_failure::{HookWorld, OnFailure};

    #[test]
    fn switches_are_told_as_they_are_written() {
        let on_failure = Some(OnFailures::new(OnFailure::Fail, [(HookWorld::Step, OnFailure::Skip)]));
        let policy = Policy { enabled: Some(false), on_failure, position: Some(2), ..Policy::default() };
        assert_eq!(policy.told(), r#"enabled false, on_failure {"*":"fail","step-hook":"skip"}, position 2"#);
        assert_eq!(Policy::default().told(), "nothing");
    }

    #[test]
    fn survives_a_restart_and_keeps_the_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        let mut registry = Registry::open(&path).unwrap();
        for id in ["a", "b", "c"] {
            registry.record_mut(id).on_failure =
                OnFailures::new(OnFailure::Skip, [(HookWorld::Step, OnFailure::Fail)]);
        }
        registry.move_to("c", 0, |_| true);
        registry.forget("b");
        registry.save().unwrap();
        let again = Registry::open(&path).unwrap();
        assert_eq!(again, registry);
        assert_eq!(again.order, ["c", "a"]);
    }

    #[test]
    fn places_count_those_that_are_there() {
        let mut registry = Registry::default();
        for id in ["gone", "b", "c", "lost"] {
            registry.record_mut(id);
        }
        let mut there_after = |id: &str, position: usize| {
            registry.move_to(id, position, |known| ["b", "c"].contains(&known));
            let there = registry.order.iter().filter(|known| ["b", "c"].contains(&known.as_str()));
            there.cloned().collect::<Vec<_>>()
        };
        assert_eq!(there_after("c", 1), ["b", "c"]);
        assert_eq!(there_after("c", 0), ["c", "b"]);
        assert_eq!(there_after("c", 9), ["b", "c"]);
        assert_eq!(registry.order.len(), 4);
    }

    #[test]
    fn a_record_of_before_serves_everybody_and_may_not_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        let old = r#"{"order": ["a"], "plugins": {"a": {"enabled": true, "on_failure": "skip", "called": "named",
            "grants": {"folders": {}, "hosts": [], "private_addresses": false, "models": [], "settings": null},
            "current": null, "previous": null}}}"#;
        std::fs::write(&path, old).unwrap();
        let mut registry = Registry::open(&path).unwrap();
        let record = registry.record_mut("a");
        assert_eq!((&record.serves, record.may_be_left_out), (&Audience::default(), false));
        assert_eq!(record.on_failure, OnFailures::from(OnFailure::Skip));
        assert_eq!((record.grants.take(), record.settings_versions.len()), (Some(Grants::default()), 0));
        assert_eq!((&record.current_settings, &record.previous_settings), (&None, &None));
    }

    #[test]
    fn a_file_of_before_plugins_had_sources_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        let text = r#"{"order": ["a"], "plugins": {"a": {"current": {"version": "1.0.0", "digest": "ab"}}}}"#;
        std::fs::write(&path, text).unwrap();
        let mut registry = Registry::open(&path).unwrap();
        assert_eq!(registry.record_mut("a").source_of("ab"), None);
        let source = Source { from: "oci://a.example/a:1".into(), digest: "sha256:cd".into() };
        let waiting =
            VersionRef { version: "2.0.0".into(), digest: "ef".into(), source: Some(source.clone()) };
        registry.record_mut("a").waiting = Some(waiting);
        registry.save().unwrap();
        assert_eq!(Registry::open(&path).unwrap().record_mut("a").source_of("ef"), Some(&source));
    }

    #[test]
    fn what_is_too_long_to_be_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        let mut registry = Registry::open(&path).unwrap();
        registry.record_mut("a");
        registry.save().unwrap();
        let settings = "x".repeat(MAX_BYTES as usize).into();
        registry.record_mut("b").grants = Some(Grants { settings, ..Grants::default() });
        let error = registry.save().unwrap_err();
        assert!(matches!(error, InstallError::TooLarge { most: MAX_BYTES, .. }), "{error}");
        assert_eq!(Registry::open(&path).unwrap().order, ["a"]);
    }

    #[test]
    fn a_damaged_file_stops_the_start_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        std::fs::write(&path, "{").unwrap();
        let error = Registry::open(&path).unwrap_err().to_string();
        assert!(error.contains("restore it from a backup"), "{error}");
    }
}
