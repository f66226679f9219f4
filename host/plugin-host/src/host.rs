//! The handle the server holds: hooks, HTTP extensions, and every change to the set of plugins. Changes run one at a
//! time, but for what a build takes to compile, and end in one swap of the table; calls never wait for them. Knows no
//! HTTP routes.

use crate::annotate::{self, AnnotateError, Annotated, Annotation};
use crate::audience::Whom;
use crate::budgets::MEMORY_MIB_MAX;
use crate::call::Runner;
use crate::changes::Changes;
use crate::compile::{Compiler, private_folder};
use crate::confine::Confinement;
use crate::error::{HookError, InstallError, StartError};
use crate::fetch::{self, FetchError};
use crate::finish::{self, DrawnPicture, FinishedPicture};
use crate::grid_hook::{self, Grid};
use crate::hooks::{self, After, Before};
use crate::inference::Inference;
use crate::load::Loader;
use crate::log::LogLine;
use crate::manifest::{Annotator, PictureStage, Script, Steps};
use crate::model_hook::{self, LoadedModel};
use crate::networks::Networks;
use crate::outgoing::Network;
use crate::registry::{Policy, Registry};
use crate::remote::Fetched;
use crate::report::ChainReport;
use crate::save_hook::{self, SavedPicture};
use crate::script::{self, ScriptError, ScriptInput, ScriptOutput};
use crate::settings::{CallContext, FolderSource, Grants, HostSettings};
use crate::settings_versions::SettingsVersion;
use crate::status::PluginStatus;
use crate::steps::{self, PluginStepHook};
use crate::stores::{StoreUse, Stores};
use crate::table::{Entry, SharedById, Table};
use crate::threads::Threads;
use crate::trail::{Asker, Trail, TrailEvent, TrailLine};
use crate::{engine, http_extension, infotext_hook, interfaces, watch};
use arc_swap::ArcSwap;
use bytes::Bytes;
use gesso_core::infotext::Infotext;
use gesso_core::pixels::Pixels;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use wasmtime::component::Linker;

/// How long a shutdown waits for a change that is under way.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

/// Loads, runs and swaps plugins. Clones share one host; what one of them changes is put down to its asker.
#[derive(Clone)]
pub struct PluginHost(pub(crate) Arc<Inner>, Asker);

pub(crate) struct Inner {
    pub(crate) settings: HostSettings,
    pub(crate) loader: Loader,
    pub(crate) runner: Runner,
    pub(crate) table: ArcSwap<Table>,
    pub(crate) shared: SharedById,
    pub(crate) trail: Trail,
    pub(crate) changes: tokio::sync::Mutex<Changes>,
    /// Of the one look at the folder that there is at a time. Taken before the lock of changes.
    pub(crate) looks: tokio::sync::Mutex<()>,
    /// Taken at the end.
    threads: Mutex<Option<Threads>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

impl PluginHost {
    /// Starts the engine and loads everything in the folder. A file that does not load is reported by [`Self::list`]
    /// and keeps nothing else from starting.
    ///
    /// # Errors
    /// Where folders, registry, engine or threads are not to be had.
    pub async fn start(
        settings: HostSettings,
        folders: Arc<dyn FolderSource>,
        networks: Arc<dyn Networks>,
        stores: Arc<dyn Stores>,
    ) -> Result<Self, StartError> {
        if settings.compiler.is_empty() {
            return Err(StartError::NoCompiler);
        }
        let folder = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| StartError::Folder { path, source }
        };
        std::fs::create_dir_all(&settings.folder).map_err(folder(&settings.folder))?;
        private_folder(&settings.state).map_err(folder(&settings.state))?;
        let registry = Registry::open(&settings.state.join("registry.json"))?;

