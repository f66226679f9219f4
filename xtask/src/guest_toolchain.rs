//! Finds or installs a compiler for `wasm32-wasip2`: the toolchain in use with that target added, or Debian's own
//! newer compiler on machines whose rustup reaches nothing. Called by `setup` and by everything that builds guests.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{capture, cargo, run, succeeds};

pub(crate) const TARGET: &str = "wasm32-wasip2";

const DEBIAN_PACKAGES: &str = "rustc-web cargo-web rust-web-src libstd-rust-web-dev wasi-libc lld";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GuestToolchain {
    /// The toolchain that builds the host, with the target's standard library.
    Installed,
    /// `/usr/bin/rustc` of Debian's `rustc-web`, building the standard library from Debian's source package.
    Debian,
}

impl GuestToolchain {
    pub(crate) fn find() -> Option<Self> {
        let directory = capture(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))
            .unwrap_or_default();
        if !directory.is_empty() && Path::new(directory.trim()).is_dir() {
            return Some(Self::Installed);
        }
        let debian = Path::new("/usr/lib/wasm32-wasi").is_dir()
            && Path::new("/usr/bin/cargo").exists()
            && succeeds(Command::new("/usr/bin/rustc").args(["--print", "cfg", "--target", TARGET]));
        debian.then_some(Self::Debian)
    }

    pub(crate) fn install() -> Result<Self> {
        let added = run(Command::new("rustup").args(["target", "add", TARGET]));
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        let reason = added.err().map(|error| format!(" ({error:#})")).unwrap_or_default();
        bail!(
            "the compiler has no {TARGET} target{reason}. With network: `rustup target add {TARGET}`. Without rustup, \
             on Debian: `apt-get install -y --no-install-recommends {DEBIAN_PACKAGES}`; set-up then uses that compiler \
             for guests by itself"
        );
    }

    /// `cargo <subcommand>` for guests, run in `root`; further arguments are the caller's.
    pub(crate) fn cargo(self, root: &Path, target_folder: &Path, subcommand: &str) -> Command {
        let mut command = match self {
            Self::Installed => {
                let mut command = cargo(root);
                command.arg(subcommand);
                command
            }
            Self::Debian => {
                let mut command = Command::new("/usr/bin/cargo");
                command.current_dir(root);
                command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
                // In place of the flags in `.cargo/config.toml`, so those are repeated.
                command.env("RUSTFLAGS", "-L native=/usr/lib/wasm32-wasi -C target-feature=+simd128");
                command.args([subcommand, "-Zbuild-std=std,panic_abort"]);
                command
            }
        };
        command.args(["--release", "--target", TARGET]).env("CARGO_TARGET_DIR", target_folder.join("guests"));
        command
    }
}
