//! What a plugin is built with, carried in this program and laid out beside the plugin's sources: the contract, the kit of the
//! language, and in Python and JavaScript the module that joins `plugin.py` or `plugin.js` to its world.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gesso_plugin_host::Wants;
use include_dir::{Dir, File, include_dir};

use super::project::Project;
use crate::settings::cli::plugin::Language;

/// In the plugin's folder. Made anew from this program, so it belongs into no repository.
pub(super) const FOLDER: &str = ".kit";

/// Where a plugin in Rust has the crate `gesso-plugin`, if it does not take that of a checkout.
pub(super) const SDK: &str = ".kit/sdk-plugin";

static CONTRACT: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
static PYTHON: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk-plugin/python");
static JS: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk-plugin/js");
static RUST: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk-plugin/src");
const RUST_PACKAGE: &str = include_str!("../../../../../sdk-plugin/Cargo.toml");
const RUST_WORKSPACE: &str = include_str!("../../../../../plugins/Cargo.toml");
/// What the manifest may say, and what the kits have.
const README: &str = include_str!("../../../../../sdk-plugin/README.md");

/// An interface that waits for a grant.
struct Granted {
    name: &'static str,
    /// Whether a world imports it.
    is_in: fn(&str) -> bool,
    /// The version of the contract that has it.
    since: &'static str,
    is_wanted: fn(&Wants) -> bool,
    /// Where plugins in these languages have it.
    place: &'static str,
}

static GRANTED: [Granted; 3] = [
    Granted {
        name: "folders",
        is_in: |world| world == "request-hook",
        since: "0.1.0",
        is_wanted: |wants| !wants.folders.is_empty(),
        place: "in the world request-hook alone",
    },
    Granted {
        name: "kv",
        is_in: has_stores,
        since: "0.2.0",
        is_wanted: |wants| wants.kv_bytes > 0,
        place: "in every world but request-hook and step-hook",
    },
    Granted {
        name: "blobs",
        is_in: has_stores,
        since: "0.2.0",
        is_wanted: |wants| wants.blob_bytes > 0,
        place: "in every world but request-hook and step-hook",
    },
];

/// A step hook is too short for what waits for a disk, and a request hook is of 0.1.0.
fn has_stores(world: &str) -> bool {
    !["request-hook", "step-hook"].contains(&world)
}

