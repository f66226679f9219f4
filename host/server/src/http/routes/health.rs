//! For probes and scrapers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gesso_engine::backend::Residency;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `live` or `ready`, as was asked.
    status: &'static str,
}

/// Why no work is taken in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotReady {
    /// Always `not ready`.
    status: &'static str,
    /// Why, in a sentence.
    message: String,
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "operators",
    responses((status = 200, description = "The process answers", body = Health)))]
pub(crate) async fn live() -> Json<Health> {
    Json(Health { status: "live" })
}

/// Work is taken in.
#[utoipa::path(get, path = "/health/ready", tag = "operators", responses(
    (status = 200, description = "Work is taken in", body = Health),
    (status = 503, description = "The server drains, its device is lost or its store does not answer", body = NotReady),
))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Health>, (StatusCode, Json<NotReady>)> {
    let problem = if app.is_draining() {
        Some("the server is shutting down".to_owned())
    } else if !app.engine.is_alive() {
        Some("the device thread has ended; restart the server".to_owned())
    } else {
        app.tasks.stats().await.err().map(|error| error.to_string())
    };
    match problem {
        None => Ok(Json(Health { status: "ready" })),
        Some(message) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, Json(NotReady { status: "not ready", message })))
        }
    }
}

/// Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "operators",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain; version=0.0.4")))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let engine = app.engine.stats();
    metrics::gauge!("gesso_engine_jobs").set(app.engine.jobs() as f64);
    metrics::gauge!("gesso_tasks_running").set(app.running.count() as f64);
    metrics::gauge!("gesso_queue_paused").set(f64::from(u8::from(app.pause.is_on())));
    metrics::gauge!("gesso_models_loaded").set(engine.loaded.len() as f64);
    // A store that cannot answer makes the server not ready, which is for `/health/ready` to tell.
    if let Ok(tasks) = app.tasks.stats().await {
        for (state, count) in [("waiting", tasks.waiting), ("running", tasks.running)] {
            metrics::gauge!("gesso_tasks", "state" => state).set(count as f64);
        }
        metrics::gauge!("gesso_store_bytes").set(tasks.size_on_disk as f64);
    }
    if let Ok(parts) = app.tasks.queue().await {
        tell(
            "gesso_tasks_waiting",
            ["model", "priority"],
            parts.into_iter().map(|part| {
                ([part.model.unwrap_or_default(), part.priority.to_string()], part.waiting as f64)
            }),
        );
    }
    let loaded = engine.loaded.iter().map(|model| ([model.name.clone(), String::new()], 1.0));
    tell("gesso_model_loaded", ["model", ""], loaded);
    tell_residency(&engine.residency);
    for (rows, calls) in (1..).zip(engine.batches) {
        metrics::counter!("gesso_unet_batches_total", "rows" => format!("{rows}")).absolute(calls);
    }
    metrics::counter!("gesso_unet_calls_total").absolute(engine.unet_calls);
    metrics::counter!("gesso_unet_rows_total").absolute(engine.rows);
    metrics::counter!("gesso_unet_microseconds_total").absolute(engine.unet_time.as_micros() as u64);
    metrics::counter!("gesso_images_total").absolute(engine.images);
    metrics::counter!("gesso_engine_failed_jobs_total").absolute(engine.failed_jobs);
    if let Some(confinement) = app.plugins.compiler_confinement() {
        for (what, is_given_up) in [("files", confinement.files), ("calls", confinement.calls)] {
            metrics::gauge!("gesso_plugin_compiler_confined", "what" => what)
                .set(f64::from(u8::from(is_given_up)));
        }
    }
    for plugin in app.plugins.list() {
        metrics::counter!("gesso_plugin_calls_total", "plugin" => plugin.id.clone()).absolute(plugin.calls);
        for (reason, failures) in plugin.failures_by_reason {
            metrics::counter!("gesso_plugin_failures_total", "plugin" => plugin.id.clone(), "reason" => reason)
                .absolute(failures);
        }
        metrics::counter!("gesso_plugin_cpu_milliseconds_total", "plugin" => plugin.id.clone())
            .absolute(plugin.cpu_ms);
        metrics::gauge!("gesso_plugin_memory_peak_bytes", "plugin" => plugin.id.clone())
            .set(plugin.memory_peak_bytes as f64);
        for (quantile, millis) in [("0.5", plugin.wall_ms_p50), ("0.95", plugin.wall_ms_p95)] {
            let labels = [("plugin", plugin.id.clone()), ("quantile", quantile.to_owned())];
            metrics::gauge!("gesso_plugin_call_milliseconds", &labels).set(millis.unwrap_or_default());
        }
    }
    ([("content-type", "text/plain; version=0.0.4")], app.metrics.render()).into_response()
}

/// Bytes of checkpoints, by the kind of memory: `host` and, where the device has one of its own, `device`.
fn tell_residency(residency: &Residency) {
    let host = [("host", &residency.host)].into_iter();
    let mut each = Vec::new();
    for (memory, tier) in host.chain(residency.device.iter().map(|device| ("device", device))) {
        let models = tier.by_name().into_iter();
        each.extend(models.map(|(model, bytes)| ([model, memory.to_owned()], bytes as f64)));
        metrics::gauge!("gesso_models_bytes", "memory" => memory).set(tier.bytes as f64);
        // A machine that does not say how much it has bounds nothing.
        if tier.bytes_max < u64::MAX {
            metrics::gauge!("gesso_models_bytes_max", "memory" => memory).set(tier.bytes_max as f64);
        }
    }
    tell("gesso_model_bytes", ["model", "memory"], each.into_iter());
}

/// Sets gauges by two labels, or by one where the other has no name; those that were told before and are not there any more are 0.
fn tell(name: &'static str, labels: [&'static str; 2], now: impl Iterator<Item = ([String; 2], f64)>) {
    static TOLD: Mutex<BTreeSet<(&str, [String; 2])>> = Mutex::new(BTreeSet::new());
    let now: BTreeMap<_, _> = now.collect();
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.extend(now.keys().map(|values| (name, values.clone())));
    for (_, values) in told.iter().filter(|(of, _)| *of == name) {
        let pairs = labels.into_iter().zip(values.clone()).filter(|(label, _)| !label.is_empty());
        let pairs: Vec<_> = pairs.map(|(label, value)| metrics::Label::new(label, value)).collect();
        metrics::gauge!(name, pairs).set(now.get(values).copied().unwrap_or_default());
    }
}
