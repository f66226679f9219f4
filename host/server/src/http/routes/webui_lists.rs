//! The web UI's dialect: what there is to choose from. The entries of the lists are in `wire/lists.rs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gesso_core::hires::LatentUpscaler;
use gesso_core::sampler::Sampler;
use gesso_core::schedule::Scheduler;
use gesso_plugin_host::{PluginStatus, Script};
use gesso_torch::Upscaler;
use gesso_torch::embedding::Embedding;
use serde_json::{Map, Value, json};

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::{CatalogueError, Found, Kind};
use crate::faces::Installed;
use crate::http::error::WebUiFailure;
use crate::http::wire::control;
use crate::http::wire::extras::Restorer;
use crate::http::wire::lists::{
    CheckpointEntry, EmbeddingEntry, EmbeddingLists, FaceRestorerEntry, HypernetworkEntry, LatentModeEntry,
    LoraEntry, RealEsrganEntry, SamplerEntry, SchedulerEntry, ScriptEntry, ScriptTitles, StyleEntry,
    UpscalerEntry, VaeEntry,
};
use crate::http::wire::options;
use crate::http::wire::soft_inpainting;
use crate::{plugin_use, resources};

/// A list, for routes that read files and may fail.
type Listed<T> = Result<Json<Vec<T>>, WebUiFailure>;

/// The checkpoints.
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "web UI",
    responses((status = 200, description = "By name", body = Vec<CheckpointEntry>)))]
pub(crate) async fn sd_models(State(app): State<Arc<App>>) -> Listed<CheckpointEntry> {
    let catalogue = app.catalogue.clone();
    let all = blocking(move || catalogue.checkpoints()).await??;
    Ok(Json(all.iter().map(CheckpointEntry::of).collect()))
}

/// The samplers, in the web UI's order.
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "web UI",
    responses((status = 200, description = "All of them", body = Vec<SamplerEntry>)))]
pub(crate) async fn samplers() -> Json<Vec<SamplerEntry>> {
    Json(Sampler::ALL.into_iter().map(SamplerEntry::of).collect())
}

/// The schedulers.
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "web UI",
    responses((status = 200, description = "All of them", body = Vec<SchedulerEntry>)))]
pub(crate) async fn schedulers() -> Json<Vec<SchedulerEntry>> {
    Json(Scheduler::ALL.into_iter().map(SchedulerEntry::of).collect())
}

/// Titles of what `script_name` and `alwayson_scripts` may name, lower case: the plugins' scripts, ControlNet and soft
/// inpainting, which are the engine's own, and the plugins with hooks.
#[utoipa::path(get, path = "/sdapi/v1/scripts", tag = "web UI",
    responses((status = 200, description = "By kind of drawing", body = ScriptTitles)))]
pub(crate) async fn scripts(State(app): State<Arc<App>>, caller: Caller) -> Json<ScriptTitles> {
    let whom = plugin_use::whom(&caller);
    let hooks = app
        .plugins
        .list_for(&whom)
        .into_iter()
        .filter(|plugin| is_of(plugin, &["request-hook", "picture-hook", "step-hook"]))
        .map(|plugin| plugin.title.unwrap_or(plugin.id));
    let mut always_on: Vec<_> = std::iter::once(control::SCRIPT.to_owned()).chain(hooks).collect();
    for steps in app.plugins.step_hook_list(&whom) {
        // A step hook answers to its plugin's title too, which often is the same.
        if !always_on.iter().any(|title| title.eq_ignore_ascii_case(&steps.title)) {
            always_on.push(steps.title);
        }
    }
    let scripts = app.plugins.scripts(&whom);
    let titles = |is_img2img| {
        let selectable =
            scripts.iter().filter(|script| offers(script, is_img2img)).map(|script| &script.title);
        let soft = is_img2img.then(|| soft_inpainting::SCRIPT.to_owned());
        let always_on = always_on.iter().chain(&soft);
        selectable.chain(always_on).map(|title| title.to_lowercase()).collect::<Vec<_>>()
    };
    Json(ScriptTitles { txt2img: titles(false), img2img: titles(true) })
}

/// The plugins' scripts and hooks with their arguments, once for each kind of drawing that they are for, ControlNet with its units,
/// and soft inpainting, both of which are the engine's own.
#[utoipa::path(get, path = "/sdapi/v1/script-info", tag = "web UI",
    responses((status = 200, description = "Those for text to image, then those for image to image", body = Vec<ScriptEntry>)))]
