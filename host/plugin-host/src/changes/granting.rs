//! Grants and settings that an admin gives a plugin while the server works: judged, stored, told, and loaded with. Called by the
//! host handle. What becomes of the load is the parent's.

use super::{Changes, StandIn};
use crate::budgets;
use crate::error::InstallError;
use crate::host::Inner;
use crate::outgoing::HostPattern;
use crate::schema;
use crate::settings::Grants;
use crate::settings_versions::{self, SettingsVersion};
use crate::trail::{Asker, TrailEvent, now_ms};

impl Inner {
    pub(crate) async fn set_grants(
        &self,
        id: &str,
        grants: Grants,
        asker: &Asker,
    ) -> Result<(), InstallError> {
        let mut changes = self.open_changes(asker).await?;
        self.grant(&mut changes, id, grants, "")?;
        self.load_beside(changes, id, StandIn::Kept, None).await;
        Ok(())
    }

    /// Puts the settings of that number back; the other grants stay.
    pub(crate) async fn restore_settings(
        &self,
        id: &str,
        number: u64,
        asker: &Asker,
    ) -> Result<(), InstallError> {
        let mut changes = self.open_changes(asker).await?;
        let versions = self.versions_of_settings(&changes, id)?;
        let version = versions.iter().find(|version| version.number == number);
        let version = version.ok_or_else(|| InstallError::NoSettings { id: id.to_owned(), number })?;
        let grants = Grants { settings: version.settings.clone(), ..self.grants_of(&changes, id) };
        let why = format!("settings {number} put back; ");
        self.grant(&mut changes, id, grants, &why)?;
        self.load_beside(changes, id, StandIn::Kept, None).await;
        Ok(())
    }

    /// The settings that were given, oldest first; the last are those that stand.
    pub(crate) async fn settings_versions(&self, id: &str) -> Result<Vec<SettingsVersion>, InstallError> {
        let changes = self.changes.lock().await;
        self.versions_of_settings(&changes, id).map(<[_]>::to_vec)
    }

    fn versions_of_settings<'a>(
        &self,
        changes: &'a Changes,
        id: &str,
    ) -> Result<&'a [SettingsVersion], InstallError> {
        if self.table.load().get(id).is_none() {
            return Err(InstallError::NotFound { id: id.to_owned() });
        }
        let record = changes.registry.plugins.get(id);
        Ok(record.map(|record| record.settings_versions.as_slice()).unwrap_or_default())
    }

    /// Stores grants; `why` begins what the trail says of it. What was taken away stops at once, and is gone
    /// before anything is compiled.
    fn grant(&self, changes: &mut Changes, id: &str, grants: Grants, why: &str) -> Result<(), InstallError> {
        if self.table.load().get(id).is_none() {
            return Err(InstallError::NotFound { id: id.to_owned() });
        }
        for (name, path) in &grants.folders {
            self.loader.folders.open(path).map_err(|error| InstallError::Refused {
                id: Some(id.to_owned()),
                reason: format!("the folder `{name}` ({}) does not open: {error}", path.display()),
            })?;
        }
        if let Some(problem) = grants.hosts.iter().find_map(|host| HostPattern::parse(host).err()) {
            return Err(InstallError::Refused { id: Some(id.to_owned()), reason: problem });
        }
        let budgets = budgets::of_grants(&grants, &self.settings.tiers);
        let short = settings_versions::check(&grants.settings);
        if let Err(reason) = budgets.and(short).and_then(|()| self.check_aliases(id, &grants)) {
            return Err(InstallError::Refused { id: Some(id.to_owned()), reason });
        }
        let schema =
            self.table.load().get(id).and_then(|entry| entry.waiting_manifest()?.settings_schema.clone());
        if let Some(reason) = schema.and_then(|schema| schema::check(&schema, &grants.settings).err()) {
            return Err(InstallError::Refused { id: Some(id.to_owned()), reason });
        }
        let before = self.table.load().get(id).map(|entry| entry.granted.clone()).unwrap_or_default();
        let revokes = takes_away(&before, &grants);
        let detail = format!("{why}{}", told(&grants));
        let record = changes.registry.record_mut(id);
        let versions = &mut record.settings_versions;
        let by = changes.asker.by.as_deref();
        settings_versions::note(versions, &before.settings, &grants.settings, (by, now_ms()));
        record.grants = Some(grants);
        self.save(changes)?;
        self.trail.note(id, TrailEvent::Granted, None, Some(detail), &changes.asker);
        if revokes {
            // As it is granted now, and without what an earlier build was refused for.
            let mut entry = self.entry(changes, id);
            entry.shared.revoke();
            (entry.active, entry.refused) = (None, None);
            self.put(changes, entry);
        }
        Ok(())
    }
}

