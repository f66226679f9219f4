//! Builds the guests, which are workspaces of their own for `wasm32-wasip2`: first-party plugins into
//! `.gesso/plugins/<id>.wasm`, the example plugins into `.gesso/examples/<id>.wasm`, the tests' guests into `.gesso/guests/<case>.wasm`. Knows nothing of what they do.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::guest_toolchain::{GuestToolchain, TARGET};
use crate::paths::Paths;
use crate::process::{metadata, run};
use crate::stages::Stages;

/// Builds plugins and test guests into .gesso/plugins and .gesso/guests (2 min the first time, then seconds)
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn command(_: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let toolchain = match GuestToolchain::find() {
        Some(found) => found,
        None => GuestToolchain::install()?,
    };
    let mut stages = Stages::new(1);
    stages.run("guests", "about 2 min the first time, then seconds", || build(&paths, toolchain))?;
    stages.finish()
}

/// Workspaces of guests, as folders of the checkout.
pub(crate) const WORKSPACES: [&str; 3] = ["plugins", "examples/plugins", "tests/components"];

pub(crate) fn build(paths: &Paths, toolchain: GuestToolchain) -> Result<()> {
    for (workspace, into) in WORKSPACES.iter().zip([paths.plugins(), paths.examples(), paths.guests()]) {
        let folder = paths.root.join(workspace);
        if !folder.join("Cargo.toml").exists() {
            bail!("{} has no Cargo.toml: is the checkout complete?", folder.display());
        }
        let manifest = folder.join("Cargo.toml");
        let mut cargo = toolchain.cargo(&paths.root, &paths.target, "build");
        run(cargo.arg("--quiet").arg("--workspace").arg("--manifest-path").arg(manifest))
            .with_context(|| format!("the guests in {workspace} did not build"))?;
        let built = paths.target.join("guests").join(TARGET).join("release");
        let mut components = components(&metadata(&folder, &["--no-deps"])?, &built);
        components.extend(ready_made(&folder)?);
        publish(&components, &into)?;
    }
    Ok(())
}

/// Package name to artefact, for every package with a `cdylib`.
fn components(metadata: &serde_json::Value, built: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["crate_types"].as_array().into_iter().flatten();
            if let (true, Some(package), Some(target)) = (
                kinds.into_iter().any(|kind| kind == "cdylib"),
                package["name"].as_str(),
                target["name"].as_str(),
            ) {
                found.insert(package.to_owned(), built.join(format!("{}.wasm", target.replace('-', "_"))));
            }
        }
    }
    found
}

/// Cases that no compiler makes: `<case>/<case>.wasm` in the checkout.
fn ready_made(workspace: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(workspace)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let file = workspace.join(&name).join(format!("{name}.wasm"));
        if file.is_file() {
            found.push((name, file));
        }
    }
    Ok(found)
}

/// Makes `folder` hold these components. A file is replaced by rename and only when its content changed, since a
/// server may be watching; one that an earlier build put there and this one lacks goes; other files stay.
fn publish(components: &BTreeMap<String, PathBuf>, folder: &Path) -> Result<()> {
    const LIST: &str = ".built";
    fs::create_dir_all(folder)?;
    for (id, artefact) in components {
        let bytes = fs::read(artefact).with_context(|| format!("{} was not built", artefact.display()))?;
        let file = folder.join(format!("{id}.wasm"));
        if fs::read(&file).is_ok_and(|old| old == bytes) {
            continue;
        }
        let partial = folder.join(format!("{id}.wasm.partial"));
        fs::write(&partial, bytes)?;
        fs::rename(partial, &file)?;
        println!("      {}", file.display());
    }
    for stale in fs::read_to_string(folder.join(LIST)).unwrap_or_default().lines() {
        if !components.contains_key(stale) {
            match fs::remove_file(folder.join(format!("{stale}.wasm"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => println!("      removed {stale}"),
            }
        }
    }
    let list: Vec<&str> = components.keys().map(String::as_str).collect();
    Ok(fs::write(folder.join(LIST), list.join("\n"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishes_changes_drops_what_it_once_built_and_leaves_other_files() {
        let built = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let artefact = |name: &str, text: &str| {
            let file = built.path().join(name);
            fs::write(&file, text).unwrap();
            (name.to_owned(), file)
        };
        publish(&BTreeMap::from([artefact("a", "1"), artefact("b", "1")]), folder.path()).unwrap();
        fs::write(folder.path().join("mine.wasm"), "mine").unwrap();
        publish(&BTreeMap::from([artefact("a", "2")]), folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a.wasm")).unwrap(), "2");
        assert!(!folder.path().join("b.wasm").exists());
        assert!(folder.path().join("mine.wasm").exists());
    }

    #[test]
    fn finds_the_packages_that_are_components() {
        let metadata = serde_json::json!({"packages": [
            {"name": "hello-api", "targets": [{"name": "hello_api", "crate_types": ["cdylib", "rlib"]}]},
            {"name": "gesso-plugin", "targets": [{"name": "gesso_plugin", "crate_types": ["lib"]}]},
        ]});
        let found = components(&metadata, Path::new("out"));
        assert_eq!(found, BTreeMap::from([("hello-api".to_owned(), PathBuf::from("out/hello_api.wasm"))]));
    }
}
