//! One reference to a picture through a plugin's input fetcher. Called by the host handle; the bytes are whatever the plugin
//! brought, and are decoded by the caller like a client's.

use crate::audience::Whom;
use crate::call::{Failure, Runner, Work};
use crate::error::{FailureKind, HookError};
use crate::hooks::failed;
use crate::interfaces::CallState;
use crate::interfaces::gesso::plugin::types::Fault;
use crate::settings::CallContext;
use crate::table::{Entry, Table};
use wasmtime::Store;

/// The largest file that is taken.
const BYTES_MAX: usize = 32 << 20;

/// Why there is no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The reference is wrong, in a sentence for the client.
    #[error("{0}")]
    Refused(String),
    /// No active plugin fetches this scheme.
    #[error("no plugin fetches {0}: references")]
    NoFetcher(String),
    #[error(transparent)]
    Hook(#[from] HookError),
}

fn fetcher<'a>(table: &'a Table, whom: &'a Whom, scheme: &str) -> Option<&'a Entry> {
    table.serving(whom).find(|entry| {
        let fetches = entry.fetcher().map(|(loaded, _)| &loaded.manifest.fetches);
        fetches.is_some_and(|schemes| schemes.iter().any(|known| known == scheme))
    })
}

pub(crate) async fn fetch(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    scheme: &str,
    reference: &str,
) -> Result<Vec<u8>, FetchError> {
    let no_fetcher = || FetchError::NoFetcher(scheme.to_owned());
    let entry = fetcher(table, &context.whom, scheme).ok_or_else(no_fetcher)?;
    let (loaded, pre) = entry.fetcher().ok_or_else(no_fetcher)?;
    let (pre, reference) = (pre.clone(), reference.to_owned());
    let work = move |mut store: Store<CallState>| -> Work<Result<Vec<u8>, String>> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            match guest.call_fetch(&mut store, &reference).await? {
                Ok(file) if file.len() > BYTES_MAX => {
                    let text = format!("it brought {} bytes; at most {BYTES_MAX} are taken", file.len());
                    Err(Failure::Named(FailureKind::BadReturn, text))
                }
                Ok(file) => Ok(Ok(file)),
                Err(Fault::InvalidInput(reason)) => Ok(Err(crate::log::tidy(&reason, 1024))),
                Err(fault) => Err(failed(fault)),
            }
        })
    };
    let budget = &loaded.budgets.fetcher;
    runner.run(&entry.shared, loaded, ("fetch", budget), context, work).await?.map_err(FetchError::Refused)
}
