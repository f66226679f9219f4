//! Plugins as an admin sees them. The plugin host tells of them in types of its own; these are what goes over the wire.

use std::collections::BTreeMap;

use gesso_plugin_host::{
    Audience, Called, LogLevel, LogLine, PluginState, PluginStatus, Source, StoreUse, TrailEvent, TrailLine,
    VersionRef, Wants,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::plugin_rights::{BudgetsView, GrantsView, OnFailuresView};

/// One plugin as it stands now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginView {
    /// What the other routes name it by.
    id: String,
    /// Whether it serves.
    state: PluginStateView,
    /// Version of the active build, or of the refused one where none is active; null where neither says one.
    #[schema(required)]
    version: Option<String>,
    /// What people see; null where its manifest has none.
    #[schema(required)]
    title: Option<String>,
    /// What it does, in its author's words; null where its manifest has none.
    #[schema(required)]
    description: Option<String>,
    /// The licence that its author names; null where its manifest has none.
    #[schema(required)]
    licence: Option<String>,
    /// The worlds of the plugin contract that it is for: `request-hook`, `script`.
    worlds: Vec<String>,
    /// Of a plugin of the world `request-hook`: the hooks that are called.
    hooks: Vec<String>,
    /// SHA-256 of the active build, hex; null where none is active.
    #[schema(required)]
    digest: Option<String>,
    /// Where the active build was brought from; null where it was uploaded or laid into the folder.
    #[schema(required)]
    source: Option<SourceView>,
    /// The Ed25519 key that signed the active build, hex; null where nobody did.
    #[schema(required)]
    signed_by: Option<String>,
    /// What it asks the admin for.
    wants: WantsView,
    /// What the admin lets it do.
    granted: GrantsView,
    /// What its calls may spend, of all that says something of it; null where it does not serve.
    #[schema(required)]
    budgets: Option<BudgetsView>,
    /// A JSON Schema of its settings; null where it has none.
    #[schema(required)]
    settings_schema: Option<Value>,
    /// A JSON Schema of its arguments in a request; null where it has none.
    #[schema(required)]
    arguments_schema: Option<Value>,
    /// Where its HTTP API is mounted; null where it has none.
    #[schema(required)]
    route: Option<String>,
    /// Paths beside it at which its HTTP API answers, as granted.
    aliases: Vec<String>,
    /// Whether it is called at all.
    enabled: bool,
    /// What a failed call does to the request.
    on_failure: OnFailuresView,
    /// Which requests its hooks are called for: `always`, or `named` for those that name it under `alwayson_scripts`.
    #[schema(value_type = String)]
    called: Called,
    /// Whom it serves; for anybody else it is not there.
    serves: AudienceView,
    /// Whether a request may leave it out, with `plugins_off`.
    may_be_left_out: bool,
    /// Place in the chain of hooks, from 0.
    position: usize,
    /// Calls under way, with those that wait for their turn.
    running: usize,
    /// Calls since the server began.
    calls: u64,
    /// Those of them that failed.
    failures: u64,
    /// The same by what was broken: cpu, wall-clock, memory, handles, trap, fault, bad-return, no-response, host or not-loaded.
    failures_by_reason: BTreeMap<&'static str, u64>,
    /// Text of the newest failed call; null where none failed.
    #[schema(required)]
    last_failure: Option<String>,
    /// Highest linear memory of one call, bytes.
    memory_peak_bytes: u64,
    /// What half of the newest calls did not exceed from start to end, milliseconds; null before the first.
    #[schema(required)]
    wall_ms_p50: Option<f64>,
    /// The same of 95 in 100.
    #[schema(required)]
    wall_ms_p95: Option<f64>,
    /// Processor time of all calls, milliseconds.
    cpu_ms: u64,
    /// What it keeps, over all its builds.
    data: DataView,
    /// What a roll-back returns to; null where there is nothing before.
    #[schema(required)]
    previous: Option<VersionView>,
    /// Why a newer build in the folder is not the active one; null where there is none.
    #[schema(required)]
    refused_update: Option<String>,
}

/// The state of a plugin.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub(crate) enum PluginStateView {
    /// Calls reach it.
    Active,
    /// Loaded, but switched off by the admin.
    Disabled,
    Refused {
        /// Why, in a sentence.
        reason: String,
    },
}

