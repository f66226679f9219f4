//! The file of the watched folder that goes with a change: laid down or taken away with it, and as it was where the change is not
//! stored after all. Called by the parent, under the lock of changes. Judges nothing.

use super::{Changes, store};
use crate::error::InstallError;
use crate::host::Inner;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

impl Inner {
    /// Has the file of `id` be `bytes`, or be gone, and then makes the change. Where either fails, file and registry are as they
    /// were: a restart would do what the client was told is not done.
    pub(super) fn with_file(
        &self,
        changes: &mut Changes,
        id: &str,
        bytes: Option<&[u8]>,
        change: impl FnOnce(&mut Changes) -> Result<(), InstallError>,
    ) -> Result<(), InstallError> {
        let path = self.file_of(id);
        let failed = |source: io::Error| InstallError::Storage { path: path.clone(), source };
        let before = SetAside::of(&path).map_err(failed)?;
        let registry = changes.registry.clone();
        let laid = match bytes {
            Some(bytes) => store(&path, bytes),
            // On the disk before the registry is: a file that is back after a power cut would serve again.
            None => remove(&path).and_then(|()| sync_folder(&path)).map_err(failed),
        };
        match laid.and_then(|()| change(changes)) {
            Ok(()) => {
                before.drop_it();
                changes.watched.forget(id);
                changes.watched.note(id, &path);
                Ok(())
            }
            Err(error) => {
                before.put_back();
                changes.registry = registry;
                Err(error)
            }
        }
    }
}

/// What lay at a path, kept under a name beside it that the watch leaves alone. A second name for the same file: putting it back
/// takes no room, of which there may be none, and it is the file that the watch knows.
struct SetAside {
    path: PathBuf,
    kept: PathBuf,
    /// Whether anything lay there.
    was_there: bool,
}

impl SetAside {
    fn of(path: &Path) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".before");
        let kept = path.with_file_name(name);
        // Of a server that was killed in between.
        remove(&kept)?;
        let was_there = match std::fs::hard_link(path, &kept) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // Not every mount has second names.
            Err(_) => std::fs::copy(path, &kept).map(|_| true)?,
        };
        Ok(Self { path: path.to_owned(), kept, was_there })
    }

    fn drop_it(&self) {
        // What cannot be deleted now goes with the next change.
        let _ = remove(&self.kept);
    }

    /// The error that made it necessary is the one to answer with, so that its own is logged.
    fn put_back(&self) {
        let back = if self.was_there { std::fs::rename(&self.kept, &self.path) } else { remove(&self.path) };
        if let Err(error) = back.and_then(|()| sync_folder(&self.path)) {
            let path = self.path.display();
            tracing::error!(%error, %path, "a plugin's file could not be put back; the next start takes what lies there");
        }
        // Where the file was never touched, both names are still there: renaming one onto the other does nothing.
        self.drop_it();
    }
}

/// A file that is not there is removed.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let files = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_lay_there_is_put_back_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        // Nothing lay there.
        let before = SetAside::of(&path).unwrap();
        std::fs::write(&path, "new").unwrap();
        before.put_back();
        assert!(names(folder.path()).is_empty());

        // Replaced, taken away, and not touched at all.
        std::fs::write(&path, "old").unwrap();
        let changes: [fn(&Path); 3] =
            [|path| store(path, b"new").unwrap(), |path| remove(path).unwrap(), |_| {}];
        for change in changes {
            let before = SetAside::of(&path).unwrap();
            change(&path);
            before.put_back();
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
            assert_eq!(names(folder.path()), ["a.wasm"]);
        }

        // What a killed server left is in nobody's way.
        std::fs::write(folder.path().join(".a.wasm.before"), "older").unwrap();
        let before = SetAside::of(&path).unwrap();
        store(&path, b"new").unwrap();
        before.drop_it();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.wasm"]);
    }
}
