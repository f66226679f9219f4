//! Opening the database and refusing to when it is not whole. Called at start and after a disk error. It changes no
//! file of sled's except unfinished snapshots, which it moves aside.
//!
//! Why each check (all seen with sled 0.34.7): a snapshot that was being written when the process died is preferred
//! over the good one and then refused; a deleted snapshot opens as an empty database without an error.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::trees::{self, Trees};
use super::{SledSettings, records};
use crate::tasks::{TaskStats, TaskStoreError};
use crate::volume::room_of;

/// Backstop for what no command flushes.
const FLUSH_EVERY_MS: u64 = 200;
/// Written after the database was first set up: where it stands, an empty database is a lost one.
const MARKER: &str = "store.json";
const MARKER_TEXT: &[u8] = b"{\"store\":\"sled 0.34\",\"format\":1}\n";
const UNFINISHED: &str = ".generating";

/// How long the folder's lock is waited for. A failed opening keeps it for a moment longer on sled's own threads,
/// and so does a server that is just stopping.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Opens or creates the store in `folder`, which becomes this process's alone.
pub(super) fn open(folder: &Path, settings: &SledSettings) -> Result<Trees, TaskStoreError> {
    let (db, sled_folder) = open_database(folder, settings)?;
    let trees = Trees::new(db, &sled_folder)?;
    if is_new(folder, trees.format()?, trees::FORMAT)? {
        trees.set_up()?;
    }
    // A panic in sled's own check is its way to report damage.
    catch_unwind(AssertUnwindSafe(|| verify(&trees)))
        .unwrap_or_else(|_| Err(TaskStoreError::Corrupt("sled's own check failed".to_owned())))?;
    mark(folder, &sled_folder)?;
    Ok(trees)
}

/// Opens or creates sled's files below `folder`, and says where they are. Whether they are whole is for the caller to see.
pub(crate) fn open_database(
    folder: &Path,
    settings: &SledSettings,
) -> Result<(sled::Db, PathBuf), TaskStoreError> {
    let sled_folder = folder.join("sled");
    fs::create_dir_all(&sled_folder).map_err(|error| trees::io_error(&error))?;
    let mut opened = when_unlocked(|| open_sled(&sled_folder, settings));
    if let Err(TaskStoreError::Corrupt(_)) = &opened
        && when_unlocked(|| set_unfinished_aside(&sled_folder, folder))? > 0
    {
        opened = when_unlocked(|| open_sled(&sled_folder, settings));
    }
    Ok((opened?, sled_folder))
}

/// Whether the database was never set up, from the format that it holds. An empty one that was set up before is a lost one.
pub(crate) fn is_new(folder: &Path, format: Option<Vec<u8>>, known: &[u8]) -> Result<bool, TaskStoreError> {
    let marked = folder.join(MARKER).try_exists().map_err(|error| trees::io_error(&error))?;
    match format {
        Some(format) if format == known => Ok(false),
        Some(other) => {
            let found = String::from_utf8_lossy(&other).into_owned();
            Err(TaskStoreError::Corrupt(format!("it has format {found:?}, which this server does not know")))
        }
        None if marked => Err(TaskStoreError::Corrupt("it was set up before but is empty now".to_owned())),
        None => Ok(true),
    }
}

/// Notes that the database was set up, and makes the names of its files durable.
pub(crate) fn mark(folder: &Path, sled_folder: &Path) -> Result<(), TaskStoreError> {
    let marker = folder.join(MARKER);
    if !marker.try_exists().map_err(|error| trees::io_error(&error))? {
        write_marker(folder, &marker).map_err(|error| trees::io_error(&error))?;
    }
    sync_folder(sled_folder).map_err(|error| trees::io_error(&error))
}

/// Whether a store was ever set up in `folder`.
pub(super) fn exists(folder: &Path) -> bool {
    folder.join(MARKER).exists() || folder.join("sled").exists()
}

/// Refuses when less than the reserve is free: see [`SledSettings::reserve_bytes`].
pub(crate) fn check_space(folder: &Path, settings: &SledSettings) -> Result<(), TaskStoreError> {
    let room = room_of(folder).map_err(|error| trees::io_error(&error))?;
    let reserve = settings.reserve_bytes.unwrap_or_else(|| room.reserve());
    if room.free < reserve {
        return Err(TaskStoreError::Full(format!(
            "{} bytes are free and {reserve} are kept for running tasks",
            room.free
        )));
    }
    Ok(())
}

