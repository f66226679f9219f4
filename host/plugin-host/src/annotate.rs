//! One picture through a plugin's annotator. Called by the host handle; knows which annotators there are, not what a map
//! is for.

use crate::audience::Whom;
use crate::call::{Failure, Runner, Work};
use crate::error::{FailureKind, HookError};
use crate::hooks::failed;
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::{CallState, OverBudget};
use crate::manifest::Annotator;
use crate::settings::CallContext;
use crate::table::{Entry, Table};
use gesso_core::pixels::Pixels;
use serde_json::{Map, Value};
use wasmtime::Store;

/// Bytes of what an annotator says beside its map: it is handed to clients.
const DATA_BYTES_MAX: usize = 1 << 20;

/// What an annotator is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// RGB.
    pub source: Pixels,
    /// Grey, of the source's size, white where the picture is to be repainted.
    pub mask: Option<Pixels>,
    /// A JSON object of what the annotator's manifest lets a request set.
    pub arguments: String,
}

/// What an annotator made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotated {
    /// The map.
    pub picture: Pixels,
    /// What it found beside, by name.
    pub data: Option<Map<String, Value>>,
}

/// Why there is no map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotateError {
    /// The annotator says that the request is wrong, in a sentence for the client.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// Every annotator that `whom` can ask, in the order of the plugins; of several of one name only the first counts.
pub(crate) fn all(table: &Table, whom: &Whom) -> Vec<Annotator> {
    let mut found: Vec<Annotator> = Vec::new();
    for (_, annotator) in offered(table, whom) {
        if found.iter().all(|known| !known.is_named(&annotator.name)) {
            found.push(annotator.clone());
        }
    }
    found
}

fn offered<'a>(table: &'a Table, whom: &'a Whom) -> impl Iterator<Item = (&'a Entry, &'a Annotator)> {
    table.serving(whom).filter(|entry| entry.annotator().is_some()).flat_map(|entry| {
        let loaded = entry.active.as_ref();
        loaded
            .into_iter()
            .flat_map(|loaded| &loaded.manifest.annotators)
            .map(move |annotator| (entry, annotator))
    })
}

pub(crate) async fn annotate(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    module: &str,
    annotation: Annotation,
) -> Result<Annotated, AnnotateError> {
    let not_found = || HookError::NotFound { plugin: module.to_owned() };
    let (entry, annotator) = offered(table, &context.whom)
        .find(|(_, annotator)| annotator.is_named(module))
        .ok_or_else(not_found)?;
    let (loaded, pre) = entry.annotator().ok_or_else(not_found)?;
    let (pre, name) = (pre.clone(), annotator.name.clone());
    let work = move |mut store: Store<CallState>| -> Work<Result<Annotated, String>> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let room = |error: OverBudget| {
                Failure::Named(FailureKind::Handles, format!("the picture does not fit: {error}"))
            };
            let source = store.data_mut().lend(annotation.source).map_err(room)?;
            let mask = annotation.mask.map(|mask| store.data_mut().lend(mask).map_err(room)).transpose()?;
            let called = guest.call_annotate(&mut store, &name, source, mask, &annotation.arguments);
            match called.await? {
                Ok(made) => {
                    let data = made.data.as_deref().map(read_data).transpose();
                    let data = data.map_err(|problem| Failure::Named(FailureKind::BadReturn, problem))?;
                    let picture = store.data_mut().take(made.picture)?;
                    Ok::<_, Failure>(Ok(Annotated { picture, data }))
                }
                Err(Fault::InvalidInput(reason)) => Ok(Err(crate::log::tidy(&reason, 1024))),
                Err(fault) => Err(failed(fault)),
            }
        })
    };
    let answer =
        runner.run(&entry.shared, loaded, ("annotate", &loaded.budgets.annotator), context, work).await?;
    answer.map_err(AnnotateError::Refused)
}

fn read_data(text: &str) -> Result<Map<String, Value>, String> {
    if text.len() > DATA_BYTES_MAX {
        return Err(format!("it returned {} bytes of data; at most {DATA_BYTES_MAX} are taken", text.len()));
    }
    serde_json::from_str(text).map_err(|error| format!("the data it returned are not a JSON object: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_annotator_found_is_an_object_of_a_bounded_size() {
        let read = read_data(r#"{"pose": {"people": []}}"#).unwrap();
        assert_eq!(read["pose"]["people"], serde_json::json!([]));
        for bad in ["[]", "", "{", "null"] {
            assert!(read_data(bad).unwrap_err().contains("not a JSON object"), "{bad}");
        }
        let long = format!(r#"{{"pose": "{}"}}"#, "x".repeat(DATA_BYTES_MAX));
        assert!(read_data(&long).unwrap_err().contains("at most 1048576"));
    }
}
