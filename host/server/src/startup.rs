//! Builds the parts from resolved settings and joins them. The only place that knows all of them.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use gesso_core::limits::Limits;
use gesso_core::request::NoiseSource;
use gesso_engine::clock::MonotonicClock;
use gesso_engine::{Engine, EngineHandle, EngineSettings};
use gesso_plugin_host::{
    Budget, Budgets, FolderSource, GrantedFolder, Grants, HostSettings, Outward, PluginBudgets, PluginHost,
    TrustedKey,
};
use gesso_store::{
    Documents, Folder, FolderError, Journal, ObjectSettings, Objects, Outputs, PluginData, SledSettings,
    SledTasks, SystemClock, TaskStoreError,
};
use gesso_torch::{DtypeChoice, TorchBackend, TorchSettings};
use rand::RngExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use crate::accounts::Accounts;
use crate::app::{App, decode_limits};
use crate::audit::Audit;
use crate::backups::Backups;
use crate::catalogue::Catalogue;
use crate::drawings::AT_ONCE;
use crate::functions::Functions;
use crate::http::connections::Tls;
use crate::http::router;
use crate::http::wire::generate::Defaults;
use crate::labels::Labels;
use crate::listeners::Listeners;
use crate::made_up_device::MadeUpDevice;
use crate::networks::ServerNetworks;
use crate::pause::Pause;
use crate::plugin_data::ServerStores;
use crate::quotas::Quotas;
use crate::registered_models::RegisteredModels;
use crate::running::RunningTasks;
use crate::saved_options::SavedOptions;
use crate::settings::{ADMIN_KEY_CHARS_MIN, Settings, SettingsError, TlsSettings};
use crate::styles::SavedStyles;
use crate::tasks::{Turns, Waiters};
use crate::telemetry;
use crate::webhooks::Webhooks;

/// Places in the engine for what is asked of routes and is no task, such as a control map.
const JOBS_OF_ROUTES: usize = 16;

/// Why nothing started. Each has its own exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartupError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another process holds what this one needs.
    #[error("{0}")]
    Taken(String),
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// A server that is ready to serve.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) engine: Engine,
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Tls>,
    /// Set it to true to drain.
    pub(crate) drain: watch::Sender<bool>,
    /// Set it to true to hand running tasks back: they run again after the restart.
    pub(crate) stop: watch::Sender<bool>,
}

/// Opens everything, cheapest and likeliest to fail first. Beside one that is made up no device is.
pub(crate) async fn build(settings: Settings, made_up: Option<MadeUpDevice>) -> Result<Server, StartupError> {
    let listener = listen(&settings.listen).await?;
    let address = listener.local_addr().context("the listening address cannot be read")?;
    let tls = open_tls(&settings).await?;
    make_folder(&settings.data).await?;
    let metrics = telemetry::install_metrics()?;
    let tasks = Arc::new(open_tasks(&settings.data.join("tasks")).await?);
    let objects = open_objects(&settings)?;
    let outputs = settings.outputs.clone().unwrap_or_else(|| settings.data.join("outputs"));
    let outputs = Outputs::new(&outputs);
    let admin_key = match &settings.admin_key {
        Some(key) => key.trim().to_owned(),
        None => admin_key(&settings.data.join("admin-key")).await?,
    };
    let (accounts, quotas) = open_accounts(&settings, admin_key).await?;
    let audit = Audit::new(Journal::at(&settings.data.join("audit.jsonl")), Arc::new(SystemClock));
    let webhooks = open_webhooks(&settings).await?;
    let (pause, functions) = open_queue(&settings).await?;
    let options = SavedOptions::new(Documents::new(&settings.data.join("options")));
    make_folder(&settings.plugins).await?;
    let catalogue = Arc::new(Catalogue::new(
        settings.models.clone(),
        settings.default_model.clone(),
        Some(settings.data.join("hashes.json")),
    ));
    let registered = open_registered(&settings, objects.clone(), catalogue.clone()).await?;
    let (engine, handle) = match made_up {
        Some(device) => open_made_up(&settings, device)?,
        None => open_engine(&settings).await?,
    };
    let networks = ServerNetworks {
        catalogue: catalogue.clone(),
        engine: handle.clone(),
        runtime: tokio::runtime::Handle::current(),
    };
    let stores = ServerStores {
        data: open_plugin_data(&settings.data.join("plugin-data"), objects.clone()).await?,
        runtime: tokio::runtime::Handle::current(),
    };
    let plugins = open_plugins(&settings, networks, stores).await?;
    let (drain, draining) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let app = App {
        limits: limits(&settings),
        defaults: defaults(&settings),
        catalogue,
        styles: Arc::new(SavedStyles::in_folder(&settings.data)),
        engine: handle,
        tasks: tasks.clone(),
        backups: Backups::new(tasks, objects.clone(), &settings.data),
        objects,
        outputs,
        plugins,
        remotes: settings.remotes()?,
        running: RunningTasks::default(),
        waiters: Waiters::default(),
        turns: Turns::default(),
        accounts: Arc::new(accounts),
        quotas: Arc::new(quotas),
        audit: Arc::new(audit),
        options: Arc::new(options),
        labels: Labels::default(),
        webhooks,
        listeners: Listeners::default(),
        functions: Arc::new(functions),
        pause: Arc::new(pause),
        registered,
        proxies: settings.proxies()?,
        address,
        restart: Notify::new(),
        draining,
        stopping,
        metrics,
        settings,
    };
    Ok(Server { app: Arc::new(app), engine, listener, tls, drain, stop })
}