/// Repeats `work` while it says `InUse`, for [`LOCK_WAIT`].
fn when_unlocked<T>(work: impl Fn() -> Result<T, TaskStoreError>) -> Result<T, TaskStoreError> {
    let began = Instant::now();
    loop {
        match work() {
            Err(TaskStoreError::InUse(_)) if began.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_RETRY),
            other => return other,
        }
    }
}

fn open_sled(folder: &Path, settings: &SledSettings) -> Result<sled::Db, TaskStoreError> {
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(settings.cache_bytes)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .use_compression(false);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        // sled words its failed lock itself and keeps no code.
        Ok(Err(sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => {
            Err(TaskStoreError::InUse(folder.display().to_string()))
        }
        Ok(opened) => opened.map_err(trees::store_error),
        Err(_) => Err(TaskStoreError::Corrupt("sled cannot read its files".to_owned())),
    }
}

/// Moves unfinished snapshots to `set-aside` and returns how many, while holding sled's own lock.
fn set_unfinished_aside(sled_folder: &Path, folder: &Path) -> Result<usize, TaskStoreError> {
    let in_use = || TaskStoreError::InUse(sled_folder.display().to_string());
    let failed = |error: std::io::Error| trees::io_error(&error);
    let lock = File::open(sled_folder.join("db")).map_err(failed)?;
    lock.try_lock().map_err(|_| in_use())?;
    let mut unfinished: Vec<PathBuf> = Vec::new();
    for item in fs::read_dir(sled_folder).map_err(failed)? {
        let path = item.map_err(failed)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(UNFINISHED)) {
            unfinished.push(path);
        }
    }
    let aside = folder.join("set-aside");
    for path in &unfinished {
        fs::create_dir_all(&aside).map_err(failed)?;
        if let Some(name) = path.file_name() {
            fs::rename(path, aside.join(name)).map_err(failed)?;
            tracing::warn!(file = %path.display(), "an unfinished snapshot was moved to set-aside");
        }
    }
    Ok(unfinished.len())
}

/// Walks sled's structure, reads every record, which the trees take in, and compares the stored counts with all indexes.
fn verify(trees: &Trees) -> Result<(), TaskStoreError> {
    for (_, tree) in trees.named() {
        // The walk of sled's hidden `verify_integrity`, which is this formatting, without its text in memory.
        // Formatting into `Nowhere` cannot fail.
        let _ = write!(Nowhere, "{tree:?}");
    }
    let mut found = TaskStats::default();
    let (mut starts, mut notices) = (0, 0);
    for record in trees.records() {
        let entry = records::decode(&record?)?;
        if !trees.is_indexed(&entry)? {
            return Err(TaskStoreError::Corrupt(format!("index ready does not name task {}", entry.task.id)));
        }
        trees.take_in(&entry);
        *found.of_state(entry.task.state) += 1;
        starts += u64::from(entry.expires_ms().is_some());
        notices += u64::from(entry.task.notice.is_some());
    }
    let counted = trees.counts()?;
    if found != counted {
        return Err(TaskStoreError::Corrupt(format!("it counted {counted:?} but holds {found:?}")));
    }
    let expected = [
        ("ready", found.waiting),
        ("leases", found.running),
        ("finished", found.ended()),
        ("order", found.total()),
        ("starts", starts),
        ("notices", notices),
    ];
    for (name, tree) in trees.named() {
        let entries = tree.len() as u64;
        if let Some((_, count)) = expected.iter().find(|(expected, _)| *expected == name)
            && entries != *count
        {
            return Err(TaskStoreError::Corrupt(format!(
                "index {name} has {entries} entries instead of {count}"
            )));
        }
    }
    Ok(())
}

fn write_marker(folder: &Path, marker: &Path) -> std::io::Result<()> {
    let staged = folder.join(format!("{MARKER}.new"));
    let mut file = File::create(&staged)?;
    file.write_all(MARKER_TEXT)?;
    file.sync_all()?;
    fs::rename(&staged, marker)?;
    sync_folder(folder)
}

/// Makes new names in a folder survive a power cut; sled syncs only its file.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

struct Nowhere;

impl fmt::Write for Nowhere {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}
