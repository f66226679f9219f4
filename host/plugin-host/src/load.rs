//! From bytes to a version that can be called: inspected, checked against the grants, compiled elsewhere, linked
//! and tried once. Called by the host handle for every install, change and roll-back. Serves nothing itself.

use crate::assets::Assets;
use crate::budgets::{self, DrawingBudget, PluginBudgets};
use crate::call::{Failure, Runner};
use crate::compile::{CompileError, Compiler};
use crate::compile_worker::sha256_hex;
use crate::grants::{self, Denied};
use crate::inspect::{self, Inspection};
use crate::interfaces::annotator::AnnotatorPre;
use crate::interfaces::grid_hook::GridHookPre;
use crate::interfaces::http_handler::HttpHandlerPre;
use crate::interfaces::infotext_hook::InfotextHookPre;
use crate::interfaces::input_fetcher::InputFetcherPre;
use crate::interfaces::model_hook::ModelHookPre;
use crate::interfaces::picture_hook::PictureHookPre;
use crate::interfaces::save_hook::SaveHookPre;
use crate::interfaces::script::ScriptPre;
use crate::interfaces::step_hook::StepHookPre;
use crate::interfaces::{CallState, RequestHookPre};
use crate::manifest::Manifest;
use crate::networks::{GrantedNetworks, Networks};
use crate::outgoing::{HostAccess, HostPattern, Network};
use crate::registry::VersionRef;
use crate::schema;
use crate::settings::{Budget, Budgets, CallContext, FolderSource, GrantedFolder, Grants};
use crate::signature::{self, TrustedKey};
use crate::stores::{GrantedStores, Stores};
use crate::table::Shared;
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// What one version of a plugin may reach.
pub(crate) struct Capabilities {
    pub(crate) settings_json: String,
    pub(crate) folders: BTreeMap<String, Arc<dyn GrantedFolder>>,
    pub(crate) hosts: Option<HostAccess>,
    pub(crate) networks: Option<GrantedNetworks>,
    pub(crate) read_tensors: bool,
    pub(crate) stores: GrantedStores,
    pub(crate) assets: Assets,
}

/// A version ready to be called. Calls hold the `Arc` they started with, so that a swap never touches them; the
/// last one to end frees the code.
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    pub(crate) version: VersionRef,
    pub(crate) worlds: Worlds,
    pub(crate) capabilities: Arc<Capabilities>,
    /// What each of its calls may spend.
    pub(crate) budgets: Budgets,
    /// What it may have drawn for a request.
    pub(crate) drawings: DrawingBudget,
    /// The public key that vouches for it, hex.
    pub(crate) signed_by: Option<String>,
    /// How often rights had been taken away from the plugin by then. After the next time this version is not called any more.
    pub(crate) revocations: u64,
}

/// The worlds that a version fills.
pub(crate) struct Worlds {
    pub(crate) hooks: Option<RequestHookPre<CallState>>,
    pub(crate) http: Option<Http>,
    pub(crate) annotator: Option<AnnotatorPre<CallState>>,
    pub(crate) script: Option<ScriptPre<CallState>>,
    pub(crate) fetcher: Option<InputFetcherPre<CallState>>,
    pub(crate) finisher: Option<PictureHookPre<CallState>>,
    pub(crate) stepper: Option<StepHookPre<CallState>>,
    pub(crate) infotexts: Option<InfotextHookPre<CallState>>,
    pub(crate) saves: Option<SaveHookPre<CallState>>,
    pub(crate) models: Option<ModelHookPre<CallState>>,
    pub(crate) grids: Option<GridHookPre<CallState>>,
}

/// The two ways to be an HTTP API.
#[derive(Clone)]
pub(crate) enum Http {
    /// `wasi:http/incoming-handler`, the world `http-extension`.
    Wasi(ProxyPre<CallState>),
    /// The world `http-handler`.
    Plain(HttpHandlerPre<CallState>),
}

