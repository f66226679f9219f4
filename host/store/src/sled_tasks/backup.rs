//! The task store as lines of text: a head line, one line per record, and a last line with count and digest.
//! Called by `SledTasks::backup` and `restore`. It knows nothing of sled but the bytes of its records.

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
pub(super) fn write(records: &[IVec], writer: impl Write) -> Result<u64, TaskStoreError> {
    let tasks = records.len() as u64;
    write_lines(records, tasks, writer).map_err(|error| trees::io_error(&error))?;
    Ok(tasks)
}

fn write_lines(records: &[IVec], tasks: u64, writer: impl Write) -> std::io::Result<()> {
    let mut writer = BufWriter::new(writer);
    let mut digest = Sha256::new();
    writeln!(writer, "{HEAD}")?;
    for record in records {
        let mut line = STANDARD.encode(record);
        line.push('\n');
        digest.update(&line);
        writer.write_all(line.as_bytes())?;
    }
    let tail = Tail { tasks, sha256: STANDARD.encode(digest.finalize()) };
    serde_json::to_writer(&mut writer, &tail)?;
    writer.write_all(b"\n")?;
    writer.flush()
}

/// Reads all of it before anything is believed: a cut or changed backup is refused as `Corrupt`.
pub(super) fn read(reader: impl Read) -> Result<Vec<Entry>, TaskStoreError> {
    let damaged = |what: &str| TaskStoreError::Corrupt(format!("the backup {what}"));
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    read_line(&mut reader, &mut line)?;
    if line.trim_end() != HEAD {
        return Err(damaged("does not begin like one"));
    }
    let mut digest = Sha256::new();
    let mut entries = Vec::new();
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
            return Ok(entries);
        }
        digest.update(&line);
        let record = STANDARD.decode(line.trim_end()).map_err(|_| damaged("has a line that is no record"))?;
        entries.push(records::decode(&record)?);
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
    use super::*;

    fn backup() -> Vec<u8> {
        let record: IVec = include_bytes!("../../tests/fixtures/task-record-v1.bin").as_slice().into();
        let mut bytes = Vec::new();
        assert_eq!(write(&[record], &mut bytes), Ok(1));
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
    fn a_changed_byte_in_a_record_is_refused() {
        let mut changed = backup();
        let place = HEAD.len() + 40;
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        assert!(read(changed.as_slice()).is_err());
    }
}
