//! The web UI's dialect: what there is to choose from. Null stands where a client expects it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gesso_core::hires::LatentUpscaler;
use gesso_core::sampler::Sampler;
use gesso_core::schedule::Scheduler;
use gesso_plugin_host::Script;
use gesso_torch::Upscaler;
use gesso_torch::embedding::Embedding;
use serde_json::{Map, Value, json};

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::{CatalogueError, Found, Kind, alias};
use crate::faces::Installed;
use crate::http::error::WebUiFailure;
use crate::http::wire::control;
use crate::http::wire::extras::Restorer;
use crate::http::wire::options;

/// The checkpoints.
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "web UI", responses((status = 200, description = "title, model_name, hash, sha256, filename, config")))]
pub(crate) async fn sd_models(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    let all = blocking(move || catalogue.checkpoints()).await??;
    let list = all.iter().map(|checkpoint| {
        json!({
            "title": checkpoint.title(),
            "model_name": checkpoint.file.name,
            "hash": checkpoint.short_hash(),
            "sha256": checkpoint.sha256,
            // Relative: where models lie on the server is nobody's business.
            "filename": checkpoint.file_name,
            "config": null,
        })
    });
    Ok(Json(list.collect()))
}

/// The samplers, in the web UI's order.
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "web UI", responses((status = 200, description = "name, aliases, options")))]
pub(crate) async fn samplers() -> Json<Value> {
    let list = Sampler::ALL.iter().map(|sampler| {
        let options: Map<String, Value> =
            sampler.options().iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        json!({"name": sampler.label(), "aliases": sampler.aliases(), "options": options})
    });
    Json(list.collect())
}

/// The schedulers.
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "web UI", responses((status = 200, description = "name, label, aliases, default_rho, need_inner_model")))]
pub(crate) async fn schedulers() -> Json<Value> {
    let list = Scheduler::ALL.iter().map(|scheduler| {
        let aliases = scheduler.aliases();
        json!({
            "name": scheduler.name(),
            "label": scheduler.label(),
            "aliases": if aliases.is_empty() { Value::Null } else { json!(aliases) },
            "default_rho": scheduler.default_rho(),
            "need_inner_model": scheduler.need_inner_model(),
        })
    });
    Json(list.collect())
}

/// Titles of what `script_name` and `alwayson_scripts` may name, lower case: the plugins' scripts, ControlNet, which is the
/// engine's own, and the plugins with hooks.
#[utoipa::path(get, path = "/sdapi/v1/scripts", tag = "web UI", responses((status = 200, description = "txt2img and img2img: lists of titles")))]
pub(crate) async fn scripts(State(app): State<Arc<App>>) -> Response {
    let hooks = app
        .plugins
        .list()
        .into_iter()
        .filter(|plugin| plugin.worlds.iter().any(|world| world == "request-hook"))
        .map(|plugin| plugin.title.unwrap_or(plugin.id));
    let always_on: Vec<_> = std::iter::once(control::SCRIPT.to_owned()).chain(hooks).collect();
    let scripts = app.plugins.scripts();
    let titles = |is_img2img| {
        let selectable =
            scripts.iter().filter(|script| offers(script, is_img2img)).map(|script| &script.title);
        selectable.chain(&always_on).map(|title| title.to_lowercase()).collect::<Vec<_>>()
    };
    Json(json!({"txt2img": titles(false), "img2img": titles(true)})).into_response()
}

/// The plugins' scripts with their arguments, once for each kind of drawing that they are for.
#[utoipa::path(get, path = "/sdapi/v1/script-info", tag = "web UI", responses((status = 200, description = "name, is_alwayson, is_img2img, args (label, value, minimum, maximum, step, choices)")))]
pub(crate) async fn script_info(State(app): State<Arc<App>>) -> Json<Value> {
    let scripts = app.plugins.scripts();
    let entry = |script: &Script, is_img2img: bool| {
        json!({
            "name": script.title.to_lowercase(),
            "is_alwayson": false,
            "is_img2img": is_img2img,
            "args": script.args,
        })
    };
    let of = |is_img2img| {
        scripts
            .iter()
            .filter(move |script| offers(script, is_img2img))
            .map(move |script| entry(script, is_img2img))
    };
    Json(of(false).chain(of(true)).collect())
}

fn offers(script: &Script, is_img2img: bool) -> bool {
    if is_img2img { script.img2img } else { script.txt2img }
}

/// The interpolations a second pass may enlarge its latent by.
#[utoipa::path(get, path = "/sdapi/v1/latent-upscale-modes", tag = "web UI", responses((status = 200, description = "name")))]
pub(crate) async fn latent_upscale_modes() -> Json<Value> {
    Json(LatentUpscaler::ALL.iter().map(|mode| json!({"name": mode.label()})).collect())
}

/// What enlarges pictures: filters first, then the networks in the models folder.
#[utoipa::path(get, path = "/sdapi/v1/upscalers", tag = "web UI", responses((status = 200, description = "name, model_name, model_path, model_url, scale")))]
pub(crate) async fn upscalers(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let entry = |name: &str, model: Option<&str>, scale: u32| json!({"name": name, "model_name": model, "model_path": model, "model_url": null, "scale": scale});
    let mut list: Vec<_> =
        ["None", "Lanczos", "Nearest"].iter().map(|name| entry(name, None, FILTER_SCALE)).collect();
    let files = files(&app, Kind::Upscaler).await?;
    // The blocking pool: the heads of files.
    let networks = blocking(move || {
        let entry = |found: &Found| match Upscaler::scale_of(&found.path) {
            Ok(scale) => Some(entry(&found.stem, Some(&found.file_name), scale)),
            Err(error) => {
                tracing::warn!(%error, "skipping an unusable upscaler");
                None
            }
        };
        files.iter().filter_map(entry).collect::<Vec<_>>()
    });
    list.extend(networks.await?);
    Ok(Json(list.into()))
}

