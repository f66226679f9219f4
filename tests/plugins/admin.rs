//! The admin's side: the key, upload, swap, roll-back, the watched folder, refusals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
        ("GET", "/plugins/x/settings"),
        ("POST", "/plugins/x/settings"),
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
fn the_history_tells_who_asked_and_by_which_request() {
    let bench = Bench::new();
    let server = bench.start();
    let bytes = std::fs::read(component("guests", "good-v1")).unwrap();
    let installed = server.admin("POST", "/plugins", bytes);
    let removed = server.admin("DELETE", "/plugins/good", Vec::new());
    std::fs::copy(component("guests", "good-v2"), bench.plugins.path().join("good.wasm")).unwrap();
    eventually("the new file is loaded", || server.admin("GET", "/plugins/good", Vec::new()).status == 200);
    let history = server.admin("GET", "/plugins/good/history", Vec::new()).ok();
    let told: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|line| json!([line["event"], line["by"], line["request_id"]]))
        .collect();
    let (installed, removed) = (installed.header("x-request-id"), removed.header("x-request-id"));
    let expected = [
        json!(["active", "admin", installed]),
        json!(["removed", "admin", removed]),
        json!(["active", null, null]),
    ];
    assert_eq!(told, expected, "{history}");
    // And what the audit log says of that request.
    let audit = server.admin("GET", "/audit", Vec::new()).ok().to_string();
    assert!(!installed.is_empty() && audit.contains(installed), "{audit}");
}

