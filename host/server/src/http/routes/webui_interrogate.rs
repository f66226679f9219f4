//! The web UI's dialect: words for a picture that is there already.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gesso_engine::CancelFlag;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::error::WebUiFailure;
use crate::http::extract::WebUiObject;
use crate::http::wire::fields;
use crate::http::wire::interrogate::{FIELDS, Words};
use crate::http::wire::schema::InterrogateBody;
use crate::inputs;
use crate::interrogate::Interrogator;
use crate::sources;
use crate::tasks::random_id;

/// Words for a picture.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Interrogated {
    /// A caption, or tags with commas between them, as the caller's options have them written.
    caption: String,
}

/// Words for a picture: a caption (`clip`), or tags (`deepbooru`). Nothing is stored.
#[utoipa::path(post, path = "/sdapi/v1/interrogate", tag = "web UI", request_body = InterrogateBody,
    responses((status = 200, description = "The words", body = Interrogated),
              (status = 404, description = "No picture, no such model, or no network for it in the models folder"),
              (status = 422, description = "image is no picture"),
              (status = 429, description = "The engine has enough to do")))]
pub(crate) async fn interrogate(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(mut body): WebUiObject,
) -> Result<Json<Interrogated>, WebUiFailure> {
    let no_picture = || AppError::NotFound("Image not found".into());
    inputs::bring_own(&app, &caller, &mut body).await?;
    let mut read = fields::read(&body, FIELDS).map_err(AppError::Invalid)?;
    let image = read.remove("image").unwrap_or_default();
    if image.as_str().is_none_or(|text| text.trim().is_empty()) {
        return Err(no_picture().into());
    }
    let model = read.get("model").and_then(Value::as_str).unwrap_or_default();
    let words = Words::named(model).ok_or_else(|| AppError::NotFound("Model not found".into()))?;
    let (catalogue, limits) = (app.catalogue.clone(), app.source_limits().decode);
    // The blocking pool: folders, a file's head, decoding.
    let found = blocking(move || {
        let interrogator = Interrogator::find(&catalogue, words)?;
        Ok::<_, AppError>((interrogator, sources::picture("image", &image, limits)?))
    });
    let (interrogator, picture) = found.await??;
    let picture = picture.ok_or_else(no_picture)?;
    let options = app.options.of(&caller.name).await?.tag_options()?;
    let cancel = CancelFlag::default();
    let running = app.running.enter(random_id()?, &caller.name, cancel.clone());
    let caption = interrogator.words(&app, Some(&running), picture, &options, (&cancel, 0)).await?;
    Ok(Json(Interrogated { caption }))
}
