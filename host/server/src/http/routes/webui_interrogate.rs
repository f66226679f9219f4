//! The web UI's dialect: words for a picture that is there already, and what its tagger extension tells of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gesso_core::pixels::Pixels;
use gesso_engine::CancelFlag;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::Catalogue;
use crate::error::AppError;
use crate::http::error::WebUiFailure;
use crate::http::extract::WebUiObject;
use crate::http::wire::fields::{self, Field};
use crate::http::wire::interrogate::{FIELDS, TAGGER_FIELDS, Words};
use crate::http::wire::schema::{InterrogateBody, TaggerBody};
use crate::inputs;
use crate::interrogate::{Interrogator, Scores};
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
    WebUiObject(body): WebUiObject,
) -> Result<Json<Interrogated>, WebUiFailure> {
    let (read, image) = read(&app, &caller, body, FIELDS).await?;
    let model = read.get("model").and_then(Value::as_str).unwrap_or_default();
    let words = Words::named(model).ok_or_else(|| AppError::NotFound("Model not found".into()))?;
    let find = move |catalogue: &Catalogue| Interrogator::find(catalogue, words);
    let (interrogator, picture) = find_and_decode(&app, find, image).await?;
    let options = app.options.of(&caller.name).await?.tag_options()?;
    let cancel = CancelFlag::default();
    let running = app.running.enter(random_id()?, &caller.name, cancel.clone());
    let caption = interrogator.words(&app, Some(&running), picture, &options, (&cancel, 0)).await?;
    Ok(Json(Interrogated { caption }))
}

/// What tags score in a picture.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tagged {
    caption: TagScores,
}

/// From 0 to 1, the surest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TagScores {
    /// Tags that score as much as the request asks for, as the network names them.
    #[schema(value_type = BTreeMap<String, f64>)]
    tag: Map<String, Value>,
    /// What it says of the picture as a whole.
    #[schema(value_type = BTreeMap<String, f64>)]
    rating: Map<String, Value>,
}

/// What tags score in a picture, as the web UI's tagger extension tells it. Nothing is stored.
#[utoipa::path(post, path = "/tagger/v1/interrogate", tag = "web UI", request_body = TaggerBody,
    responses((status = 200, description = "Tags and ratings with their scores", body = Tagged),
              (status = 404, description = "No picture, or no such network in the models folder"),
              (status = 422, description = "image is no picture, or threshold no number"),
              (status = 429, description = "The engine has enough to do")))]
pub(crate) async fn tagger(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(body): WebUiObject,
) -> Result<Json<Tagged>, WebUiFailure> {
    let (read, image) = read(&app, &caller, body, TAGGER_FIELDS).await?;
    let threshold = read.get("threshold").and_then(Value::as_f64).unwrap_or_default();
    let model = read.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    let find = move |catalogue: &Catalogue| match model.as_str() {
        "" => Interrogator::find(catalogue, Words::Tags),
        name => Interrogator::tagger(catalogue, name),
    };
    let (tagger, picture) = find_and_decode(&app, find, image).await?;
    let cancel = CancelFlag::default();
    let running = app.running.enter(random_id()?, &caller.name, cancel.clone());
    let Scores { tags, ratings } = tagger.scores(&app, Some(&running), picture, (&cancel, 0)).await?;
    let told = |scores: Vec<(String, f32)>, least: f64| {
        let enough = scores.into_iter().filter(|(_, score)| f64::from(*score) >= least);
        enough.map(|(name, score)| (name, score.into())).collect::<Map<String, Value>>()
    };
    let caption = TagScores { tag: told(tags, threshold), rating: told(ratings, f64::NEG_INFINITY) };
    Ok(Json(Tagged { caption }))
}

/// The networks that the tagger may be asked with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Taggers {
    /// Names of their files, without the ending.
    models: Vec<String>,
}

/// The networks in the models folder that know tags.
#[utoipa::path(get, path = "/tagger/v1/interrogators", tag = "web UI",
    responses((status = 200, description = "By name", body = Taggers)))]
pub(crate) async fn taggers(State(app): State<Arc<App>>) -> Result<Json<Taggers>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: folders.
    let models = blocking(move || Interrogator::taggers(&catalogue)).await??;
    Ok(Json(Taggers { models }))
}

/// Networks make room for others by themselves, so there is nothing to do; answered for clients that ask after each picture.
#[utoipa::path(post, path = "/tagger/v1/unload-interrogators", tag = "web UI",
    responses((status = 200, description = "How many were dropped, in words", body = String, content_type = "application/json")))]
pub(crate) async fn unload_taggers() -> Json<&'static str> {
    Json("Dropped 0 models: they make room for others by themselves")
}

fn no_picture() -> AppError {
    AppError::NotFound("Image not found".into())
}

/// The fields of a body, with those left out filled in, and the text that stands for its picture.
async fn read(
    app: &App,
    caller: &Caller,
    mut body: Map<String, Value>,
    fields: &[Field],
) -> Result<(Map<String, Value>, Value), AppError> {
    inputs::bring_own(app, caller, &mut body).await?;
    let mut read = fields::read(&body, fields).map_err(AppError::Invalid)?;
    let image = read.remove("image").unwrap_or_default();
    if image.as_str().is_none_or(|text| text.trim().is_empty()) {
        return Err(no_picture());
    }
    Ok((read, image))
}

/// The network that is asked, and the picture that it is asked about.
async fn find_and_decode(
    app: &App,
    find: impl FnOnce(&Catalogue) -> Result<Interrogator, AppError> + Send + 'static,
    image: Value,
) -> Result<(Interrogator, Pixels), AppError> {
    let (catalogue, limits) = (app.catalogue.clone(), app.source_limits().decode);
    // The blocking pool: folders, a file's head, decoding.
    let found = blocking(move || {
        let network = find(&catalogue)?;
        Ok::<_, AppError>((network, sources::picture("image", &image, limits)?))
    });
    let (network, picture) = found.await??;
    Ok((network, picture.ok_or_else(no_picture)?))
}
