//! Small values of the plugin's own, which outlive calls, restarts and builds. A plugin that calls anything here says under
//! `wants.kv_bytes` how many bytes it would keep, and names `api` 0.2.0; the host refuses to load it while none are granted.
//!
//! A key has 1 to 256 bytes, a value at most 8 KiB.

use crate::Fault;
use crate::host::kv as host;

/// The value, where there is one.
///
/// # Errors
/// [`Fault::InvalidInput`] where the key is none, [`Fault::Unavailable`] where the disk does not answer.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Fault> {
    Ok(host::get(key)?)
}

/// # Errors
/// As [`get`].
pub fn exists(key: &str) -> Result<bool, Fault> {
    Ok(host::exists(key)?)
}

/// Puts a value in the place of what was there. It is on the disk when this returns.
///
/// # Errors
/// As [`get`], and [`Fault::LimitExceeded`] where the value is too long or what is granted is used up.
pub fn set(key: &str, value: &[u8]) -> Result<(), Fault> {
    Ok(host::set(key, value)?)
}

/// Removes a value; one that is not there is no fault.
///
/// # Errors
/// As [`get`].
pub fn remove(key: &str) -> Result<(), Fault> {
    Ok(host::remove(key)?)
}

/// Puts `value` in the place of `expected` in one step, and says whether it did. `None` is no value, before and after.
///
/// # Errors
/// As [`set`].
pub fn swap(key: &str, expected: Option<&[u8]>, value: Option<&[u8]>) -> Result<bool, Fault> {
    Ok(host::swap(key, expected, value)?)
}

/// Puts what `change` makes of the value in its place, and returns it. Calls of one plugin run beside each other: where
/// another one was quicker, `change` is asked again, with what that one has left.
///
/// # Errors
/// As [`set`].
pub fn update(
    key: &str,
    mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, Fault> {
    loop {
        let old = get(key)?;
        let new = change(old.as_deref());
        if swap(key, old.as_deref(), new.as_deref())? {
            return Ok(new);
        }
    }
}

/// The first 256 keys behind `after` that begin with `prefix`, in the order of their bytes. The last one is where to go on;
/// none is the end.
///
/// # Errors
/// As [`get`].
pub fn list_keys(prefix: &str, after: Option<&str>) -> Result<Vec<String>, Fault> {
    Ok(host::list_keys(prefix, after)?)
}
