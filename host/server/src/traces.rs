//! Traces for a collector, over OTLP: the spans of the log, each with its place in the trace that a client began or that begins
//! here. The context is W3C's `traceparent`, which a task keeps while it waits. Without a collector all of this does nothing.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::app::VERSION;

/// The one header that is read and written; `tracestate` is other programs' business.
const TRACEPARENT: &str = "traceparent";
/// A collector that does not answer holds nothing up for longer than this.
const EXPORT: Duration = Duration::from_secs(5);

/// What sends the spans; what is left of them when it is dropped is lost.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// `endpoint` is a collector's address, such as `http://127.0.0.1:4318`. It is not asked yet.
    pub(crate) fn open(endpoint: &str) -> anyhow::Result<(Self, SdkTracer)> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(EXPORT)
            .build()
            .context("otlp_endpoint cannot be used")?;
        let resource = Resource::builder().with_service_name("gesso");
        let resource = resource.with_attribute(opentelemetry::KeyValue::new("service.version", VERSION));
        // A thread of its own gathers and sends them.
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("gesso");
        Ok((Self(provider), tracer))
    }

    /// Sends what is left. Blocks for as long as a collector may take.
    pub(crate) fn close(self) {
        if let Err(error) = self.0.shutdown_with_timeout(EXPORT) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Makes the span a part of the trace that `traceparent` names; what names none changes nothing.
pub(crate) fn continue_from(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else { return };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let parent = TraceContextPropagator::new().extract(&carrier);
    // An error says that no collector is set, or that the span has begun in another trace.
    drop(span.set_parent(parent));
}

/// The `traceparent` of the current span, for work that goes on elsewhere.
pub(crate) fn current() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}
