//! One trace from a client's request through the queue into the engine and the plugins, as a collector is sent it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use gesso_core::hex::hex;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::{Bench, eventually, quick};

/// A collector on a free port: its address, and the spans that it was sent.
fn collector() -> (String, Arc<Mutex<Vec<Span>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let spans = Arc::new(Mutex::new(Vec::new()));
    let found = spans.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            // To the end of the head, then as much as it says.
            let body = loop {
                let read = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..read]);
                let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
                assert!(head.starts_with("post /v1/traces "), "{head}");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let whole = end + 4 + length.trim().parse::<usize>().unwrap();
                if request.len() >= whole {
                    break request[end + 4..whole].to_vec();
                }
            };
            let sent = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            let scopes = sent.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            found.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    (address, spans)
}

#[test]
fn a_clients_trace_goes_through_the_queue_into_the_engine_and_the_plugins() {
    let (address, spans) = collector();
    let bench = Bench::new().plugin("plugins", "watermark").config(&format!("otlp_endpoint = {address:?}\n"));
    let server = bench.start();
    let (trace, client) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let traceparent = format!("00-{trace}-{client}-01");
    let headers = [("traceparent", traceparent.as_str()), ("Request-Type", "async")];
    // It waits in the store over a restart.
    server.admin("POST", "/queue/pause", Vec::new()).ok();
    let id = server.post_with("/txt2img", &headers, &quick()).ok()["taskId"].as_str().unwrap().to_owned();
    assert!(server.stop().success());
    let server = bench.start();
    server.admin("POST", "/queue/resume", Vec::new()).ok();
    assert_eq!(server.result(&id)["status"], "succeeded");
    // A damaged one, and a request without any, begin traces of their own.
    server.post_with("/txt2img", &[("traceparent", "00-zz-1")], &quick()).ok();
    assert!(server.stop().success());

    let of_trace = || {
        let spans = spans.lock().unwrap();
        spans.iter().filter(|span| hex(&span.trace_id) == trace).cloned().collect::<Vec<_>>()
    };
    let find = |name: &str| of_trace().into_iter().find(|span| span.name == name);
    eventually("the spans were sent", || {
        ["request", "task", "engine", "plugin"].into_iter().all(|name| find(name).is_some())
    });
    let [request, task, engine, plugin] =
        ["request", "task", "engine", "plugin"].map(|name| find(name).unwrap());
    assert_eq!(hex(&request.parent_span_id), client);
    assert_eq!(task.parent_span_id, request.span_id);
    assert_eq!((&engine.parent_span_id, &plugin.parent_span_id), (&task.span_id, &task.span_id));
    let says = |key: &str| task.attributes.iter().any(|attribute| attribute.key == key);
    assert!(says("id") && says("owner"), "{:?}", task.attributes);
    assert!(spans.lock().unwrap().iter().any(|span| span.name == "task" && hex(&span.trace_id) != trace));
}
