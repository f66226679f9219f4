//! A real OCI registry for the host's tests, CNCF's distribution: `.gesso/registry` holds what Debian's package has. It comes
//! from Debian's archive, whose signatures apt checks, and is unpacked without being installed: nothing is started, and no
//! rights are needed. Called by `test`; users of the server need none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::process::{capture, run, succeeds};
use crate::stages::Stages;

const PACKAGE: &str = "docker-registry";
/// Within the package.
const PROGRAM: &str = "usr/bin/docker-registry";
const TITLE: &str = "OCI registry";

pub(crate) fn stage(paths: &Paths, stages: &mut Stages) {
    let place = paths.registry();
    if place.join(PROGRAM).is_file() {
        stages.skip(TITLE, "already there");
    } else if succeeds(Command::new("apt-get").arg("--version")) {
        stages.attempt(TITLE, "5 MB to fetch the first time", || {
            let folder = paths.cache.join("registry");
            if !folder.is_dir() {
                unpack(&folder)?;
            }
            if place.is_symlink() {
                fs::remove_file(&place)?;
            }
            symlink(&folder, &place).with_context(|| place.display().to_string())
        });
    } else {
        stages.skip(TITLE, "no apt-get to fetch one with: the test of one is left out");
    }
}

fn unpack(folder: &Path) -> Result<()> {
    let staging = folder.with_added_extension("partial");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir_all(&staging)?;
    download(&staging)?;
    let mut files = fs::read_dir(&staging)?.filter_map(|file| Some(file.ok()?.path()));
    let package = files.find(|file| file.extension().is_some_and(|extension| extension == "deb"));
    let package = package.context("apt-get saved no package")?;
    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&staging))?;
    fs::remove_file(package)?;
    fs::rename(&staging, folder)?;
    Ok(())
}

fn download(folder: &Path) -> Result<()> {
    let fetch = || capture(Command::new("apt-get").args(["download", "-q", PACKAGE]).current_dir(folder));
    let Err(error) = fetch() else { return Ok(()) };
    // A container may have no list of what the archive has, or an old one.
    if !rustix::process::geteuid().is_root() {
        return Err(error.context("run `sudo apt-get update`, then the same command again"));
    }
    run(Command::new("apt-get").args(["update", "-q"]))?;
    fetch().map(drop)
}
