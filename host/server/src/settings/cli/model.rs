//! What `gesso model` takes.

use clap::{Args, Subcommand};

use super::Connection;

#[derive(Debug, Args)]
pub(crate) struct Model {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// The models, and which checkpoints are in memory.
    List,
    /// Have the server copy a model out of its object store, which goes on after the answer. For operators.
    Register {
        /// The object, such as models/dreamy.safetensors
        object: String,
        /// stableDiffusion, sdVae, lora or controlNet
        #[arg(long = "type", value_name = "TYPE", default_value = "stableDiffusion")]
        kind: String,
        /// What its file shall be called; as the object is when left out
        #[arg(long)]
        name: Option<String>,
        /// The object's ETag or the file's SHA-256, which it has to have
        #[arg(long)]
        etag: Option<String>,
    },
    /// Remove a registered model and its file. For operators.
    Remove {
        /// The name of its file
        name: String,
    },
    /// Bring your checkpoint into memory.
    Load,
    /// Take out of memory what no picture under way needs.
    Unload,
}
