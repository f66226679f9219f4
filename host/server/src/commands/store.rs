//! `gesso store`: what is done to the task store while no server has it.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use gesso_store::{SledTasks, SystemClock, TaskStoreError};

use crate::environment;
use crate::settings::cli::Serve;
use crate::settings::cli::store::{Store, StoreCommand};
use crate::telemetry;

pub(crate) fn run(arguments: &Store) -> anyhow::Result<()> {
    let StoreCommand::Restore { file, data, config } = &arguments.command;
    let said = Serve { data: data.clone(), config: config.clone(), ..Serve::default() };
    restore(file, &environment::settings(&said)?.data)
}

fn restore(file: &Path, data: &Path) -> anyhow::Result<()> {
    let backup = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let is_new = !data.exists();
    fs::create_dir_all(data).with_context(|| {
        format!("the folder {} cannot be made; check its parent's rights", data.display())
    })?;
    let folder = data.join("tasks");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let restored = runtime.block_on(SledTasks::restore(&folder, backup, Arc::new(SystemClock)));
    let count = restored.map_err(|error| match error {
        TaskStoreError::Exists => anyhow!(
            "there is a task store in {} already, which stays as it is; stop its server and move that folder away",
            folder.display()
        ),
        TaskStoreError::Corrupt(what) => {
            anyhow!("{} cannot be restored: {what}; nothing was changed, try another backup", file.display())
        }
        other => anyhow::Error::new(other).context(format!("{} cannot be restored", file.display())),
    })?;
    if is_new {
        telemetry::announce(&format!("the data folder {} is new: there was none", data.display()));
    }
    let folder = folder.display();
    telemetry::announce(&format!("tasks restored into {folder}: {count}; what was running waits again"));
    Ok(())
}