/// What requests may ask for.
pub(crate) fn limits(settings: &Settings) -> Limits {
    Limits {
        max_side_px: settings.limits.side_px_max,
        max_pixels: settings.limits.pixels_max,
        max_steps: settings.limits.steps_max,
        max_images: settings.limits.images_max,
        max_prompt_bytes: settings.limits.prompt_bytes_max,
        ..Limits::default()
    }
}

/// What stands when a request does not say.
pub(crate) fn defaults(settings: &Settings) -> Defaults {
    let noise_source = if settings.randn_source == "CPU" { NoiseSource::Cpu } else { NoiseSource::Nv };
    Defaults { noise_source, ..Defaults::default() }
}

fn engine_settings(settings: &Settings) -> EngineSettings {
    let mut engine = EngineSettings::default();
    // A task that runs may have so many drawings there, and one piece of other work, such as an enlargement.
    let of_tasks = settings.concurrent_tasks.saturating_mul(AT_ONCE + 1);
    engine.max_jobs = engine.max_jobs.max(of_tasks.saturating_add(JOBS_OF_ROUTES));
    if settings.deterministic {
        // Kernels divide a larger batch in another way, which moves the last bits of its rows.
        engine.rules.max_rows = 1;
    }
    engine
}

/// The owner thread with libtorch on it.
pub(crate) async fn open_engine(settings: &Settings) -> Result<(Engine, EngineHandle), StartupError> {
    let torch = TorchSettings {
        threads: settings.threads,
        device: settings.device.parse().map_err(anyhow::Error::msg)?,
        dtype: match settings.dtype.as_str() {
            "f32" => DtypeChoice::F32,
            "bf16" => DtypeChoice::Bf16,
            "f16" => DtypeChoice::F16,
            _ => DtypeChoice::Auto,
        },
        resident_models: settings.resident_models,
        resident_bytes_max: settings.resident_bytes_max,
        device_bytes_max: settings.device_bytes_max,
    };
    let engine = engine_settings(settings);
    let opened = tokio::task::spawn_blocking(move || {
        Engine::start(
            engine,
            Arc::new(MonotonicClock::default()),
            Box::new(move || TorchBackend::open(torch)),
        )
    });
    Ok(opened.await.context("opening the device panicked")?.context("the device cannot be used")?)
}

/// The owner thread with nothing on it that would draw.
fn open_made_up(settings: &Settings, device: MadeUpDevice) -> Result<(Engine, EngineHandle), StartupError> {
    tracing::warn!("nothing is drawn: pictures are made up, so that the server around them can be measured");
    let (engine, clock) = (engine_settings(settings), Arc::new(MonotonicClock::default()));
    let started = Engine::start(engine, clock, Box::new(move || Ok(device)));
    Ok(started.context("the device thread cannot be started")?)
}

async fn listen(address: &str) -> Result<TcpListener, StartupError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => StartupError::Taken(format!(
            "{address} is in use by another process; stop it, or choose another with --listen (port 0 picks a free one)"
        )),
        kind => {
            let remedy = match kind {
                ErrorKind::PermissionDenied => {
                    "; ports below 1024 take CAP_NET_BIND_SERVICE, others do not, and a proxy may stand before one"
                }
                ErrorKind::AddrNotAvailable => {
                    "; this machine has no such address: 127.0.0.1 is for itself alone, 0.0.0.0 for all that it has"
                }
                _ => "",
            };
            StartupError::Failed(
                anyhow::Error::new(error).context(format!("cannot listen on {address}{remedy}")),
            )
        }
    })
}

