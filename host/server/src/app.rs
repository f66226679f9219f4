//! What every use case works with: the parts, joined once at start-up.

use std::sync::Arc;
use std::time::Duration;

use gesso_core::limits::Limits;
use gesso_engine::EngineHandle;
use gesso_plugin_host::PluginHost;
use gesso_store::{Objects, TaskStore};
use tokio::sync::watch;

use crate::catalogue::Catalogue;
use crate::http::wire::txt2img::Defaults;
use crate::running::RunningTasks;
use crate::settings::Settings;

/// Version in infotexts and documents.
pub(crate) const VERSION: &str = concat!("gesso ", env!("CARGO_PKG_VERSION"));

/// The parts of a server. Shared by all routes and workers.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(crate) defaults: Defaults,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) engine: EngineHandle,
    pub(crate) tasks: Arc<dyn TaskStore>,
    pub(crate) objects: Objects,
    pub(crate) plugins: PluginHost,
    pub(crate) running: RunningTasks,
    pub(crate) admin_key: String,
    /// What signed local URLs begin with.
    pub(crate) public_url: String,
    /// Turns true when the server drains.
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) metrics: metrics_exporter_prometheus::PrometheusHandle,
}

impl App {
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// A URL that shows the object to whoever holds it, for a while.
    pub(crate) async fn signed_url(
        &self,
        key: &gesso_store::ObjectKey,
    ) -> Result<String, gesso_store::ObjectsError> {
        let url = self.objects.signed_url(key, Duration::from_secs(self.settings.signed_url_seconds)).await?;
        Ok(if url.starts_with('/') { format!("{}{url}", self.public_url) } else { url })
    }
}