        let slots = settings.max_concurrent_calls.max(1);
        let wasm = |error: wasmtime::Error| StartError::Engine(format!("{error:#}"));
        let all = settings.budgets.all();
        let memory_bytes = all.map(|budget| budget.memory_bytes).into_iter().max().unwrap_or_default();
        // Grants come and go while the pool stays as it is.
        let memory_bytes = memory_bytes.max(MEMORY_MIB_MAX << 20);
        let engine = engine::for_running(slots, memory_bytes).map_err(wasm)?;
        engine::start_epochs(&engine).map_err(StartError::Threads)?;
        let mut linker = Linker::new(&engine);
        interfaces::link(&mut linker).map_err(wasm)?;
        let compiler = Compiler::new(engine.clone(), settings.compiler.clone(), &settings.state)
            .map_err(folder(&settings.state))?;
        let threads = Threads::start().map_err(StartError::Threads)?;
        let runner = Runner::new(engine, threads.handles(), settings.budgets.clone(), slots);
        // A quarter of the slots stays out of any one plugin's reach, where there is more than one.
        let share = |slots: usize| (slots - slots.div_ceil(4)).max(1);
        let slots_per_plugin = (share(slots), share(slots.div_ceil(2)));
        let inner = Arc::new(Inner {
            loader: Loader {
                network: Arc::new(Network::new()),
                networks,
                stores,
                compiler,
                linker,
                folders,
                slots_per_plugin,
                tiers: settings.tiers.clone(),
                trusted_keys: settings.trusted_keys.clone(),
            },
            runner,
            table: ArcSwap::default(),
            shared: SharedById::default(),
            trail: Trail::at(&settings.state),
            changes: tokio::sync::Mutex::new(Changes::new(registry)),
            looks: tokio::sync::Mutex::default(),
            threads: Mutex::new(Some(threads)),
            watcher: Mutex::new(None),
            settings,
        });
        let host = Self(inner, Asker::default());
        host.0.scan(watch::Patience::None).await;
        // Artifacts of replaced builds and of other wasmtime versions go at the next start, when nobody compiles.
        host.0.loader.compiler.prune(host.0.changes.lock().await.registry.digests());
        // On the caller's runtime: it waits nearly always and must not share threads with guests.
        let watcher = tokio::spawn(watch::run(Arc::downgrade(&host.0)));
        *host.0.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
        Ok(host)
    }

    /// The same host, for changes that somebody asks for: what is told of them has that name and that request.
    pub fn asked_by(&self, by: impl Into<String>, request_id: impl Into<String>) -> Self {
        Self(self.0.clone(), Asker { by: Some(by.into()), request_id: Some(request_id.into()) })
    }

    /// What the process that compiles plugins gives up before it reads one; `None` until it has.
    pub fn compiler_confinement(&self) -> Option<Confinement> {
        self.0.loader.compiler.confinement()
    }

    /// Runs the `before` hooks in the admin's order. `params` is a JSON object.
    ///
    /// # Errors
    /// `Rejected` where a plugin ends the request; else the first failure that may not be skipped.
    pub async fn before(&self, call: &CallContext, params: String) -> Result<Before, HookError> {
        hooks::before(&self.0.table.load_full(), &self.0.runner, call, params).await
    }

    /// Runs the `after` hooks; each sees the pictures the one before it returned. Those of the result say which of `images` they
    /// are.
    ///
    /// # Errors
    /// The first failure that may not be skipped.
    pub async fn after(
        &self,
        call: &CallContext,
        params: &str,
        images: Vec<Pixels>,
    ) -> Result<After, HookError> {
        hooks::after(&self.0.table.load_full(), &self.0.runner, call, params, images).await
    }

