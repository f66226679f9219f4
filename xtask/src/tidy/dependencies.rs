//! Which crate may name which: the direction of DESIGN's layout, and heavy libraries fenced into one crate each.

use serde_json::Value;

/// A library and the one crate of the workspace that may name it, tests included.
const FENCED: [(&str, &str); 9] = [
    ("tch", "gesso-torch"),
    ("torch-sys", "gesso-torch"),
    ("wasmtime", "gesso-plugin-host"),
    ("wasmtime-wasi", "gesso-plugin-host"),
    ("wasmtime-wasi-http", "gesso-plugin-host"),
    ("sled", "gesso-store"),
    ("object_store", "gesso-store"),
    ("cap-std", "gesso-store"),
    ("axum", "gesso"),
];

/// A crate and the crates of the workspace it may build on.
const DIRECTION: [(&str, &[&str]); 8] = [
    ("gesso-core", &[]),
    ("gesso-picture", &["gesso-core"]),
    ("gesso-engine", &["gesso-core"]),
    ("gesso-torch", &["gesso-core", "gesso-engine", "gesso-picture"]),
    ("gesso-store", &["gesso-core"]),
    ("gesso-plugin-host", &["gesso-core", "gesso-picture"]),
    (
        "gesso",
        &["gesso-core", "gesso-engine", "gesso-torch", "gesso-store", "gesso-plugin-host", "gesso-picture"],
    ),
    ("xtask", &[]),
];

/// Examples that may name a fenced library: the trainer teaches gesso-torch's networks and is no part of the host.
const BESIDE_OWNER: [(&str, &str); 1] = [("tch", "train-demo")];

/// What would bring a runtime, I/O or a wire format into the crate of words and arithmetic.
const NOT_IN_CORE: [&str; 6] = ["tokio", "futures", "async-trait", "serde", "serde_json", "tracing"];

pub(super) fn problems(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for package in members(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            found.extend(problem(name, on, dependency["kind"].is_null()));
        }
    }
    found
}

/// `shipped` is false for what only tests and build scripts use.
fn problem(name: &str, on: &str, shipped: bool) -> Option<String> {
    let fenced = |(library, owner): &&(&str, &str)| {
        *library == on && *owner != name && !BESIDE_OWNER.contains(&(on, name))
    };
    if let Some((_, owner)) = FENCED.iter().find(fenced) {
        return Some(format!("{name} names {on}, which is {owner}'s alone: go through {owner}"));
    }
    if name == "gesso-core" && shipped && NOT_IN_CORE.contains(&on) {
        return Some(format!("gesso-core names {on}: it has no async, no I/O and no wire formats"));
    }
    if on.starts_with("gesso") && on != name {
        let allowed =
            DIRECTION.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, allowed)| *allowed);
        // Packages that the table does not list (tests, examples) build on the server from outside.
        if allowed.is_some_and(|allowed| shipped && !allowed.contains(&on)) {
            return Some(format!("{name} builds on {on}, against the direction server → … → core"));
        }
    }
    None
}

fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let members = metadata["workspace_members"].as_array().into_iter().flatten().collect::<Vec<_>>();
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(move |package| members.contains(&&package["id"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fenced_library_is_named_by_its_owner_only() {
        assert_eq!(problem("gesso-torch", "tch", true), None);
        assert!(problem("gesso", "tch", false).unwrap().contains("gesso-torch's alone"));
        assert_eq!(problem("train-demo", "tch", true), None);
        assert!(problem("train-demo", "sled", true).is_some());
    }

    #[test]
    fn the_engine_does_not_know_the_torch_crate_nor_core_anyone() {
        assert!(problem("gesso-engine", "gesso-torch", true).is_some());
        assert!(problem("gesso-core", "gesso-engine", true).is_some());
        assert!(problem("gesso-core", "serde", true).is_some());
        assert_eq!(problem("gesso-core", "serde_json", false), None);
        assert_eq!(problem("gesso", "gesso-engine", true), None);
    }

    #[test]
    fn looks_at_members_and_not_at_what_they_depend_on() {
        let depends =
            |name: &str| json!({"name": name, "id": name, "dependencies": [{"name": "sled", "kind": null}]});
        let metadata =
            json!({"workspace_members": ["gesso"], "packages": [depends("gesso"), depends("elsewhere")]});
        assert_eq!(problems(&metadata).len(), 1);
    }
}
