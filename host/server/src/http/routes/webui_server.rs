//! The web UI's dialect: the server itself. What is in memory, what is read anew, what cannot be had here.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use gesso_engine::EngineStats;
use gesso_engine::backend::{Residency, Tier};
use gesso_plugin_host::PluginStatus;
use gesso_torch::machine_memory::{self, Memory};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::CatalogueError;
use crate::engine_errors::engine_failed;
use crate::error::AppError;
use crate::http::error::{WebUiFailure, not_implemented};
use crate::http::wire::nothing::{Empty, Null};
use crate::http::wire::options;
use crate::plugin_use;
use crate::tasks;

/// The memory of the machine and of the device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemoryView {
    /// The machine's, or less where the server's container or service may not use all of it.
    ram: MachineMemory,
    /// The device's, which is not told here.
    cuda: NotTold,
    /// What checkpoints take of both. Web UIs do not say.
    checkpoints: CheckpointMemory,
}

/// What checkpoints take of the memory, with the LoRAs and VAEs laid over them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointMemory {
    /// Of the machine's: what is drawn with there, or waits there to be copied to the device.
    ram: CheckpointBytes,
    /// Of the device's; null where it has no memory of its own.
    #[schema(required)]
    cuda: Option<CheckpointBytes>,
}

/// What checkpoints take of one kind of memory, in bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointBytes {
    /// All of them; what several share is counted once.
    used: u64,
    /// What they are kept within; null where nothing bounds them.
    #[schema(required)]
    bound: Option<u64>,
    /// Each, by its name; what several share is counted for each.
    models: BTreeMap<String, u64>,
}

impl From<Tier> for CheckpointBytes {
    fn from(tier: Tier) -> Self {
        let models = tier.by_name();
        Self { used: tier.bytes, bound: Some(tier.bytes_max).filter(|bound| *bound < u64::MAX), models }
    }
}

/// The machine's memory, or why it is not told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum MachineMemory {
    Told(MemoryBytes),
    NotTold(NotTold),
}

/// Memory in bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemoryBytes {
    /// What could be had without pushing anything out.
    free: u64,
    /// What is in use: `total` without `free`.
    used: u64,
    /// All that the server may use.
    total: u64,
}

/// Memory that nothing is known of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotTold {
    /// Why, in words.
    error: String,
}

/// The memory of the machine and of the device.
#[utoipa::path(get, path = "/sdapi/v1/memory", tag = "web UI",
    responses((status = 200, description = "As far as it is known", body = MemoryView)))]
pub(crate) async fn memory(State(app): State<Arc<App>>) -> Result<Json<MemoryView>, WebUiFailure> {
    // The blocking pool: files.
    let ram = match blocking(machine_memory::here).await? {
        Some(Memory { total, free }) => MachineMemory::Told(MemoryBytes { free, used: total - free, total }),
        None => MachineMemory::NotTold(NotTold { error: "the system does not say".into() }),
    };
    let EngineStats { device, residency: Residency { host, device: on_device }, .. } = app.engine.stats();
    let cuda = NotTold { error: format!("not told of this device: {device}") };
    let checkpoints = CheckpointMemory { ram: host.into(), cuda: on_device.map(CheckpointBytes::from) };
    Ok(Json(MemoryView { ram, cuda, checkpoints }))
}

/// Drops every model that no picture under way needs from the device's memory. The next request loads its own again.
#[utoipa::path(post, path = "/sdapi/v1/unload-checkpoint", tag = "web UI",
    responses((status = 200, description = "Dropped", body = Empty)))]
pub(crate) async fn unload_checkpoint(State(app): State<Arc<App>>) -> Result<Json<Empty>, WebUiFailure> {
    app.engine.unload().await.map_err(engine_failed)?;
    Ok(Json(Empty {}))
}

/// Brings the caller's checkpoint into the device's memory.
#[utoipa::path(post, path = "/sdapi/v1/reload-checkpoint", tag = "web UI",
    responses((status = 200, description = "In memory", body = Empty)))]
pub(crate) async fn reload_checkpoint(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Empty>, WebUiFailure> {
    let saved = app.options.of(&caller.name).await?;
    let named = saved.options.get(options::CHECKPOINT).and_then(Value::as_str).map(str::to_owned);
    let catalogue = app.catalogue.clone();
    // The blocking pool: folders and the heads of files.
    let checkpoint = blocking(move || {
        catalogue.drawable(named.as_deref()).map_err(|error| match error {
            CatalogueError::Unusable { .. } if named.is_some() => {
                AppError::unusable_model("body", error.to_string())
            }
            error => error.into(),
        })
    });
    let checkpoint = checkpoint.await??;
    app.engine.load(checkpoint.file).await.map_err(engine_failed)?;
    Ok(Json(Empty {}))
}

/// Folders are read with every request, so there is nothing to do; answered for clients that ask.
#[utoipa::path(post, path = "/sdapi/v1/refresh-checkpoints", tag = "web UI",
    responses((status = 200, description = "There was nothing to do", body = Null)))]