    /// Answers one request through the plugin's HTTP extension. The caller has cut the mount prefix off the path
    /// and bounded the body. Credentials are taken out before the guest sees the fields, and out of the answer what speaks
    /// for the whole server; its pages have no rights of who looks at them, unless the plugin was granted the server's origin.
    ///
    /// # Errors
    /// `NotFound` where no active plugin of that id serves the call's `whom` with an HTTP extension; else as for hooks.
    pub async fn handle_http(
        &self,
        call: &CallContext,
        plugin: &str,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, HookError> {
        let table = self.0.table.load_full();
        let entry = table.get(plugin).filter(|entry| entry.is_for(&call.whom));
        let entry = entry.ok_or_else(|| HookError::NotFound { plugin: plugin.to_owned() })?;
        http_extension::handle(entry, &self.0.runner, call, request).await
    }

    /// The id of the plugin that answers at that path by an alias. Without `whom` it may be one that serves others.
    pub fn at_alias(&self, path: &str, whom: Option<&Whom>) -> Option<String> {
        self.0.table.load().at_alias(path, whom).map(|entry| entry.id.clone())
    }

    /// What the active plugins can make of a picture for `whom`; of several annotators of one name the first plugin's counts.
    pub fn annotators(&self, whom: &Whom) -> Vec<Annotator> {
        annotate::all(&self.0.table.load(), whom)
    }

    /// What the annotator of that name, in any of its spellings, makes of a picture.
    ///
    /// # Errors
    /// `Refused` where the annotator finds the request wrong, `NotFound` where no active plugin has it; else as for
    /// hooks.
    pub async fn annotate(
        &self,
        call: &CallContext,
        module: &str,
        annotation: Annotation,
    ) -> Result<Annotated, AnnotateError> {
        annotate::annotate(&self.0.table.load_full(), &self.0.runner, call, module, annotation).await
    }

    /// The file that a reference names, by the first active plugin that fetches its scheme.
    ///
    /// # Errors
    /// `Refused` where the plugin finds the reference wrong, `NoFetcher` where there is none; else as for hooks.
    pub async fn fetch(
        &self,
        call: &CallContext,
        scheme: &str,
        reference: &str,
    ) -> Result<Vec<u8>, FetchError> {
        fetch::fetch(&self.0.table.load_full(), &self.0.runner, call, scheme, reference).await
    }

    /// What the active plugins draw for `whom` in place of the pipeline; of several scripts of one title the first plugin's counts.
    pub fn scripts(&self, whom: &Whom) -> Vec<Script> {
        script::all(&self.0.table.load(), whom)
    }

    /// Runs the script of that title, in any case; `inference` draws for it.
    ///
    /// # Errors
    /// `Refused` where the script finds the request wrong, `NotFound` where no active plugin has it; else as for hooks.
    pub async fn run_script(
        &self,
        call: &CallContext,
        title: &str,
        input: ScriptInput,
        inference: Arc<dyn Inference>,
    ) -> Result<ScriptOutput, ScriptError> {
        script::run(&self.0.table.load_full(), &self.0.runner, call, title, input, inference).await
    }

    /// What acts within the steps of a drawing whose request has these `alwayson_scripts`, in the admin's order.
    ///
    /// # Errors
    /// A sentence for the client, where the arguments of one are neither a list nor an object, or name what it has not.
    pub fn step_hooks(
        &self,
        call: &CallContext,
        scripts: &Map<String, Value>,
    ) -> Result<Vec<Arc<PluginStepHook>>, String> {
        steps::of_request(self, &self.0.table.load_full(), call, scripts)
    }

    /// The manifests' descriptions of the active step hooks that are there for `whom`, in the admin's order.
    pub fn step_hook_list(&self, whom: &Whom) -> Vec<Steps> {
        let table = self.0.table.load();
        table.serving(whom).filter_map(|entry| entry.stepper()?.0.manifest.steps.clone()).collect()
    }

    /// Whether any plugin that is active, or served and is lost, finishes pictures of that call at that stage.
    pub fn finishes_pictures(&self, call: &CallContext, stage: PictureStage) -> bool {
        finish::finishers(&self.0.table.load(), call, stage).next().is_some()
    }

    /// The picture as the plugins that finish pictures at its stage leave it, in the admin's order. `inference` draws for them,
    /// and `add` lays fields into an infotext.
    ///
    /// # Errors
    /// `Rejected` where a plugin finds the request wrong; else the first failure that may not be skipped.
    pub async fn finish_picture(
        &self,
        call: &CallContext,
        params: &str,
        picture: DrawnPicture,
        inference: Arc<dyn Inference>,
        add: impl Fn(&str, &[(String, String)]) -> String,
    ) -> Result<FinishedPicture, HookError> {
        finish::finish(&self.0.table.load_full(), &self.0.runner, call, params, picture, inference, add).await
    }

    /// Whether any plugin that is active, or served and is lost, lays out the grid of that call.
    pub fn lays_out_grids(&self, call: &CallContext) -> bool {
        grid_hook::layers(&self.0.table.load(), call).next().is_some()
    }

    /// The grid as the plugins that lay it out leave it, in the admin's order: with a picture at least, and a cell for each.
    /// `params` is the request's body.
    ///
    /// # Errors
    /// `Rejected` where a plugin finds the request wrong; else the first failure that may not be skipped.
    pub async fn lay_out_grid(
        &self,
        call: &CallContext,
        params: &str,
        grid: Grid,
    ) -> Result<(Grid, ChainReport), HookError> {
        grid_hook::lay_out(&self.0.table.load_full(), &self.0.runner, call, params, grid).await
    }

    /// Whether any plugin that is active, or served and is lost, reads the infotexts of that call.
    pub fn reads_infotexts(&self, call: &CallContext) -> bool {
        infotext_hook::readers(&self.0.table.load(), call).next().is_some()
    }

    /// The parts of an infotext as the plugins that read along leave them, in the admin's order. `text` is what was sent,
    /// `parts` what it says.
    ///
    /// # Errors
    /// `Rejected` where a plugin finds the request wrong; else the first failure that may not be skipped.
    pub async fn read_infotext(
        &self,
        call: &CallContext,
        text: &str,
        parts: Infotext,
    ) -> Result<(Infotext, ChainReport), HookError> {
        infotext_hook::read(&self.0.table.load_full(), &self.0.runner, call, text, parts).await
    }

    /// Whether any plugin that is active, or served and is lost, hears of the pictures that call saves.
    pub fn hears_of_saved_pictures(&self, call: &CallContext) -> bool {
        save_hook::listeners(&self.0.table.load(), call).next().is_some()
    }

    /// Tells the plugins that hear of it, in the admin's order, that a picture was saved. `params` is the request's body.
    /// Answers with the ids of those that were not told because every slot stayed busy, and who was left out; the others were.
    ///
    /// # Errors
    /// The first failure that may not be skipped; never `Overloaded`.
    pub async fn picture_saved(
        &self,
        call: &CallContext,
        params: &str,
        picture: &SavedPicture,
    ) -> Result<(Vec<String>, ChainReport), HookError> {
        save_hook::saved(&self.0.table.load_full(), &self.0.runner, call, params, picture).await
    }

    /// Whether any plugin that is active, or served and is lost, hears of checkpoints that come into memory.
    pub fn hears_of_models(&self) -> bool {
        model_hook::listeners(&self.0.table.load()).next().is_some()
    }

    /// Tells the plugins that hear of it that a checkpoint came into memory, and returns the failures, which are counted.
    pub async fn model_loaded(&self, call: &CallContext, model: &LoadedModel) -> Vec<HookError> {
        model_hook::loaded(&self.0.table.load_full(), &self.0.runner, call, model).await
    }

    /// Every plugin, in the order its hooks run.
    pub fn list(&self) -> Vec<PluginStatus> {
        self.statuses(|_| true)
    }

    /// [`Self::list`] of those that are there for `whom`.
    pub fn list_for(&self, whom: &Whom) -> Vec<PluginStatus> {
        self.statuses(|entry| entry.is_for(whom))
    }

    fn statuses(&self, is_wanted: impl Fn(&Entry) -> bool) -> Vec<PluginStatus> {
        let table = self.0.table.load();
        let wanted = table.entries.iter().enumerate().filter(|(_, entry)| is_wanted(entry));
        wanted.map(|(place, entry)| entry.status(place, self.0.loader.stores.used(&entry.id))).collect()
    }

    pub fn get(&self, id: &str) -> Option<PluginStatus> {
        let table = self.0.table.load();
        let place = table.entries.iter().position(|entry| entry.id == id)?;
        Some(table.entries[place].status(place, self.0.loader.stores.used(id)))
    }

    /// Checks, compiles and tries a component, then makes it the active version of its id in one swap.
    ///
    /// # Errors
    /// On any error the version that served before still serves. `NeedsGrants` stores the file: it starts when
    /// [`Self::set_grants`] gives what is missing.
    pub async fn install(&self, bytes: Vec<u8>) -> Result<PluginStatus, InstallError> {
        let id = self
            .uninterrupted(|inner, asker| async move { inner.install(&bytes, None, &asker).await })
            .await?;
        self.status_of(&id)
    }

    /// [`Self::install`] of what was brought from elsewhere, which the plugin's status tells from then on.
    ///
    /// # Errors
    /// As for [`Self::install`].
    pub async fn install_fetched(&self, fetched: Fetched) -> Result<PluginStatus, InstallError> {
        let Fetched { bytes, source } = fetched;
        let id = self
            .uninterrupted(|inner, asker| async move { inner.install(&bytes, Some(source), &asker).await })
            .await?;
        self.status_of(&id)
    }

    /// Returns to the previous version; a second call returns from it. Where the settings that stand do not fit its schema, those
    /// that it was last loaded with are put back.
    ///
    /// # Errors
    /// `NoPrevious` where only one version was ever active, `Refused` where it does not load, or no settings that fit it are kept.
    pub async fn rollback(&self, id: &str) -> Result<PluginStatus, InstallError> {
        let name = id.to_owned();
        self.uninterrupted(|inner, asker| async move { inner.rollback(&name, &asker).await }).await?;
        self.status_of(id)
    }

    /// Removes the file, every kept version and the stored grants, also where the file has left the folder already. Calls under way
    /// finish; drawings under way make no further ones. What the plugin keeps stays, see [`Self::forget_data`].
    ///
    /// # Errors
    /// `NotFound`, or `Storage` where that cannot be stored; nothing is changed then.
    pub async fn remove(&self, id: &str) -> Result<(), InstallError> {
        let name = id.to_owned();
        self.uninterrupted(|inner, asker| async move { inner.remove(&name, &asker).await }).await
    }

    /// Stores the grants and loads the plugin with them. Taking away what it needs stops it, which its status says; to requests that
    /// count on it, it is a plugin that fails from then on.
    ///
    /// # Errors
    /// `Refused` where a folder does not open, a figure is none that may be given, or the like, `TooLarge` where there is no room
    /// for them; nothing is changed then.
    pub async fn set_grants(&self, id: &str, grants: Grants) -> Result<PluginStatus, InstallError> {
        let name = id.to_owned();
        self.uninterrupted(|inner, asker| async move { inner.set_grants(&name, grants, &asker).await })
            .await?;
        self.status_of(id)
    }

    /// The settings that the plugin was given, oldest first; the last are those that stand. Waits for a change under way.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn settings_versions(&self, id: &str) -> Result<Vec<SettingsVersion>, InstallError> {
        self.0.settings_versions(id).await
    }

