//! Watches the plugin folder by looking at it: works on network and container mounts, needs no kernel watches that
//! can run out, and one look at a few files each interval costs nothing. Reports changes; loads nothing itself.

use crate::host::Inner;
use crate::trail::Asker;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Weak;
use std::time::{Duration, SystemTime};

/// Time between two looks at the folder.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Whether a changed file must be seen unchanged once more before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It may still be being copied: wait until two looks agree.
    OneLook,
    None,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    modified: SystemTime,
    len: u64,
}

impl FileStamp {
    fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        if !data.is_file() {
            return None;
        }
        Some(Self { modified: data.modified().ok()?, len: data.len() })
    }
}

/// The folder as it was last dealt with.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    settled: BTreeMap<String, FileStamp>,
    moving: BTreeMap<String, FileStamp>,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    File(String, FileStamp),
    Gone(String),
}

impl Watched {
    /// The host wrote this file itself; the watch need not look at it.
    pub(crate) fn note(&mut self, id: &str, path: &Path) {
        if let Some(stamp) = FileStamp::of(path) {
            self.settled(id, stamp);
        }
    }

    fn settled(&mut self, id: &str, stamp: FileStamp) {
        self.moving.remove(id);
        self.settled.insert(id.to_owned(), stamp);
    }

    /// Whether the file is as it was `seen`, and nobody but the watch has dealt with it since.
    pub(crate) fn still_has(&self, id: &str, seen: FileStamp, path: &Path) -> bool {
        self.settled.get(id) == Some(&seen) && FileStamp::of(path) == Some(seen)
    }

    pub(crate) fn forget(&mut self, id: &str) {
        self.moving.remove(id);
        self.settled.remove(id);
    }

    /// Compares with what is there now; what is reported counts as dealt with.
    fn compare(&mut self, now: &BTreeMap<String, FileStamp>, patience: Patience) -> Vec<Change> {
        let gone: Vec<String> = self.settled.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
        let mut changes = Vec::new();
        for id in gone {
            self.forget(&id);
            changes.push(Change::Gone(id));
        }
        for (id, stamp) in now {
            if self.settled.get(id) == Some(stamp) {
                continue;
            }
            if patience == Patience::None || self.moving.get(id) == Some(stamp) {
                self.settled(id, *stamp);
                changes.push(Change::File(id.clone(), *stamp));
            } else {
                self.moving.insert(id.clone(), *stamp);
            }
        }
        changes
    }
}

/// Looks until the host is gone.
pub(crate) async fn run(host: Weak<Inner>) {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let Some(host) = host.upgrade() else { return };
        host.scan(Patience::OneLook).await;
    }
}

impl Inner {
    /// One look at the folder. A folder that cannot be read changes nothing. Changes that admins ask for go on between its files,
    /// and while one is compiled.
    pub(crate) async fn scan(&self, patience: Patience) {
        // Who asks for a look waits for what another one has found.
        let _look = self.looks.lock().await;
        let nobody = Asker::default();
        let Ok(mut changes) = self.open_changes(&nobody).await else { return };
        let now = match look(&self.settings.folder) {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(%error, folder = %self.settings.folder.display(), "the plugin folder cannot be read");
                return;
            }
        };
        let mut files = Vec::new();
        for change in changes.watched.compare(&now, patience) {
            match change {
                Change::Gone(id) => self.file_gone(&id),
                Change::File(id, seen) => files.push((id, seen)),
            }
        }
        drop(changes);
        for (id, seen) in files {
            let Ok(changes) = self.open_changes(&nobody).await else { return };
            self.file_changed(changes, &id, seen).await;
        }
    }
}

/// Files named `<id>.wasm`. Hidden and temporary files are none of ours.
fn look(folder: &Path) -> std::io::Result<BTreeMap<String, FileStamp>> {
    let mut files = BTreeMap::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let (Some(stem), Some("wasm")) = (path.file_stem(), path.extension().and_then(|end| end.to_str()))
        else {
            continue;
        };
        if let (Some(stem), Some(stamp)) = (stem.to_str(), FileStamp::of(&path))
            && !stem.starts_with('.')
        {
            files.insert(stem.to_owned(), stamp);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_once_it_stops_changing() {
        let at = |seconds: u64, len: u64| FileStamp {
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            len,
        };
        let mut watched = Watched::default();
        let mut look = |stamp: Option<FileStamp>| {
            let now = stamp.into_iter().map(|stamp| ("a".to_owned(), stamp)).collect();
            watched.compare(&now, Patience::OneLook)
        };
        assert_eq!(look(Some(at(1, 10))), []);
        assert_eq!(look(Some(at(2, 20))), []);
        assert_eq!(look(Some(at(2, 20))), [Change::File("a".to_owned(), at(2, 20))]);
        assert_eq!(look(Some(at(2, 20))), []);
        assert_eq!(look(None), [Change::Gone("a".to_owned())]);
        assert_eq!(look(None), []);
    }

    #[test]
    fn a_file_that_others_dealt_with_is_not_what_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        let write = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            FileStamp::of(&path).unwrap()
        };
        let seen = write(b"a");
        let found = || {
            let mut watched = Watched::default();
            let now = BTreeMap::from([("a".to_owned(), seen)]);
            assert_eq!(watched.compare(&now, Patience::None), [Change::File("a".to_owned(), seen)]);
            watched
        };
        assert!(found().still_has("a", seen, &path));
        let mut forgotten = found();
        forgotten.forget("a");
        assert!(!forgotten.still_has("a", seen, &path));
        let mut noted = found();
        write(b"longer");
        assert!(!noted.still_has("a", seen, &path), "the next look is for what was written since");
        noted.note("a", &path);
        assert!(!noted.still_has("a", seen, &path));
    }
}
