//! How the set of plugins changes: install, roll-back, removal, grants, and a folder that an admin edits by hand.
//! Each is one method of the host's inner part under the lock of changes; the table is swapped last. Grants are in `granting`, the
//! roll-back in `returning`, the file that goes with a change in `file`, what is compiled beside other changes in `beside`.
//! Serves no call.

use crate::aliases;
use crate::audience::Reach;
use crate::compile::{private_folder, read_bounded, write_atomically};
use crate::compile_worker::sha256_hex;
use crate::error::InstallError;
use crate::grants;
use crate::host::Inner;
use crate::inspect::{Inspection, MAX_COMPONENT_BYTES};
use crate::load::{self, LoadError, Loaded};
use crate::manifest::is_id;
use crate::registry::{Policy, Registry, VersionRef};
use crate::remote::Source;
use crate::settings::Grants;
use crate::table::{Entry, Shared};
use crate::trail::{Asker, TrailEvent};
use crate::watch::{FileStamp, Watched};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::MutexGuard;

mod beside;
mod file;
mod granting;
mod returning;

/// What only one change at a time may touch.
pub(crate) struct Changes {
    pub(crate) registry: Registry,
    pub(crate) watched: Watched,
    /// Who asks for the change that holds the lock.
    asker: Asker,
    closed: bool,
}

impl Changes {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry, watched: Watched::default(), asker: Asker::default(), closed: false }
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}

/// Which older version may stand in when the file in the folder does not load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StandIn {
    /// The one in memory goes on as it is.
    Active,
    /// A fresh load of the kept version, with what is granted now. Where that fails too, the one in memory, which is there unless
    /// rights were taken away.
    Kept,
}

impl Inner {
    pub(crate) async fn install(
        &self,
        bytes: &[u8],
        source: Option<Source>,
        asker: &Asker,
    ) -> Result<String, InstallError> {
        let inspection = self
            .inspected(bytes)
            .map_err(|error| InstallError::Refused { id: None, reason: error.to_string() })?;
        let (id, version) = (inspection.1.manifest.id.clone(), inspection.1.manifest.version.clone());
        let compiled = self.compile_ahead(&id, bytes, &inspection.1, asker).await?;
        let mut changes = self.open_changes(asker).await?;
        let outcome = match compiled {
            Ok(()) => self.load(&changes, &id, bytes, inspection).await,
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok(mut loaded) => {
                loaded.version.source = source.or(loaded.version.source);
                self.with_file(&mut changes, &id, Some(bytes), |changes| {
                    self.activate(changes, &id, bytes, loaded)
                })?;
                Ok(id)
            }
            Err(LoadError::NeedsGrants(reason)) => {
                let waiting = VersionRef { version, digest: sha256_hex(bytes), source };
                self.with_file(&mut changes, &id, Some(bytes), |changes| {
                    changes.registry.record_mut(&id).waiting = Some(waiting);
                    self.save(changes)
                })?;
                self.refuse(&mut changes, &id, bytes, &reason);
                Err(InstallError::NeedsGrants { id, reason })
            }
            Err(LoadError::Refused(reason)) => {
                // A plugin that was never there leaves no trace; one that is there shows what was tried.
                if self.table.load().get(&id).is_some() {
                    self.refuse(&mut changes, &id, bytes, &reason);
                }
                Err(InstallError::Refused { id: Some(id), reason })
            }
        }
    }

    /// Compiles what is about to be loaded, which may take minutes, while other changes go on: a plugin that misbehaves is switched
    /// off meanwhile. What has not the grants that it needs is compiled when they come.
    async fn compile_ahead(
        &self,
        id: &str,
        bytes: &[u8],
        inspection: &Inspection,
        asker: &Asker,
    ) -> Result<Result<(), LoadError>, InstallError> {
        let changes = self.open_changes(asker).await?;
        let grants = self.grants_of(&changes, id);
        drop(changes);
        if grants::check(inspection, &grants).is_err() {
            return Ok(Ok(()));
        }
        Ok(self.loader.compile(bytes, &sha256_hex(bytes)).await.map(drop))
    }

