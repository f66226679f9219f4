//! What plugins keep: what the server offers them for it. The server knows disks and object stores; here a store is a grant of
//! bytes, and every name in it is the plugin's own.

use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;

/// An answer under way.
pub type StoreAnswer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Keeps values and blobs, apart by plugin. A write that was begun is made or not, whoever waits for it; its answer comes
/// once it is on the disk. What would take a plugin beyond the bytes that come with a write is refused.
pub trait Stores: Send + Sync {
    fn get(&self, plugin: &str, key: &str) -> StoreAnswer<Option<Vec<u8>>>;

    /// Puts a value; `None` removes it.
    fn set(&self, plugin: &str, key: &str, value: Option<Vec<u8>>, bytes_max: u64) -> StoreAnswer<()>;

    /// The same in one step with a look at what is there; answers whether it was what is expected.
    fn swap(&self, plugin: &str, key: &str, change: Swap, bytes_max: u64) -> StoreAnswer<bool>;

    fn keys(&self, plugin: &str, page: NamesPage) -> StoreAnswer<Vec<String>>;

    /// Bytes.
    fn blob_size(&self, plugin: &str, name: &str) -> StoreAnswer<Option<u64>>;

    /// At most `length` bytes from `offset` on.
    fn read_blob(&self, plugin: &str, name: &str, offset: u64, length: u64) -> StoreAnswer<Option<Vec<u8>>>;

    fn put_blob(&self, plugin: &str, name: &str, bytes: Vec<u8>, bytes_max: u64) -> StoreAnswer<()>;

    fn remove_blob(&self, plugin: &str, name: &str) -> StoreAnswer<()>;

    fn blobs(&self, plugin: &str, page: NamesPage) -> StoreAnswer<Vec<String>>;

    /// How much a plugin keeps; waits for nothing.
    fn used(&self, plugin: &str) -> StoreUse;

    /// Drops all that a plugin keeps.
    fn forget(&self, plugin: &str) -> StoreAnswer<()>;
}

/// A value in the place of another one. `None` is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    pub expected: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// Which names are listed, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesPage {
    pub prefix: String,
    /// Where to go on: the last name of the page before.
    pub after: Option<String>,
    pub count: usize,
}

/// How much one plugin keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StoreUse {
    pub keys: u64,
    /// Of keys and values.
    pub kv_bytes: u64,
    pub blobs: u64,
    /// Of blobs and their names.
    pub blob_bytes: u64,
}

/// Why there is no answer, by what the plugin can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What is granted is used up.
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    Unavailable(String),
}

/// For hosts without a disk of their own: nothing is kept.
#[derive(Debug, Clone, Copy)]
pub struct NoStores;

fn nothing<T: Send + 'static>() -> StoreAnswer<T> {
    let error = StoreError::Unavailable("this host keeps nothing for plugins".to_owned());
    Box::pin(std::future::ready(Err(error)))
}

impl Stores for NoStores {
    fn get(&self, _: &str, _: &str) -> StoreAnswer<Option<Vec<u8>>> {
        nothing()
    }

    fn set(&self, _: &str, _: &str, _: Option<Vec<u8>>, _: u64) -> StoreAnswer<()> {
        nothing()
    }

    fn swap(&self, _: &str, _: &str, _: Swap, _: u64) -> StoreAnswer<bool> {
        nothing()
    }

    fn keys(&self, _: &str, _: NamesPage) -> StoreAnswer<Vec<String>> {
        nothing()
    }

    fn blob_size(&self, _: &str, _: &str) -> StoreAnswer<Option<u64>> {
        nothing()
    }

    fn read_blob(&self, _: &str, _: &str, _: u64, _: u64) -> StoreAnswer<Option<Vec<u8>>> {
        nothing()
    }

    fn put_blob(&self, _: &str, _: &str, _: Vec<u8>, _: u64) -> StoreAnswer<()> {
        nothing()
    }

    fn remove_blob(&self, _: &str, _: &str) -> StoreAnswer<()> {
        nothing()
    }

    fn blobs(&self, _: &str, _: NamesPage) -> StoreAnswer<Vec<String>> {
        nothing()
    }

    fn used(&self, _: &str) -> StoreUse {
        StoreUse::default()
    }

    fn forget(&self, _: &str) -> StoreAnswer<()> {
        nothing()
    }
}

/// What one plugin may keep. Zero bytes is nothing.
#[derive(Clone)]
pub(crate) struct GrantedStores {
    pub(crate) plugin: Arc<str>,
    pub(crate) kv_bytes: u64,
    pub(crate) blob_bytes: u64,
    pub(crate) source: Arc<dyn Stores>,
}
