//! Files that the component carries: those of the folder `assets`, which `gesso plugin build` puts in. They need no grant; the
//! manifest names `api` 0.2.0. What is small and always there is as well compiled in with `include_bytes!`.

use crate::Fault;
use crate::host::assets as host;

/// Every name, sorted, with `/` between its parts.
pub fn list() -> Vec<String> {
    host::list()
}

/// A file's bytes.
///
/// # Errors
/// [`Fault::InvalidInput`] where there is none of that name.
pub fn read(name: &str) -> Result<Vec<u8>, Fault> {
    Ok(host::read(name)?)
}
