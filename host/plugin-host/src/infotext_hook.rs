//! An infotext through the plugins that read along, in the admin's order. Called by the host handle. Knows neither where the
//! text is from nor what its fields mean.

use crate::call::{Failure, Runner, Work};
use crate::error::{FailureKind, HookError};
use crate::hooks::{failed, skip_or_fail};
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::{CallState, infotext_hook};
use crate::on_failure::HookWorld;
use crate::report::ChainReport;
use crate::settings::CallContext;
use crate::table::{Entry, Table};
use gesso_core::infotext::Infotext;
use std::collections::HashSet;
use wasmtime::Store;

/// Those that a call is the business of.
pub(crate) fn readers<'a>(table: &'a Table, call: &'a CallContext) -> impl Iterator<Item = &'a Entry> {
    table.filling(HookWorld::Infotext, call)
}

pub(crate) async fn read(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    text: &str,
    mut parts: Infotext,
) -> Result<(Infotext, ChainReport), HookError> {
    let mut report = ChainReport::default();
    for entry in readers(table, context).filter(|entry| !entry.is_off()) {
        match read_one(entry, runner, context, text.to_owned(), parts.clone()).await {
            Ok(read) => {
                if read != parts {
                    report.note_change(entry);
                }
                parts = read;
            }
            Err(error) => skip_or_fail(entry, HookWorld::Infotext, error, &mut report)?,
        }
    }
    Ok((parts, report))
}

async fn read_one(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    text: String,
    parts: Infotext,
) -> Result<Infotext, HookError> {
    let Some((loaded, pre)) = entry.infotexts() else { return Err(entry.not_loaded("on-infotext")) };
    let pre = pre.clone();
    // What came may always be handed back.
    let most = text.len() + loaded.budgets.hook.return_bytes;
    let work = move |mut store: Store<CallState>| -> Work<Result<Infotext, String>> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let Infotext { prompt, negative_prompt, fields } = parts;
            let parts = infotext_hook::Infotext { prompt, negative_prompt, fields };
            let read = match guest.call_on_infotext(&mut store, &text, &parts).await? {
                Ok(read) => read,
                Err(Fault::InvalidInput(reason)) => return Ok(Err(crate::log::tidy(&reason, 1024))),
                Err(fault) => return Err(failed(fault)),
            };
            let infotext_hook::Infotext { prompt, negative_prompt, fields } = read;
            let read = Infotext { prompt, negative_prompt, fields };
            check(&read, most).map_err(|problem| Failure::Named(FailureKind::BadReturn, problem))?;
            Ok::<_, Failure>(Ok(read))
        })
    };
    let budget = &loaded.budgets.hook;
    let answer = runner.run(&entry.shared, loaded, ("on-infotext", budget), context, work).await?;
    answer.map_err(|reason| HookError::Rejected { plugin: entry.id.clone(), reason })
}

/// What a text that was read could have said.
fn check(read: &Infotext, most: usize) -> Result<(), String> {
    let fields: usize = read.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    let bytes = read.prompt.len() + read.negative_prompt.len() + fields;
    if bytes > most {
        return Err(format!("it returned an infotext of {bytes} bytes; at most {most} are taken"));
    }
    let mut names = HashSet::new();
    match read.fields.iter().find(|(name, _)| name.is_empty() || !names.insert(name)) {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "it returned the field {:?}, which has no name or stands there twice; each name stands once",
            crate::log::tidy(name, 64)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_returned_is_short_and_has_each_name_once() {
        let read = |names: &[&str]| Infotext {
            prompt: "p".repeat(10),
            fields: names.iter().map(|name| ((*name).to_owned(), "v".repeat(5))).collect(),
            ..Infotext::default()
        };
        assert_eq!(check(&read(&["a", "b"]), 22), Ok(()));
        assert!(check(&read(&["a", "b"]), 21).unwrap_err().contains("22 bytes"));
        assert!(check(&read(&["a", "a"]), 100).unwrap_err().contains("\"a\""));
        assert!(check(&read(&[""]), 100).is_err());
    }
}
