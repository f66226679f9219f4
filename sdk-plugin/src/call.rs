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
    serde_json::from_str(text).map_err(|error| {
        let misfit = without_value(&error.to_string());
        Fault::Other(format!("The plugin's settings do not fit what it expects: {misfit}."))
    })
}

/// What was expected, and where: what is there instead may be a secret, and whoever asked for a picture reads the fault. Names of
/// fields are none.
fn without_value(error: &str) -> String {
    match error.rsplit_once(", expected ") {
        Some((found, expected)) if !found.starts_with("unknown field ") => format!("expected {expected}"),
        _ => error.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_not_fit_are_not_told() {
        let misfit = |text: &str| {
            let error = serde_json::from_str::<std::collections::BTreeMap<String, u32>>(text).unwrap_err();
            without_value(&error.to_string())
        };
        let told = misfit(r#"{"token":"sk-51f0, expected x"}"#);
        assert!(told.starts_with("expected u32 at line 1") && !told.contains("sk-51f0"), "{told}");
        assert_eq!(
            without_value("missing field `style` at line 1 column 2"),
            "missing field `style` at line 1 column 2"
        );
    }
}
