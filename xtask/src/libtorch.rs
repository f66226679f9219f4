//! Lays libtorch out in the cache folder from the wheels PyPI carries, because that is the one place every machine
//! with pip can reach. Called by `setup`; builds see the result through the link `.gesso/libtorch`.

mod pins;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use zip::ZipArchive;

use crate::meter::{Meter, Unit};
use crate::process;
use crate::wheels::{self, Wheel};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flavour {
    Cpu,
    Cuda,
}

impl Flavour {
    pub(crate) fn title(self) -> String {
        let device = match self {
            Flavour::Cpu => "CPU",
            Flavour::Cuda => "CUDA 13",
        };
        format!("libtorch {} ({device})", pins::VERSION)
    }

    pub(crate) fn download_bytes(self) -> u64 {
        self.wheels().iter().map(|wheel| wheel.bytes).sum()
    }

    /// Room in the cache while wheels and layout lie side by side, with some to spare.
    pub(crate) fn room_bytes(self) -> u64 {
        match self {
            Flavour::Cpu => 6_000_000_000,
            Flavour::Cuda => 10_000_000_000,
        }
    }

    fn wheels(self) -> &'static [&'static Wheel] {
        match self {
            Flavour::Cpu => &pins::CPU,
            Flavour::Cuda => &pins::CUDA,
        }
    }

    /// The whole layout; a folder of this name is complete, since it appears by one rename.
    fn folder(self, cache: &Path) -> PathBuf {
        let device = match self {
            Flavour::Cpu => "cpu",
            Flavour::Cuda => "cuda",
        };
        cache.join(format!("libtorch-{}-{device}", pins::VERSION))
    }

    /// The part of the layout that `LIBTORCH` means: it has `include` and `lib`.
    pub(crate) fn home(self, cache: &Path) -> PathBuf {
        let folder = self.folder(cache);
        match self {
            Flavour::Cpu => folder,
            Flavour::Cuda => folder.join(CUDA_PREFIX),
        }
    }
}

/// torch's libraries look for NVIDIA's in `$ORIGIN/../../nvidia`, so the CUDA layout keeps the two levels.
const CUDA_PREFIX: &str = "torch";

pub(crate) fn is_ready(cache: &Path, flavour: Flavour) -> bool {
    fs::metadata(flavour.home(cache).join("lib/libtorch_cpu.so"))
        .is_ok_and(|file| file.len() == pins::LIBTORCH_CPU_BYTES)
}

/// Fetches the wheels into `<cache>/downloads`, going on where an earlier run was interrupted.
pub(crate) fn download(cache: &Path, flavour: Flavour) -> Result<Vec<PathBuf>> {
    wheels::download(&downloads(cache), flavour.wheels())
}

fn downloads(cache: &Path) -> PathBuf {
    cache.join("downloads")
}

/// Unpacks what builds and runs need into a staging folder, renames it to its final name and deletes the wheels:
/// they are as large as the layout and of no use after it.
pub(crate) fn lay_out(cache: &Path, flavour: Flavour, wheels: &[PathBuf]) -> Result<()> {
    let folder = flavour.folder(cache);
    let staging = folder.with_added_extension("partial");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    unpack(wheels, &staging, flavour)?;
    if flavour == Flavour::Cpu {
        link_stub(&staging.join("lib"))?;
    }
    fs::write(staging.join("versions.txt"), versions(flavour))?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::rename(&staging, &folder)
        .with_context(|| format!("{} could not be put in place", folder.display()))?;
    ensure!(is_ready(cache, flavour), "libtorch_cpu.so from the wheel has another size than the pinned one");
    fs::remove_dir_all(downloads(cache)).context("the downloaded wheels could not be deleted")
}

fn unpack(wheels: &[PathBuf], staging: &Path, flavour: Flavour) -> Result<()> {
    let mut archives = Vec::new();
    let mut total = 0;
    for wheel in wheels {
        let mut archive = ZipArchive::new(File::open(wheel)?)
            .with_context(|| format!("{} is no zip archive; delete it and run again", wheel.display()))?;
        let mut chosen = Vec::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index)?;
            let name = entry.enclosed_name().filter(|_| entry.is_file());
            if let Some(path) = name.as_deref().and_then(|name| place(name, flavour)) {
                total += entry.size();
                chosen.push((index, path));
            }
        }
        archives.push((archive, chosen));
    }
    let mut meter = Meter::new("unpacking", total, Unit::Bytes);
    let mut written = 0;
    for (mut archive, chosen) in archives {
        for (index, path) in chosen {
            let mut entry = archive.by_index(index)?;
            let path = staging.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file =
                File::create_new(&path).with_context(|| format!("{} cannot be written", path.display()))?;
            written += io::copy(&mut entry, &mut file)
                .with_context(|| format!("{} could not be unpacked; is the disk full?", path.display()))?;
            let executable = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
            file.set_permissions(fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
            meter.set(written);
        }
    }
    Ok(())
}

