//! The task store as lines of text: a head line, one line per record, and a last line with count and digest.
//! Called by `SledTasks::backup` and `restore`. It knows nothing of sled but the bytes of its records.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sled::IVec;

use super::{records, trees};
use crate::tasks::rules::Entry;
use crate::tasks::{RECORD_LIMIT, TaskStoreError};

const HEAD: &str = "gesso task backup 1";
/// A record in base64 with room to spare; no line of a sound backup is longer.
const LINE_LIMIT: u64 = 2 * RECORD_LIMIT as u64;

#[derive(Serialize, Deserialize)]
struct Tail {
    tasks: u64,
    /// SHA-256 over all record lines with their line ends, in base64.
    sha256: String,
}

/// Returns how many records were written.
pub(super) fn write(
    records: impl Iterator<Item = Result<IVec, TaskStoreError>>,
    writer: impl Write,
) -> Result<u64, TaskStoreError> {
    let failed = |error: std::io::Error| trees::io_error(&error);
    let mut writer = BufWriter::new(writer);
    let mut digest = Sha256::new();
    let mut tasks = 0;
    writeln!(writer, "{HEAD}").map_err(failed)?;
    for record in records {
        let mut line = STANDARD.encode(record?);
        line.push('\n');
        digest.update(&line);
        writer.write_all(line.as_bytes()).map_err(failed)?;
        tasks += 1;
    }
    let tail = Tail { tasks, sha256: STANDARD.encode(digest.finalize()) };
    serde_json::to_writer(&mut writer, &tail).map_err(|error| failed(error.into()))?;
    writer.write_all(b"\n").map_err(failed)?;
    writer.flush().map_err(failed)?;
    Ok(tasks)
}

/// Reads all of it before anything is believed: a cut or changed backup is refused as `Corrupt`. In the order of submission.
pub(super) fn read(reader: impl Read) -> Result<Vec<Entry>, TaskStoreError> {
    let damaged = |what: &str| TaskStoreError::Corrupt(format!("the backup {what}"));
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    read_line(&mut reader, &mut line)?;
    if line.trim_end() != HEAD {
        return Err(damaged("does not begin like one"));
    }
    let mut digest = Sha256::new();
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        read_line(&mut reader, &mut line)?;
        if line.is_empty() {
            return Err(damaged("ends too early"));
        }
        if line.starts_with('{') {
            let tail: Tail = serde_json::from_str(&line).map_err(|_| damaged("has a bad last line"))?;
            if tail.tasks != entries.len() as u64 || tail.sha256 != STANDARD.encode(digest.finalize()) {
                return Err(damaged("does not match its digest"));
            }
            // The digest is of the records alone.
            read_line(&mut reader, &mut line)?;
            if !line.is_empty() {
                return Err(damaged("goes on behind its last line"));
            }
            entries.sort_by_key(|entry| entry.sequence);
            settle_places(&mut entries);
            return Ok(entries);
        }
        digest.update(&line);
        let record = STANDARD.decode(line.trim_end()).map_err(|_| damaged("has a line that is no record"))?;
        entries.push(records::decode(&record)?);
    }
}

/// Tasks may be moved while a backup is written, and two of them have one place in it then, which would be one key of the
/// index. The later gets the next place that is nobody's.
fn settle_places(entries: &mut [Entry]) {
    let mut all: HashSet<u64> = entries.iter().map(|entry| entry.task.place).collect();
    let mut given = HashSet::with_capacity(all.len());
    for Entry { task, .. } in entries {
        if !given.insert(task.place) {
            while !all.insert(task.place) {
                task.place += 1;
            }
        }
    }
}

fn read_line(reader: &mut impl BufRead, line: &mut String) -> Result<(), TaskStoreError> {
    line.clear();
    reader
        .take(LINE_LIMIT)
        .read_line(line)
        .map_err(|error| TaskStoreError::Corrupt(format!("the backup cannot be read: {error}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::sled_tasks::{SledSettings, SledTasks};
    use crate::tasks::TaskStore;
    use crate::testing::conformance::new_task;

    fn backup() -> Vec<u8> {
        let record: IVec = include_bytes!("../../tests/fixtures/task-record-v1.bin").as_slice().into();
        let mut bytes = Vec::new();
        assert_eq!(write([Ok(record)].into_iter(), &mut bytes), Ok(1));
        bytes
    }

    #[test]
    fn a_backup_reads_back_its_records() {
        let entries = read(backup().as_slice()).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].task.id.as_str(), "mountain42");
    }

    #[test]
    fn a_cut_backup_is_refused_wherever_it_was_cut() {
        let whole = backup();
        for length in 0..whole.len() - 2 {
            assert!(read(&whole[..length]).is_err(), "{length} of {} bytes were accepted", whole.len());
        }
    }

    #[test]
    fn bytes_behind_the_last_line_are_refused() {
        let whole = backup();
        for more in [&b"\n"[..], b"x", b"\xff", whole.as_slice()] {
            assert!(read([whole.as_slice(), more].concat().as_slice()).is_err(), "{more:?}");
        }
    }

    #[test]
    fn a_changed_byte_in_a_record_is_refused() {
        let mut changed = backup();
        let place = HEAD.len() + 40;
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        assert!(read(changed.as_slice()).is_err());
    }

    #[tokio::test]
    async fn tasks_that_were_moved_meanwhile_have_places_of_their_own_again() {
        // Of three at 4, 5 and 6 the first was read before it changed places with the second, and the second after that.
        let records = [4, 4, 6].into_iter().zip(0..).map(|(place, sequence)| {
            let mut entry = Entry::new(new_task(&format!("t{sequence}")), sequence, 1).unwrap();
            entry.task.place = place;
            records::encode(&entry).map(IVec::from)
        });
        let mut bytes = Vec::new();
        assert_eq!(write(records, &mut bytes), Ok(3));
        let folder = tempfile::tempdir().unwrap();
        let restored = folder.path().join("tasks");
        let clock = Arc::new(SystemClock);
        let count = SledTasks::restore(&restored, std::io::Cursor::new(bytes), clock.clone()).await;
        assert_eq!(count, Ok(3));
        let tasks = SledTasks::open(&restored, SledSettings::default(), clock).await.unwrap();
        for expected in ["t0", "t1", "t2"] {
            let lease = tasks.lease("worker", Duration::from_secs(30)).await.unwrap().unwrap();
            assert_eq!(lease.task.id.as_str(), expected);
        }
    }
}
