//! What a plugin in Python or JavaScript is built with, carried in this program and laid out beside the plugin's sources: the
//! contract, the kit of the language, and the module that joins `plugin.py` or `plugin.js` to its world.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use include_dir::{Dir, File, include_dir};

use super::project::Project;
use crate::settings::cli::Language;

/// In the plugin's folder. Made anew from this program, so it belongs into no repository.
pub(super) const FOLDER: &str = ".kit";

static CONTRACT: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
static PYTHON: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk-plugin/python");
static JS: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../sdk-plugin/js");

/// A path in the kit, from the plugin's folder.
pub(super) fn in_folder(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Writes the kit for the project's language and world, and names the world with package and version:
/// `gesso:plugin/script@0.2.0`.
pub(super) fn lay_out(project: &Project) -> anyhow::Result<String> {
    let worlds: Vec<_> = project.manifest.worlds_since().collect();
    let [(world, since)] = worlds[..] else {
        bail!(
            "the manifest names {} worlds; the kits for Python and JavaScript build one a plugin",
            worlds.len()
        );
    };
    let kit = project.folder.join(FOLDER);
    let wants_folders = !project.manifest.wants.folders.is_empty();
    if wants_folders && world != "request-hook" {
        bail!(
            "the manifest wants folders, which plugins in Python and JavaScript have in the world request-hook alone"
        );
    }
    lay_out_contract(&kit.join("wit"), wants_folders)?;
    match project.language {
        Language::Rust => bail!("a plugin in Rust takes the crate sdk-plugin; it needs no kit"),
        Language::Python => {
            for file in files(&PYTHON).filter(|file| file.path().starts_with("gesso_plugin")) {
                write(&kit.join(file.path()), file.contents())?;
            }
            let name = format!("worlds/{}.py", world.replace('-', "_"));
            write(&kit.join("entry.py"), entry(&PYTHON, &name, world)?)?;
        }
        Language::Js => {
            for file in files(&JS).filter(|file| file.path().parent() == Some(Path::new(""))) {
                write(&kit.join(file.path()), file.contents())?;
            }
            // An import cannot be looked for in JavaScript: it is there or the module does not start.
            let folders = if wants_folders {
                "import folders from \"gesso:plugin/folders@0.1.0\";\n"
            } else {
                "const folders = null;\n"
            };
            let joined = [folders.as_bytes(), entry(&JS, &format!("worlds/{world}.js"), world)?].concat();
            write(&kit.join("entry.js"), &joined)?;
        }
    }
    Ok(format!("gesso:plugin/{world}@{since}"))
}

fn entry(kit: &'static Dir, name: &str, world: &str) -> anyhow::Result<&'static [u8]> {
    let file = kit.get_file(name).with_context(|| {
        format!(
            "this kit has no world {world}; an HTTP API in Python or JavaScript is the world http-handler"
        )
    })?;
    Ok(file.contents())
}

/// 0.2.0 as the package that the tools read, 0.1.0 and WASI as what it depends on.
fn lay_out_contract(wit: &Path, wants_folders: bool) -> anyhow::Result<()> {
    for file in files(&CONTRACT) {
        let name = file.path().file_name().context("a file of the contract has no name")?;
        let place = match file.path().strip_prefix("gesso-plugin-0.1.0") {
            Err(_) => wit.join(name),
            Ok(path) if path.starts_with("deps") => wit.join(path),
            Ok(path) => wit.join("deps/gesso-plugin-0.1.0").join(path),
        };
        let mut contents = file.contents().to_vec();
        if name == "worlds.wit" && !wants_folders {
            // These languages import all that a world has; a component that imports folders waits for a grant.
            contents = without_folders(&String::from_utf8_lossy(&contents)).into_bytes();
        }
        write(&place, &contents)?;
    }
    Ok(())
}

fn without_folders(worlds: &str) -> String {
    worlds.lines().filter(|line| line.trim() != "import folders;").flat_map(|line| [line, "\n"]).collect()
}

fn files(folder: &'static Dir) -> impl Iterator<Item = &'static File<'static>> {
    let mut folders = vec![folder];
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        // Python leaves its bytecode beside sources that it has run.
        all.extend(folder.files().filter(|file| file.path().extension().is_none_or(|kind| kind != "pyc")));
    }
    all.into_iter()
}

/// Leaves a file alone that is right already.
fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    std::fs::write(path, contents).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_loses_its_folders_and_nothing_else() {
        let worlds = CONTRACT.get_file("gesso-plugin-0.1.0/worlds.wit").unwrap().contents_utf8().unwrap();
        let without = without_folders(worlds);
        assert_eq!(without.lines().count() + 1, worlds.lines().count());
        assert!(!without.contains("import folders") && without.contains("import call;"));
    }
}