/// A path in the kit, from the plugin's folder.
pub(super) fn in_folder(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Writes the kit for the project's language, as far as it has one.
pub(super) fn lay_out(project: &Project) -> anyhow::Result<()> {
    match project.language {
        Language::Rust => lay_out_sdk(&project.folder),
        Language::Python | Language::Js => lay_out_for_world(project).map(drop),
    }
}

/// Writes the kit for the project's language and world, and names the world with package and version:
/// `gesso:plugin/script@0.2.0`.
pub(super) fn lay_out_for_world(project: &Project) -> anyhow::Result<String> {
    let worlds: Vec<_> = project.manifest.worlds_since().collect();
    let [(world, since)] = worlds[..] else {
        bail!(
            "the manifest names {} worlds; the kits for Python and JavaScript build one a plugin",
            worlds.len()
        );
    };
    let kit = project.folder.join(FOLDER);
    let is_wanted = |granted: &Granted| (granted.is_wanted)(&project.manifest.wants);
    if let Some(Granted { name, place, .. }) =
        GRANTED.iter().find(|granted| is_wanted(granted) && !(granted.is_in)(world))
    {
        bail!("the manifest wants {name}, which plugins in Python and JavaScript have {place}");
    }
    let unwanted: Vec<_> =
        GRANTED.iter().filter(|granted| !is_wanted(granted)).map(|granted| granted.name).collect();
    lay_out_contract(&kit.join("wit"), &unwanted)?;
    write(&kit.join("README.md"), README.as_bytes())?;
    match project.language {
        Language::Rust => bail!("a plugin in Rust may have several worlds, and no kit of one"),
        Language::Python => {
            for file in files(&PYTHON).filter(|file| file.path().starts_with("gesso_plugin")) {
                write(&kit.join(file.path()), file.contents())?;
            }
            let name = format!("worlds/{}.py", world.replace('-', "_"));
            write(&kit.join("entry.py"), entry(&PYTHON, &name, world)?)?;
        }
        Language::Js => {
            for file in files(&JS).filter(|file| file.path().parent() == Some(Path::new(""))) {
                write(&kit.join(file.path()), file.contents())?;
            }
            // An import cannot be looked for in JavaScript: it is there or the module does not start.
            let granted = GRANTED.iter().map(|granted| {
                let Granted { name, since, .. } = granted;
                if is_wanted(granted) {
                    format!("import {name} from \"gesso:plugin/{name}@{since}\";\n")
                } else {
                    format!("const {name} = null;\n")
                }
            });
            let granted: String = granted.collect();
            let joined = [granted.as_bytes(), entry(&JS, &format!("worlds/{world}.js"), world)?].concat();
            write(&kit.join("entry.js"), &joined)?;
        }
    }
    Ok(format!("gesso:plugin/{world}@{since}"))
}

fn entry(kit: &'static Dir, name: &str, world: &str) -> anyhow::Result<&'static [u8]> {
    let file = kit.get_file(name).with_context(|| {
        format!(
            "this kit has no world {world}; an HTTP API in Python or JavaScript is the world http-handler"
        )
    })?;
    Ok(file.contents())
}

/// The crate, and the contract where it looks for it, for a plugin that takes it from its own folder.
fn lay_out_sdk(folder: &Path) -> anyhow::Result<()> {
    let manifest = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("{} cannot be read", manifest.display()))?;
    if !text.contains(SDK) {
        return Ok(());
    }
    let sdk = folder.join(SDK);
    write(&sdk.join("Cargo.toml"), standalone(RUST_PACKAGE, RUST_WORKSPACE)?.as_bytes())?;
    write(&sdk.join("README.md"), README.as_bytes())?;
    for file in files(&RUST) {
        write(&sdk.join("src").join(file.path()), file.contents())?;
    }
    for file in files(&CONTRACT) {
        write(&folder.join(in_folder("wit")).join(file.path()), file.contents())?;
    }
    Ok(())
}

/// A package's manifest with what it has from its workspace written out, since it lies in no workspace of ours.
fn standalone(package: &str, workspace: &str) -> anyhow::Result<String> {
    let mut package: toml::Table = package.parse()?;
    let workspace: toml::Table = workspace.parse()?;
    for section in ["package", "dependencies"] {
        let shared = workspace.get("workspace").and_then(|workspace| workspace.get(section));
        let own = package.get_mut(section).and_then(toml::Value::as_table_mut);
        for (name, value) in own.into_iter().flatten() {
            if value.get("workspace").is_some() {
                let written = shared.and_then(|shared| shared.get(name.as_str())).cloned();
                *value = written.with_context(|| format!("the workspace has no {section}.{name}"))?;
            }
        }
    }
    package.remove("lints");
    package.remove("dev-dependencies");
    if let Some(own) = package.get_mut("package").and_then(toml::Value::as_table_mut) {
        own.remove("workspace");
    }
    Ok(toml::to_string(&package)?)
}

/// 0.2.0 as the package that the tools read, 0.1.0 and WASI as what it depends on.
fn lay_out_contract(wit: &Path, unwanted: &[&str]) -> anyhow::Result<()> {
    for file in files(&CONTRACT) {
        let name = file.path().file_name().context("a file of the contract has no name")?;
        let place = match file.path().strip_prefix("gesso-plugin-0.1.0") {
            Err(_) => wit.join(name),
            Ok(path) if path.starts_with("deps") => wit.join(path),
            Ok(path) => wit.join("deps/gesso-plugin-0.1.0").join(path),
        };
        let mut contents = file.contents().to_vec();
        if name == "worlds.wit" {
            // These languages import all that a world has; a component that imports folders or stores waits for a grant.
            contents = without(unwanted, &String::from_utf8_lossy(&contents)).into_bytes();
        }
        write(&place, &contents)?;
    }
    Ok(())
}

fn without(interfaces: &[&str], worlds: &str) -> String {
    let is_one = |line: &str| {
        let name = line.trim().strip_prefix("import ").and_then(|line| line.strip_suffix(';'));
        name.is_some_and(|name| interfaces.contains(&name))
    };
    worlds.lines().filter(|line| !is_one(line)).flat_map(|line| [line, "\n"]).collect()
}

fn files(folder: &'static Dir) -> impl Iterator<Item = &'static File<'static>> {
    let mut folders = vec![folder];
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        // Python leaves its bytecode beside sources that it has run.
        all.extend(folder.files().filter(|file| file.path().extension().is_none_or(|kind| kind != "pyc")));
    }
    all.into_iter()
}

/// Leaves a file alone that is right already.
fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    std::fs::write(path, contents).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_in_rust_finds_the_sdk_and_its_contract_in_its_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("Cargo.toml");
        std::fs::write(&own, "gesso-plugin = { path = \"../sdk-plugin\" }").unwrap();
        lay_out_sdk(folder.path()).unwrap();
        assert!(!folder.path().join(FOLDER).exists(), "it has one elsewhere");
        std::fs::write(&own, format!("gesso-plugin = {{ path = {SDK:?} }}")).unwrap();
        lay_out_sdk(folder.path()).unwrap();
        let sdk = folder.path().join(SDK);
        let text = std::fs::read_to_string(sdk.join("Cargo.toml")).unwrap();
        assert!(!text.contains("workspace"), "{text}");
        let manifest: toml::Table = text.parse().unwrap();
        assert_eq!(manifest["package"]["edition"].as_str(), Some("2024"));
        assert_eq!(manifest["dependencies"]["serde"]["features"][0].as_str(), Some("derive"));
        assert!(sdk.join("src/lib.rs").is_file() && sdk.join("src/fake/call.rs").is_file());
        // As `sdk-plugin/src/bindings.rs` has the path.
        assert!(sdk.join("../wit/gesso-plugin-0.1.0/worlds.wit").is_file());
        assert!(sdk.join("../wit/gesso-plugin-0.1.0/deps/http.wit").is_file());
    }

    #[test]
    fn a_world_loses_what_is_not_wanted_and_nothing_else() {
        let worlds = |version: &str| {
            let file = CONTRACT.get_file(format!("gesso-plugin-{version}/worlds.wit")).unwrap();
            file.contents_utf8().unwrap()
        };
        let first = without(&["folders", "kv", "blobs"], worlds("0.1.0"));
        assert_eq!(first.lines().count() + 1, worlds("0.1.0").lines().count());
        assert!(!first.contains("import folders") && first.contains("import call;"));
        let second = without(&["folders", "blobs"], worlds("0.2.0"));
        assert!(
            !second.contains("import blobs;")
                && second.contains("import kv;")
                && second.contains("import assets;")
        );
    }
}
