//! Larger values of the plugin's own, which last as those of [`kv`](crate::kv) do. A plugin that calls anything here says under
//! `wants.blob_bytes` how many bytes it would keep, and names `api` 0.2.0; the host refuses to load it while none are granted.
//!
//! A name has 1 to 256 bytes, a blob at most 16 MiB.

use crate::Fault;
use crate::host::blobs as host;

/// Bytes of a blob, where there is one.
///
/// # Errors
/// [`Fault::InvalidInput`] where the name is none, [`Fault::Unavailable`] where the store does not answer.
pub fn size(name: &str) -> Result<Option<u64>, Fault> {
    Ok(host::size(name)?)
}

/// At most `length` bytes from `offset` on, up to 8 MiB; fewer where the blob ends.
///
/// # Errors
/// [`Fault::InvalidInput`] where there is no such blob, [`Fault::Unavailable`] where it was replaced meanwhile.
pub fn read(name: &str, offset: u64, length: u32) -> Result<Vec<u8>, Fault> {
    Ok(host::read(name, offset, length)?)
}

/// Puts a blob in the place of what was there. It is stored when this returns.
///
/// # Errors
/// As [`size`], and [`Fault::LimitExceeded`] where the blob is too long or what is granted is used up.
pub fn put(name: &str, bytes: &[u8]) -> Result<(), Fault> {
    Ok(host::put(name, bytes)?)
}

/// Removes a blob; one that is not there is no fault.
///
/// # Errors
/// As [`size`].
pub fn remove(name: &str) -> Result<(), Fault> {
    Ok(host::remove(name)?)
}

/// The first 256 names behind `after` that begin with `prefix`, in the order of their bytes. The last one is where to go on;
/// none is the end.
///
/// # Errors
/// As [`size`].
pub fn list(prefix: &str, after: Option<&str>) -> Result<Vec<String>, Fault> {
    Ok(host::list(prefix, after)?)
}
