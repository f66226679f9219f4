//! Plugins that served and are not loaded now: who counts on them still, and what a call of them comes to. Asked by every chain of
//! hooks. Decides neither whom a plugin serves nor what its failures cost.

use crate::changes::Changes;
use crate::error::{FailureKind, HookError};
use crate::host::Inner;
use crate::load;
use crate::manifest::Manifest;
use crate::on_failure::HookWorld;
use crate::table::{Entry, Shared};
use std::sync::Arc;

/// Why a build that has rights which were taken away is not called.
pub(crate) const REVOKED: &str = "rights were taken away from it; send the request again in a moment";

impl Entry {
    /// The manifest by which requests count on it; `None` of one that is switched off or never served.
    pub(crate) fn counted_on(&self) -> Option<&Manifest> {
        self.served.as_deref().filter(|_| self.enabled)
    }

    /// Whether requests count on it for that world.
    pub(crate) fn fills(&self, world: HookWorld) -> bool {
        self.counted_on().is_some_and(|manifest| manifest.has_world(world.as_str()))
    }

    /// What a call of it comes to while it is not loaded. Why it was refused is for its admin: it may name folders and settings.
    pub(crate) fn not_loaded(&self, hook: &'static str) -> HookError {
        let why = match self.refused {
            None => REVOKED.to_owned(),
            Some(_) => format!(
                "GET /plugins/{} tells an admin why; give it what it lacks, or switch it off or set its on_failure to \
                 skip, so that requests go on without it",
                self.id
            ),
        };
        self.shared.not_loaded(hook, &why)
    }
}

impl Shared {
    /// The failure of a call for which there is nothing to call, counted as one.
    pub(crate) fn not_loaded(&self, hook: &'static str, why: &str) -> HookError {
        let error = HookError::PluginFailed {
            plugin: self.id.clone(),
            hook,
            reason: FailureKind::NotLoaded,
            message: format!("it is not loaded: {why}"),
        };
        self.count_unmade(&error);
        error
    }
}

impl Inner {
    /// The manifest of the build that is active, or served last. What is kept of that one was trusted when it was loaded: a key that
    /// was withdrawn since leaves known what requests count on.
    pub(crate) fn served(&self, changes: &Changes, entry: &Entry) -> Option<Arc<Manifest>> {
        if let Some(loaded) = &entry.active {
            return Some(Arc::new(loaded.manifest.clone()));
        }
        if entry.served.is_some() {
            return entry.served.clone();
        }
        let current = changes.registry.plugins.get(&entry.id)?.current.as_ref()?;
        let kept = self.kept_version(&entry.id, current).and_then(|bytes| load::inspect(&bytes).ok());
        let kept = kept.map(|inspection| inspection.manifest);
        kept.or_else(|| entry.refused_manifest.clone()).map(Arc::new)
    }
}
