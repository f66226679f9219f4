//! The chain of request hooks, in the admin's order, over one snapshot of the table. Called by the host handle.
//! Knows what a verdict means, not how a call is limited.

use crate::call::{Failure, Runner};
use crate::error::{FailureKind, HookError};
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::{CallState, Verdict};
use crate::on_failure::HookWorld;
use crate::settings::CallContext;
use crate::table::{Entry, Table};
use gesso_core::pixels::Pixels;
use wasmtime::Store;

/// Pictures one hook may hand back.
const MAX_IMAGES: usize = 256;

/// What the `before` hooks made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// The request body to go on with; checked by the server like a client's.
    pub params: String,
    /// Ids of the plugins that changed it, in order.
    pub applied: Vec<String>,
}

pub(crate) async fn before(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    params: String,
) -> Result<Before, HookError> {
    let mut done = Before { params, applied: Vec::new() };
    for entry in table.with_hook("before", context).filter(|entry| !entry.shared.is_off()) {
        let verdict = match before_one(entry, runner, context, done.params.clone()).await {
            Err(error) => skip_or_fail(entry, HookWorld::Request, error)?,
            Ok(verdict) => verdict,
        };
        match verdict {
            Verdict::Unchanged => {}
            Verdict::Replaced(params) => {
                done.params = params;
                done.applied.push(entry.id.clone());
            }
            Verdict::Rejected(reason) => {
                let reason = crate::log::tidy(&reason, 1024);
                return Err(HookError::Rejected { plugin: entry.id.clone(), reason });
            }
        }
    }
    Ok(done)
}

pub(crate) async fn after(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    params: &str,
    mut images: Vec<Pixels>,
) -> Result<Vec<Pixels>, HookError> {
    for entry in table.with_hook("after", context).filter(|entry| !entry.shared.is_off()) {
        // A failing hook takes its pictures down with its store; only a plugin that may be skipped costs a copy.
        let kept = entry.is_skipped(HookWorld::Request).then(|| images.clone());
        images = match (after_one(entry, runner, context, params.to_owned(), images).await, kept) {
            (Ok(images), _) => images,
            (Err(error), Some(kept)) => {
                skip_or_fail(entry, HookWorld::Request, error)?;
                kept
            }
            (Err(error), None) => return Err(error),
        };
    }
    Ok(images)
}

/// The admin's choice for a plugin that failed; cancellation and overload are not the plugin's doing.
pub(crate) fn skip_or_fail(entry: &Entry, world: HookWorld, error: HookError) -> Result<Verdict, HookError> {
    match &error {
        HookError::PluginFailed { .. } if entry.is_skipped(world) => {
            tracing::warn!(plugin = entry.id, %error, "a failing plugin was skipped");
            Ok(Verdict::Unchanged)
        }
        _ => Err(error),
    }
}

async fn before_one(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    params: String,
) -> Result<Verdict, HookError> {
    let Some((loaded, pre)) = entry.hooks() else { return Ok(Verdict::Unchanged) };
    // What came may always be handed back.
    let (pre, most) = (pre.clone(), params.len() + loaded.budgets.hook.return_bytes);
    let work = move |mut store: Store<CallState>| -> crate::call::Work<Verdict> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let verdict = match guest.call_before(&mut store, &params).await? {
                // What the client sent is wrong: that ends the request, and is no failure of the plugin.
                Err(Fault::InvalidInput(reason)) => Verdict::Rejected(reason),
                answer => answer.map_err(failed)?,
            };
            if let Verdict::Replaced(json) = &verdict {
                check_replacement(json, most)?;
            }
            Ok::<_, Failure>(verdict)
        })
    };
    runner.run(&entry.shared, loaded, ("before", &loaded.budgets.hook), context, work).await
}

async fn after_one(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    params: String,
    images: Vec<Pixels>,
) -> Result<Vec<Pixels>, HookError> {
    let Some((loaded, pre)) = entry.hooks() else { return Ok(images) };
    let pre = pre.clone();
    let work = move |mut store: Store<CallState>| -> crate::call::Work<Vec<Pixels>> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let mut lent = Vec::with_capacity(images.len());
            for pixels in images {
                let handle = store.data_mut().lend(pixels);
                let room = |error: crate::interfaces::OverBudget| {
                    Failure::Named(
                        FailureKind::Handles,
                        format!("the request's pictures do not fit: {error}"),
                    )
                };
                lent.push(handle.map_err(room)?);
            }
            let returned = guest.call_after(&mut store, &params, &lent).await?.map_err(failed)?;
            if returned.len() > MAX_IMAGES {
                let text = format!("it returned {} pictures; at most {MAX_IMAGES} are taken", returned.len());
                return Err(Failure::Named(FailureKind::BadReturn, text));
            }
            returned
                .into_iter()
                .map(|image| Ok(store.data_mut().take(image)?))
                .collect::<Result<_, Failure>>()
        })
    };
    runner.run(&entry.shared, loaded, ("after", &loaded.budgets.hook), context, work).await
}

fn check_replacement(json: &str, most: usize) -> Result<(), Failure> {
    let problem = if json.len() > most {
        format!("it returned {} bytes of parameters; at most {most} are taken", json.len())
    } else {
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json) {
            Ok(_) => return Ok(()),
            Err(error) => format!("the parameters it returned are not a JSON object: {error}"),
        }
    };
    Err(Failure::Named(FailureKind::BadReturn, problem))
}

pub(crate) fn failed(fault: Fault) -> Failure {
    let (what, text) = match fault {
        Fault::Cancelled => return Failure::Cancelled,
        Fault::InvalidInput(text) => ("invalid input: ", text),
        Fault::NotPermitted(text) => ("not permitted: ", text),
        Fault::LimitExceeded(text) => ("limit exceeded: ", text),
        Fault::DeadlineExceeded => ("deadline exceeded", String::new()),
        Fault::Unavailable(text) => ("unavailable: ", text),
        Fault::Other(text) => ("", text),
    };
    Failure::Named(FailureKind::Fault, format!("{what}{}", crate::log::tidy(&text, 1024)))
}
