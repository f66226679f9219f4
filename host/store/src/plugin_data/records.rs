//! The sled half of plugins' data: values, names of blobs, and how much of both each plugin has. Called on the blocking pool.
//! Writes are made one at a time, each on the disk before it is answered; reads wait for none. Knows no objects.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sled::{Db, Tree};

use super::{ENTRIES_MAX, PluginDataError, PluginUse};
use crate::sled_tasks::SledSettings;
use crate::sled_tasks::guard;
use crate::sled_tasks::trees::{io_error, store_error};

const FORMAT: &[u8] = b"1";
const FORMAT_KEY: &str = "format";
const CACHE_BYTES: u64 = 8 << 20;

/// Where the bytes of a blob are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) bytes: u64,
    pub(super) nonce: u64,
}

pub(super) struct Records {
    folder: PathBuf,
    settings: SledSettings,
    db: Db,
    /// sled's own file, opened once more: its flush alone empties neither the disk's cache nor the file's metadata.
    file: File,
    values: Tree,
    blobs: Tree,
    /// Held over a whole write.
    writing: Mutex<()>,
    /// Held for a moment.
    used: Mutex<BTreeMap<String, PluginUse>>,
}

/// The key of a plugin's own key or name.
pub(super) fn place(plugin: &str, name: &str) -> Vec<u8> {
    [plugin.as_bytes(), &[0], name.as_bytes()].concat()
}

impl Records {
    pub(super) fn open(folder: &Path) -> Result<Self, PluginDataError> {
        let settings = SledSettings { cache_bytes: CACHE_BYTES, ..SledSettings::default() };
        let (db, sled_folder) = guard::open_database(folder, &settings)?;
        let tree = |name: &str| db.open_tree(name).map_err(store_error);
        let (values, blobs, meta) = (tree("values")?, tree("blobs")?, tree("meta")?);
        let format = meta.get(FORMAT_KEY).map_err(store_error)?.map(|value| value.to_vec());
        let records = Self {
            folder: folder.to_owned(),
            settings,
            file: File::open(sled_folder.join("db")).map_err(|error| io_error(&error))?,
            values,
            blobs,
            db,
            writing: Mutex::default(),
            used: Mutex::default(),
        };
        if guard::is_new(folder, format, FORMAT)? {
            meta.insert(FORMAT_KEY, FORMAT).map_err(store_error)?;
            records.flush()?;
        }
        records.count()?;
        guard::mark(folder, &sled_folder)?;
        Ok(records)
    }

    pub(super) fn used(&self, plugin: &str) -> PluginUse {
        self.counts().get(plugin).copied().unwrap_or_default()
    }

    pub(super) fn value(&self, place: &[u8]) -> Result<Option<Vec<u8>>, PluginDataError> {
        Ok(self.values.get(place).map_err(store_error)?.map(|value| value.to_vec()))
    }

