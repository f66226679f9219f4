//! Decides from a component's imports and an admin's grants whether it may load at all. Called at load, before
//! anything is compiled. Refuses to know how a grant is carried out.

use crate::inspect::Inspection;
use crate::manifest::API_VERSIONS;
use crate::settings::Grants;

/// The version that brought most interfaces a plugin may import, and those that came later with theirs.
const INTERFACES_VERSION: &str = "0.1.0";
const LATER: [(&str, &str); 9] = [
    ("gesso:plugin/checkpoints", "0.2.0"),
    ("gesso:plugin/inference", "0.2.0"),
    ("gesso:plugin/models", "0.2.0"),
    ("gesso:plugin/pictures", "0.2.0"),
    ("gesso:plugin/steps", "0.2.0"),
    ("gesso:plugin/tensors", "0.2.0"),
    (ASSETS, "0.2.0"),
    (KV, "0.2.0"),
    (BLOBS, "0.2.0"),
];
/// Newest WASI 0.2 whose interfaces this host links (wasmtime-wasi 48).
pub(crate) const WASI_VERSION: &str = "0.2.12";

/// WASI interfaces every plugin gets. The file system has no folder in it and standard streams end in the plugin's
/// log; the standard libraries of guest languages import both without being asked.
const OFFERED: [&str; 29] = [
    // Are the plugin's own.
    ASSETS,
    "gesso:plugin/call",
    "gesso:plugin/images",
    // Draws only while a request is drawn.
    "gesso:plugin/inference",
    // Has no network without a grant, and says so: most plugins have something to do without one.
    "gesso:plugin/models",
    // Types alone, as `pictures`, `steps` and `types`.
    "gesso:plugin/checkpoints",
    "gesso:plugin/pictures",
    "gesso:plugin/steps",
    // Has tensors within a step alone, and reads them with a grant.
    "gesso:plugin/tensors",
    "gesso:plugin/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
];
const OFFERED_RANDOM: [&str; 2] = ["wasi:random/insecure", "wasi:random/insecure-seed"];
const ASSETS: &str = "gesso:plugin/assets";
const KV: &str = "gesso:plugin/kv";
const BLOBS: &str = "gesso:plugin/blobs";
const FOLDERS: &str = "gesso:plugin/folders";
const OUTGOING: &str = "wasi:http/outgoing-handler";

/// Why a component may not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// Where all of them are `grantable`, giving them makes it load.
    #[error("it needs grants it does not have: {}", wishes.join(", "))]
    Missing { wishes: Vec<String>, grantable: bool },
    /// No grant helps.
    #[error("it imports what this host does not offer: {}", .0.join(", "))]
    Unknown(Vec<String>),
}

/// Checks every import; reports all that are missing at once.
pub(crate) fn check(inspection: &Inspection, grants: &Grants) -> Result<(), Denied> {
    let (mut missing, mut unknown, mut grantable) = (Vec::new(), Vec::new(), true);
    for import in &inspection.imports {
        let (interface, version) = import.split_once('@').unwrap_or((import, ""));
        let package = interface.split('/').next().unwrap_or_default();
        if interface == FOLDERS {
            missing.extend(missing_folders(inspection, grants));
        } else if interface == OUTGOING {
            missing.extend(missing_hosts(inspection, grants));
        } else if (interface == KV || interface == BLOBS) && wrong_version(interface, version).is_none() {
            missing.extend(missing_store(interface, inspection, grants));
        } else if package == "wasi:sockets" {
            grantable = false;
            // All its interfaces are one wish in the list.
            let wish = format!(
                "sockets ({package}), which nothing grants; {OUTGOING} asks hosts that an admin grants"
            );
            if !missing.contains(&wish) {
                missing.push(wish);
            }
        } else if !is_offered(interface) {
            let versions = API_VERSIONS.join(" and ");
            unknown
                .push(format!("{import} (the host offers gesso:plugin {versions}, and WASI {WASI_VERSION})"));
        } else if let Some(offer) = wrong_version(interface, version) {
            unknown.push(format!("{import} (the host offers {package}@{offer})"));
        }
    }
    match (unknown.is_empty(), missing.is_empty()) {
        (false, _) => Err(Denied::Unknown(unknown)),
        (true, false) => Err(Denied::Missing { wishes: missing, grantable }),
        (true, true) => Ok(()),
    }
}

fn missing_folders(inspection: &Inspection, grants: &Grants) -> Vec<String> {
    let wanted = &inspection.manifest.wants.folders;
    if wanted.is_empty() && grants.folders.is_empty() {
        return vec![format!("any folder ({FOLDERS}; its manifest names none)")];
    }
    let without = wanted.iter().filter(|name| !grants.folders.contains_key(*name));
    without.map(|name| format!("folder `{name}` ({FOLDERS})")).collect()
}

/// Any host will do for the admin who knows better than the manifest.
fn missing_hosts(inspection: &Inspection, grants: &Grants) -> Option<String> {
    if !grants.hosts.is_empty() {
        return None;
    }
    let wanted = &inspection.manifest.wants.hosts;
    let hosts = if wanted.is_empty() { "any".to_owned() } else { wanted.join(" ") };
    Some(format!("hosts `{hosts}` ({OUTGOING})"))
}

/// Any amount will do, as with hosts.
fn missing_store(interface: &str, inspection: &Inspection, grants: &Grants) -> Option<String> {
    let wants = &inspection.manifest.wants;
    let (grant, wanted, granted) = if interface == KV {
        ("kv_bytes", wants.kv_bytes, grants.kv_bytes)
    } else {
        ("blob_bytes", wants.blob_bytes, grants.blob_bytes)
    };
    match (granted, wanted) {
        (0, 0) => Some(format!("`{grant}` ({interface}; its manifest names no amount)")),
        (0, wanted) => Some(format!("`{grant}` {wanted} ({interface})")),
        _ => None,
    }
}