    /// Gives the plugin the settings of that number again and leaves its other grants as they are.
    ///
    /// # Errors
    /// `NoSettings` where none of that number are kept; else as for [`Self::set_grants`].
    pub async fn restore_settings(&self, id: &str, number: u64) -> Result<PluginStatus, InstallError> {
        let name = id.to_owned();
        self.uninterrupted(|inner, asker| async move { inner.restore_settings(&name, number, &asker).await })
            .await?;
        self.status_of(id)
    }

    /// Changes the admin's switches of one plugin.
    ///
    /// # Errors
    /// `NotFound`, or `Storage` where the change cannot be stored.
    pub async fn configure(&self, id: &str, policy: Policy) -> Result<PluginStatus, InstallError> {
        self.0.configure(id, &policy, &self.1).await?;
        self.status_of(id)
    }

    /// Drops all that the plugin keeps, values and blobs; of a removed one too, whose data stay until then. Calls under way may
    /// keep something anew.
    ///
    /// # Errors
    /// `NotFound` where there is neither such a plugin nor anything of it, `Data` where it cannot be dropped now.
    pub async fn forget_data(&self, id: &str) -> Result<(), InstallError> {
        let used = self.0.loader.stores.used(id);
        if used == StoreUse::default() && self.get(id).is_none() {
            return Err(InstallError::NotFound { id: id.to_owned() });
        }
        let forgotten = self.0.loader.stores.forget(id).await;
        forgotten.map_err(|error| InstallError::Data { id: id.to_owned(), reason: error.to_string() })?;
        let StoreUse { keys, blobs, kv_bytes, blob_bytes } = used;
        let detail = format!("{keys} values and {blobs} blobs of {} bytes", kv_bytes + blob_bytes);
        self.0.trail.note(id, TrailEvent::DataDropped, None, Some(detail), &self.1);
        Ok(())
    }

