//! Machine code of plugins that the tests' servers have compiled, for those that start later. Each has a data folder of its
//! own, and compiling again what has not changed took longer than most tests. A server takes it as after a restart: an
//! artifact's name covers the component, wasmtime and the processor, and a MAC what is in it (`plugin-host/src/compile.rs`).

use std::fs;
use std::path::{Path, PathBuf};

const KEY: &str = "artifact.key";
/// Older builds leave theirs behind.
const KEPT_MAX: usize = 300;

/// Lays what is kept into a folder in which no server has kept plugins yet. Links alone: where there can be none, such as on
/// a disk that a test has made small, the server compiles.
pub(super) fn lend(state: &Path) {
    let shelf = shelf();
    if state.exists() || !shelf.join(KEY).exists() {
        return;
    }
    fs::create_dir_all(state.join("cache")).ok();
    if fs::hard_link(shelf.join(KEY), state.join(KEY)).is_ok() {
        link_all(&shelf, &state.join("cache"));
    }
}

/// Keeps what a server has compiled.
pub(super) fn keep(state: &Path) {
    let shelf = shelf();
    if fs::read_dir(&shelf).is_ok_and(|files| files.count() > KEPT_MAX) {
        fs::remove_dir_all(&shelf).ok();
    }
    fs::create_dir_all(&shelf).ok();
    // Fails where there is a key already, which is this one or else none of what is here can be read with it.
    fs::hard_link(state.join(KEY), shelf.join(KEY)).ok();
    let [here, there] = [state, shelf.as_path()].map(|folder| fs::read(folder.join(KEY)).ok());
    if here.is_some() && here == there {
        link_all(&state.join("cache"), &shelf);
    }
}

fn shelf() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-plugins")
}

fn link_all(from: &Path, to: &Path) {
    for file in fs::read_dir(from).into_iter().flatten().flatten() {
        if file.path().extension().is_some_and(|extension| extension == "artifact") {
            fs::hard_link(file.path(), to.join(file.file_name())).ok();
        }
    }
}
