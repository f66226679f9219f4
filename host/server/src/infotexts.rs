//! Infotexts that clients send, through the plugins that read along: of a picture that is asked about, and of a request that is
//! filled from one. What the fields mean for a request is `wire/infotext.rs`'s to know.

use gesso_core::infotext::Infotext;
use gesso_plugin_host::{CallContext, ChainReport, HookError, Named, Whom};
use serde_json::{Map, Value};

use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::http::wire::infotext;
use crate::plugin_use;

/// What a picture's text says to who asks about it.
///
/// # Errors
/// A problem of `image` where a plugin refuses the text; else what the plugin host says.
pub(crate) async fn of_picture(app: &App, caller: &Caller, text: &str) -> Result<Infotext, AppError> {
    let (read, _) = read(app, plugin_use::whom(caller), Named::default(), ("image", text)).await?;
    Ok(read)
}

/// What a request's text says, and what the plugins did to it; `None` where it has none.
///
/// # Errors
/// A problem of `infotext` where a plugin refuses the text; else what the plugin host says.
pub(crate) async fn of_request(
    app: &App,
    caller: &Caller,
    body: &Map<String, Value>,
) -> Result<Option<(Infotext, ChainReport)>, AppError> {
    let Some(text) = infotext::of_body(body) else { return Ok(None) };
    let whom = plugin_use::whom_of_request(app, caller, body)?;
    read(app, whom, plugin_use::addressed(body), ("infotext", text)).await.map(Some)
}

async fn read(
    app: &App,
    whom: Whom,
    named: Named,
    (field, text): (&str, &str),
) -> Result<(Infotext, ChainReport), AppError> {
    let parts = Infotext::parse(text);
    // No task yet; the same text has the same seed all the same.
    let seed = parts.get("Seed").and_then(|seed| seed.parse().ok()).unwrap_or_default();
    let call = CallContext { named, ..plugin_use::call_of_request(whom, seed) };
    if !app.plugins.reads_infotexts(&call) {
        return Ok((parts, ChainReport::default()));
    }
    app.plugins.read_infotext(&call, text, parts).await.map_err(|error| match error {
        HookError::Rejected { .. } => AppError::invalid(field, error.to_string()),
        error => error.into(),
    })
}
