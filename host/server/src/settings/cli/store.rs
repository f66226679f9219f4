//! What `gesso store` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Store {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make a task store of a backup, in a data folder that has none.
    ///
    /// Pictures are not in a backup: they stay in the object store, where the tasks find them.
    Restore {
        /// The backup: `backups/tasks_….jsonl` out of the object store
        file: PathBuf,
        /// Data folder of the server, which must not run [env: GESSO_DATA]
        #[arg(long)]
        data: Option<String>,
        /// Settings file (TOML) that names the data folder [env: GESSO_CONFIG]
        #[arg(long)]
        config: Option<PathBuf>,
    },
}
