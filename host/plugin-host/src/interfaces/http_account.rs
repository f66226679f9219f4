//! Puts what a guest writes into HTTP requests and answers on an account of its call. Without it methods and authorities have any
//! length, and each of thousands of handles keeps its fields, whether or not a request may be sent. Shadows those functions of
//! `wasi:http/types` that keep a guest's bytes, but for schemes, which have 64 at most; bodies are bounded in `outgoing`.

use super::CallState;
use crate::grants::WASI_VERSION;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::HeaderError as Refused;
use wasmtime_wasi_http::p2::bindings::http::types::{self, HeaderError, Method};
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

/// All that a call writes, also what it has dropped since.
const WRITTEN_BYTES: usize = 4 << 20;
/// What a map that grows takes for a field beside its name and value, at the most.
const BESIDE_FIELD: usize = 256;

/// Ends the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it wrote more than {} MiB of fields, methods, paths and authorities into HTTP requests and answers",
    WRITTEN_BYTES >> 20
)]
pub(crate) struct OverWritten;

/// Bytes that a call may still write.
pub(super) struct HttpAccount(usize);

impl Default for HttpAccount {
    fn default() -> Self {
        Self(WRITTEN_BYTES)
    }
}

impl HttpAccount {
    fn take(&mut self, bytes: usize) -> Result<(), OverWritten> {
        self.0 = self.0.checked_sub(bytes).ok_or(OverWritten)?;
        Ok(())
    }
}

/// To be called once the whole interface is linked.
pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut interface = linker.instance(&format!("wasi:http/types@{WASI_VERSION}"))?;
    interface.func_wrap("[static]fields.from-list", from_list)?;
    interface.func_wrap("[method]fields.set", set)?;
    interface.func_wrap("[method]fields.append", append)?;
    interface.func_wrap("[method]fields.clone", clone)?;
    interface.func_wrap("[method]outgoing-request.set-method", set_method)?;
    interface.func_wrap("[method]outgoing-request.set-path-with-query", set_path_with_query)?;
    interface.func_wrap("[method]outgoing-request.set-authority", set_authority)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Guest<'a> = StoreContextMut<'a, CallState>;
type Fields = Resource<FieldMap>;
type Request = Resource<types::OutgoingRequest>;

fn from_list(
    mut guest: Guest<'_>,
    (entries,): (Vec<(String, Vec<u8>)>,),
) -> wasmtime::Result<(Result<Fields, HeaderError>,)> {
    let state = guest.data_mut();
    state.http_account.take(entries.iter().map(|(name, value)| field_bytes(name, value)).sum())?;
    answer(types::HostFields::from_list(&mut state.http(), entries))
}

fn set(
    mut guest: Guest<'_>,
    (fields, name, values): (Fields, String, Vec<Vec<u8>>),
) -> wasmtime::Result<(Result<(), HeaderError>,)> {
    let state = guest.data_mut();
    state.http_account.take(values.iter().map(|value| field_bytes(&name, value)).sum())?;
    answer(types::HostFields::set(&mut state.http(), fields, name, values))
}

fn append(
    mut guest: Guest<'_>,
    (fields, name, value): (Fields, String, Vec<u8>),
) -> wasmtime::Result<(Result<(), HeaderError>,)> {
    let state = guest.data_mut();
    state.http_account.take(field_bytes(&name, &value))?;
    answer(types::HostFields::append(&mut state.http(), fields, name, value))
}

/// Shares its fields until one is changed, which nothing tells.
fn clone(mut guest: Guest<'_>, (fields,): (Fields,)) -> wasmtime::Result<(Fields,)> {
    let state = guest.data_mut();
    let map = state.table.get(&fields)?;
    let bytes: usize = map.iter().map(|(name, value)| field_bytes(name.as_str(), value.as_bytes())).sum();
    state.http_account.take(bytes)?;
    Ok((types::HostFields::clone(&mut state.http(), fields)?,))
}

fn set_method(
    mut guest: Guest<'_>,
    (request, method): (Request, Method),
) -> wasmtime::Result<(Result<(), ()>,)> {
    let state = guest.data_mut();
    if let Method::Other(name) = &method {
        state.http_account.take(name.len())?;
    }
    Ok((types::HostOutgoingRequest::set_method(&mut state.http(), request, method)?,))
}

fn set_path_with_query(
    mut guest: Guest<'_>,
    (request, path): (Request, Option<String>),
) -> wasmtime::Result<(Result<(), ()>,)> {
    let state = guest.data_mut();
    state.http_account.take(path.as_ref().map_or(0, String::len))?;
    Ok((types::HostOutgoingRequest::set_path_with_query(&mut state.http(), request, path)?,))
}

fn set_authority(
    mut guest: Guest<'_>,
    (request, authority): (Request, Option<String>),
) -> wasmtime::Result<(Result<(), ()>,)> {
    let state = guest.data_mut();
    state.http_account.take(authority.as_ref().map_or(0, String::len))?;
    Ok((types::HostOutgoingRequest::set_authority(&mut state.http(), request, authority)?,))
}

fn field_bytes(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + BESIDE_FIELD
}

/// What the guest may handle goes to the guest.
fn answer<T>(outcome: Result<T, Refused>) -> wasmtime::Result<(Result<T, HeaderError>,)> {
    Ok((match outcome {
        Ok(done) => Ok(done),
        Err(refused) => Err(refused.downcast()?),
    },))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_an_end_and_gives_nothing_back() {
        let mut account = HttpAccount::default();
        assert_eq!(account.take(WRITTEN_BYTES - 1), Ok(()));
        assert_eq!(account.take(2), Err(OverWritten));
        assert_eq!((account.take(1), account.take(1)), (Ok(()), Err(OverWritten)));
        assert!(OverWritten.to_string().contains("more than 4 MiB"));
    }

    #[test]
    fn a_field_costs_what_its_map_takes_also_where_it_is_empty() {
        assert_eq!(field_bytes("", b""), BESIDE_FIELD);
        assert_eq!(field_bytes("name", b"value"), BESIDE_FIELD + 9);
    }
}
