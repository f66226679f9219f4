//! Plugins through a registry that others wrote: CNCF's distribution, with an account, as Debian packages it. `cargo xtask test`
//! fetches it. What a registry may do wrong is in `remote.rs`, with one that is made up.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::registry::{MANIFEST, digest};
use crate::support::{Bench, Reply, checkout, component, request, run};

/// Name and password, and the latter as the registry keeps it: bcrypt's, with the least cost.
const ACCOUNT: (&str, &str) = ("ann", "s3cret");
const KEPT: &str = "ann:$2b$04$Inj4sKlMZg4T8NIumWNeU.wUYDNVM7ODzJwmYx4mcWiSlLOLr9QE.\n";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running registry, killed when dropped, and its folder.
struct Distribution {
    child: Child,
    /// Host and port.
    host: String,
    home: TempDir,
}

impl Distribution {
    /// `None` where this machine has none; one that runs `.ci/run` has.
    fn start() -> Option<Self> {
        let program = checkout().join(".gesso/registry/usr/bin/docker-registry");
        if !program.is_file() {
            assert!(std::env::var_os("CI").is_none(), "{} is missing: `cargo xtask test`", program.display());
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let place = |name: &str| home.path().join(name);
        std::fs::write(place("accounts"), KEPT).unwrap();
        let settings = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": place("data")}},
            "http": {"addr": "127.0.0.1:0"},
            "auth": {"htpasswd": {"realm": "a test", "path": place("accounts")}},
        });
        // What is JSON is YAML too.
        std::fs::write(place("settings.yml"), settings.to_string()).unwrap();
        let mut command = Command::new(program);
        command.arg("serve").arg(place("settings.yml")).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (host_tx, host_rx) = mpsc::channel();
        let said = child.stderr.take().unwrap();
        // Read to its end, so that the registry never waits for room to write.
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if let Some((_, told)) = line.split_once("listening on ") {
                    let host: String =
                        told.chars().take_while(|letter| !['"', ' '].contains(letter)).collect();
                    host_tx.send(host).ok();
                }
            }
        });
        let host = host_rx.recv_timeout(START_LIMIT);
        let started = Self { child, host: host.unwrap_or_default(), home };
        assert!(!started.host.is_empty(), "the registry did not come up");
        Some(started)
    }

    /// A name in its one repository: `:1`, or `@sha256:…`.
    fn name(&self, version: &str) -> String {
        format!("oci://{}/plugins/good{version}", self.host)
    }

    /// For a settings file.
    fn listed(&self, with_account: bool) -> String {
        let (name, password) = ACCOUNT;
        let account = format!("username = {name:?}\npassword = {password:?}\n");
        let account = if with_account { account.as_str() } else { "" };
        format!("[registries.{:?}]\nplain_http = true\n{account}", self.host)
    }

    /// What it has itself at `path` below the repository, without Gesso between.
    fn get(&self, path: &str) -> Reply {
        let (name, password) = ACCOUNT;
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
        let url = format!("http://{}/v2/plugins/good/{path}", self.host);
        request("GET", &url, &[("authorization", &basic), ("accept", MANIFEST)], Vec::new())
    }

    /// Where it keeps a blob.
    fn file_of(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.home.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn push(guest: &str, name: &str, settings: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesso"));
    command.args(["plugin", "push"]).arg(component("guests", guest)).arg(name);
    command.arg("--config").arg(settings);
    run(command)
}

#[test]
fn what_is_pushed_to_a_registry_of_others_is_installed_by_tag_and_by_digest() {
    let Some(registry) = Distribution::start() else {
        println!("left out: `cargo xtask test` fetches a registry where there is apt-get");
        return;
    };
    let bench = Bench::new().config(&registry.listed(true));
    let server = bench.start();
    let settings = bench.data.path().join("test-settings.toml");
    let stranger = registry.home.path().join("stranger.toml");
    std::fs::write(&stranger, registry.listed(false)).unwrap();
    let (first, second) = (registry.name(":1"), registry.name(":2"));

    let (code, _, errors) = push("good-v1", &first, &stranger);
    assert!(code == 1 && errors.contains("401") && errors.contains("the setting registries"), "{errors}");
    let pushed = |guest: &str, name: &str| {
        let (code, output, errors) = push(guest, name, &settings);
        assert_eq!(code, 0, "{errors}");
        output.trim().rsplit(' ').next().unwrap().to_owned()
    };
    let (old, new) = (pushed("good-v1", &first), pushed("good-v2", &second));
    // The registry has the same digests for them, and the same bytes.
    let manifest = registry.get("manifests/1");
    assert_eq!((manifest.status, manifest.header("docker-content-digest")), (200, old.as_str()));
    let layer = manifest.json()["layers"][0]["digest"].as_str().unwrap().to_owned();
    let bytes = std::fs::read(component("guests", "good-v1")).unwrap();
    assert_eq!((layer.as_str(), &registry.get(&format!("blobs/{layer}")).body), (&*digest(&bytes), &bytes));

    let install = |body: Value| {
        let reply = server.admin_json("POST", "/plugins", &body.to_string());
        (reply.status, reply.json())
    };
    let refused = |body: Value, says: &str| {
        let (status, reply) = install(body);
        let message = reply["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(says), "{says:?} is not in {status} {reply}");
    };
    let data = bench.data.path().to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesso"));
    command.args(["plugin", "--url", &server.url, "--data", data, "install", &second]);
    let (code, output, errors) = run(command);
    assert!(code == 0 && output.contains(&new), "{output} {errors}");
    let pinned = registry.name(&format!("@{old}"));
    let (status, installed) = install(json!({"from": pinned}));
    assert_eq!((status, &installed["source"]), (201, &json!({"from": pinned, "digest": old})), "{installed}");
    assert_eq!(installed["digest"], digest(&bytes).strip_prefix("sha256:").unwrap());
    assert_eq!(installed["previous"]["source"], json!({"from": second, "digest": new}));

    // The tag goes on to another build; the digest stays with its own.
    assert_eq!(pushed("good-v2", &first), new);
    refused(json!({"from": first, "digest": old}), "not what was meant");
    let both = registry.name(&format!(":1@{old}"));
    assert_eq!(install(json!({"from": both})).1["source"]["digest"], json!(old));
    assert_eq!(install(json!({"from": first})).1["source"]["digest"], json!(new));
    refused(json!({"from": registry.name(":3")}), "has nothing at /v2/plugins/good/manifests/3");

    // Somebody changes what lies there.
    let file = registry.file_of(&layer);
    let mut changed = std::fs::read(&file).unwrap();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&file, changed).unwrap();
    refused(json!({"from": pinned}), "it was changed");
    let serving = server.admin("GET", "/plugins/good", Vec::new()).ok();
    assert_eq!(serving["source"]["digest"], json!(new));
}
