//! A request as plugins that draw see it, scripts and picture hooks: its parameters as text, its pictures decoded.

use gesso_core::pixels::Pixels;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::wire::generate::PICTURES;
use crate::http::wire::per_picture;
use crate::sources;

/// The field that names a script.
pub(crate) const SCRIPT_NAME: &str = "script_name";

/// A body as a plugin that draws gets it: without its pictures, and with no styles, which lie in the prompts already; its own
/// drawings may name more. What pictures have of their own belongs to the request's own.
pub(crate) fn params(body: &Map<String, Value>) -> String {
    let mut params = body.clone();
    params.retain(|name, _| !PICTURES.contains(&name.as_str()));
    params.insert("styles".into(), json!([]));
    params.remove(per_picture::FIELD);
    Value::Object(params).to_string()
}

/// The pictures of a request, decoded: those drawn over, and the mask.
pub(crate) async fn pictures(
    app: &App,
    body: &Map<String, Value>,
) -> Result<(Vec<Pixels>, Option<Pixels>), AppError> {
    let limits = app.source_limits().decode;
    let texts = body.get("init_images").and_then(Value::as_array).cloned().unwrap_or_default();
    let mask = body.get("mask").filter(|mask| !mask.is_null()).cloned();
    // The blocking pool: decoding.
    blocking(move || {
        let pictures = texts.iter().map(|text| sources::picture("init_images", text, limits));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let mask = mask.map(|mask| sources::picture("mask", &mask, limits)).transpose()?.flatten();
        Ok((pictures, mask))
    })
    .await?
}
