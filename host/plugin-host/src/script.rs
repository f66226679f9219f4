//! One run of a plugin's script. Called by the host handle with what draws for it; knows which scripts there are, not what
//! they draw.

use crate::audience::Whom;
use crate::call::{Draws, Failure, Runner, Work};
use crate::error::{FailureKind, HookError};
use crate::hooks::failed;
use crate::inference::Inference;
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::{CallState, OverBudget};
use crate::manifest::Script;
use crate::report::ActingPlugin;
use crate::settings::CallContext;
use crate::table::{Entry, Table};
use gesso_core::pixels::Pixels;
use std::sync::Arc;
use wasmtime::Store;

/// Pictures that a script may give back: a plot has hundreds.
const IMAGES_MAX: usize = 2048;

/// What a script is given.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptInput {
    /// The request body, a JSON object, without its pictures.
    pub params: String,
    /// A JSON list with a value for each of the script's arguments.
    pub arguments: String,
    pub init_images: Vec<Pixels>,
    pub mask: Option<Pixels>,
}

/// What it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptOutput {
    pub images: Vec<Pixels>,
    /// One for each picture.
    pub infotexts: Vec<String>,
    pub index_of_first_image: u32,
    /// Whose script it is.
    pub plugin: ActingPlugin,
}

/// Why it made nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The script says that the request is wrong, in a sentence for the client.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// Every script that `whom` can run, in the order of the plugins; of several of one title only the first counts.
pub(crate) fn all(table: &Table, whom: &Whom) -> Vec<Script> {
    let mut found: Vec<Script> = Vec::new();
    for (_, script) in offered(table, whom) {
        if found.iter().all(|known| !known.title.eq_ignore_ascii_case(&script.title)) {
            found.push(script.clone());
        }
    }
    found
}

fn offered<'a>(table: &'a Table, whom: &'a Whom) -> impl Iterator<Item = (&'a Entry, &'a Script)> {
    table.serving(whom).filter(|entry| entry.script().is_some()).flat_map(|entry| {
        let loaded = entry.active.as_ref();
        loaded.into_iter().flat_map(|loaded| &loaded.manifest.scripts).map(move |script| (entry, script))
    })
}

pub(crate) async fn run(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    title: &str,
    input: ScriptInput,
    inference: Arc<dyn Inference>,
) -> Result<ScriptOutput, ScriptError> {
    let not_found = || HookError::NotFound { plugin: title.to_owned() };
    let (entry, script) = offered(table, &context.whom)
        .find(|(_, script)| script.title.eq_ignore_ascii_case(title))
        .ok_or_else(not_found)?;
    let (loaded, pre) = entry.script().ok_or_else(not_found)?;
    let (pre, title) = (pre.clone(), script.title.clone());
    let inference = inference.for_plugin(&entry.id, loaded.drawings);
    let plugin = ActingPlugin::of(entry);
    let work = move |mut store: Store<CallState>| -> Work<Result<ScriptOutput, String>> {
        Box::pin(async move {
            store.data_mut().inference = Some(inference);
            let guest = pre.instantiate_async(&mut store).await?;
            let room = |error: OverBudget| {
                Failure::Named(FailureKind::Handles, format!("the request's pictures do not fit: {error}"))
            };
            let mut lent = Vec::with_capacity(input.init_images.len());
            for picture in input.init_images {
                lent.push(store.data_mut().lend(picture).map_err(room)?);
            }
            let mask = input.mask.map(|mask| store.data_mut().lend(mask).map_err(room)).transpose()?;
            let called = guest.call_run(&mut store, &title, &input.params, &input.arguments, &lent, mask);
            let output = match called.await? {
                Ok(output) => output,
                // A request that asks for too much is wrong too.
                Err(Fault::InvalidInput(reason) | Fault::LimitExceeded(reason)) => {
                    return Ok(Err(crate::log::tidy(&reason, 1024)));
                }
                Err(fault) => return Err(failed(fault)),
            };
            let bad = |text: String| Failure::Named(FailureKind::BadReturn, text);
            if output.images.len() > IMAGES_MAX {
                let count = output.images.len();
                return Err(bad(format!("it returned {count} pictures; at most {IMAGES_MAX} are taken")));
            }
            if output.infotexts.len() != output.images.len() {
                let (texts, images) = (output.infotexts.len(), output.images.len());
                return Err(bad(format!("it returned {texts} infotexts for {images} pictures")));
            }
            let images = output.images.into_iter().map(|image| store.data_mut().take(image));
            Ok::<_, Failure>(Ok(ScriptOutput {
                images: images.collect::<Result<_, _>>()?,
                infotexts: output.infotexts,
                index_of_first_image: output.index_of_first_image,
                plugin,
            }))
        })
    };
    let answer = runner.run_drawing(Draws::Script, &entry.shared, loaded, context, work).await?;
    answer.map_err(ScriptError::Refused)
}
