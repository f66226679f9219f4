//! The call under way: who it is for, what the plugin was configured with, and how to be heard.

use serde::de::DeserializeOwned;

use crate::Fault;
use crate::host::call as host;

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The id of the request or task this call serves; the same in every hook of one request.
pub fn request_id() -> String {
    host::request_id()
}

/// A seed that belongs to the request: the same request draws the same numbers. See [`crate::Random`].
pub fn seed() -> u64 {
    host::seed()
}

/// The plugin's settings as the admin left them. Give every field of `T` a default, as an admin may leave any out.
///
/// # Errors
/// [`Fault::Other`] where the settings do not fit `T`: the manifest's schema promises less than `T` asks.
pub fn settings<T: DeserializeOwned>() -> Result<T, Fault> {
    let text = host::settings();
    let text = if text.trim().is_empty() { "{}" } else { text.as_str() };
    serde_json::from_str(text)
        .map_err(|error| Fault::Other(format!("The plugin's settings do not fit what it expects: {error}.")))
}

/// One line into the plugin's own log. The host cuts long lines, escapes control characters, and drops lines past
/// the call's budget.
pub fn log(level: Level, text: &str) {
    let level = match level {
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, text);
}

/// True once nobody waits for the result any more; a long call should look now and then.
pub fn cancelled() -> bool {
    host::cancelled()
}