    /// Writes, where what is there is as `expected`, and says whether it was.
    pub(super) fn write(
        &self,
        (plugin, key): (&str, &str),
        expected: impl FnOnce(Option<&[u8]>) -> bool,
        value: Option<Vec<u8>>,
        bytes_max: u64,
    ) -> Result<bool, PluginDataError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place(plugin, key);
        let old = self.values.get(&place).map_err(store_error)?;
        if !expected(old.as_deref()) {
            return Ok(false);
        }
        let size = |value: &[u8]| (key.len() + value.len()) as u64;
        let change = Change { old: old.as_deref().map(size), new: value.as_deref().map(size) };
        let mut used = self.used(plugin);
        (used.keys, used.kv_bytes) = self.after((used.keys, used.kv_bytes), change, "values", bytes_max)?;
        let written = match value {
            Some(value) => self.values.insert(&place, value),
            None => self.values.remove(&place),
        };
        written.map_err(store_error)?;
        self.note(plugin, used);
        self.flush()?;
        Ok(true)
    }

    pub(super) fn keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<String>, PluginDataError> {
        names(&self.values, plugin, prefix, after, count)
    }

    pub(super) fn blob(&self, place: &[u8]) -> Result<Option<Blob>, PluginDataError> {
        self.blobs.get(place).map_err(store_error)?.map(|record| Blob::decode(&record)).transpose()
    }

    /// Refuses a blob that would be too much.
    pub(super) fn has_room(
        &self,
        (plugin, name): (&str, &str),
        blob: Blob,
        bytes_max: u64,
    ) -> Result<(), PluginDataError> {
        let old = self.blob(&place(plugin, name))?;
        self.blob_use((plugin, name), old, Some(blob), bytes_max).map(drop)
    }

    /// Has a name mean another blob, or none, and returns what it meant.
    pub(super) fn name_blob(
        &self,
        (plugin, name): (&str, &str),
        blob: Option<Blob>,
        bytes_max: u64,
    ) -> Result<Option<Blob>, PluginDataError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place(plugin, name);
        let old = self.blob(&place)?;
        let used = self.blob_use((plugin, name), old, blob, bytes_max)?;
        let written = match blob {
            Some(blob) => self.blobs.insert(&place, blob.encode()),
            None => self.blobs.remove(&place),
        };
        written.map_err(store_error)?;
        self.note(plugin, used);
        self.flush()?;
        Ok(old)
    }

    pub(super) fn blob_names(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<String>, PluginDataError> {
        names(&self.blobs, plugin, prefix, after, count)
    }

    /// Removes every record of a plugin and returns the blobs, whose objects are left to the caller.
    pub(super) fn forget(&self, plugin: &str) -> Result<Vec<Blob>, PluginDataError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let everything = place(plugin, "");
        let mut blobs = Vec::new();
        for record in self.blobs.scan_prefix(&everything) {
            let (key, record) = record.map_err(store_error)?;
            // A record that cannot be read is let go like any other.
            blobs.extend(Blob::decode(&record));
            self.blobs.remove(key).map_err(store_error)?;
        }
        for key in self.values.scan_prefix(&everything).keys() {
            self.values.remove(key.map_err(store_error)?).map_err(store_error)?;
        }
        self.counts().remove(plugin);
        self.flush()?;
        Ok(blobs)
    }

    fn blob_use(
        &self,
        (plugin, name): (&str, &str),
        old: Option<Blob>,
        new: Option<Blob>,
        bytes_max: u64,
    ) -> Result<PluginUse, PluginDataError> {
        let size = |blob: Blob| name.len() as u64 + blob.bytes;
        let mut used = self.used(plugin);
        let change = Change { old: old.map(size), new: new.map(size) };
        (used.blobs, used.blob_bytes) =
            self.after((used.blobs, used.blob_bytes), change, "blobs", bytes_max)?;
        Ok(used)
    }

    /// Entries and bytes after a change. What grows has to have room, with the plugin and on the disk.
    fn after(
        &self,
        (entries, bytes): (u64, u64),
        change: Change,
        what: &str,
        bytes_max: u64,
    ) -> Result<(u64, u64), PluginDataError> {
        let bytes = bytes.saturating_sub(change.old.unwrap_or(0)).saturating_add(change.new.unwrap_or(0));
        let entries =
            entries.saturating_sub(u64::from(change.old.is_some())) + u64::from(change.new.is_some());
        if change.new > change.old {
            if bytes > bytes_max {
                return Err(PluginDataError::Full(format!(
                    "the plugin's {what} would take {bytes} bytes of the {bytes_max} that are granted; remove some"
                )));
            }
            if entries > ENTRIES_MAX {
                return Err(PluginDataError::Full(format!(
                    "a plugin may keep {ENTRIES_MAX} {what}; remove some"
                )));
            }
            guard::check_space(&self.folder, &self.settings)?;
        }
        Ok((entries, bytes))
    }

    /// Fills the counts from what is there.
    fn count(&self) -> Result<(), PluginDataError> {
        let mut counts = self.counts();
        for record in self.values.iter() {
            let (key, value) = record.map_err(store_error)?;
            let (plugin, name_bytes) = owner(&key)?;
            let used = counts.entry(plugin).or_default();
            used.keys += 1;
            used.kv_bytes += name_bytes + value.len() as u64;
        }
        for record in self.blobs.iter() {
            let (key, record) = record.map_err(store_error)?;
            let (plugin, name_bytes) = owner(&key)?;
            let used = counts.entry(plugin).or_default();
            used.blobs += 1;
            used.blob_bytes += name_bytes + Blob::decode(&record)?.bytes;
        }
        Ok(())
    }

    fn note(&self, plugin: &str, used: PluginUse) {
        self.counts().insert(plugin.to_owned(), used);
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, PluginUse>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self) -> Result<(), PluginDataError> {
        self.db.flush().map_err(store_error)?;
        self.file.sync_data().map_err(|error| io_error(&error).into())
    }
}

/// Bytes of one entry before and after, where there is one.
#[derive(Clone, Copy)]
struct Change {
    old: Option<u64>,
    new: Option<u64>,
}

impl Blob {
    fn encode(self) -> Vec<u8> {
        [self.bytes.to_be_bytes(), self.nonce.to_be_bytes()].concat()
    }

    fn decode(record: &[u8]) -> Result<Self, PluginDataError> {
        let (Some(bytes), Some(nonce), 16) = (record.first_chunk(), record.last_chunk(), record.len()) else {
            return Err(PluginDataError::Damaged("the record of a blob is none".to_owned()));
        };
        Ok(Self { bytes: u64::from_be_bytes(*bytes), nonce: u64::from_be_bytes(*nonce) })
    }
}

/// Whose record it is, and how long the name in its key.
fn owner(key: &[u8]) -> Result<(String, u64), PluginDataError> {
    let end = key.iter().position(|byte| *byte == 0);
    let end = end.ok_or_else(|| PluginDataError::Damaged("a record belongs to no plugin".to_owned()))?;
    Ok((String::from_utf8_lossy(&key[..end]).into_owned(), (key.len() - end - 1) as u64))
}

fn names(
    tree: &Tree,
    plugin: &str,
    prefix: &str,
    after: Option<&str>,
    count: usize,
) -> Result<Vec<String>, PluginDataError> {
    let prefix = place(plugin, prefix);
    let after = after.map(|after| place(plugin, after)).filter(|after| *after >= prefix);
    let begin = after.map_or_else(|| Bound::Included(prefix.clone()), Bound::Excluded);
    let mut names = Vec::new();
    for record in tree.range::<Vec<u8>, _>((begin, Bound::Unbounded)) {
        let (key, _) = record.map_err(store_error)?;
        if names.len() == count || !key.starts_with(&prefix) {
            break;
        }
        names.push(String::from_utf8_lossy(&key[plugin.len() + 1..]).into_owned());
    }
    Ok(names)
}