pub(crate) async fn refresh_checkpoints() -> Json<Null> {
    Json(Null)
}

/// As `refresh-checkpoints`.
#[utoipa::path(post, path = "/sdapi/v1/refresh-vae", tag = "web UI",
    responses((status = 200, description = "There was nothing to do", body = Null)))]
pub(crate) async fn refresh_vae() -> Json<Null> {
    Json(Null)
}

/// As `refresh-checkpoints`.
#[utoipa::path(post, path = "/sdapi/v1/refresh-loras", tag = "web UI",
    responses((status = 200, description = "There was nothing to do", body = Null)))]
pub(crate) async fn refresh_loras() -> Json<Null> {
    Json(Null)
}

/// As `refresh-checkpoints`.
#[utoipa::path(post, path = "/sdapi/v1/refresh-embeddings", tag = "web UI",
    responses((status = 200, description = "There was nothing to do", body = Null)))]
pub(crate) async fn refresh_embeddings() -> Json<Null> {
    Json(Null)
}

/// Ends the first batch early that is not through, of the task that has run longest: its pictures are as they are by then, and
/// the other batches of `n_iter` are drawn in full. A script goes on with its next drawing.
#[utoipa::path(post, path = "/sdapi/v1/skip", tag = "web UI",
    responses((status = 200, description = "It ends, or there was nothing to end", body = Null)))]
pub(crate) async fn skip(State(app): State<Arc<App>>, caller: Caller) -> Json<Null> {
    tasks::skip(&app, &caller);
    Json(Null)
}

/// What the server was started with, in the web UI's words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommandFlags {
    /// Always true: there is an API.
    api: bool,
    /// Always true: there is no page to draw on.
    nowebui: bool,
    /// Whether other machines can reach the server.
    listen: bool,
    /// The port it listens on.
    port: u16,
    /// Always null: who may use the server is told to nobody, here and below.
    #[schema(required)]
    api_auth: Option<String>,
    /// Always null.
    #[schema(required)]
    gradio_auth: Option<String>,
    /// Always false: how memory is spared is the server's own affair, here and below.
    lowvram: bool,
    /// Always false.
    medvram: bool,
    /// Whether networks compute in 32 bits.
    no_half: bool,
    /// The sites whose pages may read answers, with commas between them.
    cors_allow_origins: String,
    /// Always false: no client stops the server.
    api_server_stop: bool,
    /// Always false: no request brings code of its own.
    allow_code: bool,
}

/// What the server was started with, as far as clients look at it. No path, no name and no secret is among it.
#[utoipa::path(get, path = "/sdapi/v1/cmd-flags", tag = "web UI",
    responses((status = 200, description = "Flag to value", body = CommandFlags)))]
pub(crate) async fn cmd_flags(State(app): State<Arc<App>>) -> Json<CommandFlags> {
    Json(CommandFlags {
        api: true,
        nowebui: true,
        listen: !app.address.ip().is_loopback(),
        port: app.address.port(),
        api_auth: None,
        gradio_auth: None,
        lowvram: false,
        medvram: false,
        no_half: app.settings.dtype == "f32",
        cors_allow_origins: app.settings.cors_origins.join(","),
        api_server_stop: false,
        allow_code: false,
    })
}

/// A plugin, as the web UI tells of extensions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExtensionEntry {
    /// The plugin's id.
    name: String,
    /// Always empty: plugins come from no repository.
    remote: &'static str,
    /// Always empty.
    branch: &'static str,
    /// SHA-256 of the active build, hex; empty where none is active.
    commit_hash: String,
    /// As its manifest has it; empty where it says none.
    version: String,
    /// Always 0.
    commit_date: u64,
    /// Whether it is called at all.
    enabled: bool,
}

/// The plugins, which are what extensions are elsewhere.
#[utoipa::path(get, path = "/sdapi/v1/extensions", tag = "web UI",
    responses((status = 200, description = "All of them", body = Vec<ExtensionEntry>)))]
pub(crate) async fn extensions(State(app): State<Arc<App>>, caller: Caller) -> Json<Vec<ExtensionEntry>> {
    let plugins = app.plugins.list_for(&plugin_use::whom(&caller));
    let entry = |plugin: PluginStatus| ExtensionEntry {
        name: plugin.id,
        remote: "",
        branch: "",
        commit_hash: plugin.digest.unwrap_or_default(),
        version: plugin.version.unwrap_or_default(),
        commit_date: 0,
        enabled: plugin.enabled,
    };
    Json(plugins.into_iter().map(entry).collect())
}

/// What web UIs train and merge, and how they end their process: told apart from paths that are a mistake.
pub(crate) async fn not_here() -> Response {
    not_implemented(
        "this server neither trains nor stops at a client's word; its operator starts and stops it",
    )
}
