//! Plugins hear which checkpoints come into memory. Beside everything else: drawings wait for none of it.

use std::sync::Arc;

use gesso_engine::backend::ModelFile;
use gesso_plugin_host::{CallContext, LoadedModel, ModelKind};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::{ModelFacts, Part};
use crate::error::AppError;
use crate::tasks::random_id;

/// Tells each of `loads` until the server drains.
pub(crate) async fn run(app: Arc<App>, mut loads: Receiver<Arc<ModelFile>>) {
    let mut draining = app.draining.clone();
    while !app.is_draining() {
        let model = tokio::select! {
            model = loads.recv() => model,
            _ = draining.changed() => continue,
        };
        let told = match model {
            Ok(model) => tell(&app, model).await,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "plugins do not hear of all checkpoints that were loaded");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        if let Err(error) = told {
            tracing::warn!(%error, "plugins could not be told which checkpoint was loaded");
        }
    }
}

async fn tell(app: &Arc<App>, file: Arc<ModelFile>) -> Result<(), AppError> {
    if !app.plugins.hears_of_models() {
        return Ok(());
    }
    let (name, catalogue) = (file.name.clone(), app.catalogue.clone());
    // The blocking pool: a file that was never hashed is read.
    let known = blocking(move || (catalogue.sha256(&file.path, Part::Whole), catalogue.facts(&file)));
    let (sha256, facts) = known.await?;
    let Some(sha256) = sha256 else { return Ok(()) };
    let model = LoadedModel { name, sha256, kind: kind(facts) };
    let call = CallContext::new(random_id()?.to_string(), 0);
    for error in app.plugins.model_loaded(&call, &model).await {
        tracing::warn!(%error, "a plugin could not be told that a checkpoint was loaded");
    }
    Ok(())
}

fn kind(facts: Option<ModelFacts>) -> ModelKind {
    match facts {
        Some(facts) if facts.inpaints => ModelKind::Inpainting,
        Some(facts) if facts.edits_pictures => ModelKind::Editing,
        _ => ModelKind::Drawing,
    }
}
