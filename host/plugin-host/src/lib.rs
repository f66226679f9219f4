//! Runs plugins: WebAssembly components in a folder, checked, compiled in a process of their own, swapped while
//! the server works and limited in time, memory and handles. Called by the server's use cases. Refuses to know
//! HTTP routes, disks and tensors; folders reach it through [`FolderSource`] only, what plugins keep through [`Stores`].
//!
//! Where to look: `host` (the handle and its changes) → `load` (bytes to a version that can be called) →
//! `call` (one limited call) → `interfaces` (what a guest may ask of the host).

mod aliases;
mod annotate;
mod assets;
mod audience;
mod budgets;
mod call;
mod changes;
mod check;
mod compile;
pub mod compile_worker;
pub mod confine;
mod deserialize;
mod durations;
mod engine;
mod error;
mod fetch;
mod finish;
mod grants;
mod grid_hook;
mod hooks;
mod host;
mod http_extension;
mod inference;
mod infotext_hook;
mod inspect;
mod interfaces;
mod limits;
mod load;
mod log;
mod lost;
mod manifest;
mod model_hook;
mod networks;
mod on_failure;
mod outgoing;
mod own_time;
mod pack;
mod registry;
mod remote;
mod report;
mod save_hook;
mod schema;
mod script;
mod settings;
mod settings_versions;
mod signature;
mod status;
mod step_port;
mod steps;
mod stores;
mod table;
mod threads;
mod trail;
mod watch;

pub use crate::annotate::{AnnotateError, Annotated, Annotation};
pub use crate::assets::Assets;
pub use crate::audience::{Audience, Whom};
pub use crate::budgets::{CallBudget, DrawingBudget, PluginBudgets};
pub use crate::check::{Checked, check_component, judge_upload};
pub use crate::error::{FailureKind, HookError, InstallError, StartError};
pub use crate::fetch::FetchError;
pub use crate::finish::{DrawnPicture, FinishedPicture, PictureFacts};
pub use crate::grid_hook::Grid;
pub use crate::hooks::{After, AfterPicture, Before};
pub use crate::host::PluginHost;
pub use crate::inference::{Drawn, Inference, InferenceAnswer, InferenceError, Job, Outcome};
pub use crate::log::{LogLevel, LogLine};
pub use crate::manifest::{
    Annotator, Manifest, ManifestError, PictureStage, Recombine, Script, ScriptArgument, Slider, StepPoint,
    Steps, Wants,
};
pub use crate::model_hook::{LoadedModel, ModelKind};
pub use crate::networks::{NetworkAnswer, NetworkError, Networks, NoNetworks};
pub use crate::on_failure::{HookWorld, OnFailure, OnFailures};
pub use crate::outgoing::{Outward, OutwardError};
pub use crate::pack::pack_component;
pub use crate::registry::{Called, Policy, VersionRef};
pub use crate::remote::{Fetched, RegistryAccess, RemoteError, Remotes, Source, is_elsewhere};
pub use crate::report::{ActingPlugin, ChainReport};
pub use crate::save_hook::SavedPicture;
pub use crate::script::{ScriptError, ScriptInput, ScriptOutput};
pub use crate::settings::{
    Budget, Budgets, CallContext, FolderSource, GrantedFolder, Grants, HostSettings, Named, without_version,
};
pub use crate::settings_versions::SettingsVersion;
pub use crate::signature::{AuthorKey, TrustedKey, signer};
pub use crate::status::{PluginState, PluginStatus};
pub use crate::steps::PluginStepHook;
pub use crate::stores::{NamesPage, NoStores, StoreAnswer, StoreError, StoreUse, Stores, Swap};
pub use crate::trail::{TrailEvent, TrailLine};
pub use crate::watch::WATCH_INTERVAL;
