//! Logs on standard error, metrics for scrapers, and the few lines that are meant for people.

use std::io::Write;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Installs the log subscriber, and beside it what a collector is sent. Control characters in values are escaped by the
/// formatter.
pub(crate) fn install_logs(format: &str, filter: &str, tracer: Option<SdkTracer>) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        "json" => lines.json().with_filter(filter).boxed(),
        _ => {
            lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_filter(filter).boxed()
        }
    };
    // Spans of this program's crates, whatever the log shows.
    let own = Targets::new().with_target("gesso", Level::INFO);
    let spans = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(own));
    // A second installation can only happen in one process's tests, where the first one is as good.
    drop(tracing_subscriber::registry().with(spans).with(lines).try_init());
}

/// Installs the metrics recorder.
pub(crate) fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    Ok(PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0])?
        .install_recorder()?)
}

/// Takes in how long a drawing was in a stage: `prepare` (hooks, addresses), `engine` (waiting for the device and computing),
/// `store` (hooks, files).
pub(crate) fn stage(stage: &'static str, time: Duration) {
    metrics::histogram!("gesso_stage_seconds", "stage" => stage).record(time.as_secs_f64());
}

/// A line on standard output, flushed: other programs wait for it.
pub(crate) fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe is no reason to stop serving.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// A sentence on standard error for whoever ran the command.
pub(crate) fn complain(message: &str) {
    drop(writeln!(std::io::stderr().lock(), "gesso: {message}"));
}
