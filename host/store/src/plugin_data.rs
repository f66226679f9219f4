//! What plugins keep, apart by plugin: values, small and in sled, and blobs, whose bytes are objects and whose names are in
//! sled. Called by the server on the plugins' behalf. Knows no component; who may keep how much is told with each write.
//!
//! | Tree | Key | Value |
//! |---|---|---|
//! | `values` | plugin, 0, key | the value |
//! | `blobs` | plugin, 0, name | bytes, nonce of the object: eight bytes each, big-endian |
//! | `meta` | `format` | |
//!
//! A plugin's id holds no 0, so that no key of one is a key of another. A blob's object is written before its record and
//! removed after it: a crash leaves an object that nothing names, never a record that names none.

mod records;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use self::records::{Blob, Records};
use crate::keys::ObjectKey;
use crate::objects::{Objects, ObjectsError};
use crate::tasks::TaskStoreError;

/// Values of one plugin, and blobs of one, so that each can be listed and dropped in bounded time.
pub const ENTRIES_MAX: u64 = 10_000;

/// What all plugins keep. Cheap to clone.
#[derive(Clone)]
pub struct PluginData {
    records: Arc<Records>,
    objects: Objects,
}

/// How much one plugin keeps. Bytes are those of keys and values, and of blobs and their names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PluginUse {
    pub keys: u64,
    pub kv_bytes: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
}

/// What went wrong, named by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginDataError {
    /// The plugin removes something, or an admin grants more.
    #[error("{0}")]
    Full(String),
    /// The plugin reads again.
    #[error("the blob was replaced or removed meanwhile; read it again")]
    Changed,
    #[error(transparent)]
    Objects(ObjectsError),
    /// Stop the other process, or choose another folder.
    #[error("another process uses the folder of the plugins' data ({0})")]
    InUse(String),
    /// Stop and restore a copy.
    #[error("the plugins' data are damaged: {0}; move their folder away, or restore it")]
    Damaged(String),
    #[error("the plugins' data cannot be reached now: {0}; try again shortly")]
    Unavailable(String),
}

impl PluginData {
    /// Opens or creates the records in `folder`; blobs lie in `objects`. Blocks, so call it while starting.
    pub fn open(folder: &Path, objects: Objects) -> Result<Self, PluginDataError> {
        Ok(Self { records: Arc::new(Records::open(folder)?), objects })
    }

    /// At any time, without a wait for the disk.
    pub fn used(&self, plugin: &str) -> PluginUse {
        self.records.used(plugin)
    }

    pub async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, PluginDataError> {
        let place = records::place(plugin, key);
        self.on_records(move |records| records.value(&place)).await
    }

