//! A saved picture told to the plugins that want to hear of it, in the admin's order. Called by the host handle. Knows no
//! files: the picture is there already.

use crate::call::{Failure, Runner, Work};
use crate::error::HookError;
use crate::hooks::{failed, skip_or_fail};
use crate::interfaces::{CallState, save_hook};
use crate::on_failure::HookWorld;
use crate::report::ChainReport;
use crate::settings::CallContext;
use crate::table::{Entry, Table};
use wasmtime::Store;

/// A picture that was saved for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPicture {
    /// Below the folder of outputs, with `/` between folders.
    pub path: String,
    /// How the file's name ends: `png`.
    pub format: String,
    /// The file's length.
    pub bytes: u64,
    /// Empty where nothing stands in the file.
    pub infotext: String,
    pub is_grid: bool,
}

/// Those that a call is the business of.
pub(crate) fn listeners<'a>(table: &'a Table, call: &'a CallContext) -> impl Iterator<Item = &'a Entry> {
    table.filling(HookWorld::Save, call)
}

/// The ids of those that could not be told, because every slot stayed busy; and who was left out.
pub(crate) async fn saved(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    params: &str,
    picture: &SavedPicture,
) -> Result<(Vec<String>, ChainReport), HookError> {
    let (mut untold, mut report) = (Vec::new(), ChainReport::default());
    for entry in listeners(table, context).filter(|entry| !entry.is_off()) {
        match tell(entry, runner, context, params.to_owned(), picture.clone()).await {
            Ok(()) => {}
            // As an error it would have the request run again, which would save its pictures again.
            Err(error @ HookError::Overloaded) => {
                tracing::warn!(plugin = entry.id, %error, path = picture.path, "a saved picture was not told");
                untold.push(entry.id.clone());
            }
            Err(error) => skip_or_fail(entry, HookWorld::Save, error, &mut report)?,
        }
    }
    Ok((untold, report))
}

async fn tell(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    params: String,
    picture: SavedPicture,
) -> Result<(), HookError> {
    let Some((loaded, pre)) = entry.saves() else { return Err(entry.not_loaded("on-saved")) };
    let pre = pre.clone();
    let work = move |mut store: Store<CallState>| -> Work<()> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let SavedPicture { path, format, bytes, infotext, is_grid } = picture;
            let picture = save_hook::SavedPicture { path, format, bytes, infotext, is_grid };
            // A request whose picture is drawn and saved was right: any fault is the plugin's.
            guest.call_on_saved(&mut store, &params, &picture).await?.map_err(failed)?;
            Ok::<_, Failure>(())
        })
    };
    runner.run(&entry.shared, loaded, ("on-saved", &loaded.budgets.hook), context, work).await
}
