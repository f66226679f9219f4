//! What `gesso user` and `gesso key` take.

use clap::{Args, Subcommand};

use super::Connection;

#[derive(Debug, Args)]
pub(crate) struct User {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Everybody who has an account.
    List,
    /// Add a user. From the first on, everybody has to say who they are.
    Add {
        /// Letters, digits, '-' and '_'
        name: String,
        /// reader, user, operator or admin
        #[arg(long, default_value = "user")]
        role: String,
        /// Read a password from standard input; without one only keys let them in
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change a user.
    Set {
        name: String,
        /// reader, user, operator or admin
        #[arg(long)]
        role: Option<String>,
        /// Whether the account may be used
        #[arg(long)]
        enabled: Option<bool>,
        /// Read a new password from standard input; it ends their sessions
        #[arg(long)]
        password_stdin: bool,
    },
    /// Take a user's account and keys away; their tasks stay.
    Remove { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the server answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Your keys; everybody's for admins.
    List,
    /// Make a key and show it, once.
    New {
        /// Whose; your own when left out
        #[arg(long)]
        user: Option<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        label: String,
        /// How long it lasts; for ever when left out, where the server lets keys do so
        #[arg(long)]
        days: Option<u32>,
    },
    /// Withdraw a key.
    Remove { id: String },
}