    pub(crate) async fn remove(&self, id: &str, asker: &Asker) -> Result<(), InstallError> {
        let mut changes = self.open_changes(asker).await?;
        // One whose file is gone is not in the table; its grants and settings are still stored.
        if self.table.load().get(id).is_none() && !changes.registry.plugins.contains_key(id) {
            return Err(InstallError::NotFound { id: id.to_owned() });
        }
        self.with_file(&mut changes, id, None, |changes| {
            changes.registry.forget(id);
            self.save(changes)
        })?;
        self.take_out(id);
        self.shared.forget_words(id);
        self.trail.note(id, TrailEvent::Removed, None, None, asker);
        if is_id(id) {
            let _ = std::fs::remove_dir_all(self.versions_of(id));
        }
        Ok(())
    }

    pub(crate) async fn configure(
        &self,
        id: &str,
        policy: &Policy,
        asker: &Asker,
    ) -> Result<(), InstallError> {
        let mut changes = self.open_changes(asker).await?;
        let Some(mut entry) = self.table.load().get(id).cloned() else {
            return Err(InstallError::NotFound { id: id.to_owned() });
        };
        let record = changes.registry.record_mut(id);
        record.enabled = policy.enabled.unwrap_or(record.enabled);
        if let Some(on_failure) = &policy.on_failure {
            record.on_failure.clone_from(on_failure);
        }
        record.called = policy.called.unwrap_or(record.called);
        if let Some(serves) = &policy.serves {
            record.serves.clone_from(serves);
        }
        record.may_be_left_out = policy.may_be_left_out.unwrap_or(record.may_be_left_out);
        (entry.enabled, entry.called) = (record.enabled, record.called);
        entry.on_failure.clone_from(&record.on_failure);
        entry.reach = Reach { serves: record.serves.clone(), may_be_left_out: record.may_be_left_out };
        if let Some(position) = policy.position {
            let table = self.table.load();
            changes.registry.move_to(id, position, |known| table.get(known).is_some());
        }
        self.save(&mut changes)?;
        entry.switch(entry.enabled);
        self.trail.note(id, TrailEvent::Configured, None, Some(policy.told()), asker);
        self.put(&changes, entry);
        Ok(())
    }

    /// A file of the folder is new or changed, and was `seen` like this.
    pub(crate) async fn file_changed(&self, changes: MutexGuard<'_, Changes>, id: &str, seen: FileStamp) {
        // Whoever had the lock since then may have dealt with it.
        if changes.watched.still_has(id, seen, &self.file_of(id)) {
            self.load_beside(changes, id, StandIn::Active, Some(seen)).await;
        }
    }

    /// A file of the folder is gone: so is the plugin. Its grants stay stored, for the day it comes back.
    pub(crate) fn file_gone(&self, id: &str) {
        tracing::info!(plugin = id, "a plugin left the folder");
        self.take_out(id);
        let detail = format!(
            "its file is gone from the folder; its grants and settings are kept for when it comes back, until \
             DELETE /plugins/{id}"
        );
        self.trail.note(id, TrailEvent::Removed, None, Some(detail), &Asker::default());
    }

    /// Drawings under way have what they began with, of which a step hook would go on: nobody could switch it off any more.
    fn take_out(&self, id: &str) {
        let table = self.table.load();
        if let Some(entry) = table.get(id) {
            entry.switch(false);
        }
        self.table.store(Arc::new(table.without(id)));
    }

    /// Makes the file in the folder the active version; where it does not load, the stand-in.
    async fn settle(&self, changes: &mut Changes, id: &str, stand_in: StandIn) {
        let tried = self.load_file(changes, id).await;
        self.take(changes, id, tried, stand_in).await;
    }

