//! Python packages for checks, installed into a folder of the cache: no virtual environment, so no `python3-venv`,
//! and nothing in the system's own Python. Users of the server never need them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::process::{capture, run};

/// The folder with what the file `requirements` asks for, for `PYTHONPATH`. Its name holds the Python version and
/// the hash of the file, so that a change of either makes a new one.
pub(crate) fn packages(cache: &Path, name: &str, requirements: &Path) -> Result<PathBuf> {
    let wanted =
        fs::read(requirements).with_context(|| format!("{} cannot be read", requirements.display()))?;
    let version = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = capture(Command::new("python3").args(["-c", version]))?;
    let folder = cache.join("python").join(format!("{name}-{}-py{}", short_hash(&wanted), version.trim()));
    if folder.is_dir() {
        return Ok(folder);
    }
    let staging = folder.with_added_extension("partial");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    let temporary = staging.join("tmp");
    fs::create_dir_all(&temporary)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--no-cache-dir", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--no-warn-conflicts", "--requirement"])
        .arg(requirements)
        .arg("--target")
        .arg(&staging)
        .env("TMPDIR", &temporary)
        .env("PIP_ROOT_USER_ACTION", "ignore");
    run(&mut pip)
        .with_context(|| format!("the Python packages of {} were not installed", requirements.display()))?;
    fs::remove_dir_all(&temporary)?;
    fs::rename(&staging, &folder)?;
    Ok(folder)
}

/// Tells one version of a file from another.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
