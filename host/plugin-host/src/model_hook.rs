//! A checkpoint that came into memory, told to the plugins that want to hear of it. Called by the host handle. It belongs to
//! no request, so that no request can pay for a failure, and whom a plugin serves is not asked.

use crate::call::{Failure, Runner, Work};
use crate::error::HookError;
use crate::hooks::failed;
use crate::interfaces::{CallState, model_hook};
use crate::settings::CallContext;
use crate::table::{Entry, Table};
use wasmtime::Store;

/// A checkpoint that came into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedModel {
    /// The file's name without folder and extension.
    pub name: String,
    /// Of the whole file, in hex digits.
    pub sha256: String,
    pub kind: ModelKind,
}

/// What a checkpoint is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    Drawing,
    /// Its network reads a mask and the masked picture.
    Inpainting,
    /// Its network reads the picture that an instruction is about.
    Editing,
}

pub(crate) fn listeners(table: &Table) -> impl Iterator<Item = &Entry> {
    table.entries.iter().filter(|entry| entry.models().is_some())
}

/// Tells all of them, and returns what went wrong.
pub(crate) async fn loaded(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    model: &LoadedModel,
) -> Vec<HookError> {
    let mut failures = Vec::new();
    for entry in listeners(table).filter(|entry| !entry.is_off()) {
        failures.extend(tell(entry, runner, context, model.clone()).await.err());
    }
    failures
}

async fn tell(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    model: LoadedModel,
) -> Result<(), HookError> {
    let Some((loaded, pre)) = entry.models() else { return Ok(()) };
    let pre = pre.clone();
    let work = move |mut store: Store<CallState>| -> Work<()> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let kind = match model.kind {
                ModelKind::Drawing => model_hook::ModelKind::Drawing,
                ModelKind::Inpainting => model_hook::ModelKind::Inpainting,
                ModelKind::Editing => model_hook::ModelKind::Editing,
            };
            let model = model_hook::LoadedModel { name: model.name, sha256: model.sha256, kind };
            guest.call_on_loaded(&mut store, &model).await?.map_err(failed)?;
            Ok::<_, Failure>(())
        })
    };
    runner.run(&entry.shared, loaded, ("on-loaded", &loaded.budgets.hook), context, work).await
}
