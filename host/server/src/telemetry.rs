//! Logs on standard error, metrics for scrapers, and the few lines that are meant for people.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Level;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Installs the log subscriber, and beside it what a collector is sent. What is logged is one line, whatever is in it: JSON
/// escapes control characters by itself.
pub(crate) fn install_logs(format: &str, filter: &str, tracer: Option<SdkTracer>) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        "json" => lines.json().with_filter(filter).boxed(),
        _ => {
            let lines = lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
            lines.fmt_fields(OneLine).with_filter(filter).boxed()
        }
    };
    // Spans of this program's crates, whatever the log shows.
    let own = Targets::new().with_target("gesso", Level::INFO);
    let spans = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(own));
    // A second installation can only happen in one process's tests, where the first one is as good.
    drop(tracing_subscriber::registry().with(spans).with(lines).try_init());
}

/// The library's own way to write fields, on one line: why a task failed may be in the words of a plugin, or hold a
/// client's, and a line of theirs would pass for one of the server's.
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        fields.record(&mut DefaultVisitor::new(Writer::new(&mut text), true));
        writer.write_str(&one_line(&text))
    }
}

/// The text with its control characters escaped, so that it is one line and drives no terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_logged_is_one_line_whatever_is_in_it() {
        let written = Written::default();
        let to = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || to.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(lines.fmt_fields(OneLine));
        let error = "no such word\n2026-01-01T00:00:00Z  INFO gesso: \u{1b}[31mall is well";
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("task", id = %"a\nb");
            let end = "\r\n";
            span.in_scope(|| tracing::warn!(%error, "task failed: {end}"));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(text.ends_with('\n') && !text.contains(['\r', '\u{1b}']), "{text:?}");
        assert!(text.contains("task failed") && text.contains("all is well"), "{text:?}");
    }

    #[test]
    fn control_characters_are_shown_and_letters_stay() {
        assert_eq!(one_line("ä\tb\u{9b}1m\u{7f}"), "ä\\tb\\u{9b}1m\\u{7f}");
    }
}
