//! A server that takes plugins of trusted keys alone.

use std::path::Path;
use std::process::Command;

use crate::support::{Bench, component, run};

fn plugin(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesso"));
    command.arg("plugin").args(arguments);
    run(command)
}

/// Makes a key: its file's name, and its public half.
fn key(home: &Path, name: &str) -> (String, String) {
    let file = home.join(name).to_str().unwrap().to_owned();
    let (code, output, errors) = plugin(&["keygen", &file]);
    assert_eq!(code, 0, "{errors}");
    (file, output.lines().last().unwrap().to_owned())
}

#[test]
fn only_what_a_trusted_key_signed_is_loaded() {
    let home = tempfile::tempdir().unwrap();
    let (trusted, public) = key(home.path(), "trusted");
    let (stranger, strange) = key(home.path(), "stranger");
    let file = home.path().join("good.wasm");
    let place = file.to_str().unwrap();
    std::fs::copy(component("guests", "good-v1"), &file).unwrap();
    let (code, _, errors) = plugin(&["verify", place]);
    assert!(code == 1 && errors.contains("is not signed"), "{errors}");
    let (code, _, errors) = plugin(&["keygen", &trusted]);
    assert!(code == 1 && errors.contains("name another file"), "{errors}");
    let nowhere = home.path().join("manifest.json");
    let (code, _, errors) = plugin(&["pack", place, "--manifest", nowhere.to_str().unwrap()]);
    assert!(code == 1 && errors.contains("--manifest names the file"), "{errors}");

    let bench = Bench::new().config(&format!("plugin_keys = [\"{public}\"]\n"));
    std::fs::copy(&file, bench.plugins.path().join("good.wasm")).unwrap();
    let server = bench.start();
    let upload = || {
        let reply = server.admin("POST", "/plugins", std::fs::read(&file).unwrap());
        (reply.status, reply.json())
    };
    // What lies in the folder is held to the same rule.
    let listed = server.admin("GET", "/plugins", Vec::new()).ok();
    assert!(listed.to_string().contains("it is not signed"), "{listed}");
    let (status, refusal) = upload();
    assert!(
        status == 400 && refusal["message"].as_str().unwrap().contains("not signed"),
        "{status} {refusal}"
    );
    assert_eq!(plugin(&["sign", place, "--key", &stranger]).0, 0);
    let (status, refusal) = upload();
    assert!(status == 400 && refusal["message"].as_str().unwrap().contains(&strange), "{status} {refusal}");
    assert_eq!(plugin(&["sign", place, "--key", &trusted]).0, 0);
    let (status, accepted) = upload();
    assert_eq!((status, accepted["signed_by"].as_str()), (201, Some(public.as_str())), "{accepted}");
    assert_eq!(plugin(&["verify", place, "--key", &public]).0, 0);
    let (code, _, errors) = plugin(&["verify", place, "--key", &strange]);
    assert!(code == 1 && errors.contains("give it as --key"), "{errors}");

    let mut changed = std::fs::read(&file).unwrap();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&file, changed).unwrap();
    let (code, _, errors) = plugin(&["verify", place]);
    assert!(code == 1 && errors.contains("changed after it was signed"), "{errors}");
}

#[test]
fn a_key_that_is_none_ends_the_start() {
    let bench = Bench::new().config("plugin_keys = [\"abc\"]\n");
    let (code, _, errors) = run(bench.command());
    assert!(code == 2 && errors.contains("plugin_keys: a key is 64 hex digits"), "{errors}");
}
