//! Plugins from registries and from addresses of the Web: the real server and the real commands, and registries that behave and
//! that do not.

use std::process::Command;

use serde_json::{Value, json};

use super::registry::{Registry, digest, manifest_of};
use crate::support::{Bench, Server, component, run};

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(component("guests", name)).unwrap()
}

fn gesso(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesso"));
    command.arg("plugin").args(arguments);
    run(command)
}

fn install(server: &Server, body: &Value) -> (u16, Value) {
    let reply = server.admin_json("POST", "/plugins", &body.to_string());
    (reply.status, reply.json())
}

fn good(server: &Server) -> Value {
    server.admin("GET", "/plugins/good", Vec::new()).ok()
}

#[track_caller]
fn assert_refused(server: &Server, body: &Value, part: &str) {
    let (status, reply) = install(server, body);
    let message = reply["message"].as_str().unwrap_or_default();
    assert!(status == 400 && message.contains(part), "{part:?} is not in {status} {reply}");
}

#[test]
fn what_was_pushed_is_installed_by_tag_and_by_digest_and_known_by_both() {
    let registry = Registry::start();
    let bench = Bench::new().config(&registry.listed(""));
    let server = bench.start();
    let settings = bench.data.path().join("test-settings.toml");
    let (settings, data) = (settings.to_str().unwrap(), bench.data.path().to_str().unwrap());
    let push = |guest: &str, name: &str| {
        let file = component("guests", guest);
        let (code, output, errors) = gesso(&["push", file.to_str().unwrap(), name, "--config", settings]);
        assert_eq!(code, 0, "{errors}");
        output.trim().rsplit(' ').next().unwrap().to_owned()
    };
    let (first, second) = (registry.name(":1"), registry.name(":2"));
    let (first_digest, second_digest) = (push("good-v1", &first), push("good-v2", &second));
    assert_eq!(push("good-v1", &first), first_digest, "the same component has the same digest");

    let by_command =
        |more: &[&str]| gesso(&[&["--url", &server.url, "--data", data, "install"][..], more].concat());
    let (code, output, errors) = by_command(&[first.as_str()]);
    assert!(code == 0 && output.contains(&first_digest), "{output} {errors}");
    assert_eq!(good(&server)["source"], json!({"from": first, "digest": first_digest}));
    assert_eq!(good(&server)["digest"], digest(&guest("good-v1")).strip_prefix("sha256:").unwrap());
    assert_eq!(registry.count("GET /v2/plugins/good/manifests/1"), 1);

    let pinned = registry.name(&format!("@{second_digest}"));
    let (status, installed) = install(&server, &json!({"from": pinned}));
    assert_eq!((status, &installed["source"]["digest"]), (201, &json!(second_digest)), "{installed}");
    assert_eq!(installed["previous"]["source"]["from"], first);
    let (code, _, errors) = by_command(&[second.as_str(), "--digest", first_digest.as_str()]);
    assert!(code == 1 && errors.contains("not what was meant"), "{errors}");
    // Without a tag, the digest names what is asked for.
    let (status, _) = install(&server, &json!({"from": registry.name(""), "digest": first_digest}));
    assert_eq!(status, 201);
    assert_eq!(registry.count("GET /v2/plugins/good/manifests/latest"), 0);

    let before = good(&server);
    assert!(server.stop().success());
    let server = bench.start();
    assert_eq!(good(&server)["source"], before["source"], "it is known after a restart");
    server.admin("POST", "/plugins/good/rollback", Vec::new()).ok();
    assert_eq!(good(&server)["source"], json!({"from": pinned, "digest": second_digest}));
    let history = server.admin("GET", "/plugins/good/history", Vec::new()).ok();
    assert!(history[0]["detail"].as_str().unwrap().contains(&first_digest), "{history}");
    let audit = server.admin("GET", "/audit", Vec::new()).ok();
    let noted = |line: &Value| line["what"] == "POST /plugins" && line["status"] == 201;
    assert!(audit.as_array().unwrap().iter().any(noted), "{audit}");
    // What is uploaded comes from nowhere.
    let uploaded = server.admin("POST", "/plugins", guest("good-broken"));
    assert_eq!(uploaded.status, 400);
    let other = server.admin("POST", "/plugins", guest("panic")).json();
    assert_eq!(other["source"], Value::Null);
}