async fn open_tls(settings: &Settings) -> Result<Option<Tls>, StartupError> {
    let Some(TlsSettings { certificate, key }) = settings.tls.clone() else { return Ok(None) };
    let (shown, its_key) = (certificate.display().to_string(), key.display().to_string());
    let opened = Tls::open(certificate, key).await;
    let told = || format!("tls: the certificate {shown} cannot be used with the key {its_key}; both are PEM");
    Ok(Some(opened.with_context(told)?))
}

async fn make_folder(path: &Path) -> Result<(), StartupError> {
    tokio::fs::create_dir_all(path).await.with_context(|| {
        format!("the folder {} cannot be made; check its parent's rights", path.display())
    })?;
    Ok(())
}

async fn open_tasks(folder: &Path) -> Result<SledTasks, StartupError> {
    SledTasks::open(folder, SledSettings::default(), Arc::new(SystemClock)).await.map_err(|error| match error
    {
        TaskStoreError::InUse(_) => {
            StartupError::Taken(format!("{error}; stop it, or choose another with --data"))
        }
        other => StartupError::Failed(anyhow::Error::new(other).context("the task store cannot be opened")),
    })
}

fn open_objects(settings: &Settings) -> Result<Objects, StartupError> {
    let url = settings.objects.clone().unwrap_or_else(|| settings.data.join("objects").display().to_string());
    let object_settings = ObjectSettings {
        options: settings.object_options.clone(),
        url_secrets: settings.data.join("url-keys"),
        clock: Arc::new(SystemClock),
    };
    Ok(Objects::open(&url, object_settings)
        .with_context(|| format!("the object store {url} cannot be opened"))?)
}

/// The key in the file, which is made at the first start and readable by its owner only.
async fn admin_key(path: &Path) -> Result<String, StartupError> {
    match tokio::fs::read_to_string(path).await {
        Ok(key) if key.trim().len() >= ADMIN_KEY_CHARS_MIN => return Ok(key.trim().to_owned()),
        Ok(_) => {
            let message = format!("{} holds no usable key; delete it to have one made", path.display());
            return Err(anyhow::anyhow!(message).into());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("{} cannot be read", path.display()))
                .into());
        }
    }
    let key: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(43).map(char::from).collect();
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file =
        options.open(path).await.with_context(|| format!("{} cannot be written", path.display()))?;
    tokio::io::AsyncWriteExt::write_all(&mut file, format!("{key}\n").as_bytes())
        .await
        .context("the admin key cannot be written")?;
    file.sync_all().await.context("the admin key cannot be written")?;
    tracing::info!(path = %path.display(), "made an admin key: a bearer key, and the password of the user admin");
    Ok(key)
}

async fn open_webhooks(settings: &Settings) -> Result<Webhooks, StartupError> {
    let outward = Outward::new(&settings.webhook_hosts, settings.webhook_private_addresses)
        .map_err(|message| SettingsError::Invalid { place: "settings: webhook_hosts".into(), message })?;
    let documents = Documents::new(&settings.data.join("accounts"));
    let schedule = settings.webhook_retry_seconds.clone();
    let opened = tokio::task::spawn_blocking(move || Webhooks::open(documents, outward, schedule));
    Ok(opened
        .await
        .context("reading the webhooks' secret panicked")?
        .context("the webhooks' secret cannot be read")?)
}

async fn open_queue(settings: &Settings) -> Result<(Pause, Functions), StartupError> {
    let documents = Documents::new(&settings.data.join("queue"));
    let opened = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
        Ok((Pause::open(documents.clone())?, Functions::open(documents)?))
    });
    Ok(opened
        .await
        .context("reading the queue's state panicked")?
        .context("the queue's state cannot be read")?)
}

async fn open_registered(
    settings: &Settings,
    objects: Objects,
    catalogue: Arc<Catalogue>,
) -> Result<Arc<RegisteredModels>, StartupError> {
    let (documents, folder) = (Documents::new(&settings.data.join("models")), settings.models.clone());
    let opened =
        tokio::task::spawn_blocking(move || RegisteredModels::open(documents, objects, catalogue, folder));
    let opened = opened.await.context("reading the registered models panicked")?;
    let registered = Arc::new(opened.context("the registered models cannot be read")?);
    registered.resume().await;
    Ok(registered)
}