/// What restores faces: those whose files are in the models folder.
#[utoipa::path(get, path = "/sdapi/v1/face-restorers", tag = "web UI", responses((status = 200, description = "name, cmd_dir")))]
pub(crate) async fn face_restorers(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: the heads of files.
    let installed = blocking(move || Installed::read(&catalogue)).await??;
    let there = Restorer::ALL.into_iter().filter(|restorer| installed.has(*restorer));
    Ok(Json(there.map(|restorer| json!({"name": restorer.name(), "cmd_dir": null})).collect()))
}

/// Filters have no scale of their own; web UIs say this.
const FILTER_SCALE: u32 = 4;

/// The VAEs that can stand in for a checkpoint's own.
#[utoipa::path(get, path = "/sdapi/v1/sd-vae", tag = "web UI", responses((status = 200, description = "model_name, filename")))]
pub(crate) async fn sd_vae(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let files = files(&app, Kind::Vae).await?;
    let list = files.iter().map(|found| json!({"model_name": found.file_name, "filename": found.file_name}));
    Ok(Json(list.collect()))
}

/// The LoRAs that a prompt may name.
#[utoipa::path(get, path = "/sdapi/v1/loras", tag = "web UI", responses((status = 200, description = "name, alias, path, metadata")))]
pub(crate) async fn loras(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: the files' headers are read.
    let list = blocking(move || {
        let entry = |found: &Found| {
            let words = catalogue.words(found);
            let name = alias(&words).unwrap_or(&found.stem);
            json!({"name": found.stem, "alias": name, "path": found.file_name, "metadata": *words})
        };
        catalogue.files(Kind::Lora).map(|files| files.iter().map(entry).collect::<Vec<_>>())
    });
    Ok(Json(list.await??.into()))
}

/// The hypernetworks that a prompt may name.
#[utoipa::path(get, path = "/sdapi/v1/hypernetworks", tag = "web UI", responses((status = 200, description = "name, path")))]
pub(crate) async fn hypernetworks(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let files = files(&app, Kind::Hypernetwork).await?;
    Ok(Json(files.iter().map(|found| json!({"name": found.stem, "path": found.file_name})).collect()))
}

/// The textual inversions that a prompt may name: those that fit the caller's checkpoint, and those that do not.
#[utoipa::path(get, path = "/sdapi/v1/embeddings", tag = "web UI",
    responses((status = 200, description = "loaded and skipped: name to step, sd_checkpoint, sd_checkpoint_name, shape, vectors")))]
pub(crate) async fn embeddings(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Value>, WebUiFailure> {
    let saved = app.options.of(&caller.name).await?;
    let named = saved.options.get(options::CHECKPOINT).and_then(Value::as_str).map(str::to_owned);
    let catalogue = app.catalogue.clone();
    // The blocking pool: every file is read; they are small.
    let (loaded, skipped) = blocking(move || {
        let checkpoint = catalogue.checkpoint(named.as_deref()).ok();
        let width =
            checkpoint.and_then(|checkpoint| catalogue.facts(&checkpoint.file)).map(|facts| facts.text_width);
        let mut lists = (Map::new(), Map::new());
        for found in catalogue.files(Kind::Embedding)? {
            let embedding = match Embedding::load(&found.path) {
                Ok(embedding) => embedding,
                Err(error) => {
                    tracing::warn!(%error, file = found.file_name, "skipping an unusable embedding");
                    continue;
                }
            };
            let entry = json!({
                "step": embedding.step,
                "sd_checkpoint": embedding.checkpoint,
                "sd_checkpoint_name": embedding.checkpoint_name,
                "shape": embedding.width(),
                "vectors": embedding.vectors.size().first(),
            });
            let fits = width.is_none_or(|width| width == embedding.width());
            let list = if fits { &mut lists.0 } else { &mut lists.1 };
            list.insert(embedding.name, entry);
        }
        Ok::<_, CatalogueError>(lists)
    })
    .await??;
    Ok(Json(json!({"loaded": loaded, "skipped": skipped})))
}

/// The upscaling networks of the Real-ESRGAN family.
#[utoipa::path(get, path = "/sdapi/v1/realesrgan-models", tag = "web UI", responses((status = 200, description = "name, path, scale")))]
pub(crate) async fn realesrgan_models(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let Json(all) = upscalers(State(app)).await?;
    let is_one = |entry: &&Value| {
        entry["name"].as_str().is_some_and(|name| name.to_lowercase().replace('-', "").starts_with("realesr"))
    };
    let entry =
        |entry: &Value| json!({"name": entry["name"], "path": entry["model_path"], "scale": entry["scale"]});
    Ok(Json(all.as_array().into_iter().flatten().filter(is_one).map(entry).collect()))
}

/// The styles that a request may name: those of `styles.csv` in the data folder.
#[utoipa::path(get, path = "/sdapi/v1/prompt-styles", tag = "web UI", responses((status = 200, description = "name, prompt, negative_prompt")))]
pub(crate) async fn prompt_styles(State(app): State<Arc<App>>) -> Result<Json<Value>, WebUiFailure> {
    let saved = app.styles.clone();
    // The blocking pool: the file of styles.
    let sheet = blocking(move || saved.sheet()).await?;
    let list = sheet.styles.iter().map(
        |style| json!({"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative_prompt}),
    );
    Ok(Json(list.collect()))
}

async fn files(app: &App, kind: Kind) -> Result<Vec<Found>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    Ok(blocking(move || catalogue.files(kind)).await??)
}
