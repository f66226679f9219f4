//! What the machine must have before anything is fetched: disk, python3 with pip, a C++ compiler, a writable cache.
//! Each lack is one sentence with its remedy; as root on Debian the packages are installed instead.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{run, succeeds};
use crate::stages::size;

/// A program that must work, how to ask it, and the Debian package that brings it.
const NEEDS: [(&str, &[&str], &str); 3] = [
    ("g++", &["--version"], "g++"),
    ("python3", &["--version"], "python3"),
    ("python3", &["-m", "pip", "--version"], "python3-pip"),
];

pub(crate) fn check_platform() -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")),
        "set-up is made for x86-64 Linux with glibc: build there, or in a Debian 12 container"
    );
    Ok(())
}

pub(crate) fn missing_packages() -> Vec<&'static str> {
    let lacking =
        NEEDS.iter().filter(|(program, arguments, _)| !succeeds(Command::new(program).args(*arguments)));
    lacking.map(|(_, _, package)| *package).collect()
}

/// Installs the packages when it may; otherwise the error names the command to type.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let apt = succeeds(Command::new("apt-get").arg("--version"));
    if !apt {
        bail!(
            "missing: {list} (names of Debian's packages): install them with this system's package manager"
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "missing: {list}. Install with `sudo apt-get install -y {list}`, then run the same command again"
        );
    }
    println!("      installing {list}");
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt_get().args(["update", "-q"]))?;
    run(apt_get().args(["install", "-y", "-q", "--no-install-recommends"]).args(packages))?;
    let left = missing_packages();
    ensure!(left.is_empty(), "apt-get installed {list}, and yet {} does not run", left.join(" "));
    Ok(())
}

/// Makes `folder` and writes a file into it; the error says which variable chooses another.
pub(crate) fn check_writable(folder: &Path, remedy: &str) -> Result<()> {
    let probe = folder.join(".writable");
    fs::create_dir_all(folder)
        .and_then(|()| File::create(&probe))
        .and_then(|_| fs::remove_file(&probe))
        .with_context(|| format!("{} cannot be written: {remedy}", folder.display()))
}

/// `folder` may not exist yet; its nearest existing ancestor is asked.
pub(crate) fn check_room(folder: &Path, needed: u64, remedy: &str) -> Result<()> {
    let existing = folder.ancestors().find(|path| path.exists()).context("no existing folder to ask")?;
    let disk =
        rustix::fs::statvfs(existing).with_context(|| format!("{} has no disk", existing.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free >= needed,
        "{} has {} free and needs {}: {remedy}",
        folder.display(),
        size(free),
        size(needed)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_small_a_disk_is_one_sentence_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            check_room(&folder.path().join("not/yet"), u64::MAX, "make room").unwrap_err().to_string();
        assert!(error.contains("free and needs") && error.ends_with("make room"), "{error}");
        check_room(folder.path(), 1, "make room").unwrap();
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = check_writable(&file.join("cache"), "set GESSO_CACHE").unwrap_err().to_string();
        assert!(error.ends_with("cannot be written: set GESSO_CACHE"), "{error}");
        check_writable(&folder.path().join("new/cache"), "").unwrap();
    }
}