    /// Puts a value in the place of what was there; `None` removes it. Durable when it returns. What grows beyond
    /// `bytes_max` is refused, what shrinks is not.
    pub async fn set(
        &self,
        plugin: &str,
        key: &str,
        value: Option<Vec<u8>>,
        bytes_max: u64,
    ) -> Result<(), PluginDataError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.on_records(move |records| records.write((&plugin, &key), |_| true, value, bytes_max)).await?;
        Ok(())
    }

    /// [`PluginData::set`] where `expected` is what is there; says whether it was.
    pub async fn swap(
        &self,
        plugin: &str,
        key: &str,
        (expected, value): (Option<Vec<u8>>, Option<Vec<u8>>),
        bytes_max: u64,
    ) -> Result<bool, PluginDataError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.on_records(move |records| {
            let is_expected = |old: Option<&[u8]>| old == expected.as_deref();
            records.write((&plugin, &key), is_expected, value, bytes_max)
        })
        .await
    }

    /// The first `count` keys behind `after` that begin with `prefix`, in the order of their bytes.
    pub async fn keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<String>, PluginDataError> {
        let (plugin, prefix, after) = (plugin.to_owned(), prefix.to_owned(), after.map(str::to_owned));
        self.on_records(move |records| records.keys(&plugin, &prefix, after.as_deref(), count)).await
    }

    pub async fn blob_size(&self, plugin: &str, name: &str) -> Result<Option<u64>, PluginDataError> {
        let place = records::place(plugin, name);
        Ok(self.on_records(move |records| records.blob(&place)).await?.map(|blob| blob.bytes))
    }

    /// At most `length` bytes from `offset` on, fewer where the blob ends; `None` where there is no blob.
    pub async fn read_blob(
        &self,
        plugin: &str,
        name: &str,
        offset: u64,
        length: u64,
    ) -> Result<Option<Bytes>, PluginDataError> {
        let place = records::place(plugin, name);
        let Some(blob) = self.on_records(move |records| records.blob(&place)).await? else { return Ok(None) };
        let start = offset.min(blob.bytes);
        let end = start.saturating_add(length).min(blob.bytes);
        if start == end {
            return Ok(Some(Bytes::new()));
        }
        let read = self.objects.get_range(&object(plugin, blob)?, start..end).await;
        read.map(Some).map_err(|error| match error {
            ObjectsError::NotFound(_) => PluginDataError::Changed,
            other => PluginDataError::Objects(other),
        })
    }

    /// Puts a blob in the place of what was there. Durable when it returns.
    pub async fn put_blob(
        &self,
        plugin: &str,
        name: &str,
        bytes: Bytes,
        bytes_max: u64,
    ) -> Result<(), PluginDataError> {
        let nonce = getrandom::u64()
            .map_err(|error| PluginDataError::Unavailable(format!("no random number: {error}")))?;
        let blob = Blob { bytes: bytes.len() as u64, nonce };
        let (owner, its_name) = (plugin.to_owned(), name.to_owned());
        // Asked before the bytes are written, and again when they get their name: others may have put some meanwhile.
        self.on_records(move |records| records.has_room((&owner, &its_name), blob, bytes_max)).await?;
        let new = object(plugin, blob)?;
        self.objects.put(&new, bytes).await.map_err(PluginDataError::Objects)?;
        let (owner, its_name) = (plugin.to_owned(), name.to_owned());
        let named =
            self.on_records(move |records| records.name_blob((&owner, &its_name), Some(blob), bytes_max));
        match named.await {
            Ok(Some(old)) => self.drop_object(&object(plugin, old)?).await,
            Ok(None) => {}
            Err(error) => {
                // Where it was the disk that failed, the record may be made and name the object all the same.
                let place = records::place(plugin, name);
                let there = self.on_records(move |records| records.blob(&place)).await;
                if there.is_ok_and(|there| there != Some(blob)) {
                    self.drop_object(&new).await;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes a blob; one that is not there is no error.
    pub async fn remove_blob(&self, plugin: &str, name: &str) -> Result<(), PluginDataError> {
        let (owner, name) = (plugin.to_owned(), name.to_owned());
        let old = self.on_records(move |records| records.name_blob((&owner, &name), None, 0)).await?;
        if let Some(old) = old {
            self.drop_object(&object(plugin, old)?).await;
        }
        Ok(())
    }

    /// As [`PluginData::keys`], of blobs.
    pub async fn blobs(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<String>, PluginDataError> {
        let (plugin, prefix, after) = (plugin.to_owned(), prefix.to_owned(), after.map(str::to_owned));
        self.on_records(move |records| records.blob_names(&plugin, &prefix, after.as_deref(), count)).await
    }

    /// Drops all that a plugin keeps.
    pub async fn forget(&self, plugin: &str) -> Result<(), PluginDataError> {
        let owner = plugin.to_owned();
        for blob in self.on_records(move |records| records.forget(&owner)).await? {
            self.drop_object(&object(plugin, blob)?).await;
        }
        Ok(())
    }

    /// An object that no record names any more. One that stays is lost room and nothing else.
    async fn drop_object(&self, key: &ObjectKey) {
        if let Err(error) = self.objects.delete(key).await {
            tracing::warn!(%key, %error, "an object that a plugin has no use for stays");
        }
    }

    /// The blocking pool: sled waits for the disk.
    async fn on_records<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Records) -> Result<T, PluginDataError> + Send + 'static,
    ) -> Result<T, PluginDataError> {
        let records = self.records.clone();
        let joined = tokio::task::spawn_blocking(move || work(&records)).await;
        joined.map_err(|error| PluginDataError::Unavailable(format!("the work was cut short: {error}")))?
    }
}

impl From<TaskStoreError> for PluginDataError {
    fn from(error: TaskStoreError) -> Self {
        match error {
            TaskStoreError::InUse(folder) => Self::InUse(folder),
            TaskStoreError::Corrupt(what) => Self::Damaged(what),
            // The disk's room, not the plugin's.
            TaskStoreError::Full(what) => Self::Unavailable(format!("the disk is full ({what})")),
            TaskStoreError::Unavailable(what) => Self::Unavailable(what),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

fn object(plugin: &str, blob: Blob) -> Result<ObjectKey, PluginDataError> {
    ObjectKey::blob(plugin, blob.nonce).map_err(|error| PluginDataError::Damaged(error.to_string()))
}