fn is_offered(interface: &str) -> bool {
    OFFERED.contains(&interface)
        || OFFERED_RANDOM.contains(&interface)
        || interface == KV
        || interface == BLOBS
}

/// The offered version where `version` does not fit it. A guest built for a smaller patch or minor of WASI 0.2
/// links; a newer one might miss functions, which linking then names.
fn wrong_version(interface: &str, version: &str) -> Option<&'static str> {
    if interface.starts_with("gesso:plugin/") {
        let later = LATER.iter().find(|(name, _)| *name == interface);
        let offered = later.map_or(INTERFACES_VERSION, |(_, since)| since);
        return (version != offered).then_some(offered);
    }
    (!version.starts_with("0.2.")).then_some(WASI_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use std::path::PathBuf;

    fn verdict(imports: &[&str], wants: &[&str], granted: &[&str]) -> Result<(), String> {
        let folders = serde_json::to_string(wants).unwrap();
        let manifest = format!(
            r#"{{"id":"a","version":"1.0.0","api":"0.1.0","worlds":["request-hook"],"wants":{{"folders":{folders}}}}}"#
        );
        let inspection = Inspection {
            manifest: Manifest::parse(manifest.as_bytes()).unwrap(),
            imports: imports.iter().map(|&name| name.to_owned()).collect(),
            assets: crate::assets::Assets::default(),
        };
        let folders = granted.iter().map(|&name| (name.to_owned(), PathBuf::from("/x"))).collect();
        check(&inspection, &Grants { folders, ..Grants::default() }).map_err(|denied| denied.to_string())
    }

    #[test]
    fn an_ordinary_guest_needs_no_grant() {
        assert_eq!(
            verdict(&["gesso:plugin/call@0.1.0", "wasi:io/streams@0.2.6", "wasi:cli/exit@0.2.0"], &[], &[]),
            Ok(())
        );
    }

    #[test]
    fn lists_every_missing_grant_in_one_sentence() {
        let error = verdict(
            &[
                "gesso:plugin/folders@0.1.0",
                "wasi:http/outgoing-handler@0.2.3",
                "wasi:sockets/tcp@0.2.6",
                "wasi:sockets/udp@0.2.6",
            ],
            &["wildcards", "styles"],
            &["styles"],
        )
        .unwrap_err();
        assert_eq!(
            error,
            "it needs grants it does not have: folder `wildcards` (gesso:plugin/folders), hosts `any` \
             (wasi:http/outgoing-handler), sockets (wasi:sockets), which nothing grants; wasi:http/outgoing-handler \
             asks hosts that an admin grants"
        );
    }

    #[test]
    fn a_granted_folder_is_enough_even_where_the_manifest_names_none() {
        assert!(verdict(&["gesso:plugin/folders@0.1.0"], &[], &[]).is_err());
        assert_eq!(verdict(&["gesso:plugin/folders@0.1.0"], &[], &["any"]), Ok(()));
    }

    #[test]
    fn what_is_kept_waits_for_bytes_and_what_is_carried_for_nothing() {
        let manifest = r#"{"id":"a","version":"1.0.0","api":"0.2.0","worlds":["http-handler"],"wants":{"kv_bytes":4096}}"#;
        let imports = ["gesso:plugin/kv@0.2.0", "gesso:plugin/blobs@0.2.0", "gesso:plugin/assets@0.2.0"];
        let inspection = Inspection {
            manifest: Manifest::parse(manifest.as_bytes()).unwrap(),
            imports: imports.map(str::to_owned).to_vec(),
            assets: crate::assets::Assets::default(),
        };
        assert_eq!(
            check(&inspection, &Grants::default()).unwrap_err().to_string(),
            "it needs grants it does not have: `kv_bytes` 4096 (gesso:plugin/kv), `blob_bytes` \
             (gesso:plugin/blobs; its manifest names no amount)"
        );
        let grants = Grants { kv_bytes: 1, blob_bytes: 1, ..Grants::default() };
        assert_eq!(check(&inspection, &grants), Ok(()));
        assert!(verdict(&["gesso:plugin/kv@0.1.0"], &[], &[]).unwrap_err().contains("gesso:plugin@0.2.0"));
    }

    #[test]
    fn names_an_unknown_import_and_what_the_host_offers() {
        let imports = [
            "wasi:nn/tensor@0.2.0",
            "gesso:plugin/dreams@0.3.0",
            "gesso:plugin/call@0.2.0",
            "wasi:io/poll@0.3.0",
        ];
        let error = verdict(&imports, &[], &[]).unwrap_err();
        assert_eq!(verdict(&["gesso:plugin/inference@0.2.0"], &[], &[]), Ok(()));
        assert!(verdict(&["gesso:plugin/inference@0.1.0"], &[], &[]).is_err());
        for part in [
            "wasi:nn/tensor@0.2.0 (the host offers gesso:plugin 0.1.0 and 0.2.0, and WASI 0.2.12)",
            "gesso:plugin/dreams@0.3.0 (the host offers gesso:plugin 0.1.0 and 0.2.0, and WASI 0.2.12)",
            "gesso:plugin/call@0.2.0 (the host offers gesso:plugin@0.1.0)",
            "wasi:io/poll@0.3.0 (the host offers wasi:io@0.2.12)",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
