//! Where things lie: the checkout, its `.gesso` folder, the target folder and the one cache folder.
//! Every command asks here; no other file reads the environment for a folder.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;

pub(crate) struct Paths {
    /// The checkout, where the root `Cargo.toml` lies.
    pub(crate) root: PathBuf,
    /// Links, built guests and run-time data of this checkout; ignored by git.
    pub(crate) local: PathBuf,
    /// Cargo's target folder, wherever its configuration puts it.
    pub(crate) target: PathBuf,
    /// Downloads and layouts shared by all checkouts of this user.
    pub(crate) cache: PathBuf,
}

impl Paths {
    pub(crate) fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask must lie inside the checkout")?.to_path_buf();
        let metadata = process::metadata(&root, &["--no-deps"])?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
        Ok(Self { local: root.join(".gesso"), target: target.into(), cache: cache_folder()?, root })
    }

    /// The folder that `LIBTORCH` in `.cargo/config.toml` names: a link into the cache.
    pub(crate) fn libtorch_link(&self) -> PathBuf {
        self.local.join("libtorch")
    }

    /// First-party plugins, one `<id>.wasm` each.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.local.join("plugins")
    }

    /// Example plugins, which no server loads by itself.
    pub(crate) fn examples(&self) -> PathBuf {
        self.local.join("examples")
    }

    /// Tools for plugins in Python and JavaScript.
    pub(crate) fn kits(&self) -> PathBuf {
        self.local.join("kits")
    }

    /// A registry of others for tests, as its package has it.
    pub(crate) fn registry(&self) -> PathBuf {
        self.local.join("registry")
    }

    /// Guests that only tests load, one `<case>.wasm` each.
    pub(crate) fn guests(&self) -> PathBuf {
        self.local.join("guests")
    }
}

fn cache_folder() -> Result<PathBuf> {
    choose_cache(env::var_os("GESSO_CACHE"), env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
        .context("no cache folder is known: set GESSO_CACHE to a folder with 6 GB free")
}

/// An empty variable counts as unset, and a relative `XDG_CACHE_HOME` as invalid (XDG base directories 0.8).
fn choose_cache(
    gesso: Option<std::ffi::OsString>,
    xdg: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    let set = |value: Option<std::ffi::OsString>| value.filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(folder) = set(gesso) {
        return std::path::absolute(folder).ok();
    }
    if let Some(folder) = set(xdg).filter(|folder| folder.is_absolute()) {
        return Some(folder.join("gesso"));
    }
    set(home).map(|folder| folder.join(".cache/gesso"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_gesso_cache_then_xdg_then_home() {
        let some = |text: &str| Some(text.into());
        assert_eq!(choose_cache(some("/a"), some("/b"), some("/c")), Some("/a".into()));
        assert_eq!(choose_cache(some(""), some("/b"), some("/c")), Some("/b/gesso".into()));
        assert_eq!(choose_cache(None, some("relative"), some("/c")), Some("/c/.cache/gesso".into()));
        assert_eq!(choose_cache(None, None, None), None);
    }
}