#[test]
fn what_is_not_what_was_meant_is_refused_and_leaves_nothing() {
    let registry = Registry::start();
    let bench = Bench::new().config(&registry.listed("")).config("[limits]\nbody_bytes_max = 1000000\n");
    let server = bench.start();
    let (guest, other) = (guest("good-v1"), guest("good-v2"));
    let found = registry.put_component("good", &guest);
    let with = |tag: &str, change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest_of(&guest);
        change(&mut manifest);
        registry.put_manifest(tag, &manifest);
    };
    with("zip", &|it| it["layers"][0]["mediaType"] = json!("application/zip"));
    with("image", &|it| it["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json"));
    with("layers", &|it| it["layers"] = json!([it["layers"][0], it["layers"][0]]));
    with("large", &|it| it["layers"][0]["size"] = json!(1_000_001));
    with("list", &|it| *it = json!({"schemaVersion": 2, "manifests": [{"digest": found}]}));
    // The registry has other bytes under the layer's digest, and far more than it said.
    let (missing, changed, longer) = (digest(b"missing"), digest(b"changed"), digest(b"longer"));
    registry.put_blob(&changed, &other);
    registry.put_blob(&longer, &vec![0; 2_000_000]);
    for (tag, layer) in [("missing", &missing), ("changed", &changed), ("longer", &longer)] {
        with(tag, &|it| it["layers"][0]["digest"] = json!(layer));
    }
    let small = digest(b"small");
    registry.put_blob(&small, b"small");
    with("small", &|it| (it["layers"][0]["digest"], it["layers"][0]["size"]) = (json!(small), json!(4)));
    for (tag, part) in [
        ("zip", "application/zip"),
        ("small", "its layer has 5 bytes; its manifest says 4"),
        ("image", "no WebAssembly component"),
        ("layers", "2 layers"),
        ("large", "at most 1000000"),
        ("list", "name one of them by its digest"),
        ("missing", "nothing at /v2/plugins/good/blobs/"),
        ("changed", "it was changed"),
        ("longer", "more than"),
        ("nowhere", "nothing at /v2/plugins/good/manifests/nowhere"),
    ] {
        assert_refused(&server, &json!({"from": registry.name(&format!(":{tag}"))}), part);
    }
    let tag = registry.name(":good");
    assert_refused(&server, &json!({"from": tag, "digest": digest(b"another")}), "not what was meant");
    assert_refused(&server, &json!({"from": tag, "digest": "sha256:12"}), "64 hex digits");
    assert_refused(&server, &json!({"from": "oci://nothing"}), "no repository");
    assert_refused(&server, &json!({"form": tag}), "not a plugin's place");
    assert_eq!(server.admin("GET", "/plugins", Vec::new()).ok(), json!([]));
    // A manifest that a digest names, and that is another.
    registry.put_manifest(&missing, &manifest_of(&guest));
    assert_refused(&server, &json!({"from": registry.name(&format!("@{missing}"))}), "it was changed");
    assert_eq!(install(&server, &json!({"from": tag, "digest": found})).0, 201);
}

#[test]
fn a_tag_that_moves_changes_nothing_of_what_was_found() {
    let registry = Registry::start();
    let bench = Bench::new().config(&registry.listed(""));
    let server = bench.start();
    let second = registry.put_component("2", &guest("good-v2"));
    let first = registry.put_component("1", &guest("good-v1"));
    registry.held().moves.insert("1".into(), second);
    let tag = registry.name(":1");
    let (status, installed) = install(&server, &json!({"from": tag}));
    // It moved as soon as it was asked for.
    assert_eq!((status, &installed["source"]["digest"]), (201, &json!(first)), "{installed}");
    assert_eq!(installed["digest"], digest(&guest("good-v1")).strip_prefix("sha256:").unwrap());
    assert_eq!(registry.count("GET /v2/plugins/good/manifests/1"), 1);
    assert_refused(&server, &json!({"from": tag, "digest": first}), "it was changed");
    assert_eq!(good(&server)["digest"], installed["digest"]);
}