/// Where a wheel's file goes in the layout; `None` leaves it out.
fn place(name: &Path, flavour: Flavour) -> Option<PathBuf> {
    // The libraries of torch that run without CUDA. `torch-sys` links libtorch_cuda.so wherever it finds it, and
    // libtorch.so needs that one, so the CPU layout has neither and gets a libtorch.so of its own.
    const CPU_LIBRARIES: [&str; 5] =
        ["libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libshm.so", "libtorch_global_deps.so"];
    // The two CUDA libraries that libtorch_cpu.so names even where no GPU is.
    const CPU_STUBS: [&str; 2] = ["libcudart.so.13", "libcupti.so.13"];

    let file = name.file_name()?.to_str()?;
    let prefix = Path::new(if flavour == Flavour::Cuda { CUDA_PREFIX } else { "" });
    if let Ok(inner) = name.strip_prefix("torch") {
        if inner.starts_with("include") || inner.starts_with("share") {
            return Some(prefix.join(inner));
        }
        let library = inner.parent() == Some(Path::new("lib"));
        let wanted = match flavour {
            Flavour::Cpu => CPU_LIBRARIES.contains(&file),
            Flavour::Cuda => file.contains(".so") && file != "libtorch_python.so",
        };
        return (library && wanted).then(|| prefix.join(inner));
    }
    let library = name.starts_with("nvidia") && name.parent()?.ends_with("lib") && file.contains(".so");
    match flavour {
        Flavour::Cpu => (library && CPU_STUBS.contains(&file)).then(|| Path::new("lib").join(file)),
        Flavour::Cuda => library.then(|| name.to_path_buf()),
    }
}

/// `torch-sys` asks for `-ltorch`; this one is empty and pulls in libtorch_cpu.
fn link_stub(lib: &Path) -> Result<()> {
    let mut gcc = Command::new("gcc");
    gcc.current_dir(lib);
    gcc.args(["-shared", "-o", "libtorch.so", "-Wl,--no-as-needed", "-L.", "-ltorch_cpu"]);
    process::capture(gcc.arg("-Wl,-rpath,$ORIGIN")).map(drop)
}

fn versions(flavour: Flavour) -> String {
    let mut text = format!("{}, laid out by `cargo xtask setup` from:\n", flavour.title());
    for wheel in flavour.wheels() {
        text.push_str(&format!("{} sha256:{}\n", wheel.requirement, wheel.sha256));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(name: &str, flavour: Flavour) -> Option<String> {
        place(Path::new(name), flavour).map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_cpu_layout_has_headers_and_the_libraries_that_run_without_cuda() {
        let cpu = |name| placed(name, Flavour::Cpu);
        assert_eq!(cpu("torch/include/ATen/ATen.h").as_deref(), Some("include/ATen/ATen.h"));
        assert_eq!(cpu("torch/lib/libtorch_cpu.so").as_deref(), Some("lib/libtorch_cpu.so"));
        assert_eq!(cpu("nvidia/cu13/lib/libcudart.so.13").as_deref(), Some("lib/libcudart.so.13"));
        for left_out in [
            "torch/lib/libtorch_cuda.so",
            "torch/lib/libtorch.so",
            "torch/__init__.py",
            "torch-2.11.0.dist-info/RECORD",
            "nvidia/cu13/lib/libnvperf_host.so",
            "nvidia/cu13/include/cupti.h",
        ] {
            assert_eq!(cpu(left_out), None, "{left_out}");
        }
    }

    #[test]
    fn the_cuda_layout_keeps_the_levels_that_torch_searches() {
        let cuda = |name| placed(name, Flavour::Cuda);
        assert_eq!(cuda("torch/lib/libtorch_cuda.so").as_deref(), Some("torch/lib/libtorch_cuda.so"));
        assert_eq!(cuda("nvidia/cudnn/lib/libcudnn.so.9").as_deref(), Some("nvidia/cudnn/lib/libcudnn.so.9"));
        assert_eq!(cuda("torch/lib/libtorch_python.so"), None);
        assert_eq!(cuda("nvidia/cudnn/include/cudnn.h"), None);
    }

    #[test]
    fn every_wheel_is_pinned_by_a_whole_hash_and_named_as_pip_saves_it() {
        for wheel in pins::CUDA.iter().chain(&pins::CPU) {
            assert_eq!(wheel.sha256.len(), 64, "{}", wheel.requirement);
            let (name, version) = wheel.requirement.split_once("==").unwrap();
            assert!(
                wheel.file.starts_with(&format!("{}-{version}-", name.replace('-', "_"))),
                "{}",
                wheel.file
            );
        }
    }

    #[test]
    fn a_folder_with_a_truncated_library_is_not_ready() {
        let cache = tempfile::tempdir().unwrap();
        let lib = Flavour::Cpu.home(cache.path()).join("lib");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libtorch_cpu.so"), b"short").unwrap();
        assert!(!is_ready(cache.path(), Flavour::Cpu));
    }
}
