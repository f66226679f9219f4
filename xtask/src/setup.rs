//! `cargo xtask setup`: everything a fresh clone needs before `cargo build`. Each stage looks whether it is done, so
//! a second run costs a second and an interrupted one goes on. Also the first stages of `demo`, `test` and `lint`.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::build_plugins;
use crate::guest_toolchain::{GuestToolchain, TARGET};
use crate::libtorch::{self, Flavour};
use crate::machine;
use crate::paths::Paths;
use crate::process::{cargo, run};
use crate::stages::{Stages, size};

/// Fetches libtorch, adds the guest target and builds the plugins (5 min the first time, then seconds)
///
/// Everything is kept in one cache folder: GESSO_CACHE, else XDG_CACHE_HOME/gesso, else ~/.cache/gesso. Run it again
/// at any time: finished stages are skipped, an interrupted download goes on with the file it was at. Downloaded
/// wheels are deleted once libtorch is laid out; to start over, delete the cache folder.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Take libtorch for NVIDIA GPUs with CUDA 13 (2.5 GB to fetch, 4 GB on disk)
    #[arg(long)]
    cuda: bool,
}

/// How many stages [`stages`] prints.
pub(crate) const STAGES: usize = 6;

const OTHER_CACHE: &str = "make room, or set GESSO_CACHE to a folder on another disk";
const OTHER_TARGET: &str = "make room, or set CARGO_TARGET_DIR to a folder on another disk";
const TARGET_BYTES: u64 = 8_000_000_000;

pub(crate) fn command(options: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let mut all = Stages::new(STAGES);
    let flavour = if options.cuda { Flavour::Cuda } else { Flavour::Cpu };
    run_stages(&paths, flavour, &mut all)?;
    all.finish()?;
    println!("\nReady: `cargo build`, `cargo test` and `cargo run -p gesso -- serve` work as they are.");
    Ok(())
}

/// The set-up other commands begin with: whichever libtorch the checkout is linked to, the CPU's otherwise.
pub(crate) fn stages(paths: &Paths, stages: &mut Stages) -> Result<()> {
    let linked = fs::read_link(paths.libtorch_link()).ok();
    let cuda = linked == Some(Flavour::Cuda.home(&paths.cache));
    run_stages(paths, if cuda { Flavour::Cuda } else { Flavour::Cpu }, stages)
}

fn run_stages(paths: &Paths, flavour: Flavour, stages: &mut Stages) -> Result<()> {
    let ready = libtorch::is_ready(&paths.cache, flavour);
    stages.run("machine", "disk, rights, compiler, python3 with pip", || {
        check_machine(paths, flavour, ready)
    })?;
    let lock = lock(&paths.cache)?;
    // Another set-up may have finished while this one waited for the lock.
    let ready = libtorch::is_ready(&paths.cache, flavour);

    let fetch = format!("{} download", flavour.title());
    let unpack = format!("{} layout", flavour.title());
    let home = flavour.home(&paths.cache);
    if ready {
        stages.skip(&fetch, "not needed");
        stages.skip(&unpack, &format!("already in {}", home.display()));
    } else {
        let (cost, wait) = match flavour {
            Flavour::Cpu => (size(flavour.download_bytes()), "about 2 min at 5 MB/s"),
            Flavour::Cuda => (size(flavour.download_bytes()), "about 8 min at 5 MB/s"),
        };
        let wheels =
            stages.run(&fetch, &format!("{cost}, {wait}"), || libtorch::download(&paths.cache, flavour))?;
        stages.run(&unpack, "about 20 s", || libtorch::lay_out(&paths.cache, flavour, &wheels))?;
    }

    link(paths, &home, stages)?;

    let toolchain = match GuestToolchain::find() {
        Some(found) => {
            stages.skip(&format!("guest target {TARGET}"), "already installed");
            found
        }
        None => {
            stages.run(&format!("guest target {TARGET}"), "20 MB, a few seconds", GuestToolchain::install)?
        }
    };
    drop(lock);
    stages
        .run("guests", "about 2 min the first time, then seconds", || build_plugins::build(paths, toolchain))
}

fn check_machine(paths: &Paths, flavour: Flavour, ready: bool) -> Result<()> {
    machine::check_platform()?;
    machine::check_writable(&paths.cache, "set GESSO_CACHE to a folder of yours")?;
    machine::check_writable(&paths.local, "clone into a folder of yours")?;
    machine::install(&machine::missing_packages())?;
    if !ready {
        machine::check_room(&paths.cache, flavour.room_bytes(), OTHER_CACHE)?;
        machine::check_room(&paths.target, TARGET_BYTES, OTHER_TARGET)?;
    }
    Ok(())
}

/// One set-up at a time in a cache; the lock goes with the process, however it ends.
fn lock(cache: &Path) -> Result<File> {
    let file = File::create(cache.join("setup.lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            println!("      another set-up works in {}; waiting for it", cache.display());
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("the cache folder cannot be locked"),
    }
    Ok(file)
}

/// Points `.gesso/libtorch` at the layout. Cargo sees the link's name only, so when it points elsewhere than before,
/// what links libtorch or carries its folder as run path is built anew.
fn link(paths: &Paths, home: &Path, stages: &mut Stages) -> Result<()> {
    let link = paths.libtorch_link();
    let before = match fs::read_link(&link) {
        Ok(target) => Some(target),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) => bail!("{} is not a link: move it away, then run the same command again", link.display()),
    };
    if before.as_deref() == Some(home) {
        stages.skip("link .gesso/libtorch", "already there");
        return Ok(());
    }
    stages.run("link .gesso/libtorch", &format!("to {}", home.display()), || {
        let staging = link.with_added_extension("partial");
        if staging.is_symlink() {
            fs::remove_file(&staging)?;
        }
        symlink(home, &staging)?;
        fs::rename(&staging, &link)?;
        if before.is_some() {
            let linked = ["torch-sys", "gesso-torch", "gesso"].iter().flat_map(|name| ["--package", name]);
            run(cargo(&paths.root).args(["clean", "--quiet"]).args(linked))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(folder: &Path) -> Paths {
        let paths = Paths {
            root: folder.to_path_buf(),
            local: folder.join(".gesso"),
            target: folder.join("target"),
            cache: folder.join("cache"),
        };
        fs::create_dir_all(&paths.local).unwrap();
        paths
    }

    #[test]
    fn links_once_and_then_finds_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let paths = checkout(folder.path());
        let home = folder.path().join("cache/libtorch");
        link(&paths, &home, &mut Stages::new(1)).unwrap();
        link(&paths, &home, &mut Stages::new(1)).unwrap();
        assert_eq!(fs::read_link(paths.libtorch_link()).unwrap(), home);
    }

    #[test]
    fn a_folder_in_the_place_of_the_link_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let paths = checkout(folder.path());
        fs::create_dir(paths.libtorch_link()).unwrap();
        let error = link(&paths, folder.path(), &mut Stages::new(1)).unwrap_err().to_string();
        assert!(error.contains("is not a link: move it away"), "{error}");
    }

    #[test]
    fn a_second_setup_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        let cache = folder.path().to_path_buf();
        let second = std::thread::spawn(move || lock(&cache).map(drop));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
    }
}
