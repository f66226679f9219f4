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
use wasmtime::Store;

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
) -> Result<Pixels, AnnotateError> {
    let not_found = || HookError::NotFound { plugin: module.to_owned() };
    let (entry, annotator) = offered(table, &context.whom)
        .find(|(_, annotator)| annotator.is_named(module))
        .ok_or_else(not_found)?;
    let (loaded, pre) = entry.annotator().ok_or_else(not_found)?;
    let (pre, name) = (pre.clone(), annotator.name.clone());
    let work = move |mut store: Store<CallState>| -> Work<Result<Pixels, String>> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let room = |error: OverBudget| {
                Failure::Named(FailureKind::Handles, format!("the picture does not fit: {error}"))
            };
            let source = store.data_mut().lend(annotation.source).map_err(room)?;
            let mask = annotation.mask.map(|mask| store.data_mut().lend(mask).map_err(room)).transpose()?;
            let called = guest.call_annotate(&mut store, &name, source, mask, &annotation.arguments);
            match called.await? {
                Ok(map) => Ok::<_, Failure>(Ok(store.data_mut().take(map)?)),
                Err(Fault::InvalidInput(reason)) => Ok(Err(crate::log::tidy(&reason, 1024))),
                Err(fault) => Err(failed(fault)),
            }
        })
    };
    let answer =
        runner.run(&entry.shared, loaded, ("annotate", &runner.budgets().annotator), context, work).await?;
    answer.map_err(AnnotateError::Refused)
}
