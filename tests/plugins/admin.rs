//! The admin's side: the key, upload, swap, roll-back, the watched folder, refusals.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Bench, Server, component, eventually, quick, request, run};

fn upload(server: &Server, guest: &str) -> (u16, Value) {
    let reply = server.admin("POST", "/plugins", std::fs::read(component("guests", guest)).unwrap());
    (reply.status, reply.json())
}

fn version(server: &Server, id: &str) -> String {
    server.admin("GET", &format!("/plugins/{id}"), Vec::new()).ok()["version"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn every_plugin_route_needs_the_admin_key() {
    let bench = Bench::new();
    let server = bench.start();
    for (method, path) in [
        ("GET", "/plugins"),
        ("POST", "/plugins"),
        ("GET", "/plugins/x"),
        ("DELETE", "/plugins/x"),
        ("POST", "/plugins/x/rollback"),
        ("PUT", "/plugins/x/grants"),
        ("GET", "/plugins/x/logs"),
        ("GET", "/plugins/x/history"),
        ("PATCH", "/plugins/x"),
        ("DELETE", "/plugins/x/data"),
    ] {
        let url = format!("{}{path}", server.url);
        for key in ["", "Bearer ", "Bearer wrong"] {
            let reply = request(method, &url, &[("authorization", key)], Vec::new());
            assert_eq!(reply.status, 401, "{method} {path}");
        }
    }
}

#[test]
fn an_upload_serves_at_once_is_replaced_and_rolled_back() {
    let bench = Bench::new();
    let server = bench.start();
    let (status, first) = upload(&server, "good-v1");
    assert_eq!(status, 201, "{first}");
    assert_eq!(upload(&server, "good-v2").0, 201);
    let second = version(&server, "good");
    assert_ne!(first["version"], second.as_str());
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
    assert_eq!(server.admin("POST", "/plugins/good/rollback", Vec::new()).status, 200);
    assert_eq!(version(&server, "good"), first["version"].as_str().unwrap());
    assert_eq!(server.admin("POST", "/plugins/nobody/rollback", Vec::new()).status, 404);
}

#[test]
fn a_broken_build_leaves_the_old_one_serving() {
    let bench = Bench::new();
    let server = bench.start();
    upload(&server, "good-v1");
    let (status, body) = upload(&server, "good-broken");
    assert_eq!(status, 400, "{body}");
    let before = version(&server, "good");
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
    assert_eq!(version(&server, "good"), before);
}

#[test]
fn refusals_name_the_reason() {
    let bench = Bench::new();
    let server = bench.start();
    for (guest, part) in [
        ("wants-network", "outgoing-handler"),
        ("no-manifest", "manifest"),
        ("wrong-api", "9.9.0"),
        ("not-a-component", "component"),
    ] {
        let (status, body) = upload(&server, guest);
        let message = body["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(part), "{guest}: {status} {message}");
    }
    let reply = server.admin("POST", "/plugins", b"not wasm at all".to_vec());
    assert_eq!(reply.status, 400);
    assert_eq!(server.admin("POST", "/plugins", Vec::new()).status, 400);
}

#[test]
fn the_watched_folder_is_followed_while_the_server_works() {
    let bench = Bench::new();
    let server = bench.start();
    let file = bench.plugins.path().join("good.wasm");
    std::fs::copy(component("guests", "good-v1"), &file).unwrap();
    eventually("the new file is loaded", || server.admin("GET", "/plugins/good", Vec::new()).status == 200);
    let first = version(&server, "good");
    std::fs::copy(component("guests", "good-v2"), &file).unwrap();
    eventually("the changed file is loaded", || version(&server, "good") != first);
    std::fs::remove_file(&file).unwrap();
    eventually("the removed file is gone", || server.admin("GET", "/plugins/good", Vec::new()).status == 404);
}

#[test]
fn plugins_and_their_versions_survive_a_restart() {
    let bench = Bench::new();
    let server = bench.start();
    upload(&server, "good-v1");
    upload(&server, "good-v2");
    let second = version(&server, "good");
    assert!(server.stop().success());
    let server = bench.start();
    assert_eq!(version(&server, "good"), second);
    assert_eq!(server.admin("POST", "/plugins/good/rollback", Vec::new()).status, 200);
    assert_ne!(version(&server, "good"), second);
}

#[test]
fn swapping_under_load_fails_no_request() {
    let bench = Bench::new();
    let server = bench.start();
    upload(&server, "good-v1");
    let stop = AtomicBool::new(false);
    let drawn = std::thread::scope(|scope| {
        let drawing = scope.spawn(|| {
            let mut drawn = 0;
            while !stop.load(Ordering::Acquire) {
                let body = server.post("/txt2img", &quick()).ok();
                assert_eq!(body["status"], "succeeded", "{body}");
                drawn += 1;
            }
            drawn
        });
        for round in 0..10 {
            let guest = if round % 2 == 0 { "good-v2" } else { "good-v1" };
            assert_eq!(upload(&server, guest).0, 201);
        }
        stop.store(true, Ordering::Release);
        drawing.join().unwrap()
    });
    assert!(drawn > 0);
}

#[test]
fn a_plugin_is_switched_off_moved_and_looked_back_at() {
    let bench = Bench::new();
    let server = bench.start();
    upload(&server, "good-v1");
    let switched = |body: &str| server.admin("PATCH", "/plugins/good", body.as_bytes().to_vec());
    assert_eq!(switched("{\"enabled\": false}").ok()["state"]["is"], "disabled");
    let prompt = || {
        let reply = server.post("/sdapi/v1/txt2img", &quick()).ok();
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        info["prompt"].as_str().unwrap().to_owned()
    };
    assert_eq!(prompt(), quick()["prompt"].as_str().unwrap());
    assert_eq!(
        switched("{\"enabled\": true, \"on_failure\": \"skip\", \"position\": 0}").ok()["on_failure"],
        "skip"
    );
    assert_ne!(prompt(), quick()["prompt"].as_str().unwrap());
    assert_eq!(switched("{\"called\": \"named\"}").ok()["called"], "named");
    assert_eq!(
        prompt(),
        quick()["prompt"].as_str().unwrap(),
        "a request that does not name it is none of its business"
    );
    let mut naming = quick();
    naming["alwayson_scripts"] = json!({"Good": {"args": []}});
    let reply = server.post("/sdapi/v1/txt2img", &naming).ok();
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_ne!(info["prompt"], quick()["prompt"]);
    switched("{\"called\": \"always\"}").ok();
    for wrong in ["{\"called\": \"never\"}", "{\"enable\": true}", "{\"on_failure\": \"ignore\"}", "[]"] {
        let refused = switched(wrong);
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.json()["message"].as_str().unwrap().contains("not a plugin's switches"), "{wrong}");
    }
    assert_eq!(server.admin("PATCH", "/plugins/nobody", b"{}".to_vec()).status, 404);

    let history = server.admin("GET", "/plugins/good/history", Vec::new()).ok();
    let events: Vec<_> =
        history.as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["active", "configured", "configured", "configured", "configured"]);
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in [
        "gesso_plugin_calls_total{plugin=\"good\"} 4",
        "gesso_plugin_call_milliseconds{plugin=\"good\",quantile=\"0.95\"}",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn a_drain_waits_for_the_calls_under_way() {
    let bench = Bench::new().plugin("plugins", "scripts");
    let server = bench.start();
    let mut body = quick();
    for (field, value) in [
        ("script_name", json!("Prompts from file or textbox")),
        ("script_args", json!([false, false, "start", "sea\nhill\nwood"])),
        ("steps", json!(40)),
    ] {
        body[field] = value;
    }
    let task = server.submit(&body);
    let running = || server.admin("GET", "/plugins/scripts", Vec::new()).ok()["running"] == 1;
    eventually("the script runs", running);
    let data = bench.data.path().to_str().unwrap();
    let mut drain = std::process::Command::new(env!("CARGO_BIN_EXE_gesso"));
    drain.args(["plugin", "--url", &server.url, "--data", data, "drain", "scripts"]);
    let (code, output, errors) = run(drain);
    assert_eq!(code, 0, "{errors}");
    assert!(format!("{output}{errors}").contains("waiting for 1 calls under way"), "{output} {errors}");
    assert!(!running());
    assert_eq!(server.result(&task)["status"], "succeeded", "what was under way came to its end");
    let refused = server.post("/txt2img", &body);
    assert!(refused.json()["message"].as_str().unwrap().contains("not found"), "{}", refused.json());
}
