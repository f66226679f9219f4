//! What `gesso task` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;
use super::drawing::Seen;

#[derive(Debug, Args)]
pub(crate) struct TaskArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Your tasks, newest first; everybody's for operators.
    List {
        /// waiting, running, succeeded, failed, canceled or expired
        #[arg(long)]
        state: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// All that is known of one, as JSON.
    Show { id: String },
    /// Stop one.
    Cancel { id: String },
    /// Have one that failed or expired run again.
    Retry { id: String },
    /// Forget one that has ended, with its pictures.
    Remove { id: String },
    /// Wait for the end of one, with a progress bar, and fetch its pictures. One that has ended needs no waiting.
    Wait {
        id: String,
        /// Where its pictures go: the first under this name, others with a number behind it
        #[arg(short, long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        seen: Seen,
    },
}
