//! The serverless dialect's models: those that can be named in a request, and those that are registered out of the object
//! store.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gesso_engine::EngineStats;
use gesso_engine::backend::ModelFile;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::{Catalogue, CatalogueError, Kind, spelled};
use crate::engine_errors::engine_failed;
use crate::error::AppError;
use crate::http::error::Failure;
use crate::http::extract::{JsonObject, PathText};
use crate::http::wire::fields::FieldProblem;
use crate::http::wire::task::Done;
use crate::registered_models::{Attributes, FileState, Registered};

/// The kinds of models that the dialect knows, as it calls them.
const TYPES: [(Kind, &str); 4] = [
    (Kind::Checkpoint, "stableDiffusion"),
    (Kind::Vae, "sdVae"),
    (Kind::Lora, "lora"),
    (Kind::Control, "controlNet"),
];

/// A model.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Model {
    /// stableDiffusion, sdVae, lora or controlNet.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Its file, with `/` between folders.
    name: String,
    /// Where in the object store it came from; empty for one that was put into the models folder.
    oss_path: String,
    /// As it was registered; of other checkpoints the SHA-256, else empty.
    etag: String,
    /// registering, failed, loading, loaded, unloaded or deleted. Only checkpoints stay loaded.
    status: &'static str,
    /// Why it could not be registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// What is registered.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "for the document alone: `attributes` reads it, with a sentence for each problem"
)]
pub(crate) struct ModelAttributes {
    /// stableDiffusion, sdVae, lora or controlNet.
    #[serde(rename = "type")]
    kind: String,
    /// The name that its file shall have in the models folder, such as `dreamy.safetensors`; where the path says it, it may be
    /// left out.
    name: Option<String>,
    /// An object below `models/` in the object store, such as `models/dreamy.safetensors`.
    #[schema(min_length = 1)]
    oss_path: String,
    /// The object's ETag or the file's SHA-256, which it has to have; may be left out.
    etag: Option<String>,
}

/// The models that can be named in a request, and those on their way.
#[utoipa::path(get, path = "/models", tag = "models", responses((status = 200, description = "All of them", body = Vec<Model>)))]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<Model>>, Failure> {
    Ok(Json(all(&app).await?))
}

/// One model. A registered one that was removed is told to be deleted for an hour. By the setting `compat.model_in_list` it stands in
/// a list.
#[utoipa::path(get, path = "/models/{model_name}", tag = "models", params(("model_name" = String, Path, description = "The name of its file")),
    responses((status = 200, description = "The model", body = Model), (status = 404, description = "No such model")))]
pub(crate) async fn show(State(app): State<Arc<App>>, PathText(name): PathText) -> Result<Response, Failure> {
    let found = spelled(&all(&app).await?, &name, |model| model.name.as_str()).cloned();
    // It is not listed: the list is of what can be named in a request.
    let found = found.or_else(|| app.registered.deleted(&name).map(Model::deleted));
    let found = found.ok_or_else(|| AppError::NotFound(format!("there is no model {name:.200}")))?;
    Ok(if app.settings.compat.model_in_list {
        Json([found]).into_response()
    } else {
        Json(found).into_response()
    })
}

/// Registers a model: the object is checked, and copied into the models folder after the answer. `status` tells how far that
/// is.
#[utoipa::path(post, path = "/models", tag = "models", request_body = ModelAttributes,
    responses((status = 200, description = "It is registering", body = Done), (status = 400, description = "Every problem of the body"),
              (status = 409, description = "There is a model of this name")))]
pub(crate) async fn register(
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Done>, Failure> {
    app.registered.register(attributes(&body)?).await?;
    Ok(Json(Done { message: "register success" }))
}

/// Has a registered model copied anew, from another object or because it changed. Requests find the old file until then.
#[utoipa::path(put, path = "/models/{model_name}", tag = "models", request_body = ModelAttributes,
    params(("model_name" = String, Path, description = "The name of its file")),
    responses((status = 200, description = "It is registering", body = Done), (status = 400, description = "Every problem of the body"),
              (status = 404, description = "No such registered model")))]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    PathText(name): PathText,
    JsonObject(mut body): JsonObject,
) -> Result<Json<Done>, Failure> {
    // The path says it; a body may say the same.
    if body.get("name").is_none_or(Value::is_null) {
        body.insert("name".into(), name.clone().into());
    }
    let attributes = attributes(&body)?;
    if attributes.name != name {
        let message = "name: a registered model keeps its name; leave it out, or delete the model and register it again";
        return Err(AppError::invalid("name", message).into());
    }
    app.registered.change(attributes).await?;
    Ok(Json(Done::SUCCESS))
}

/// Removes a registered model and its file. One that was put into the models folder by hand is removed by hand.
#[utoipa::path(delete, path = "/models/{model_name}", tag = "models", params(("model_name" = String, Path, description = "The name of its file")),
    responses((status = 200, description = "Removed", body = Done), (status = 404, description = "No such registered model")))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    PathText(name): PathText,
) -> Result<Json<Done>, Failure> {
    app.registered.remove(&name).await?;
    // What nobody can name any more needs no memory.
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    if app.engine.stats().loaded.iter().any(|model| model.name == stem) {
        app.engine.unload().await.map_err(engine_failed)?;
    }
    Ok(Json(Done { message: "delete success" }))
}