#[test]
fn credentials_go_to_their_registry_alone() {
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    let bench = Bench::new()
        .config(&registry.listed("username = \"ann\"\npassword = \"s3cret\"\n"))
        .config(&elsewhere.listed(""));
    let server = bench.start();
    let found = registry.put_component("1", &guest("good-v1"));
    elsewhere.put_component("1", &guest("good-v1"));
    {
        let mut held = registry.held();
        held.account = Some(("ann".into(), "s3cret".into()));
        held.blobs_at = Some(elsewhere.host.clone());
    }
    let (status, installed) = install(&server, &json!({"from": registry.name(":1")}));
    assert_eq!((status, &installed["source"]["digest"]), (201, &json!(found)), "{installed}");
    let asked = registry.held().asked.clone();
    let begins = |authorization: &Option<String>| {
        authorization.as_deref().and_then(|text| text.split(' ').next()).unwrap_or("-").to_owned()
    };
    let told: Vec<_> =
        asked.iter().map(|asked| (asked.what.as_str(), begins(&asked.authorization))).collect();
    let blob = format!("GET /v2/plugins/good/blobs/{}", digest(&guest("good-v1")));
    let expected = [
        ("GET /v2/plugins/good/manifests/1", "-"),
        ("GET /token", "Basic"),
        ("GET /v2/plugins/good/manifests/1", "Bearer"),
        (blob.as_str(), "Bearer"),
    ];
    assert_eq!(told, expected.map(|(what, how)| (what, how.to_owned())));
    let asked = elsewhere.held().asked.clone();
    assert!(matches!(asked.as_slice(), [one] if one.authorization.is_none()), "{asked:?}");

    // A blob's host that asks for credentials itself gets none.
    elsewhere.held().account = Some(("ann".into(), "s3cret".into()));
    assert_refused(&server, &json!({"from": registry.name(":1")}), "401");
    assert!(elsewhere.held().asked.iter().all(|asked| asked.authorization.is_none()));
    registry.held().account = Some(("ann".into(), "changed".into()));
    assert_refused(&server, &json!({"from": registry.name(":1")}), "the setting registries");
}

#[test]
fn what_waits_for_grants_is_known_by_its_place_once_it_has_them() {
    let registry = Registry::start();
    let found = registry.put_component("folder", &guest("wants-folder"));
    let bench = Bench::new().config(&registry.listed(""));
    let server = bench.start();
    let from = registry.name(":folder");
    assert_refused(&server, &json!({"from": from}), "is stored but does not run");
    let cards = tempfile::tempdir().unwrap();
    let grants = json!({"folders": {"wildcards": cards.path()}}).to_string();
    let granted = server.admin_json("PUT", "/plugins/wants-folder/grants", &grants).ok();
    assert_eq!(granted["source"], json!({"from": from, "digest": found}));
}

#[test]
fn what_is_not_listed_is_asked_nothing_where_it_is_private() {
    let registry = Registry::start();
    registry.put_component("1", &guest("good-v1"));
    let bench = Bench::new();
    let server = bench.start();
    assert_refused(&server, &json!({"from": registry.name(":1")}), "the setting registries");
    let web = format!("https://{}/good.wasm", registry.host);
    assert_refused(&server, &json!({"from": web}), "by its digest alone");
    assert_refused(&server, &json!({"from": web, "digest": digest(b"")}), "may not be asked");
    assert!(registry.held().asked.is_empty());

    // A public registry, as it were, that shows the way to what is private: only what is listed may be asked.
    let shows = Registry::start();
    shows.put_component("1", &guest("good-v1"));
    shows.held().blobs_at = Some(registry.host.clone());
    let bench = Bench::new().config(&shows.listed("")).config("[registries.\"127.0.0.1:1\"]\n");
    let server = bench.start();
    assert_refused(&server, &json!({"from": shows.name(":1")}), "may not be asked");
    assert!(registry.held().asked.is_empty());
    let (status, reply) = install(&server, &json!({"from": "oci://127.0.0.1:1/plugins/good"}));
    assert_eq!((status, &reply["code"]), (503, &json!("unavailable")), "{reply}");
}

#[test]
fn a_file_of_the_web_is_taken_by_its_digest_and_a_registry_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start_tls(folder.path());
    let file = guest("good-v1");
    registry.put_file("/good.wasm", &file);
    registry.put_component("2", &guest("good-v2"));
    let bench = Bench::new().config(&format!("[registries.{:?}]\n", registry.host));
    let mut command = bench.command();
    command.env("SSL_CERT_FILE", folder.path().join("certificate.pem"));
    let server = bench.start_with(command);
    let from = format!("https://{}/good.wasm", registry.host);
    assert_refused(&server, &json!({"from": from, "digest": digest(b"another")}), "it was changed");
    let body = json!({"from": from, "digest": digest(&file)});
    let (status, installed) = install(&server, &body);
    assert_eq!((status, &installed["source"]), (201, &body), "{installed}");
    let (status, installed) = install(&server, &json!({"from": registry.name(":2")}));
    assert_eq!((status, &installed["previous"]["source"]), (201, &body), "{installed}");
}