/// Whom a plugin serves. Where neither a role nor users are named, everybody.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AudienceView {
    /// Those of this role and of the roles above it: `user`; null where no role is named.
    #[schema(required)]
    role: Option<String>,
    /// Those of these names, whatever their role.
    users: Vec<String>,
    /// Nobody of these names, whatever stands above.
    except: Vec<String>,
}

/// What a plugin asks the admin for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WantsView {
    /// Names of folders that it reads.
    folders: Vec<String>,
    /// Hosts, as an admin would grant them: `https://pictures.example`.
    hosts: Vec<String>,
    /// Networks, as an admin would grant them: `depth`, `face_*`, `*`.
    models: Vec<String>,
    /// Whether its step hook reads numbers off the device.
    read_tensors: bool,
    /// Bytes that it would keep as small values; 0 for none.
    kv_bytes: u64,
    /// Bytes that it would keep as blobs; 0 for none.
    blob_bytes: u64,
    /// Paths beside its own at which its HTTP API would answer.
    aliases: Vec<String>,
}

/// How much a plugin keeps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DataView {
    /// Small values.
    keys: u64,
    /// Bytes of them and of their keys.
    kv_bytes: u64,
    /// Larger values.
    blobs: u64,
    /// Bytes of them and of their names.
    blob_bytes: u64,
}

/// Which build of a plugin.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionView {
    /// As its manifest has it.
    version: String,
    /// SHA-256 of the component, hex.
    digest: String,
    /// Where it was brought from; null where it was uploaded or laid into the folder.
    #[schema(required)]
    source: Option<SourceView>,
}

/// Where a build was brought from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SourceView {
    /// As it was asked for: `oci://registry.example/plugins/frame:1.2`. Of an https address without user, query and fragment.
    from: String,
    /// `sha256:` and hex digits: of an artifact in a registry its manifest's, else the file's.
    digest: String,
}

/// One event of a plugin's life.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginEvent {
    /// Unix milliseconds.
    time_ms: u64,
    /// The plugin's id.
    plugin: String,
    /// `active` for another build that serves, `refused` for one that does not, `granted`, `configured`, `removed` or `data-dropped`.
    #[schema(value_type = String)]
    event: TrailEvent,
    /// Of the build that became active; null with other events.
    #[schema(required)]
    version: Option<String>,
    /// Its SHA-256, hex; null with other events.
    #[schema(required)]
    digest: Option<String>,
    /// Why, or what, in a sentence; null where there is nothing to add.
    #[schema(required)]
    detail: Option<String>,
    /// Who asked for it; null where the folder was changed by hand, or the server started.
    #[schema(required)]
    by: Option<String>,
    /// The id of the request that asked for it, as in the audit log; null where `by` is.
    #[schema(required)]
    request_id: Option<String>,
}

/// One line of a plugin's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginLogLine {
    /// Unix milliseconds.
    time_ms: u64,
    /// `debug`, `info`, `warn` or `error`.
    #[schema(value_type = String)]
    level: LogLevel,
    /// The id of the request that the plugin was called for.
    request_id: String,
    /// On one line: control characters are escaped.
    text: String,
}

impl From<PluginStatus> for PluginView {
    fn from(plugin: PluginStatus) -> Self {
        Self {
            id: plugin.id,
            state: plugin.state.into(),
            version: plugin.version,
            title: plugin.title,
            description: plugin.description,
            licence: plugin.licence,
            worlds: plugin.worlds,
            hooks: plugin.hooks,
            digest: plugin.digest,
            source: plugin.source.map(SourceView::from),
            signed_by: plugin.signed_by,
            wants: plugin.wants.into(),
            granted: plugin.granted.into(),
            budgets: plugin.budgets.map(BudgetsView::from),
            settings_schema: plugin.settings_schema,
            arguments_schema: plugin.arguments_schema,
            route: plugin.route,
            aliases: plugin.aliases,
            enabled: plugin.enabled,
            on_failure: plugin.on_failure.into(),
            called: plugin.called,
            serves: plugin.serves.into(),
            may_be_left_out: plugin.may_be_left_out,
            position: plugin.position,
            running: plugin.running,
            calls: plugin.calls,
            failures: plugin.failures,
            failures_by_reason: plugin.failures_by_reason,
            last_failure: plugin.last_failure,
            memory_peak_bytes: plugin.memory_peak_bytes,
            wall_ms_p50: plugin.wall_ms_p50,
            wall_ms_p95: plugin.wall_ms_p95,
            cpu_ms: plugin.cpu_ms,
            data: plugin.data.into(),
            previous: plugin.previous.map(VersionView::from),
            refused_update: plugin.refused_update,
        }
    }
}

