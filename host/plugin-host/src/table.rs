//! The plugins as they stand: an immutable table, replaced whole by each change, and the counters that live longer
//! than any version. Read by every call without a lock. Decides nothing.

use crate::aliases;
use crate::audience::{Reach, Whom};
use crate::budgets::PluginBudgets;
use crate::durations::Durations;
use crate::error::{FailureKind, HookError};
use crate::interfaces::annotator::AnnotatorPre;
use crate::interfaces::grid_hook::GridHookPre;
use crate::interfaces::infotext_hook::InfotextHookPre;
use crate::interfaces::input_fetcher::InputFetcherPre;
use crate::interfaces::model_hook::ModelHookPre;
use crate::interfaces::picture_hook::PictureHookPre;
use crate::interfaces::save_hook::SaveHookPre;
use crate::interfaces::script::ScriptPre;
use crate::interfaces::step_hook::StepHookPre;
use crate::interfaces::{CallState, RequestHookPre};
use crate::limits::Spent;
use crate::load::{Http, Loaded};
use crate::log::LogRing;
use crate::lost;
use crate::manifest::Manifest;
use crate::on_failure::{HookWorld, OnFailure, OnFailures};
use crate::registry::{Called, VersionRef};
use crate::settings::{CallContext, Grants, Named};
use crate::status::{PluginState, PluginStatus};
use crate::stores::StoreUse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What a plugin keeps over all its versions.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: String,
    pub(crate) log: Arc<LogRing>,
    /// Calls of this plugin that may run at one time, over all its versions.
    pub(crate) slots: Arc<Semaphore>,
    /// The same of its scripts and of its picture hooks, which have slots of their own.
    pub(crate) script_slots: Arc<Semaphore>,
    pub(crate) finisher_slots: Arc<Semaphore>,
    /// Calls that wait for a slot.
    pub(crate) waiting: AtomicUsize,
    /// Calls that wait for their turn or whose guest has not ended, over all versions.
    running: AtomicUsize,
    /// How often rights were taken away from it.
    revocations: AtomicU64,
    calls: AtomicU64,
    /// In the order of [`FailureKind::ALL`].
    failures: [AtomicU64; FailureKind::ALL.len()],
    memory_peak: AtomicU64,
    cpu_nanos: AtomicU64,
    durations: Durations,
    last_failure: Mutex<Option<String>>,
}