/// Whether anything that was granted is granted no more. Settings and budgets are no right.
fn takes_away(before: &Grants, now: &Grants) -> bool {
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
        // Calls spend less from the load on that follows at once. Until then the old build serves, and a picture is not left
        // without its watermark for the sake of a second.
        budgets: _,
        tier: _,
        settings: _,
    } = before;
    let lost = |before: &[String], now: &[String]| before.iter().any(|granted| !now.contains(granted));
    folders.iter().any(|(name, path)| now.folders.get(name) != Some(path))
        || lost(hosts, &now.hosts)
        || (*private_addresses && !now.private_addresses)
        || lost(models, &now.models)
        || (*read_tensors && !now.read_tensors)
        || *kv_bytes > now.kv_bytes
        || *blob_bytes > now.blob_bytes
        || lost(aliases, &now.aliases)
        || (*own_origin && !now.own_origin)
}

/// What was granted; of settings, which may hold secrets, their names.
pub(super) fn told(grants: &Grants) -> String {
    let folders = grants.folders.iter().map(|(name, path)| format!("folder {name} at {}", path.display()));
    let hosts = grants.hosts.iter().map(|host| format!("host {host}"));
    let models = grants.models.iter().map(|network| format!("network {network}"));
    let stores = [("kv", grants.kv_bytes), ("blob", grants.blob_bytes)];
    let stores = stores.into_iter().filter(|(_, bytes)| *bytes > 0);
    let stores = stores.map(|(store, bytes)| format!("{bytes} {store} bytes"));
    let aliases = grants.aliases.iter().map(|alias| format!("alias {alias}"));
    let private = grants.private_addresses.then(|| "private addresses".to_owned());
    let numbers = grants.read_tensors.then(|| "numbers of tensors".to_owned());
    let origin = grants.own_origin.then(|| "the server's origin for its pages".to_owned());
    let tier = grants.tier.iter().map(|tier| format!("tier {tier}"));
    let settings =
        grants.settings.as_object().into_iter().flatten().map(|(name, _)| format!("setting {name}"));
    let all: Vec<_> = folders
        .chain(hosts)
        .chain(private)
        .chain(models)
        .chain(numbers)
        .chain(stores)
        .chain(aliases)
        .chain(origin)
        .chain(tier)
        .chain(grants.budgets.told())
        .chain(settings)
        .collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Each right alone.
    fn rights() -> [Grants; 9] {
        let names = || vec!["/a".to_owned()];
        let none = Grants::default;
        [
            Grants { folders: [("a".to_owned(), PathBuf::from("/a"))].into(), ..none() },
            Grants { hosts: names(), ..none() },
            Grants { private_addresses: true, ..none() },
            Grants { models: names(), ..none() },
            Grants { read_tensors: true, ..none() },
            Grants { kv_bytes: 1, ..none() },
            Grants { blob_bytes: 1, ..none() },
            Grants { aliases: names(), ..none() },
            Grants { own_origin: true, ..none() },
        ]
    }

    #[test]
    fn every_right_that_goes_is_seen_to_go() {
        for right in rights() {
            assert!(takes_away(&right, &Grants::default()), "{right:?}");
            assert!(!takes_away(&right, &right) && !takes_away(&Grants::default(), &right), "{right:?}");
        }
    }

    #[test]
    fn every_right_that_is_given_is_told() {
        assert_eq!(told(&Grants::default()), "nothing");
        for right in rights() {
            assert_ne!(told(&right), "nothing", "{right:?}");
        }
        let mut grants = Grants { tier: Some("trusted".into()), ..Grants::default() };
        grants.budgets.script.cpu_ms = Some(90_000);
        assert_eq!(told(&grants), "tier trusted, script.cpu_ms 90000");
    }
}