impl From<PluginState> for PluginStateView {
    fn from(state: PluginState) -> Self {
        match state {
            PluginState::Active => Self::Active,
            PluginState::Disabled => Self::Disabled,
            PluginState::Refused { reason } => Self::Refused { reason },
        }
    }
}

impl From<Audience> for AudienceView {
    fn from(audience: Audience) -> Self {
        let Audience { role, users, except } = audience;
        Self { role, users, except }
    }
}

impl From<Wants> for WantsView {
    fn from(wants: Wants) -> Self {
        let Wants { folders, hosts, models, read_tensors, kv_bytes, blob_bytes, aliases } = wants;
        Self { folders, hosts, models, read_tensors, kv_bytes, blob_bytes, aliases }
    }
}

impl From<StoreUse> for DataView {
    fn from(used: StoreUse) -> Self {
        let StoreUse { keys, kv_bytes, blobs, blob_bytes } = used;
        Self { keys, kv_bytes, blobs, blob_bytes }
    }
}

impl From<VersionRef> for VersionView {
    fn from(build: VersionRef) -> Self {
        let VersionRef { version, digest, source } = build;
        Self { version, digest, source: source.map(SourceView::from) }
    }
}

impl From<Source> for SourceView {
    fn from(source: Source) -> Self {
        let Source { from, digest } = source;
        Self { from, digest }
    }
}

impl From<TrailLine> for PluginEvent {
    fn from(line: TrailLine) -> Self {
        let TrailLine { time_ms, plugin, event, version, digest, detail, by, request_id } = line;
        Self { time_ms, plugin, event, version, digest, detail, by, request_id }
    }
}

impl From<LogLine> for PluginLogLine {
    fn from(line: LogLine) -> Self {
        let LogLine { time_ms, level, request_id, text } = line;
        Self { time_ms, level, request_id, text }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use gesso_plugin_host::{Grants, HookWorld, OnFailure, OnFailures, PluginBudgets};
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_the_plugin_host_tells_goes_over_the_wire_in_its_order() {
        let refused = PluginState::Refused { reason: "no".into() };
        for (state, digest) in [(PluginState::Active, Some("ab")), (refused, None)] {
            let folders = BTreeMap::from([("cards".to_owned(), PathBuf::from("/c"))]);
            let source =
                digest.map(|digest| Source { from: "oci://a.example/a:1".into(), digest: digest.into() });
            let mut budgets = PluginBudgets { script_jobs_max: Some(11), ..PluginBudgets::default() };
            budgets.step.wall_ms = Some(12);
            let by_world = [(HookWorld::Step, OnFailure::Fail), (HookWorld::Grid, OnFailure::Skip)];
            let on_failure = match digest {
                Some(_) => OnFailures::new(OnFailure::Skip, by_world),
                None => OnFailure::Skip.into(),
            };
            let status = PluginStatus {
                id: "a".into(),
                state,
                version: Some("1.0.0".into()),
                title: None,
                description: Some("b".into()),
                licence: None,
                worlds: vec!["script".into()],
                hooks: Vec::new(),
                digest: digest.map(str::to_owned),
                source: source.clone(),
                signed_by: None,
                wants: Wants { folders: vec!["cards".into()], ..Wants::default() },
                granted: Grants { folders, budgets, tier: Some("trusted".into()), ..Grants::default() },
                budgets: digest.map(|_| budgets),
                settings_schema: Some(json!({"type": "object"})),
                arguments_schema: None,
                route: None,
                aliases: vec!["/a".into()],
                enabled: true,
                on_failure,
                called: Called::Named,
                serves: Audience { role: Some("user".into()), ..Audience::default() },
                may_be_left_out: true,
                position: 1,
                running: 2,
                calls: 3,
                failures: 4,
                failures_by_reason: [("trap", 4)].into(),
                last_failure: None,
                memory_peak_bytes: 5,
                wall_ms_p50: Some(1.5),
                wall_ms_p95: None,
                cpu_ms: 6,
                data: StoreUse { keys: 7, kv_bytes: 8, blobs: 9, blob_bytes: 10 },
                previous: digest.map(|digest| VersionRef {
                    version: "0.9.0".into(),
                    digest: digest.into(),
                    source,
                }),
                refused_update: None,
            };
            let told = json!(status).to_string();
            assert_eq!(json!(PluginView::from(status)).to_string(), told);
        }
    }
}