    /// Makes what came of a build the active version; where nothing came of it, the stand-in.
    async fn take(
        &self,
        changes: &mut Changes,
        id: &str,
        tried: Result<(Vec<u8>, Loaded), (Vec<u8>, String)>,
        stand_in: StandIn,
    ) {
        let (bytes, reason) = match tried {
            Ok((bytes, loaded)) => match self.activate(changes, id, &bytes, loaded) {
                Ok(()) => return,
                Err(error) => (bytes, error.to_string()),
            },
            Err((bytes, reason)) => (bytes, reason),
        };
        tracing::warn!(plugin = id, reason, "a plugin was refused");
        self.refuse(changes, id, &bytes, &reason);
        let active = self.table.load().get(id).is_some_and(|entry| entry.active.is_some());
        if active && stand_in == StandIn::Active {
            return;
        }
        if let Some(loaded) = self.load_kept(changes, id, &bytes).await
            && let Some(mut entry) = self.table.load().get(id).cloned()
        {
            // Stored with the next change; a start would load it with these again.
            changes.registry.record_mut(id).current_settings =
                Some(loaded.capabilities.settings_json.clone());
            entry.active = Some(Arc::new(loaded));
            self.put(changes, entry);
        }
    }

    async fn load_file(&self, changes: &Changes, id: &str) -> Result<(Vec<u8>, Loaded), (Vec<u8>, String)> {
        let bytes = match self.read_file(id) {
            Ok(bytes) => bytes,
            Err(error) => return Err((Vec::new(), format!("its file cannot be read: {error}"))),
        };
        let inspection = match self.inspected(&bytes) {
            Ok(inspection) => inspection,
            Err(error) => return Err((bytes, error.to_string())),
        };
        if inspection.1.manifest.id != id {
            let reason =
                format!("its manifest says id {0}: rename the file to {0}.wasm", inspection.1.manifest.id);
            return Err((bytes, reason));
        }
        match self.load(changes, id, &bytes, inspection).await {
            Ok(loaded) => Ok((bytes, loaded)),
            Err(error) => Err((bytes, error.to_string())),
        }
    }