#[test]
fn metrics_tell_what_the_compile_worker_gave_up_once_it_has_run() {
    let bench = Bench::new();
    // A folder that is there is lent nothing that was compiled before.
    std::fs::create_dir(bench.data.path().join("plugins")).unwrap();
    let server = bench.start();
    let metrics = || String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(!metrics().contains("gesso_plugin_compiler_confined"));
    assert_eq!(upload(&server, "good-v1").0, 201);
    let told = metrics();
    for what in ["files", "calls"] {
        // Which it is depends on the kernel.
        let line = format!("gesso_plugin_compiler_confined{{what=\"{what}\"}} ");
        assert!(told.contains(&line), "{line} is not in\n{told}");
    }
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

/// Of the server's process, in pages of 4 KiB.
fn resident_bytes(server: &Server) -> f64 {
    let pages = std::fs::read_to_string(format!("/proc/{}/statm", server.pid())).unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

#[test]
fn a_thousand_swaps_under_load_fail_no_request_and_leave_no_memory_behind() {
    const SWAPS: usize = 1000;
    /// Pools and caches are full by then.
    const WARM_UP: usize = 200;
    /// Tasks and the allocator take some; a version that stayed would take 400 KB each time.
    const GROWTH_BYTES: f64 = 100e6;
    let bench = Bench::new();
    let mut command = bench.command();
    command.arg("--made-up-pictures");
    let server = bench.start_with(command);
    for guest in ["good-v1", "good-v2"] {
        assert_eq!(upload(&server, guest).0, 201);
    }
    let stop = AtomicBool::new(false);
    let draw = || {
        // By neither, by the one, by the other.
        let mut drawn = [0_usize; 3];
        while !stop.load(Ordering::Acquire) {
            let reply = server.post("/sdapi/v1/txt2img", &quick()).ok();
            let info = reply["info"].as_str().unwrap();
            drawn[["good v1", "good v2"].iter().position(|by| info.contains(by)).map_or(0, |by| by + 1)] += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        drawn
    };
    let (drawn, refused, grown) = std::thread::scope(|scope| {
        let clients = [scope.spawn(draw), scope.spawn(draw)];
        let (mut before, mut refused) = (0.0, 0);
        for swap in 0..SWAPS {
            if swap == WARM_UP {
                before = resident_bytes(&server);
            }
            let reply = server.admin("POST", "/plugins/good/rollback", Vec::new());
            refused += usize::from(reply.status != 200);
        }
        let grown = resident_bytes(&server) - before;
        stop.store(true, Ordering::Release);
        (clients.map(|client| client.join().unwrap()), refused, grown)
    });
    println!("{SWAPS} swaps, pictures by none, one and the other {drawn:?}, memory {:+.1} MB", grown / 1e6);
    let by = |version: usize| drawn.iter().map(|drawn| drawn[version]).sum::<usize>();
    assert_eq!((refused, by(0)), (0, 0));
    assert!(by(1) > 0 && by(2) > 0, "{drawn:?}");
    assert!(grown < GROWTH_BYTES, "memory grew by {:.1} MB", grown / 1e6);
    assert_eq!(server.admin("GET", "/plugins/good", Vec::new()).ok()["failures"], 0);
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
    assert_eq!(history[1]["detail"], "enabled false");
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
        ("steps", json!(80)),
    ] {
        body[field] = value;
    }
    let task = server.submit(&body);
    let running = || server.admin("GET", "/plugins/scripts", Vec::new()).ok()["running"] == 1;
    eventually("the script runs", running);
    let (code, _, errors) = plugin_command(&bench, &server, &["drain", "scripts", "--timeout", "0"]);
    assert!(code == 1 && errors.contains("1 calls are still under way after 0 s"), "{code} {errors}");
    let (code, output, errors) = plugin_command(&bench, &server, &["drain", "scripts"]);
    assert_eq!(code, 0, "{errors}");
    assert!(format!("{output}{errors}").contains("waiting for 1 calls under way"), "{output} {errors}");
    assert!(!running());
    assert_eq!(server.result(&task)["status"], "succeeded", "what was under way came to its end");
    let refused = server.post("/txt2img", &body);
    assert!(refused.json()["message"].as_str().unwrap().contains("not found"), "{}", refused.json());
}

/// `gesso plugin` at that server.
fn plugin_command(bench: &Bench, server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gesso"));
    let data = bench.data.path().to_str().unwrap();
    command.args(["plugin", "--url", &server.url, "--data", data]).args(arguments);
    run(command)
}

#[test]
fn budgets_are_given_to_one_plugin_and_by_tier() {
    let settings = "[limits]\nscript_jobs_max = 1\n[plugin_tiers.trusted]\nscript_jobs_max = 4\n\
                    [plugin_tiers.trusted.script]\nmemory_mib = 300\n";
    let bench = Bench::new().config(settings).plugin("plugins", "scripts");
    let server = bench.start();
    let mut body = quick();
    body["script_name"] = json!("Prompts from file or textbox");
    body["script_args"] = json!([false, false, "start", "sea\nhill\nwood"]);
    let draw = || server.post("/sdapi/v1/txt2img", &body);
    let refused = |says: &str| {
        let reply = draw();
        let told = reply.json().to_string();
        assert!(reply.status == 422 && told.contains(says), "{}: {told}", reply.status);
    };
    let grant = |grants: Value| server.admin_json("PUT", "/plugins/scripts/grants", &grants.to_string());

    refused("the plugins of a request may ask for 1 drawings (limits.script_jobs_max)");
    let trusted = grant(json!({"tier": "trusted"})).ok();
    assert_eq!(
        (&trusted["granted"]["tier"], &trusted["budgets"]["script_jobs_max"]),
        (&json!("trusted"), &json!(4))
    );
    let script = &trusted["budgets"]["script"];
    assert_eq!((&script["memory_mib"], &script["cpu_ms"]), (&json!(300), &json!(60_000)));
    assert_eq!(draw().ok()["images"].as_array().unwrap().len(), 3);
    grant(json!({"tier": "trusted", "budgets": {"script_jobs_max": 2}})).ok();
    refused("the plugin scripts may ask for 2 drawings in a request");
    grant(json!({"tier": "trusted", "budgets": {"script_megapixel_steps_max": 0}})).ok();
    refused("budgets.script_megapixel_steps_max");

    for (wrong, says) in [
        (
            json!({"budgets": {"script": {"cpu_ms": 0}}}),
            "budgets.script.cpu_ms is 0; it must be between 1 and",
        ),
        (json!({"budgets": {"step": {"wall_ms": 60_000}}}), "budgets.step.wall_ms"),
        (json!({"budgets": {"script": {"cpu": 5}}}), "unknown field `cpu`"),
        (json!({"tier": "trustd"}), "plugin_tiers have trusted"),
    ] {
        let reply = grant(wrong.clone());
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(reply.status == 400 && message.contains(says), "{wrong}: {} {message}", reply.status);
    }

    let (code, shown, errors) = plugin_command(&bench, &server, &["show", "scripts"]);
    assert_eq!(code, 0, "{errors}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["granted"]["budgets"]["script_megapixel_steps_max"], 0);
    let history = server.admin("GET", "/plugins/scripts/history", Vec::new()).ok();
    let newest = history.as_array().unwrap().last().unwrap();
    assert_eq!(newest["detail"], "tier trusted, script_megapixel_steps_max 0");
    let audit = server.admin("GET", "/audit", Vec::new()).ok().to_string();
    assert!(audit.contains("PUT /plugins/scripts/grants"), "{audit}");
}

#[test]
fn what_failures_cost_is_told_by_world() {
    let bench = Bench::new();
    let server = bench.start();
    upload(&server, "good-v1");
    let said = json!({"request-hook": "skip"});
    let body = json!({"on_failure": said}).to_string();
    let reply = server.admin_json("PATCH", "/plugins/good", &body).ok();
    assert_eq!(reply["on_failure"], json!({"*": "fail", "request-hook": "skip"}));
    for wrong in [json!({"script": "skip"}), json!({"request-hook": "ignore"}), json!(["skip"])] {
        let refused = server.admin_json("PATCH", "/plugins/good", &json!({"on_failure": wrong}).to_string());
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(refused.status == 400 && message.contains("not a plugin's switches"), "{wrong}: {message}");
    }
    let by_world = r#"{"step-hook": "skip", "*": "fail"}"#;
    for (said, shown) in [("skip", json!("skip")), (by_world, json!({"*": "fail", "step-hook": "skip"}))] {
        let (code, _, errors) = plugin_command(&bench, &server, &["configure", "good", "--on-failure", said]);
        assert_eq!(code, 0, "{errors}");
        assert_eq!(server.admin("GET", "/plugins/good", Vec::new()).ok()["on_failure"], shown);
    }
}

#[test]
fn settings_are_listed_and_put_back_alone() {
    let grant = "[grants.example-request-hook]\nsettings = { style = \"oil\" }\n";
    let bench = Bench::new().config(grant).plugin("examples", "example-request-hook");
    let server = bench.start();
    let path = "/plugins/example-request-hook/settings";
    let put = |style: &str| {
        let grants = json!({"settings": {"style": style}, "kv_bytes": 64}).to_string();
        server.admin_json("PUT", "/plugins/example-request-hook/grants", &grants).ok();
    };
    assert_eq!(server.admin("GET", path, Vec::new()).ok(), json!([]));
    put("ink");
    put("chalk");
    let versions = server.admin("GET", path, Vec::new()).ok();
    let told: Vec<_> = versions
        .as_array()
        .unwrap()
        .iter()
        .map(|version| {
            (version["number"].as_u64(), version["by"].as_str(), version["settings"]["style"].as_str())
        })
        .collect();
    let (oil, ink) = ((Some(1), None, Some("oil")), (Some(2), Some("admin"), Some("ink")));
    assert_eq!(told, [oil, ink, (Some(3), Some("admin"), Some("chalk"))]);

    let back = server.admin_json("POST", path, r#"{"number": 1}"#).ok();
    assert_eq!(back["granted"]["settings"], json!({"style": "oil"}));
    assert_eq!(back["granted"]["kv_bytes"], 64);
    for (wrong, status, says) in [
        (r#"{"number": 99}"#, 404, "no version 99 of its settings"),
        (r#"{"number": "1"}"#, 400, "not a number of settings"),
        ("{}", 400, "missing field `number`"),
    ] {
        let reply = server.admin_json("POST", path, wrong);
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(reply.status == status && message.contains(says), "{wrong}: {} {message}", reply.status);
    }
    assert_eq!(server.admin("GET", "/plugins/nobody/settings", Vec::new()).status, 404);
    let audit = server.admin("GET", "/audit", Vec::new()).ok().to_string();
    assert!(audit.contains("POST /plugins/example-request-hook/settings"), "{audit}");

    let id = "example-request-hook";
    let (code, _, errors) = plugin_command(&bench, &server, &["settings", id, "--restore", "2"]);
    assert_eq!(code, 0, "{errors}");
    let (_, listed, errors) = plugin_command(&bench, &server, &["settings", id]);
    let last = listed.lines().last().unwrap_or_else(|| panic!("{errors}"));
    assert!(
        last.trim_start().starts_with('5') && last.ends_with(r#"admin        {"style":"ink"}"#),
        "{last}"
    );
}