pub(crate) async fn script_info(State(app): State<Arc<App>>, caller: Caller) -> Json<Vec<ScriptEntry>> {
    let whom = plugin_use::whom(&caller);
    let (scripts, steps) = (app.plugins.scripts(&whom), app.plugins.step_hook_list(&whom));
    let mut hooks = app.plugins.list_for(&whom);
    hooks.retain(|plugin| is_of(plugin, &["request-hook", "picture-hook"]));
    let of = |is_img2img| {
        scripts
            .iter()
            .filter(move |script| offers(script, is_img2img))
            .map(move |script| ScriptEntry::of(script, is_img2img))
            .chain(steps.iter().map(move |steps| ScriptEntry::of_steps(steps, is_img2img)))
            .chain(hooks.iter().map(move |plugin| ScriptEntry::of_hook(plugin, is_img2img)))
            .chain(std::iter::once(control::entry(is_img2img)))
    };
    Json(of(false).chain(of(true)).chain([soft_inpainting::entry()]).collect())
}

fn is_of(plugin: &PluginStatus, worlds: &[&str]) -> bool {
    plugin.worlds.iter().any(|world| worlds.contains(&world.as_str()))
}

fn offers(script: &Script, is_img2img: bool) -> bool {
    if is_img2img { script.img2img } else { script.txt2img }
}

/// The interpolations a second pass may enlarge its latent by.
#[utoipa::path(get, path = "/sdapi/v1/latent-upscale-modes", tag = "web UI",
    responses((status = 200, description = "All of them", body = Vec<LatentModeEntry>)))]
pub(crate) async fn latent_upscale_modes() -> Json<Vec<LatentModeEntry>> {
    Json(LatentUpscaler::ALL.into_iter().map(|mode| LatentModeEntry { name: mode.label() }).collect())
}

/// What enlarges pictures: filters first, then the networks in the models folder.
#[utoipa::path(get, path = "/sdapi/v1/upscalers", tag = "web UI",
    responses((status = 200, description = "Filters, then networks by name", body = Vec<UpscalerEntry>)))]
pub(crate) async fn upscalers(State(app): State<Arc<App>>) -> Listed<UpscalerEntry> {
    let mut list: Vec<_> = resources::FILTERS.into_iter().map(UpscalerEntry::filter).collect();
    let files = files(&app, Kind::Upscaler).await?;
    // The blocking pool: the heads of files.
    let networks = blocking(move || {
        let entry = |found: &Found| match Upscaler::scale_of(&found.path) {
            Ok(scale) => Some(UpscalerEntry::network(found, scale)),
            Err(error) => {
                tracing::warn!(%error, "skipping an unusable upscaler");
                None
            }
        };
        files.iter().filter_map(entry).collect::<Vec<_>>()
    });
    list.extend(networks.await?);
    Ok(Json(list))
}

/// What restores faces: those whose files are in the models folder.
#[utoipa::path(get, path = "/sdapi/v1/face-restorers", tag = "web UI",
    responses((status = 200, description = "Those that can be used", body = Vec<FaceRestorerEntry>)))]
pub(crate) async fn face_restorers(State(app): State<Arc<App>>) -> Listed<FaceRestorerEntry> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: the heads of files.
    let installed = blocking(move || Installed::read(&catalogue)).await??;
    let there = Restorer::ALL.into_iter().filter(|restorer| installed.has(*restorer));
    Ok(Json(there.map(|restorer| FaceRestorerEntry { name: restorer.name(), cmd_dir: None }).collect()))
}

/// The VAEs that can stand in for a checkpoint's own.
#[utoipa::path(get, path = "/sdapi/v1/sd-vae", tag = "web UI",
    responses((status = 200, description = "By name", body = Vec<VaeEntry>)))]
pub(crate) async fn sd_vae(State(app): State<Arc<App>>) -> Listed<VaeEntry> {
    let files = files(&app, Kind::Vae).await?.into_iter();
    let entry = |found: Found| VaeEntry { model_name: found.file_name.clone(), filename: found.file_name };
    Ok(Json(files.map(entry).collect()))
}

/// Forge's list of what may stand in for parts of a checkpoint: the VAEs, which the option `forge_additional_modules` names.
#[utoipa::path(get, path = "/sdapi/v1/sd-modules", tag = "web UI",
    responses((status = 200, description = "By name", body = Vec<VaeEntry>)))]
pub(crate) async fn sd_modules(State(app): State<Arc<App>>) -> Listed<VaeEntry> {
    sd_vae(State(app)).await
}

