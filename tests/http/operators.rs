//! Probes, metrics, documents.

use serde_json::json;

use crate::support::{Bench, quick};

#[test]
fn probes_answer_and_metrics_count_what_was_drawn() {
    let bench = Bench::new();
    let server = bench.start();
    assert_eq!(server.get("/health/live").ok(), json!({"status": "live"}));
    assert_eq!(server.get("/health/ready").ok(), json!({"status": "ready"}));
    server.post("/txt2img", &quick()).ok();
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in ["gesso_images_total 1", "gesso_unet_calls_total 3", "gesso_tasks_submitted_total 1"] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_api_documents_itself() {
    let bench = Bench::new();
    let server = bench.start();
    let document = server.get("/openapi.json").ok();
    assert!(document["paths"]["/sdapi/v1/txt2img"]["post"].is_object());
    let page = server.get("/docs/");
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains("swagger-ui"));
}
