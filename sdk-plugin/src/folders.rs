//! Read-only folders the admin granted by name. A plugin that calls anything here must list the folder under
//! `wants.folders` in its manifest; the host refuses to load it while none is granted.

use crate::Fault;
use crate::host::folders as host;

/// Paths of the files in the folder, relative to it with `/` between parts, sorted, at most 10,000.
///
/// # Errors
/// [`Fault::NotPermitted`] where the folder is not granted.
pub fn list(folder: &str) -> Result<Vec<String>, Fault> {
    host::list(folder).map_err(Fault::from)
}

/// A file of at most 1 MiB.
///
/// # Errors
/// [`Fault::NotPermitted`] where the folder is not granted, [`Fault::InvalidInput`] where the file is not there.
pub fn read(folder: &str, path: &str) -> Result<Vec<u8>, Fault> {
    host::read(folder, path).map_err(Fault::from)
}
