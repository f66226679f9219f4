//! `gesso:plugin/kv`: small values of the plugin's own. Lengths and how often a call may ask are decided here, room by who
//! keeps them.

use super::CallState;
use super::gesso::plugin::types::Fault;
use super::picture_hook::gesso::plugin0_2_0::kv::Host;
use crate::stores::{GrantedStores, NamesPage, StoreError, Swap};

/// What one call may ask of `kv` and `blobs` together: each waits for a disk that others wait for, too.
const ASKED_MAX: u32 = 4096;
const NAME_BYTES_MAX: usize = 256;
/// A record of the store stays small.
const VALUE_BYTES_MAX: usize = 8 << 10;
/// Names in one answer.
const NAMES: usize = 256;

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(text) => Self::LimitExceeded(text),
            StoreError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl CallState {
    /// The plugin's stores, for one thing more that this call asks of them.
    pub(super) fn stores(&mut self) -> Result<GrantedStores, Fault> {
        self.stores_asked += 1;
        if self.stores_asked > ASKED_MAX {
            return Err(Fault::LimitExceeded(format!("a call may ask kv and blobs {ASKED_MAX} times")));
        }
        Ok(self.capabilities.stores.clone())
    }

    fn kv(&mut self) -> Result<GrantedStores, Fault> {
        let stores = self.stores()?;
        if stores.kv_bytes == 0 {
            return Err(Fault::NotPermitted("no values may be kept (the grant `kv_bytes`)".to_owned()));
        }
        Ok(stores)
    }

    async fn kv_get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let stores = self.kv()?;
        check_name("a key", key)?;
        Ok(stores.source.get(&stores.plugin, key).await?)
    }

    async fn kv_set(&mut self, key: &str, value: Option<Vec<u8>>) -> Result<(), Fault> {
        let stores = self.kv()?;
        check_name("a key", key)?;
        check_value(value.as_deref())?;
        Ok(stores.source.set(&stores.plugin, key, value, stores.kv_bytes).await?)
    }

    async fn kv_swap(&mut self, key: &str, change: Swap) -> Result<bool, Fault> {
        let stores = self.kv()?;
        check_name("a key", key)?;
        check_value(change.value.as_deref())?;
        Ok(stores.source.swap(&stores.plugin, key, change, stores.kv_bytes).await?)
    }

    async fn kv_keys(&mut self, prefix: String, after: Option<String>) -> Result<Vec<String>, Fault> {
        let stores = self.kv()?;
        let page = page(prefix, after)?;
        Ok(stores.source.keys(&stores.plugin, page).await?)
    }
}

impl Host for CallState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Fault>> {
        Ok(self.kv_get(&key).await)
    }

    async fn exists(&mut self, key: String) -> wasmtime::Result<Result<bool, Fault>> {
        Ok(self.kv_get(&key).await.map(|value| value.is_some()))
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), Fault>> {
        Ok(self.kv_set(&key, Some(value)).await)
    }

    async fn remove(&mut self, key: String) -> wasmtime::Result<Result<(), Fault>> {
        Ok(self.kv_set(&key, None).await)
    }

    async fn swap(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> wasmtime::Result<Result<bool, Fault>> {
        Ok(self.kv_swap(&key, Swap { expected, value }).await)
    }

    async fn list_keys(
        &mut self,
        prefix: String,
        after: Option<String>,
    ) -> wasmtime::Result<Result<Vec<String>, Fault>> {
        Ok(self.kv_keys(prefix, after).await)
    }
}

/// A key, or the name of a blob.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Fault> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let bytes = name.len();
    Err(Fault::InvalidInput(format!("{what} has 1 to {NAME_BYTES_MAX} bytes, and this one {bytes}")))
}

pub(super) fn page(prefix: String, after: Option<String>) -> Result<NamesPage, Fault> {
    if prefix.len() > NAME_BYTES_MAX || after.as_ref().is_some_and(|after| after.len() > NAME_BYTES_MAX) {
        return Err(Fault::InvalidInput(format!(
            "`prefix` and `after` have at most {NAME_BYTES_MAX} bytes each"
        )));
    }
    Ok(NamesPage { prefix, after, count: NAMES })
}

fn check_value(value: Option<&[u8]>) -> Result<(), Fault> {
    match value.map(<[u8]>::len) {
        Some(bytes) if bytes > VALUE_BYTES_MAX => Err(Fault::LimitExceeded(format!(
            "a value has at most {VALUE_BYTES_MAX} bytes, and this one {bytes}; larger ones are blobs"
        ))),
        _ => Ok(()),
    }
}