impl Worlds {
    /// Those that the manifest names.
    ///
    /// # Errors
    /// `Refused` for one that the component does not fill.
    pub(crate) fn of(manifest: &Manifest, instance: &InstancePre<CallState>) -> Result<Self, LoadError> {
        fn fill<T>(
            manifest: &Manifest,
            world: &str,
            pre: impl FnOnce() -> wasmtime::Result<T>,
        ) -> Result<Option<T>, LoadError> {
            let filled = manifest.has_world(world).then(pre).transpose();
            filled.map_err(|error| {
                LoadError::Refused(format!(
                    "its manifest names the world {world}, which it does not fill: {error:#}"
                ))
            })
        }
        let wasi = fill(manifest, "http-extension", || ProxyPre::new(instance.clone()).map(Http::Wasi))?;
        let plain =
            fill(manifest, "http-handler", || HttpHandlerPre::new(instance.clone()).map(Http::Plain))?;
        Ok(Self {
            hooks: fill(manifest, "request-hook", || RequestHookPre::new(instance.clone()))?,
            http: wasi.or(plain),
            annotator: fill(manifest, "annotator", || AnnotatorPre::new(instance.clone()))?,
            script: fill(manifest, "script", || ScriptPre::new(instance.clone()))?,
            fetcher: fill(manifest, "input-fetcher", || InputFetcherPre::new(instance.clone()))?,
            finisher: fill(manifest, "picture-hook", || PictureHookPre::new(instance.clone()))?,
            stepper: fill(manifest, "step-hook", || StepHookPre::new(instance.clone()))?,
            infotexts: fill(manifest, "infotext-hook", || InfotextHookPre::new(instance.clone()))?,
            saves: fill(manifest, "save-hook", || SaveHookPre::new(instance.clone()))?,
            models: fill(manifest, "model-hook", || ModelHookPre::new(instance.clone()))?,
            grids: fill(manifest, "grid-hook", || GridHookPre::new(instance.clone()))?,
        })
    }
}

/// Why some bytes did not become a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{0}")]
    Refused(String),
    /// Everything is in order but the grants.
    #[error("{0}")]
    NeedsGrants(String),
}

pub(crate) struct Loader {
    pub(crate) compiler: Compiler,
    pub(crate) linker: Linker<CallState>,
    pub(crate) folders: Arc<dyn FolderSource>,
    pub(crate) network: Arc<Network>,
    pub(crate) networks: Arc<dyn Networks>,
    pub(crate) stores: Arc<dyn Stores>,
    /// Of plain calls, and of scripts and of picture hooks each.
    pub(crate) slots_per_plugin: (usize, usize),
    pub(crate) tiers: BTreeMap<String, PluginBudgets>,
    /// Where there are any, only what they signed is loaded.
    pub(crate) trusted_keys: Vec<TrustedKey>,
}

/// Who vouches for the bytes, and what they say of themselves. Nothing of them is read before the signature.
pub(crate) fn inspect_trusted(
    bytes: &[u8],
    trusted_keys: &[TrustedKey],
) -> Result<(Option<String>, Inspection), LoadError> {
    let signed_by = signature::check(bytes, trusted_keys).map_err(LoadError::Refused)?;
    Ok((signed_by, inspect(bytes)?))
}

/// Inspects bytes nobody vouches for; a panic of the parser is a refusal.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspection, LoadError> {
    match std::panic::catch_unwind(|| inspect::inspect(bytes)) {
        Ok(Ok(inspection)) => Ok(inspection),
        Ok(Err(error)) => Err(LoadError::Refused(error.to_string())),
        Err(_) => Err(LoadError::Refused("reading it made the parser fail".to_owned())),
    }
}