    /// The newest lines of the plugin's log, oldest first.
    pub fn logs(&self, id: &str) -> Vec<LogLine> {
        self.0.table.load().get(id).map(|entry| entry.shared.log.snapshot()).unwrap_or_default()
    }

    /// What was done to the plugin and what came of it, oldest first; of removed ones too.
    pub fn history(&self, id: &str) -> Vec<TrailLine> {
        self.0.trail.of(id)
    }

    /// Looks at the folder now instead of at the next tick of the watch; files still being written wait for it.
    pub async fn rescan(&self) {
        self.0.scan(watch::Patience::None).await;
    }

    /// Ends the watch and every guest. Waiting calls fail as overloaded.
    pub async fn shutdown(&self) {
        // Ends the watch first: what it has compiled need not be loaded any more.
        self.0.stop();
        if let Ok(mut changes) = tokio::time::timeout(SHUTDOWN_WAIT, self.0.changes.lock()).await {
            changes.close();
        }
    }

    /// Runs a change to its end even when its caller goes away half-way: what is stored and what serves must agree.
    async fn uninterrupted<T, F>(
        &self,
        change: impl FnOnce(Arc<Inner>, Asker) -> F,
    ) -> Result<T, InstallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, InstallError>> + Send + 'static,
    {
        // On the caller's runtime: it waits for the compiler and for a probe on the plugins' own threads.
        tokio::spawn(change(self.0.clone(), self.1.clone())).await.map_err(|_| InstallError::ShuttingDown)?
    }

    fn status_of(&self, id: &str) -> Result<PluginStatus, InstallError> {
        self.get(id).ok_or_else(|| InstallError::NotFound { id: id.to_owned() })
    }
}

impl Inner {
    fn stop(&self) {
        self.runner.close();
        if let Some(watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watcher.abort();
        }
        if let Some(threads) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take() {
            threads.shutdown();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