    fn read_file(&self, id: &str) -> io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(self.file_of(id))?;
        read_bounded(&mut file, MAX_COMPONENT_BYTES as u64)
    }

    /// The version that served last, where it is another one than `tried`.
    async fn load_kept(&self, changes: &Changes, id: &str, tried: &[u8]) -> Option<Loaded> {
        let current = changes.registry.plugins.get(id)?.current.clone()?;
        if current.digest == sha256_hex(tried) {
            return None;
        }
        let bytes = self.kept_version(id, &current)?;
        let inspection = self.inspected(&bytes).ok()?;
        self.load(changes, id, &bytes, inspection).await.ok()
    }

    fn inspected(&self, bytes: &[u8]) -> Result<(Option<String>, Inspection), LoadError> {
        load::inspect_trusted(bytes, &self.loader.trusted_keys)
    }

    async fn load(
        &self,
        changes: &Changes,
        id: &str,
        bytes: &[u8],
        inspection: (Option<String>, Inspection),
    ) -> Result<Loaded, LoadError> {
        self.load_with(changes, id, bytes, inspection, &self.grants_of(changes, id)).await
    }

    async fn load_with(
        &self,
        changes: &Changes,
        id: &str,
        bytes: &[u8],
        inspection: (Option<String>, Inspection),
        grants: &Grants,
    ) -> Result<Loaded, LoadError> {
        self.check_free(id, grants)
            .map_err(|problem| LoadError::NeedsGrants(format!("in its grants {problem}")))?;
        let shared = self.shared_to_try(id);
        let mut loaded = self.loader.load(&self.runner, &shared, bytes, inspection, grants).await?;
        // Those of one that comes back, too.
        loaded.revocations = self.shared.known(id).map_or(0, |shared| shared.revocations());
        let known = changes.registry.plugins.get(id);
        loaded.version.source = known.and_then(|record| record.source_of(&loaded.version.digest)).cloned();
        Ok(loaded)
    }

    /// Whether the aliases are ones that the plugin wants, and nobody else's.
    fn check_aliases(&self, id: &str, grants: &Grants) -> Result<(), String> {
        let table = self.table.load();
        // Before anything of it could be read, nobody knows what it wants.
        if let Some(manifest) = table.get(id).and_then(Entry::waiting_manifest)
            && let Some(alias) = grants.aliases.iter().find(|alias| !manifest.wants.aliases.contains(alias))
        {
            let wanted = &manifest.wants.aliases;
            let wanted = if wanted.is_empty() { "none".to_owned() } else { wanted.join(", ") };
            return Err(format!("the plugin wants no alias {alias}; its manifest has {wanted}"));
        }
        self.check_free(id, grants)
    }

    /// Whether the aliases are nobody else's.
    fn check_free(&self, id: &str, grants: &Grants) -> Result<(), String> {
        let table = self.table.load();
        // One that does not run keeps nobody from a path, and finds it taken when it comes back.
        let others = table.entries.iter().filter(|entry| entry.active.is_some());
        let others = others.map(|entry| (entry.id.as_str(), entry.granted.aliases.as_slice()));
        aliases::check(id, &grants.aliases, &self.settings.own_paths, others)
    }

    /// The swap: stores the version as current, keeps its bytes for roll-back, and lets new calls go to it.
    fn activate(
        &self,
        changes: &mut Changes,
        id: &str,
        bytes: &[u8],
        loaded: Loaded,
    ) -> Result<(), InstallError> {
        let version = loaded.version.clone();
        let folder = self.versions_of(id);
        private_folder(&folder).map_err(|source| InstallError::Storage { path: folder.clone(), source })?;
        store(&folder.join(format!("{}.wasm", version.digest)), bytes)?;
        let record = changes.registry.record_mut(id);
        let is_new = record.current.as_ref().is_none_or(|current| current.digest != version.digest);
        // The same build may have come from another place.
        let before = record.current.replace(version.clone());
        let settings = record.current_settings.replace(loaded.capabilities.settings_json.clone());
        if is_new {
            record.previous = before;
            record.previous_settings = settings;
        }
        record.waiting = None;
        let kept: Vec<String> = [&record.current, &record.previous]
            .into_iter()
            .flatten()
            .map(|kept| kept.digest.clone())
            .collect();
        self.save(changes)?;
        let is_back = !is_new && self.has_left(id);
        let mut entry = self.entry(changes, id);
        entry.active = Some(Arc::new(loaded));
        entry.refused = None;
        entry.refused_manifest = None;
        self.put(changes, entry);
        prune(&folder, &kept);
        if is_new || is_back {
            let from = version.source.as_ref().map(|source| format!("from {source}"));
            let build = (version.version.as_str(), version.digest.as_str());
            self.trail.note(id, TrailEvent::Active, Some(build), from, &changes.asker);
        }
        tracing::info!(plugin = id, version = version.version, digest = version.digest, "a plugin is active");
        Ok(())
    }

    /// Whether the last that the trail says of a plugin that is not loaded is that it left, or was refused.
    fn has_left(&self, id: &str) -> bool {
        let is_loaded = self.table.load().get(id).is_some_and(|entry| entry.active.is_some());
        let last = self.trail.of(id).pop().map(|last| last.event);
        !is_loaded && matches!(last, Some(TrailEvent::Removed | TrailEvent::Refused))
    }

    fn refuse(&self, changes: &mut Changes, id: &str, bytes: &[u8], reason: &str) {
        changes.registry.record_mut(id);
        let mut entry = self.entry(changes, id);
        // Said once, and not at every start again; of those who ask, to each.
        let last = self.trail.of(id).pop();
        let is_said = last.is_some_and(|last| {
            last.event == TrailEvent::Refused
                && last.detail.as_deref() == Some(reason)
                && (changes.asker.by.is_none() || changes.asker.by == last.by)
        });
        if !is_said {
            self.trail.note(id, TrailEvent::Refused, None, Some(reason.to_owned()), &changes.asker);
        }
        entry.refused = Some(reason.to_owned());
        entry.refused_manifest = self.inspected(bytes).ok().map(|(_, inspection)| inspection.manifest);
        self.put(changes, entry);
    }

    /// The entry of `id` with its switches as stored now.
    fn entry(&self, changes: &Changes, id: &str) -> Entry {
        let table = self.table.load();
        let known = table.get(id);
        let record = changes.registry.plugins.get(id).cloned().unwrap_or_default();
        let shared = self.shared.of(id, self.loader.slots_per_plugin);
        let off = known.map_or_else(Arc::default, |entry| entry.off.clone());
        off.store(!record.enabled, Ordering::Relaxed);
        Entry {
            id: id.to_owned(),
            shared,
            active: known.and_then(|entry| entry.active.clone()),
            served: known.and_then(|entry| entry.served.clone()),
            refused_manifest: known.and_then(|entry| entry.refused_manifest.clone()),
            refused: known.and_then(|entry| entry.refused.clone()),
            enabled: record.enabled,
            on_failure: record.on_failure,
            called: record.called,
            reach: Reach { serves: record.serves, may_be_left_out: record.may_be_left_out },
            granted: self.grants_of(changes, id),
            previous: record.previous,
            off,
        }
    }

    fn put(&self, changes: &Changes, mut entry: Entry) {
        entry.served = self.served(changes, &entry);
        self.table.store(Arc::new(self.table.load().with(entry, &changes.registry.order)));
    }

    /// What the trial at load counts for: the plugin that is there. Of one that comes only now nothing is counted before it is.
    fn shared_to_try(&self, id: &str) -> Arc<Shared> {
        self.table
            .load()
            .get(id)
            .map_or_else(|| Shared::new(id, self.loader.slots_per_plugin), |entry| entry.shared.clone())
    }

    /// Stored grants win over the settings file's.
    fn grants_of(&self, changes: &Changes, id: &str) -> Grants {
        let stored = changes.registry.plugins.get(id).and_then(|record| record.grants.clone());
        stored.or_else(|| self.settings.grants.get(id).cloned()).unwrap_or_default()
    }

    /// The lock, for a change that `asker` asks for.
    pub(crate) async fn open_changes(&self, asker: &Asker) -> Result<MutexGuard<'_, Changes>, InstallError> {
        let mut changes = self.changes.lock().await;
        if changes.closed {
            return Err(InstallError::ShuttingDown);
        }
        changes.asker.clone_from(asker);
        Ok(changes)
    }

    /// Stores the registry. Where that fails, what is stored holds again: one change that has no room would keep out all that
    /// come after it.
    fn save(&self, changes: &mut Changes) -> Result<(), InstallError> {
        changes.registry.save().inspect_err(|_| {
            let file = self.settings.state.join("registry.json");
            // One that is not there reads as one without plugins, whose grants would be forgotten with the next change.
            if file.exists()
                && let Ok(stored) = Registry::open(&file)
            {
                changes.registry = stored;
            }
        })
    }

    fn file_of(&self, id: &str) -> PathBuf {
        self.settings.folder.join(format!("{id}.wasm"))
    }

    fn versions_of(&self, id: &str) -> PathBuf {
        self.settings.state.join("versions").join(id)
    }

    /// Bytes kept at the last activation, where they are still what they were.
    pub(crate) fn kept_version(&self, id: &str, version: &VersionRef) -> Option<Vec<u8>> {
        let path = self.versions_of(id).join(format!("{}.wasm", version.digest));
        let bytes = read_bounded(&mut std::fs::File::open(path).ok()?, MAX_COMPONENT_BYTES as u64).ok()?;
        (sha256_hex(&bytes) == version.digest).then_some(bytes)
    }
}

fn store(path: &Path, bytes: &[u8]) -> Result<(), InstallError> {
    write_atomically(path, &[bytes]).map_err(|source| InstallError::Storage { path: path.to_owned(), source })
}

/// Deletes kept versions that neither serve nor can be returned to.
fn prune(folder: &Path, kept: &[String]) {
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let stem = file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
        if stem.is_none_or(|stem| !kept.contains(&stem)) {
            let _ = std::fs::remove_file(file.path());
        }
    }
}
