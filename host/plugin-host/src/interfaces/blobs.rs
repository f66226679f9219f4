//! `gesso:plugin/blobs`: larger values of the plugin's own. What crosses is on the call's account while it does; room is
//! decided by who keeps them.

use super::gesso::plugin::types::Fault;
use super::kv::{check_name, page};
use super::picture_hook::gesso::plugin0_2_0::blobs::Host;
use super::{CallState, images};
use crate::stores::GrantedStores;

const BLOB_BYTES_MAX: usize = 16 << 20;
/// One answer; a guest's memory holds several.
const READ_BYTES_MAX: u64 = 8 << 20;

impl CallState {
    fn blob_store(&mut self, name: &str) -> Result<GrantedStores, Fault> {
        let stores = self.granted_blobs()?;
        check_name("a blob's name", name)?;
        Ok(stores)
    }

    fn granted_blobs(&mut self) -> Result<GrantedStores, Fault> {
        let stores = self.stores()?;
        if stores.blob_bytes == 0 {
            return Err(Fault::NotPermitted("no blobs may be kept (the grant `blob_bytes`)".to_owned()));
        }
        Ok(stores)
    }

    async fn blob_size(&mut self, name: &str) -> Result<Option<u64>, Fault> {
        let stores = self.blob_store(name)?;
        Ok(stores.source.blob_size(&stores.plugin, name).await?)
    }

    async fn read_blob(&mut self, name: &str, offset: u64, length: u32) -> Result<Vec<u8>, Fault> {
        let stores = self.blob_store(name)?;
        let length = u64::from(length).min(READ_BYTES_MAX);
        images::reserve(self, length)?;
        let read = stores.source.read_blob(&stores.plugin, name, offset, length).await;
        self.pictures.give_back(length);
        read?.ok_or_else(|| {
            Fault::InvalidInput(format!("there is no blob named `{}`", crate::log::tidy(name, 200)))
        })
    }

    async fn put_blob(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), Fault> {
        let stores = self.blob_store(name)?;
        let length = bytes.len();
        if length > BLOB_BYTES_MAX {
            return Err(Fault::LimitExceeded(format!(
                "a blob has at most {BLOB_BYTES_MAX} bytes, and this one {length}"
            )));
        }
        images::reserve(self, length as u64)?;
        let put = stores.source.put_blob(&stores.plugin, name, bytes, stores.blob_bytes).await;
        self.pictures.give_back(length as u64);
        Ok(put?)
    }

    async fn remove_blob(&mut self, name: &str) -> Result<(), Fault> {
        let stores = self.blob_store(name)?;
        Ok(stores.source.remove_blob(&stores.plugin, name).await?)
    }

    async fn blob_names(&mut self, prefix: String, after: Option<String>) -> Result<Vec<String>, Fault> {
        let stores = self.granted_blobs()?;
        let page = page(prefix, after)?;
        Ok(stores.source.blobs(&stores.plugin, page).await?)
    }
}

impl Host for CallState {
    async fn size(&mut self, name: String) -> wasmtime::Result<Result<Option<u64>, Fault>> {
        Ok(self.blob_size(&name).await)
    }

    async fn read(
        &mut self,
        name: String,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Fault>> {
        Ok(self.read_blob(&name, offset, length).await)
    }

    async fn put(&mut self, name: String, bytes: Vec<u8>) -> wasmtime::Result<Result<(), Fault>> {
        Ok(self.put_blob(&name, bytes).await)
    }

    async fn remove(&mut self, name: String) -> wasmtime::Result<Result<(), Fault>> {
        Ok(self.remove_blob(&name).await)
    }

    async fn list(
        &mut self,
        prefix: String,
        after: Option<String>,
    ) -> wasmtime::Result<Result<Vec<String>, Fault>> {
        Ok(self.blob_names(prefix, after).await)
    }
}