impl Shared {
    /// `slots` are those of plain calls, `drawing_slots` those of scripts, and of picture hooks.
    pub(crate) fn new(id: &str, (slots, drawing_slots): (usize, usize)) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            log: Arc::default(),
            slots: Arc::new(Semaphore::new(slots)),
            script_slots: Arc::new(Semaphore::new(drawing_slots)),
            finisher_slots: Arc::new(Semaphore::new(drawing_slots)),
            waiting: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            revocations: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            failures: Default::default(),
            memory_peak: AtomicU64::new(0),
            cpu_nanos: AtomicU64::new(0),
            durations: Durations::default(),
            last_failure: Mutex::new(None),
        })
    }

    /// Counts a call as under way until what comes back is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }

    /// Keeps what was loaded until now from being called any more, by drawings under way too.
    pub(crate) fn revoke(&self) {
        self.revocations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn revocations(&self) -> u64 {
        self.revocations.load(Ordering::Relaxed)
    }

    /// Drops what it said, which a removed plugin takes with it. What was counted stays.
    fn forget_words(&self) {
        self.log.clear();
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn count<T>(&self, result: &Result<T, HookError>, spent: &Spent, took: Duration) {
        self.durations.note(took);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.memory_peak.fetch_max(spent.memory_peak(), Ordering::Relaxed);
        self.cpu_nanos.fetch_add(spent.cpu().as_nanos() as u64, Ordering::Relaxed);
        if let Err(error) = result {
            self.note_failure(error);
        }
    }

    /// Counts a call for which there was nothing to call. It says nothing of how long calls take.
    pub(crate) fn count_unmade(&self, error: &HookError) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.note_failure(error);
    }

    fn note_failure(&self, error: &HookError) {
        let HookError::PluginFailed { hook, message, reason, .. } = error else { return };
        let reasons = FailureKind::ALL.iter().zip(&self.failures);
        for (_, count) in reasons.filter(|(kind, _)| *kind == reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(format!("{hook}: {message}"));
    }
}

/// What the plugins keep, by id, for as long as the process lives. One that comes back after it was removed counts on: counters
/// that begin anew would hide its failures from who watches them, and its calls that are still under way.
#[derive(Debug, Default)]
pub(crate) struct SharedById(Mutex<BTreeMap<String, Arc<Shared>>>);

impl SharedById {
    /// That of `id`; where it is new, with these slots.
    pub(crate) fn of(&self, id: &str, slots: (usize, usize)) -> Arc<Shared> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(id.to_owned()).or_insert_with(|| Shared::new(id, slots)).clone()
    }

    /// That of `id`, where it is there or was.
    pub(crate) fn known(&self, id: &str) -> Option<Arc<Shared>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn forget_words(&self, id: &str) {
        if let Some(shared) = self.known(id) {
            shared.forget_words();
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One plugin at one moment.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Option<Arc<Loaded>>,
    /// Of the active build, or of the one that served last where none is active; `None` where none ever served.
    pub(crate) served: Option<Arc<Manifest>>,
    /// The manifest of a build that did not load, where nothing else is active.
    pub(crate) refused_manifest: Option<Manifest>,
    /// Why the newest build of the folder is not active.
    pub(crate) refused: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) on_failure: OnFailures,
    pub(crate) called: Called,
    pub(crate) reach: Reach,
    pub(crate) granted: Grants,
    pub(crate) previous: Option<VersionRef>,
    /// Switched off by the admin, or removed: chains of calls under way leave it out from now on. One that comes back is another.
    pub(crate) off: Arc<AtomicBool>,
}

impl Entry {
    pub(crate) fn switch(&self, enabled: bool) {
        self.off.store(!enabled, Ordering::Relaxed);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    fn serving(&self) -> Option<&Arc<Loaded>> {
        self.active.as_ref().filter(|_| self.enabled)
    }

    pub(crate) fn hooks(&self) -> Option<(&Loaded, &RequestHookPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.hooks.as_ref()?))
    }

    pub(crate) fn http(&self) -> Option<(&Loaded, &Http)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.http.as_ref()?))
    }

    pub(crate) fn annotator(&self) -> Option<(&Loaded, &AnnotatorPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.annotator.as_ref()?))
    }

    pub(crate) fn script(&self) -> Option<(&Loaded, &ScriptPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.script.as_ref()?))
    }

    pub(crate) fn finisher(&self) -> Option<(&Loaded, &PictureHookPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.finisher.as_ref()?))
    }

    pub(crate) fn stepper(&self) -> Option<(&Loaded, &StepHookPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.stepper.as_ref()?))
    }

    pub(crate) fn fetcher(&self) -> Option<(&Loaded, &InputFetcherPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.fetcher.as_ref()?))
    }

    pub(crate) fn infotexts(&self) -> Option<(&Loaded, &InfotextHookPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.infotexts.as_ref()?))
    }

    pub(crate) fn saves(&self) -> Option<(&Loaded, &SaveHookPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.saves.as_ref()?))
    }

    pub(crate) fn models(&self) -> Option<(&Loaded, &ModelHookPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.models.as_ref()?))
    }

    pub(crate) fn grids(&self) -> Option<(&Loaded, &GridHookPre<CallState>)> {
        let loaded = self.serving()?;
        Some((loaded, loaded.worlds.grids.as_ref()?))
    }

    /// Whether it is there for who asks. One that does not serve them is told from none that is not there at all.
    pub(crate) fn is_for(&self, whom: &Whom) -> bool {
        self.reach.has(whom, self.names())
    }

    /// Whether a request goes on without it where its call in that world, or of that hook, fails.
    pub(crate) fn is_skipped(&self, world: HookWorld) -> bool {
        self.on_failure.of(world) == OnFailure::Skip
    }

    /// What a client may call it.
    fn names(&self) -> impl Iterator<Item = &str> {
        let title = self.served.as_ref().and_then(|manifest| manifest.title.as_deref());
        std::iter::once(self.id.as_str()).chain(title)
    }

    /// Paths beside its own at which it answers now: those that are granted, of those that its active build wants.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = &String> {
        let wanted =
            self.http().map(|(loaded, _)| loaded.manifest.wants.aliases.as_slice()).unwrap_or_default();
        wanted.iter().filter(move |alias| self.granted.aliases.contains(alias))
    }

    /// Whether a request that names these under `alwayson_scripts`, in lower case, is its business.
    pub(crate) fn is_called(&self, named: &Named) -> bool {
        self.called == Called::Always || self.names().any(|name| named.has(name))
    }

    /// Of the active build, or of the refused one where none is active.
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        self.active.as_ref().map(|loaded| &loaded.manifest).or(self.refused_manifest.as_ref())
    }

    /// Of the build that new grants are for: one that waits for them before the one that is active.
    pub(crate) fn waiting_manifest(&self) -> Option<&Manifest> {
        self.refused_manifest.as_ref().or(self.active.as_ref().map(|loaded| &loaded.manifest))
    }

    pub(crate) fn status(&self, position: usize, data: StoreUse) -> PluginStatus {
        let manifest = self.manifest();
        let durations = self.shared.durations.median_and_slow();
        let state = match (&self.active, &self.refused) {
            (Some(_), _) if self.enabled => PluginState::Active,
            (Some(_), _) => PluginState::Disabled,
            (None, Some(reason)) => PluginState::Refused { reason: reason.clone() },
            (None, None) => PluginState::Refused { reason: lost::REVOKED.to_owned() },
        };
        PluginStatus {
            id: self.id.clone(),
            state,
            version: manifest.map(|manifest| manifest.version.clone()),
            title: manifest.and_then(|manifest| manifest.title.clone()),
            description: manifest.and_then(|manifest| manifest.description.clone()),
            licence: manifest.and_then(|manifest| manifest.licence.clone()),
            worlds: manifest.map(|manifest| manifest.worlds.clone()).unwrap_or_default(),
            hooks: manifest
                .filter(|manifest| manifest.has_world("request-hook"))
                .map(|manifest| manifest.hooks.clone())
                .unwrap_or_default(),
            digest: self.active.as_ref().map(|loaded| loaded.version.digest.clone()),
            source: self.active.as_ref().and_then(|loaded| loaded.version.source.clone()),
            signed_by: self.active.as_ref().and_then(|loaded| loaded.signed_by.clone()),
            wants: manifest.map(|manifest| manifest.wants.clone()).unwrap_or_default(),
            granted: self.granted.clone(),
            budgets: self.active.as_ref().map(|loaded| PluginBudgets::of(&loaded.budgets, loaded.drawings)),
            settings_schema: manifest.and_then(|manifest| manifest.settings_schema.clone()),
            arguments_schema: manifest.and_then(|manifest| manifest.arguments_schema.clone()),
            route: self.http().map(|_| format!("/ext/{}/", self.id)),
            aliases: self.aliases().cloned().collect(),
            enabled: self.enabled,
            on_failure: self.on_failure.clone(),
            called: self.called,
            serves: self.reach.serves.clone(),
            may_be_left_out: self.reach.may_be_left_out,
            position,
            running: self.shared.running.load(Ordering::Relaxed),
            calls: self.shared.calls.load(Ordering::Relaxed),
            failures: self.shared.failures.iter().map(|count| count.load(Ordering::Relaxed)).sum(),
            failures_by_reason: FailureKind::ALL
                .map(FailureKind::as_str)
                .into_iter()
                .zip(self.shared.failures.iter().map(|count| count.load(Ordering::Relaxed)))
                .collect(),
            last_failure: self.shared.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            memory_peak_bytes: self.shared.memory_peak.load(Ordering::Relaxed),
            wall_ms_p50: durations.map(|(median, _)| millis(median)),
            wall_ms_p95: durations.map(|(_, slow)| millis(slow)),
            cpu_ms: self.shared.cpu_nanos.load(Ordering::Relaxed) / 1_000_000,
            data,
            previous: self.previous.clone(),
            refused_update: self.refused.clone().filter(|_| self.active.is_some()),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// All plugins in the order their hooks run.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

impl Table {
    pub(crate) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// Those that are there for who asks.
    pub(crate) fn serving<'a>(&'a self, whom: &'a Whom) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.is_for(whom))
    }

    /// Plugins with that hook that a call is the business of, those that are lost included.
    pub(crate) fn with_hook<'a>(
        &'a self,
        hook: &'a str,
        call: &'a CallContext,
    ) -> impl Iterator<Item = &'a Entry> {
        self.serving(&call.whom).filter(move |entry| {
            entry.fills(HookWorld::Request)
                && entry.counted_on().is_some_and(|manifest| manifest.has_hook(hook))
                && entry.is_called(&call.named)
        })
    }

    /// The same for plugins of that world.
    pub(crate) fn filling<'a>(
        &'a self,
        world: HookWorld,
        call: &'a CallContext,
    ) -> impl Iterator<Item = &'a Entry> {
        self.serving(&call.whom).filter(move |entry| entry.fills(world) && entry.is_called(&call.named))
    }

    /// The plugin that a request for that path is for, by an alias. Where `whom` is not known yet, any.
    pub(crate) fn at_alias(&self, path: &str, whom: Option<&Whom>) -> Option<&Entry> {
        self.entries.iter().find(|entry| {
            whom.is_none_or(|whom| entry.is_for(whom))
                && entry.aliases().any(|alias| aliases::leads_to(alias, path))
        })
    }

    /// The table with `entry` in place of the one of the same id, in the given order.
    pub(crate) fn with(&self, entry: Entry, order: &[String]) -> Self {
        let mut entries: Vec<Entry> = self.entries.iter().filter(|old| old.id != entry.id).cloned().collect();
        entries.push(entry);
        let place = |entry: &Entry| order.iter().position(|id| *id == entry.id).unwrap_or(usize::MAX);
        entries.sort_by_key(place);
        Self { entries }
    }

    pub(crate) fn without(&self, id: &str) -> Self {
        Self { entries: self.entries.iter().filter(|entry| entry.id != id).cloned().collect() }
    }
}
