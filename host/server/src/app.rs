//! What every use case works with: the parts, joined once at start-up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gesso_core::limits::Limits;
use gesso_engine::EngineHandle;
use gesso_picture::decode::DecodeLimits;
use gesso_plugin_host::{PluginHost, Remotes};
use gesso_store::{Objects, Outputs, TaskStore};
use tokio::sync::{Notify, watch};

use crate::accounts::{ANYONE, Accounts, Caller};
use crate::audit::Audit;
use crate::backups::Backups;
use crate::catalogue::Catalogue;
use crate::functions::Functions;
use crate::http::proxies::TrustedProxies;
use crate::http::wire::generate::Defaults;
use crate::labels::Labels;
use crate::listeners::Listeners;
use crate::pause::Pause;
use crate::quotas::Quotas;
use crate::registered_models::RegisteredModels;
use crate::running::RunningTasks;
use crate::saved_options::SavedOptions;
use crate::settings::{Access, LimitSettings, Settings};
use crate::sources::SourceLimits;
use crate::styles::SavedStyles;
use crate::tasks::{Turns, Waiters};
use crate::webhooks::Webhooks;

/// How much larger a picture in a request may be than one that is drawn, by side and by area.
const SOURCE_SIDES_MAX: u32 = 4;

/// A picture may be larger than what is drawn from it: it is resized first.
pub(crate) fn decode_limits(limits: &LimitSettings) -> DecodeLimits {
    DecodeLimits {
        bytes_max: limits.body_bytes_max,
        side_max: limits.side_px_max.saturating_mul(SOURCE_SIDES_MAX),
        pixels_max: limits.pixels_max.saturating_mul(u64::from(SOURCE_SIDES_MAX)),
    }
}

/// Version in infotexts and documents.
pub(crate) const VERSION: &str = concat!("gesso ", env!("CARGO_PKG_VERSION"));

/// The parts of a server. Shared by all routes and workers.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(crate) defaults: Defaults,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) styles: Arc<SavedStyles>,
    pub(crate) engine: EngineHandle,
    pub(crate) tasks: Arc<dyn TaskStore>,
    pub(crate) objects: Objects,
    pub(crate) backups: Backups,
    /// Where `save_images` puts pictures.
    pub(crate) outputs: Outputs,
    pub(crate) plugins: PluginHost,
    /// Where plugins may be brought from.
    pub(crate) remotes: Remotes,
    pub(crate) running: RunningTasks,
    pub(crate) waiters: Waiters,
    pub(crate) turns: Turns,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) options: Arc<SavedOptions>,
    pub(crate) labels: Labels,
    pub(crate) webhooks: Webhooks,
    pub(crate) listeners: Listeners,
    pub(crate) functions: Arc<Functions>,
    pub(crate) pause: Arc<Pause>,
    pub(crate) registered: Arc<RegisteredModels>,
    /// Whose word is taken for where requests come from.
    pub(crate) proxies: TrustedProxies,
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// Told when the server is to drain and begin anew.
    pub(crate) restart: Notify,
    /// Turns true when the server drains: nothing new begins.
    pub(crate) draining: watch::Receiver<bool>,
    /// Turns true when draining took too long: what still runs is handed back.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) metrics: metrics_exporter_prometheus::PrometheusHandle,
}

impl App {
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// What URLs to this server begin with, where nothing stands before it.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.settings.tls.is_some() { "https" } else { "http" }
    }

    /// Whether nobody has to say who they are.
    pub(crate) fn is_open(&self) -> bool {
        match self.settings.access {
            Access::Open => true,
            Access::Closed => false,
            // A public URL and proxies say that others reach it, through something that stands before it.
            Access::Auto => {
                let Settings { public_url, trusted_proxies, .. } = &self.settings;
                let is_behind = public_url.is_some() || !trusted_proxies.is_empty();
                !is_behind && self.address.ip().is_loopback() && self.accounts.is_empty()
            }
        }
    }

    /// Who a task's owner is now; `None` when they may do nothing any more.
    pub(crate) fn caller_named(&self, owner: &str) -> Option<Caller> {
        if owner == ANYONE { self.is_open().then(Caller::anyone) } else { self.accounts.named(owner) }
    }

    /// What a picture in a request may be.
    pub(crate) fn source_limits(&self) -> SourceLimits {
        let limits = &self.settings.limits;
        SourceLimits { decode: decode_limits(limits), unresized_pixels_max: limits.pixels_max }
    }

    /// A URL that shows the object to whoever holds it, for a while. `base` is what the client's own began with, which is
    /// where it finds this server; the signature does not depend on it.
    pub(crate) async fn signed_url(
        &self,
        key: &gesso_store::ObjectKey,
        base: Option<&str>,
    ) -> Result<String, gesso_store::ObjectsError> {
        let url = self.objects.signed_url(key, Duration::from_secs(self.settings.signed_url_seconds)).await?;
        if !url.starts_with('/') {
            return Ok(url);
        }
        Ok(match (&self.settings.public_url, base) {
            (Some(public), _) => format!("{}{url}", public.trim_end_matches('/')),
            (None, Some(base)) => format!("{base}{url}"),
            (None, None) => format!("{}://{}{url}", self.scheme(), self.address),
        })
    }
}