fn attributes(body: &serde_json::Map<String, Value>) -> Result<Attributes, AppError> {
    let mut problems = Vec::new();
    let mut text = |field: &str, is_needed: bool| {
        let problem = match body.get(field) {
            Some(Value::String(text)) if !text.is_empty() || !is_needed => return text.clone(),
            None | Some(Value::Null) if !is_needed => return String::new(),
            None | Some(Value::Null) => format!("{field}: it is missing"),
            Some(_) => format!("{field}: a text is wanted"),
        };
        problems.push(FieldProblem { field: field.into(), message: problem });
        String::new()
    };
    let (kind, name, oss_path) = (text("type", true), text("name", true), text("ossPath", true));
    let etag = text("etag", false);
    let found = TYPES.iter().find(|(_, known)| *known == kind).map(|(kind, _)| *kind);
    if found.is_none() && !kind.is_empty() {
        let names = TYPES.map(|(_, name)| name).join(", ");
        problems.push(FieldProblem { field: "type".into(), message: format!("type: one of {names}") });
    }
    match found {
        Some(kind) if problems.is_empty() => Ok(Attributes { kind, name, oss_path, etag }),
        _ => Err(AppError::Invalid(problems)),
    }
}

async fn all(app: &Arc<App>) -> Result<Vec<Model>, AppError> {
    let (catalogue, stats) = (app.catalogue.clone(), app.engine.stats());
    // The blocking pool: folders, and the hashes of checkpoints.
    let mut all = blocking(move || found(&catalogue, &stats)).await??;
    for model in app.registered.all() {
        match all.iter_mut().find(|there| is_of(there, &model)) {
            Some(there) => there.is_registered(model),
            None => {
                let kind = name_of(model.attributes.kind);
                let name = model.attributes.name.clone();
                let mut new = Model::new(kind, name, String::new(), "failed");
                new.message = Some("its file is not there any more; register it again".into());
                new.is_registered(model);
                all.push(new);
            }
        }
    }
    Ok(all)
}

/// What lies in the models folder.
fn found(catalogue: &Catalogue, stats: &EngineStats) -> Result<Vec<Model>, CatalogueError> {
    let mut all = Vec::new();
    for checkpoint in catalogue.checkpoints()? {
        let status = in_memory(&checkpoint.file, stats);
        all.push(Model::new(name_of(Kind::Checkpoint), checkpoint.file_name, checkpoint.sha256, status));
    }
    for (kind, name) in TYPES.into_iter().filter(|(kind, _)| *kind != Kind::Checkpoint) {
        let files = catalogue.files(kind)?.into_iter();
        all.extend(files.map(|file| Model::new(name, file.file_name, String::new(), "unloaded")));
    }
    Ok(all)
}

fn in_memory(checkpoint: &Arc<ModelFile>, stats: &EngineStats) -> &'static str {
    if stats.loading.as_ref() == Some(checkpoint) {
        "loading"
    } else if stats.loaded.contains(checkpoint) {
        "loaded"
    } else {
        "unloaded"
    }
}

fn is_of(there: &Model, registered: &Registered) -> bool {
    there.kind == name_of(registered.attributes.kind) && there.name == registered.attributes.name
}

fn name_of(kind: Kind) -> &'static str {
    TYPES.iter().find(|(known, _)| *known == kind).map_or("", |(_, name)| name)
}

impl Model {
    fn new(kind: &'static str, name: String, etag: String, status: &'static str) -> Self {
        Self { kind, name, oss_path: String::new(), etag, status, message: None }
    }

    fn deleted(model: Attributes) -> Self {
        let Attributes { kind, name, oss_path, etag } = model;
        Self { kind: name_of(kind), name, oss_path, etag, status: "deleted", message: None }
    }

    fn is_registered(&mut self, model: Registered) {
        self.oss_path = model.attributes.oss_path;
        if !model.attributes.etag.is_empty() {
            self.etag = model.attributes.etag;
        }
        match model.file {
            FileState::There => {}
            FileState::Registering => {
                self.status = "registering";
                self.message = None;
            }
            FileState::Failed(reason) => {
                self.status = "failed";
                self.message = Some(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_unloaded_then_loading_then_loaded() {
        let checkpoint = |version: &str| {
            let (name, path) = ("a".into(), "/models/a.safetensors".into());
            Arc::new(ModelFile { name, path, version: version.into() })
        };
        let mut stats = EngineStats::default();
        assert_eq!(in_memory(&checkpoint("1"), &stats), "unloaded");
        stats.loading = Some(checkpoint("1"));
        assert_eq!(in_memory(&checkpoint("1"), &stats), "loading");
        assert_eq!(in_memory(&checkpoint("2"), &stats), "unloaded", "a file that was replaced is another");
        (stats.loading, stats.loaded) = (None, vec![checkpoint("1")]);
        assert_eq!(in_memory(&checkpoint("1"), &stats), "loaded");
    }
}
