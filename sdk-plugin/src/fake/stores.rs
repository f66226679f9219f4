//! `gesso:plugin/kv` and `gesso:plugin/blobs` of a made-up host: values in memory, with the lengths and the room that the
//! contract has.

use std::ops::Bound;

use super::Named;
use crate::bindings::request_hook::gesso::plugin::types::Fault;

const NAME_BYTES_MAX: usize = 256;
/// Names in one answer.
const NAMES: usize = 256;

fn check_name(what: &str, name: &str) -> Result<(), Fault> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let bytes = name.len();
    Err(Fault::InvalidInput(format!("{what} has 1 to {NAME_BYTES_MAX} bytes, and this one {bytes}")))
}

fn check_grant(what: &str, grant: &str, bytes: u64) -> Result<(), Fault> {
    match bytes {
        0 => Err(Fault::NotPermitted(format!("no {what} may be kept (the grant `{grant}`)"))),
        _ => Ok(()),
    }
}

/// Puts a value in the place of what was there, if it has room.
fn put(kept: &mut Named, what: &str, name: &str, value: &[u8], bytes_max: u64) -> Result<(), Fault> {
    let size = |name: &str, value: &[u8]| (name.len() + value.len()) as u64;
    let others = kept.iter().filter(|(known, _)| *known != name);
    let bytes = others.map(|(known, value)| size(known, value)).sum::<u64>() + size(name, value);
    if bytes > bytes_max {
        return Err(Fault::LimitExceeded(format!(
            "the plugin's {what} would take {bytes} bytes of the {bytes_max} that are granted; remove some"
        )));
    }
    kept.insert(name.to_owned(), value.to_vec());
    Ok(())
}

fn page(kept: &Named, prefix: &str, after: Option<&str>) -> Vec<String> {
    let from: Bound<&str> = after.map_or(Bound::Unbounded, Bound::Excluded);
    let range: (Bound<&str>, Bound<&str>) = (from, Bound::Unbounded);
    let names = kept.range::<str, _>(range).map(|(name, _)| name);
    names.filter(|name| name.starts_with(prefix)).take(NAMES).cloned().collect()
}

pub(crate) mod kv {
    use super::super::{State, ask};
    use super::{Fault, check_grant, check_name, page, put};

    const VALUE_BYTES_MAX: usize = 8 << 10;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Fault> {
        with_key(key, |state| Ok(state.kv.get(key).cloned()))
    }

    pub(crate) fn exists(key: &str) -> Result<bool, Fault> {
        with_key(key, |state| Ok(state.kv.contains_key(key)))
    }

    pub(crate) fn set(key: &str, value: &[u8]) -> Result<(), Fault> {
        with_key(key, |state| change(state, key, Some(value)))
    }

    pub(crate) fn remove(key: &str) -> Result<(), Fault> {
        with_key(key, |state| change(state, key, None))
    }

    pub(crate) fn swap(key: &str, expected: Option<&[u8]>, value: Option<&[u8]>) -> Result<bool, Fault> {
        with_key(key, |state| {
            let is_expected = state.kv.get(key).map(Vec::as_slice) == expected;
            if is_expected {
                change(state, key, value)?;
            }
            Ok(is_expected)
        })
    }

    pub(crate) fn list_keys(prefix: &str, after: Option<&str>) -> Result<Vec<String>, Fault> {
        ask(|state| granted(state).map(|()| page(&state.kv, prefix, after)))
    }

    fn granted(state: &State) -> Result<(), Fault> {
        check_grant("values", "kv_bytes", state.kv_bytes)
    }

    fn with_key<T>(key: &str, work: impl FnOnce(&mut State) -> Result<T, Fault>) -> Result<T, Fault> {
        ask(|state| {
            granted(state)?;
            check_name("a key", key)?;
            work(state)
        })
    }

    fn change(state: &mut State, key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
        let Some(value) = value else {
            state.kv.remove(key);
            return Ok(());
        };
        if value.len() > VALUE_BYTES_MAX {
            let bytes = value.len();
            return Err(Fault::LimitExceeded(format!(
                "a value has at most {VALUE_BYTES_MAX} bytes, and this one {bytes}; larger ones are blobs"
            )));
        }
        put(&mut state.kv, "values", key, value, state.kv_bytes)
    }
}

pub(crate) mod blobs {
    use super::super::{State, ask};
    use super::{Fault, check_grant, check_name, page};

    const BLOB_BYTES_MAX: usize = 16 << 20;
    const READ_BYTES_MAX: usize = 8 << 20;

    pub(crate) fn size(name: &str) -> Result<Option<u64>, Fault> {
        with_name(name, |state| Ok(state.blobs.get(name).map(|bytes| bytes.len() as u64)))
    }

    pub(crate) fn read(name: &str, offset: u64, length: u32) -> Result<Vec<u8>, Fault> {
        with_name(name, |state| {
            let missing = || Fault::InvalidInput(format!("there is no blob named `{name}`"));
            let bytes = state.blobs.get(name).ok_or_else(missing)?;
            let first = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let length = (length as usize).min(READ_BYTES_MAX).min(bytes.len() - first);
            Ok(bytes[first..first + length].to_vec())
        })
    }

    pub(crate) fn put(name: &str, bytes: &[u8]) -> Result<(), Fault> {
        with_name(name, |state| {
            if bytes.len() > BLOB_BYTES_MAX {
                let length = bytes.len();
                return Err(Fault::LimitExceeded(format!(
                    "a blob has at most {BLOB_BYTES_MAX} bytes, and this one {length}"
                )));
            }
            super::put(&mut state.blobs, "blobs", name, bytes, state.blob_bytes)
        })
    }

    pub(crate) fn remove(name: &str) -> Result<(), Fault> {
        with_name(name, |state| {
            state.blobs.remove(name);
            Ok(())
        })
    }

    pub(crate) fn list(prefix: &str, after: Option<&str>) -> Result<Vec<String>, Fault> {
        ask(|state| granted(state).map(|()| page(&state.blobs, prefix, after)))
    }

    fn granted(state: &State) -> Result<(), Fault> {
        check_grant("blobs", "blob_bytes", state.blob_bytes)
    }

    fn with_name<T>(name: &str, work: impl FnOnce(&mut State) -> Result<T, Fault>) -> Result<T, Fault> {
        ask(|state| {
            granted(state)?;
            check_name("a blob's name", name)?;
            work(state)
        })
    }
}
