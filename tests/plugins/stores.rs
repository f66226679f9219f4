//! What plugins keep and carry: values, blobs and assets of a real plugin, over restarts and builds, apart from others.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Bench, Reply, Server, checkout, component, quick_with, request, run};

const GRANT: &str = "[grants.example-shelf]\nkv_bytes = 4096\nblob_bytes = 1000\n";

/// The example with that page in it, packed as its author would.
fn shelf(page: &str) -> Vec<u8> {
    let home = tempfile::tempdir().unwrap();
    let assets = home.path().join("assets");
    std::fs::create_dir(&assets).unwrap();
    std::fs::write(assets.join("index.html"), page).unwrap();
    let out = home.path().join("example-shelf.wasm");
    let mut pack = Command::new(env!("CARGO_BIN_EXE_gesso"));
    pack.args(["plugin", "pack"]).arg(component("examples", "example-shelf"));
    pack.arg("--manifest").arg(checkout().join("examples/plugins/shelf/manifest.json"));
    pack.arg("--assets").arg(&assets).arg("--out").arg(&out);
    let (code, _, errors) = run(pack);
    assert_eq!(code, 0, "{errors}");
    std::fs::read(out).unwrap()
}

/// The shelf with its grant, in a running server.
fn with_shelf(bench: &Bench) -> Server {
    let server = bench.start();
    let reply = server.admin("POST", "/plugins", shelf("first page"));
    assert_eq!(reply.status, 201, "{}", reply.json());
    server
}

fn file(server: &Server, method: &str, name: &str, body: &[u8]) -> Reply {
    let url = format!("{}/ext/example-shelf/files/{name}", server.url);
    request(method, &url, &[], body.to_vec())
}

fn data(server: &Server, id: &str) -> Value {
    server.admin("GET", &format!("/plugins/{id}"), Vec::new()).ok()["data"].clone()
}

#[test]
fn what_a_plugin_keeps_outlives_a_restart_and_a_new_build() {
    let bench = Bench::new().config(GRANT);
    let server = with_shelf(&bench);
    assert_eq!(file(&server, "PUT", "a.txt", b"some bytes").status, 201);
    assert_eq!(file(&server, "GET", "a.txt", b"").body, b"some bytes");
    assert!(server.stop().success());

    let server = bench.start();
    assert_eq!(server.admin("POST", "/plugins", shelf("second page")).status, 201);
    assert_eq!(server.get("/ext/example-shelf/").body, b"second page", "assets belong to the build");
    assert_eq!(file(&server, "GET", "a.txt", b"").body, b"some bytes");
    let listed = json!([{"name": "a.txt", "bytes": 10, "taken": 2}]);
    assert_eq!(server.get("/ext/example-shelf/files").ok(), listed);
    server.kill();

    let server = bench.start();
    assert_eq!(server.get("/ext/example-shelf/files").ok(), listed);
    assert_eq!(
        data(&server, "example-shelf"),
        json!({"keys": 1, "kv_bytes": 6, "blobs": 1, "blob_bytes": 15})
    );
    // The same again goes back to the page of the build before, and to the same data.
    assert_eq!(server.admin("POST", "/plugins/example-shelf/rollback", Vec::new()).status, 200);
    assert_eq!(server.get("/ext/example-shelf/").body, b"first page");
    assert_eq!(server.get("/ext/example-shelf/files").ok(), listed);
}

#[test]
fn a_full_grant_refuses_what_is_more_and_leaves_what_is_there() {
    let bench = Bench::new().config(GRANT);
    let server = with_shelf(&bench);
    assert_eq!(file(&server, "PUT", "a", &[7; 900]).status, 201);
    let refused = file(&server, "PUT", "b", &[7; 900]);
    let sentence = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(refused.status == 507 && sentence.contains("1802 bytes of the 1000"), "{sentence}");
    assert_eq!(file(&server, "PUT", "a", &[7; 1000]).status, 507, "the name counts, too");
    assert_eq!(file(&server, "GET", "a", b"").body, [7; 900]);
    assert_eq!(file(&server, "DELETE", "a", b"").status, 200);
    assert_eq!(file(&server, "PUT", "b", &[7; 900]).status, 201);
}

