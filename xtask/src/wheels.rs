//! The wheels libtorch is taken from, pinned by version, hash and size, and their download through pip.
//! Called by `libtorch`; knows nothing of what is inside a wheel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::meter::{Meter, Unit};
use crate::process::last_lines;

pub(crate) struct Wheel {
    pub(crate) requirement: &'static str,
    /// The file pip saves; the platform tags differ from wheel to wheel.
    pub(crate) file: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) bytes: u64,
}

/// Every tag the pinned wheels carry. They are named one by one because older pips do not take a wheel for an
/// older glibc when asked for a newer one.
const PLATFORMS: [&str; 8] = [
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_25_x86_64",
    "manylinux_2_18_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux_2_12_x86_64",
    "manylinux_2_5_x86_64",
];

/// Downloads what is missing into `folder` and returns the files in the order of `wheels`. A file under its final
/// name was checked by pip against its hash, so an interrupted run goes on with the wheel it was at.
pub(crate) fn download(folder: &Path, wheels: &[&Wheel]) -> Result<Vec<PathBuf>> {
    let pending = folder.join("pending");
    let total = wheels.iter().map(|wheel| wheel.bytes).sum();
    let mut meter = Meter::new("downloading", total, Unit::Bytes);
    let mut before = 0;
    let mut files = Vec::new();
    for wheel in wheels {
        let file = folder.join(wheel.file);
        if !file.exists() {
            if pending.exists() {
                fs::remove_dir_all(&pending)?;
            }
            fs::create_dir_all(&pending)?;
            pip_download(&pending, wheel, |bytes| meter.set(before + bytes.min(wheel.bytes)))?;
            fs::rename(pending.join(wheel.file), &file)
                .with_context(|| format!("pip saved no file named {}", wheel.file))?;
        }
        before += wheel.bytes;
        meter.set(before);
        files.push(file);
    }
    Ok(files)
}

/// One wheel into the empty folder `pending`; `progress` is told how many bytes lie there.
fn pip_download(pending: &Path, wheel: &Wheel, mut progress: impl FnMut(u64)) -> Result<()> {
    let requirements = pending.join("requirements.txt");
    fs::write(&requirements, format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.sha256))?;
    let log = pending.join("pip.log");
    let output = fs::File::create(&log)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"])
        .args(["--no-input", "--no-cache-dir", "--progress-bar", "off", "--disable-pip-version-check"])
        .args(["--python-version", "3.11", "--implementation", "cp"])
        .args(PLATFORMS.iter().flat_map(|tag| ["--platform", tag]))
        .arg("--requirement")
        .arg(&requirements)
        .arg("--dest")
        .arg(pending)
        // pip downloads into a temporary folder first: inside the cache, so that no other disk fills up.
        .env("TMPDIR", pending)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    let mut child = pip.spawn().context("python3 could not be started")?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        progress(folder_size(pending));
        std::thread::sleep(Duration::from_millis(200));
    };
    if !status.success() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!(
            "pip could not fetch {}. Check the network and pip's own settings (`python3 -m pip config list`), then \
             run the same command again; it goes on from here. pip said: {}",
            wheel.requirement,
            last_lines(&said, 2)
        );
    }
    Ok(())
}

/// Files may come and go while pip works, so what cannot be read counts as nothing.
fn folder_size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_that_is_already_there_is_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = Wheel { requirement: "nothing==0", file: "nothing.whl", sha256: "", bytes: 3 };
        fs::write(folder.path().join("nothing.whl"), b"abc").unwrap();
        let files = download(folder.path(), &[&wheel]).unwrap();
        assert_eq!(files, [folder.path().join("nothing.whl")]);
    }

    #[test]
    fn counts_the_bytes_of_nested_folders() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/a"), [0; 5]).unwrap();
        fs::write(folder.path().join("b"), [0; 2]).unwrap();
        assert_eq!(folder_size(folder.path()), 7);
    }
}