impl Loader {
    pub(crate) async fn load(
        &self,
        runner: &Runner,
        shared: &Arc<Shared>,
        bytes: &[u8],
        (signed_by, inspection): (Option<String>, Inspection),
        grants: &Grants,
    ) -> Result<Loaded, LoadError> {
        grants::check(&inspection, grants).map_err(|denied| match denied {
            Denied::Missing { grantable: true, .. } => LoadError::NeedsGrants(denied.to_string()),
            _ => LoadError::Refused(denied.to_string()),
        })?;
        if let Some(schema) = &inspection.manifest.settings_schema {
            schema::check(schema, &grants.settings).map_err(LoadError::NeedsGrants)?;
        }
        let granted = budgets::of_grants(grants, &self.tiers)
            .map_err(|problem| LoadError::NeedsGrants(format!("in its grants {problem}")))?;
        let capabilities = Arc::new(self.capabilities(&inspection, grants)?);
        let digest = sha256_hex(bytes);
        let component = self.compile(bytes, &digest).await?;
        let linked =
            |error: wasmtime::Error| LoadError::Refused(format!("it does not fit this host: {error:#}"));
        let instance = self.linker.instantiate_pre(&component).map_err(linked)?;
        let manifest = inspection.manifest;
        let worlds = Worlds::of(&manifest, &instance)?;
        let version = VersionRef { version: manifest.version.clone(), digest, source: None };
        let (budgets, drawings) = (granted.laid_over(runner.budgets()), granted.drawings());
        let revocations = shared.revocations();
        let loaded =
            Loaded { manifest, version, worlds, capabilities, budgets, drawings, signed_by, revocations };
        probe(runner, shared, &loaded, instance).await?;
        Ok(loaded)
    }

    /// Compiles, where that was not done before: [`Self::load`] of the same bytes takes no time for it then. `digest` is their
    /// SHA-256 in hex.
    pub(crate) async fn compile(&self, bytes: &[u8], digest: &str) -> Result<Component, LoadError> {
        self.compiler.compile(bytes, digest).await.map_err(|error| match error {
            CompileError::Refused(reason) => LoadError::Refused(format!("it does not compile: {reason}")),
            CompileError::Worker(_) => LoadError::Refused(error.to_string()),
        })
    }

    fn hosts(&self, grants: &Grants) -> Result<Option<HostAccess>, LoadError> {
        let hosts: Result<Arc<[_]>, _> = grants.hosts.iter().map(|host| HostPattern::parse(host)).collect();
        let hosts = hosts.map_err(|problem| LoadError::NeedsGrants(format!("in its grants {problem}")))?;
        let private_addresses = grants.private_addresses;
        let access = HostAccess { network: self.network.clone(), hosts, private_addresses };
        Ok((!access.hosts.is_empty()).then_some(access))
    }

    fn capabilities(&self, inspection: &Inspection, grants: &Grants) -> Result<Capabilities, LoadError> {
        let mut folders = BTreeMap::new();
        for (name, path) in &grants.folders {
            let folder = self.folders.open(path).map_err(|error| {
                LoadError::NeedsGrants(format!(
                    "the granted folder `{name}` ({}) does not open: {error}",
                    path.display()
                ))
            })?;
            folders.insert(name.clone(), folder);
        }
        let settings_json =
            if grants.settings.is_null() { "{}".to_owned() } else { grants.settings.to_string() };
        let networks = (!grants.models.is_empty()).then(|| GrantedNetworks {
            patterns: grants.models.as_slice().into(),
            source: self.networks.clone(),
        });
        let stores = GrantedStores {
            plugin: inspection.manifest.id.as_str().into(),
            kv_bytes: grants.kv_bytes,
            blob_bytes: grants.blob_bytes,
            source: self.stores.clone(),
        };
        let (hosts, assets) = (self.hosts(grants)?, inspection.assets.clone());
        let read_tensors = grants.read_tensors;
        Ok(Capabilities { settings_json, folders, hosts, networks, read_tensors, stores, assets })
    }
}

/// Starts one instance under the budget of a call, so that a plugin whose start loops, traps or takes too much
/// memory never replaces one that works. All other changes wait for it, and the server's start does: no longer than the server
/// lets any plugin take, whatever was granted to this one.
async fn probe(
    runner: &Runner,
    shared: &Arc<Shared>,
    loaded: &Loaded,
    instance: InstancePre<CallState>,
) -> Result<(), LoadError> {
    let context = CallContext::new("load", 0);
    let granted = &loaded.budgets.hook;
    let budget = Budget { wall: granted.wall.min(runner.budgets().hook.wall), ..granted.clone() };
    let started = runner.probe(shared, loaded, ("load", &budget), &context, move |mut store| {
        Box::pin(async move {
            instance.instantiate_async(&mut store).await?;
            Ok::<(), Failure>(())
        })
    });
    started.await.map_err(|error| LoadError::Refused(format!("it does not start: {error}")))
}