#[test]
fn without_its_grants_it_waits_and_says_for_what() {
    let bench = Bench::new();
    let server = bench.start();
    let refused = server.admin("POST", "/plugins", shelf("page"));
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    for part in ["`kv_bytes` 65536 (gesso:plugin/kv)", "`blob_bytes` 16777216 (gesso:plugin/blobs)"] {
        assert!(refused.status == 400 && message.contains(part), "{message}");
    }
    let grants =
        |body: Value| server.admin("PUT", "/plugins/example-shelf/grants", body.to_string().into_bytes());
    let status = grants(json!({"kv_bytes": 4096})).ok();
    assert!(
        status["state"]["is"] == "refused" && !status.to_string().contains("`kv_bytes` 65536"),
        "{status}"
    );
    assert_eq!(grants(json!({"kv_bytes": 4096, "blob_bytes": 1000})).ok()["state"]["is"], "active");
    assert_eq!(file(&server, "PUT", "a", b"x").status, 201);
    // What is taken away is gone at once.
    assert_eq!(grants(json!({})).ok()["state"]["is"], "refused");
    assert_eq!(file(&server, "GET", "a", b"").status, 404);
    assert_eq!(grants(json!({"kv_bytes": "much"})).status, 400);
}

#[test]
fn an_admin_drops_what_a_plugin_keeps_also_of_one_that_is_gone() {
    let bench = Bench::new().config(GRANT);
    let server = with_shelf(&bench);
    let nothing = json!({"keys": 0, "kv_bytes": 0, "blobs": 0, "blob_bytes": 0});
    let drop_data = || server.admin("DELETE", "/plugins/example-shelf/data", Vec::new()).status;
    file(&server, "PUT", "a", b"x");
    assert_eq!(
        request("DELETE", &format!("{}/plugins/example-shelf/data", server.url), &[], Vec::new()).status,
        401
    );
    assert_eq!(drop_data(), 200);
    assert_eq!(data(&server, "example-shelf"), nothing);
    assert_eq!(file(&server, "GET", "a", b"").status, 404);
    let history = server.admin("GET", "/plugins/example-shelf/history", Vec::new()).ok();
    assert!(history.to_string().contains("data-dropped"), "{history}");
    let audit = server.admin("GET", "/audit", Vec::new()).ok();
    assert!(audit.to_string().contains("DELETE /plugins/example-shelf/data"), "{audit}");

    file(&server, "PUT", "a", b"x");
    assert_eq!(server.admin("DELETE", "/plugins/example-shelf", Vec::new()).status, 200);
    assert_eq!(server.admin("POST", "/plugins", shelf("page")).status, 201);
    assert_eq!(data(&server, "example-shelf")["blobs"], 1, "removing the plugin took its data");
    assert_eq!(server.admin("DELETE", "/plugins/example-shelf", Vec::new()).status, 200);
    assert_eq!((drop_data(), drop_data()), (200, 404));
    assert!(
        std::fs::read_dir(bench.data.path().join("objects/plugins/example-shelf")).map_or(0, Iterator::count)
            == 0
    );
}

#[test]
fn a_plugin_that_floods_its_stores_fills_its_own_grant_and_sees_nobody_elses() {
    let grants = format!("{GRANT}[grants.store-flood]\nkv_bytes = 65536\nblob_bytes = 1048576\n");
    // Each write of the flood waits for the disk.
    let bench = Bench::new()
        .config(&grants)
        .config("[plugin_budget]\nwall_ms = 60000\n")
        .plugin("guests", "store-flood");
    let server = with_shelf(&bench);
    assert_eq!(file(&server, "PUT", "a.txt", b"mine").status, 201);
    let told = || {
        let reply = server.post("/sdapi/v1/txt2img", &quick_with(json!({"steps": 1}))).ok();
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        serde_json::from_str::<Value>(info["prompt"].as_str().unwrap()).unwrap()
    };
    for round in [told(), told()] {
        assert_eq!(round["others"], 0, "{round}");
        for (what, says) in [
            ("long_key", "invalid: a key has 1 to 256 bytes"),
            ("empty_key", "invalid: a key has 1 to 256 bytes"),
            ("long_value", "limit: a value has at most 8192 bytes"),
            ("long_prefix", "invalid: `prefix` and `after`"),
            ("giant_blob", "limit: a blob has at most 16777216 bytes"),
            ("values", "limit: the plugin's values would take"),
            ("blobs", "limit: the plugin's blobs would take"),
        ] {
            assert!(round[what].as_str().unwrap().starts_with(says), "{what}: {round}");
        }
    }
    let kept = data(&server, "store-flood");
    assert!(
        kept["kv_bytes"].as_u64().unwrap() <= 65536 && kept["blob_bytes"].as_u64().unwrap() <= 1_048_576,
        "{kept}"
    );
    assert_eq!(file(&server, "GET", "a.txt", b"").body, b"mine");
}