/// Who has an account, and what was used of it.
async fn open_accounts(settings: &Settings, admin_key: String) -> Result<(Accounts, Quotas), StartupError> {
    let documents = Documents::new(&settings.data.join("accounts"));
    let (allowance, key_days_max) = (settings.allowance, settings.api_key_days_max);
    let session_hours_max = settings.session_hours_max;
    let opened = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
        let (kept, clock) = (documents.clone(), Arc::new(SystemClock));
        let accounts = Accounts::open(kept, admin_key, key_days_max, session_hours_max, clock)?;
        Ok((accounts, Quotas::open(allowance, documents, Arc::new(SystemClock))?))
    });
    Ok(opened.await.context("reading the accounts panicked")?.context("the accounts cannot be read")?)
}

/// What plugins keep.
pub(crate) async fn open_plugin_data(folder: &Path, objects: Objects) -> Result<PluginData, StartupError> {
    let folder = folder.to_owned();
    // The blocking pool: sled reads its files.
    let opened = tokio::task::spawn_blocking(move || PluginData::open(&folder, objects));
    Ok(opened
        .await
        .context("reading the plugins' data panicked")?
        .context("the plugins' data cannot be opened")?)
}

async fn open_plugins(
    settings: &Settings,
    networks: ServerNetworks,
    stores: ServerStores,
) -> Result<PluginHost, StartupError> {
    let own = std::env::current_exe().context("the path of this binary is unknown")?;
    let picture_pixels = decode_limits(&settings.limits).pixels_max;
    let hook = Budget {
        cpu: Duration::from_millis(settings.plugin_budget.cpu_ms),
        wall: Duration::from_millis(settings.plugin_budget.wall_ms),
        memory_bytes: settings.plugin_budget.memory_mib << 20,
        picture_pixels,
        ..Budget::default()
    };
    let usual = Budgets::default();
    let script = Budget { picture_pixels, ..usual.script.clone() };
    let grants = settings.grants.iter().map(|(id, grant)| (id.clone(), Grants::from(grant.clone())));
    let tiers = settings.plugin_tiers.iter().map(|(name, tier)| (name.clone(), PluginBudgets::from(*tier)));
    let keys: Result<_, _> = settings.plugin_keys.iter().map(|key| TrustedKey::parse(key)).collect();
    let host = HostSettings {
        folder: settings.plugins.clone(),
        state: settings.data.join("plugins"),
        compiler: vec![own.into(), "compile-plugin".into()],
        budgets: Budgets { hook, script, ..usual },
        max_concurrent_calls: settings.plugin_budget.concurrent_calls,
        trusted_keys: keys.map_err(anyhow::Error::msg)?,
        grants: grants.collect(),
        tiers: tiers.collect(),
        own_paths: router::own_paths(),
    };
    Ok(PluginHost::start(host, Arc::new(Folders), Arc::new(networks), Arc::new(stores))
        .await
        .context("the plugin host cannot start")?)
}

/// Folders for plugins, through capability handles.
pub(crate) struct Folders;

impl FolderSource for Folders {
    fn open(&self, path: &Path) -> std::io::Result<Arc<dyn GrantedFolder>> {
        Ok(Arc::new(OpenFolder(Folder::open(path).map_err(std::io::Error::other)?)))
    }
}

struct OpenFolder(Folder);

impl GrantedFolder for OpenFolder {
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.0.list().map_err(folder_error)
    }

    fn read(&self, path: &str, max: usize) -> std::io::Result<Vec<u8>> {
        self.0.read(path, max as u64).map_err(folder_error)
    }
}

/// Keeps what the plugin is told: not there, not allowed, or too large.
fn folder_error(error: FolderError) -> std::io::Error {
    let kind = match &error {
        FolderError::NotFound(_) => ErrorKind::NotFound,
        FolderError::Outside(_) => ErrorKind::PermissionDenied,
        FolderError::TooLarge { .. } => ErrorKind::FileTooLarge,
        FolderError::TooMany | FolderError::Io { .. } => ErrorKind::Other,
    };
    std::io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deterministic_pictures_share_no_call() {
        let rows = |deterministic| {
            engine_settings(&Settings { deterministic, ..Settings::default() }).rules.max_rows
        };
        assert_eq!(rows(true), 1);
        assert!(rows(false) > 1);
    }

    #[test]
    fn there_is_room_for_all_jobs_of_all_tasks_that_run_at_one_time() {
        for concurrent_tasks in [1, 8, 100] {
            let settings = Settings { concurrent_tasks, ..Settings::default() };
            let jobs = engine_settings(&settings).max_jobs;
            assert!(jobs > concurrent_tasks * AT_ONCE && jobs >= 64, "{concurrent_tasks}: {jobs}");
        }
    }
}
