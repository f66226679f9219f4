//! Errors of this crate, named by what the caller does next. Read by the server, which maps them to its own.
//! Knows nothing of HTTP status codes.

use serde::Serialize;
use std::path::PathBuf;

/// Why a hook or an HTTP extension gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The plugin decided that this request ends; the client should read the reason.
    #[error("plugin {plugin} rejected the request: {reason}")]
    Rejected { plugin: String, reason: String },
    /// The plugin misbehaved; the request fails and the plugin's page has the log.
    #[error("plugin {plugin} failed in {hook}: {message}")]
    PluginFailed { plugin: String, hook: &'static str, reason: FailureKind, message: String },
    /// No active plugin of that id serves this.
    #[error("there is no active plugin named {plugin} that serves this; GET /plugins lists what is loaded")]
    NotFound { plugin: String },
    /// Every slot stayed busy; try again later.
    #[error("all plugin slots are busy; try again in a moment or raise the limit of concurrent plugin calls")]
    Overloaded,
    #[error("the request was cancelled while a plugin worked on it")]
    Cancelled,
}

/// The budget or rule a failed call broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Processor time.
    Cpu,
    /// Time from admission to result.
    WallClock,
    /// Linear memory, or what it wrote into HTTP requests and answers.
    Memory,
    /// Live handles.
    Handles,
    /// Guest code trapped: a panic, an out-of-bounds access, an overflowed stack.
    Trap,
    /// The guest answered with a `fault`.
    Fault,
    /// What came back breaks the contract.
    BadReturn,
    /// An HTTP extension finished without setting a response.
    NoResponse,
    /// Host code failed or panicked on the guest's behalf.
    Host,
    /// There was nothing to call: what served is not loaded now, or has lost rights that it was loaded with.
    NotLoaded,
}

impl FailureKind {
    pub const ALL: [Self; 10] = [
        Self::Cpu,
        Self::WallClock,
        Self::Memory,
        Self::Handles,
        Self::Trap,
        Self::Fault,
        Self::BadReturn,
        Self::NoResponse,
        Self::Host,
        Self::NotLoaded,
    ];

    /// As in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::WallClock => "wall-clock",
            Self::Memory => "memory",
            Self::Handles => "handles",
            Self::Trap => "trap",
            Self::Fault => "fault",
            Self::BadReturn => "bad-return",
            Self::NoResponse => "no-response",
            Self::Host => "host",
            Self::NotLoaded => "not-loaded",
        }
    }
}

/// Why a change to the set of plugins was not made.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("there is no plugin named {id}; GET /plugins lists what is loaded")]
    NotFound { id: String },
    /// The file itself is at fault; what served before still does.
    #[error("the plugin was refused: {reason}")]
    Refused { id: Option<String>, reason: String },
    /// The plugin is stored but does not run until the named grants are given.
    #[error("plugin {id} is stored but does not run: {reason}")]
    NeedsGrants { id: String, reason: String },
    #[error("plugin {id} has no version {number} of its settings; GET /plugins/{id}/settings lists them")]
    NoSettings { id: String, number: u64 },
    #[error("plugin {id} has no previous version to return to")]
    NoPrevious { id: String },
    #[error("the plugin folders cannot be written ({path}): {source}; check the rights and the free space")]
    Storage { path: PathBuf, source: std::io::Error },
    #[error(
        "what is kept of the plugins would take {bytes} bytes, and {most} are the most: give them shorter settings, or remove a plugin"
    )]
    TooLarge { bytes: u64, most: u64 },
    #[error("what plugin {id} keeps cannot be dropped: {reason}")]
    Data { id: String, reason: String },
    #[error("the plugin host is shutting down")]
    ShuttingDown,
}

/// Why the host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the plugin folder {path} cannot be used: {source}; create it or change the setting")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} cannot be read: {reason}; restore it from a backup, or remove it to start with no stored grants"
    )]
    Registry { path: PathBuf, reason: String },
    #[error("no compile command is set; name the program that compiles plugins")]
    NoCompiler,
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    #[error("the threads for plugins do not start: {0}")]
    Threads(std::io::Error),
}