/// The LoRAs that a prompt may name.
#[utoipa::path(get, path = "/sdapi/v1/loras", tag = "web UI",
    responses((status = 200, description = "By name", body = Vec<LoraEntry>)))]
pub(crate) async fn loras(State(app): State<Arc<App>>) -> Listed<LoraEntry> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: the files' headers are read.
    let list = blocking(move || {
        let entry = |found: &Found| LoraEntry::of(found, &catalogue.words(found));
        catalogue.files(Kind::Lora).map(|files| files.iter().map(entry).collect::<Vec<_>>())
    });
    Ok(Json(list.await??))
}

/// The hypernetworks that a prompt may name.
#[utoipa::path(get, path = "/sdapi/v1/hypernetworks", tag = "web UI",
    responses((status = 200, description = "By name", body = Vec<HypernetworkEntry>)))]
pub(crate) async fn hypernetworks(State(app): State<Arc<App>>) -> Listed<HypernetworkEntry> {
    let files = files(&app, Kind::Hypernetwork).await?.into_iter();
    Ok(Json(files.map(|found| HypernetworkEntry { name: found.stem, path: found.file_name }).collect()))
}

/// The textual inversions that a prompt may name: those that fit the caller's checkpoint, and those that do not.
#[utoipa::path(get, path = "/sdapi/v1/embeddings", tag = "web UI",
    responses((status = 200, description = "Those that can be used, and the others", body = EmbeddingLists)))]
pub(crate) async fn embeddings(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<EmbeddingLists>, WebUiFailure> {
    let saved = app.options.of(&caller.name).await?;
    let named = saved.options.get(options::CHECKPOINT).and_then(Value::as_str).map(str::to_owned);
    let catalogue = app.catalogue.clone();
    // The blocking pool: every file is read; they are small.
    let lists = blocking(move || {
        let checkpoint = catalogue.checkpoint(named.as_deref()).ok();
        let width =
            checkpoint.and_then(|checkpoint| catalogue.facts(&checkpoint.file)).map(|facts| facts.text_width);
        let mut lists = EmbeddingLists { loaded: Map::new(), skipped: Map::new() };
        for found in catalogue.files(Kind::Embedding)? {
            let embedding = match Embedding::load(&found.path) {
                Ok(embedding) => embedding,
                Err(error) => {
                    tracing::warn!(%error, file = found.file_name, "skipping an unusable embedding");
                    continue;
                }
            };
            let entry = json!(EmbeddingEntry::of(&embedding));
            let fits = width.is_none_or(|width| width == embedding.width());
            let list = if fits { &mut lists.loaded } else { &mut lists.skipped };
            list.insert(embedding.name, entry);
        }
        Ok::<_, CatalogueError>(lists)
    })
    .await??;
    Ok(Json(lists))
}

/// The upscaling networks of the Real-ESRGAN family.
#[utoipa::path(get, path = "/sdapi/v1/realesrgan-models", tag = "web UI",
    responses((status = 200, description = "By name", body = Vec<RealEsrganEntry>)))]
pub(crate) async fn realesrgan_models(State(app): State<Arc<App>>) -> Listed<RealEsrganEntry> {
    let Json(all) = upscalers(State(app)).await?;
    let is_one = |entry: &UpscalerEntry| entry.name.to_lowercase().replace('-', "").starts_with("realesr");
    let entry = |entry: UpscalerEntry| {
        let path = entry.model_path?;
        Some(RealEsrganEntry { name: entry.name, path, scale: entry.scale })
    };
    Ok(Json(all.into_iter().filter(is_one).filter_map(entry).collect()))
}

/// The styles that a request may name: those of `styles.csv` in the data folder.
#[utoipa::path(get, path = "/sdapi/v1/prompt-styles", tag = "web UI",
    responses((status = 200, description = "In the order of the file", body = Vec<StyleEntry>)))]
pub(crate) async fn prompt_styles(State(app): State<Arc<App>>) -> Listed<StyleEntry> {
    let saved = app.styles.clone();
    // The blocking pool: the file of styles.
    let sheet = blocking(move || saved.sheet()).await?;
    Ok(Json(sheet.styles.iter().map(StyleEntry::of).collect()))
}

async fn files(app: &App, kind: Kind) -> Result<Vec<Found>, WebUiFailure> {
    let catalogue = app.catalogue.clone();
    Ok(blocking(move || catalogue.files(kind)).await??)
}
