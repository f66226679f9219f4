//! `cargo xtask wit-freeze` and the check behind it: a released folder of `wit/` never changes, because plugins built
//! against it are out of reach. The hashes are committed in `xtask/wit-frozen.txt`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::paths::Paths;

/// Records the hash of every folder in wit/ not yet released, which `tidy` holds it to from then on (a second)
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn command(_: &Options) -> Result<()> {
    let root = Paths::find()?.root;
    let mut frozen = frozen(&root)?;
    for (name, hash) in folders(&root)? {
        frozen.entry(name).or_insert_with_key(|name| {
            println!("released: {name}");
            hash
        });
    }
    let text: String = frozen.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
    Ok(fs::write(list(&root), text)?)
}

/// What is wrong, one sentence each; a folder that is not released yet is free to change.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    Ok(compare(&frozen(root)?, &folders(root)?))
}

fn compare(frozen: &BTreeMap<String, String>, folders: &BTreeMap<String, String>) -> Vec<String> {
    let changed = frozen.iter().filter(|(name, hash)| folders.get(*name) != Some(hash));
    let tell = |(name, _): (&String, &String)| {
        format!(
            "wit/{name} is released and has changed or gone: restore it, and put the change in a new version"
        )
    };
    changed.map(tell).collect()
}

fn list(root: &Path) -> PathBuf {
    root.join("xtask/wit-frozen.txt")
}

fn frozen(root: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(list(root)).unwrap_or_default();
    let pairs = text
        .lines()
        .map(|line| line.split_once("  ").context("a line of wit-frozen.txt is not `hash  name`"));
    pairs.map(|pair| pair.map(|(hash, name)| (name.to_owned(), hash.to_owned()))).collect()
}

/// Name and hash of every folder in `wit/`: over each file's path, length and bytes, in order of path.
fn folders(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root.join("wit")).context("there is no folder wit/")? {
        let folder = entry?.path();
        if !folder.is_dir() {
            continue;
        }
        let mut files = BTreeMap::new();
        collect(&folder, &folder, &mut files)?;
        let mut hasher = Sha256::new();
        for (path, bytes) in files {
            hasher.update(format!("{path}\0{}\0", bytes.len()));
            hasher.update(bytes);
        }
        let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = folder.file_name().context("a folder without name")?.to_string_lossy().into_owned();
        found.insert(name, hash);
    }
    Ok(found)
}

fn collect(base: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(base, &path, files)?;
        } else {
            files.insert(path.strip_prefix(base)?.to_string_lossy().into_owned(), fs::read(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_folder_may_not_change_and_a_new_one_may() {
        let root = tempfile::tempdir().unwrap();
        let wit = root.path().join("wit/gesso-0.1.0");
        fs::create_dir_all(wit.join("deps")).unwrap();
        fs::write(wit.join("deps/io.wit"), "package wasi:io;").unwrap();
        let released = folders(root.path()).unwrap();
        assert_eq!(compare(&released, &folders(root.path()).unwrap()), Vec::<String>::new());
        assert_eq!(compare(&BTreeMap::new(), &released), Vec::<String>::new());
        fs::write(wit.join("deps/io.wit"), "package wasi:io ;").unwrap();
        let told = compare(&released, &folders(root.path()).unwrap());
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("wit/gesso-0.1.0 is released"), "{told:?}");
    }

    #[test]
    fn moving_bytes_between_files_changes_the_hash() {
        let hash_of = |files: [(&str, &str); 2]| {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("wit/v")).unwrap();
            for (name, text) in files {
                fs::write(root.path().join("wit/v").join(name), text).unwrap();
            }
            folders(root.path()).unwrap()
        };
        assert_ne!(hash_of([("a", "xy"), ("b", "")]), hash_of([("a", "x"), ("b", "y")]));
    }
}
