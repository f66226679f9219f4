//! Lines of JSON appended to a file and read back, newest last: what happened and who did it. Bounded by keeping one
//! file before the current one. All of it blocks.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file that has grown to this is set aside, in the place of the one set aside before.
const FILE_BYTES: u64 = 8 << 20;

/// One file of lines and the one before it, readable by their owner only.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
    file_bytes: u64,
}

impl Journal {
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), file_bytes: FILE_BYTES }
    }

    /// Written when it returns, and durable when the system writes its pages back: a power cut may take the last
    /// lines. Callers that append at the same time may set a file aside twice, so there should be one.
    pub fn append<T: Serialize>(&self, line: &T) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok_and(|file| file.len() > self.file_bytes) {
            fs::rename(&self.path, self.before())?;
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        // One write, so that a crash leaves whole lines, the last one at worst cut off; a line begins one of its own.
        file.write_all(format!("\n{}", serde_json::to_string(line)?).as_bytes())
    }

    /// The newest `count` lines that can be read as `T`, oldest first.
    pub fn newest<T: DeserializeOwned>(&self, count: usize) -> io::Result<Vec<T>> {
        let mut lines = Vec::new();
        for path in [self.before(), self.path.clone()] {
            match fs::read(path) {
                // A line that a crash cut may end inside a letter.
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    lines.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        lines.drain(..lines.len().saturating_sub(count));
        Ok(lines)
    }

    fn before(&self) -> PathBuf {
        self.path.with_extension("1.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_a_cut_and_a_full_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let journal = Journal { file_bytes: 20, ..Journal::at(&path) };
        assert_eq!(journal.newest::<u32>(9).unwrap(), [0; 0]);
        journal.append(&1).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\n{\"cut \xe5").unwrap();
        journal.append(&2).unwrap();
        assert_eq!(journal.newest::<u32>(9).unwrap(), [1, 2], "a cut line took the next one with it");
        for line in 3..30 {
            journal.append(&line).unwrap();
        }
        assert_eq!(journal.newest::<u32>(3).unwrap(), [27, 28, 29]);
        assert!(fs::metadata(&path).unwrap().len() < 40);
    }
}
