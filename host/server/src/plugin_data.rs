//! What plugins keep: the plugin host's words on one side, the store's on the other. Who may keep how much is the plugin
//! host's; here a failure of the disk becomes a sentence without a path in it.

use bytes::Bytes;
use gesso_plugin_host::{NamesPage, StoreAnswer, StoreError, StoreUse, Stores, Swap};
use gesso_store::{PluginData, PluginDataError, PluginUse};
use tokio::runtime::Handle;

/// The data of all plugins.
pub(crate) struct ServerStores {
    pub(crate) data: PluginData,
    /// Guests run on threads of their own; disks and object stores belong on the server's.
    pub(crate) runtime: Handle,
}

impl ServerStores {
    fn answer<T, F>(&self, work: impl FnOnce(PluginData) -> F) -> StoreAnswer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, PluginDataError>> + Send + 'static,
    {
        // The server's tokio workers: it waits for the blocking pool and for objects. It is not ended with the guest, since
        // half of a write is worse than one that nobody waits for.
        let task = self.runtime.spawn(work(self.data.clone()));
        Box::pin(async move {
            match task.await {
                Ok(answer) => answer.map_err(told),
                Err(_) => Err(StoreError::Unavailable("the server ended early".into())),
            }
        })
    }
}

impl Stores for ServerStores {
    fn get(&self, plugin: &str, key: &str) -> StoreAnswer<Option<Vec<u8>>> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.answer(|data| async move { data.get(&plugin, &key).await })
    }

    fn set(&self, plugin: &str, key: &str, value: Option<Vec<u8>>, bytes_max: u64) -> StoreAnswer<()> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.answer(move |data| async move { data.set(&plugin, &key, value, bytes_max).await })
    }

    fn swap(&self, plugin: &str, key: &str, change: Swap, bytes_max: u64) -> StoreAnswer<bool> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        let change = (change.expected, change.value);
        self.answer(move |data| async move { data.swap(&plugin, &key, change, bytes_max).await })
    }

    fn keys(&self, plugin: &str, page: NamesPage) -> StoreAnswer<Vec<String>> {
        let plugin = plugin.to_owned();
        let NamesPage { prefix, after, count } = page;
        self.answer(move |data| async move { data.keys(&plugin, &prefix, after.as_deref(), count).await })
    }

    fn blob_size(&self, plugin: &str, name: &str) -> StoreAnswer<Option<u64>> {
        let (plugin, name) = (plugin.to_owned(), name.to_owned());
        self.answer(|data| async move { data.blob_size(&plugin, &name).await })
    }

    fn read_blob(&self, plugin: &str, name: &str, offset: u64, length: u64) -> StoreAnswer<Option<Vec<u8>>> {
        let (plugin, name) = (plugin.to_owned(), name.to_owned());
        self.answer(move |data| async move {
            Ok(data.read_blob(&plugin, &name, offset, length).await?.map(Vec::from))
        })
    }

    fn put_blob(&self, plugin: &str, name: &str, bytes: Vec<u8>, bytes_max: u64) -> StoreAnswer<()> {
        let (plugin, name) = (plugin.to_owned(), name.to_owned());
        let bytes = Bytes::from(bytes);
        self.answer(move |data| async move { data.put_blob(&plugin, &name, bytes, bytes_max).await })
    }

    fn remove_blob(&self, plugin: &str, name: &str) -> StoreAnswer<()> {
        let (plugin, name) = (plugin.to_owned(), name.to_owned());
        self.answer(|data| async move { data.remove_blob(&plugin, &name).await })
    }

    fn blobs(&self, plugin: &str, page: NamesPage) -> StoreAnswer<Vec<String>> {
        let plugin = plugin.to_owned();
        let NamesPage { prefix, after, count } = page;
        self.answer(move |data| async move { data.blobs(&plugin, &prefix, after.as_deref(), count).await })
    }

    fn used(&self, plugin: &str) -> StoreUse {
        let PluginUse { keys, kv_bytes, blobs, blob_bytes } = self.data.used(plugin);
        StoreUse { keys, kv_bytes, blobs, blob_bytes }
    }

    fn forget(&self, plugin: &str) -> StoreAnswer<()> {
        let plugin = plugin.to_owned();
        self.answer(|data| async move { data.forget(&plugin).await })
    }
}

/// What a plugin is told. Texts of other failures may hold paths of the server; they are in its log.
fn told(error: PluginDataError) -> StoreError {
    match error {
        PluginDataError::Full(text) => StoreError::Full(text),
        PluginDataError::Changed => StoreError::Unavailable(error.to_string()),
        PluginDataError::Objects(_)
        | PluginDataError::InUse(_)
        | PluginDataError::Damaged(_)
        | PluginDataError::Unavailable(_) => {
            tracing::error!(%error, "a plugin's data cannot be reached");
            StoreError::Unavailable("what plugins keep cannot be reached now; try again shortly".into())
        }
    }
}
