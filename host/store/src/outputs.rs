//! Pictures saved for people: below one folder, in folders and under names that requests choose. Called by the server's
//! worker, from threads that may block. cap-std opens every name below the folder, so none leads out of it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};

/// Names that are tried when other processes write into the same folder at the same time, or the name is taken.
const TRIES: u32 = 100;

/// Files of a folder that are numbered on together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    before: &'static str,
    /// Of a number, with zeros before it.
    digits: usize,
}

impl Series {
    /// `00042-name`.
    pub const PICTURES: Self = Self { before: "", digits: 5 };
    /// `grid-0042-name`.
    pub const GRIDS: Self = Self { before: "grid-", digits: 4 };
}

/// One for each folder that a file is being numbered in.
type Turns = Mutex<HashMap<String, Arc<Mutex<()>>>>;

/// The folder.
#[derive(Debug, Clone)]
pub struct Outputs {
    root: PathBuf,
    /// Each is held from the look for the next number to the file that has it, so that two pictures never get the same.
    turns: Arc<Turns>,
}

impl Outputs {
    /// It is made when the first picture is saved.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), turns: Arc::default() }
    }

    /// Writes a file that was not there before into `folder`, and returns its path below the root. `name` is without
    /// its `extension`. A `series` puts its next number of the folder before it; without one, a name that is taken gets
    /// a number behind it.
    ///
    /// # Errors
    /// Of the file system; `InvalidInput` where `folder` or `name` is none.
    pub fn save(
        &self,
        folder: &str,
        name: &str,
        extension: &str,
        series: Option<Series>,
        bytes: &[u8],
    ) -> io::Result<String> {
        let is_name =
            |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\\', '\0']);
        if !folder.split('/').all(is_name) || !is_name(&format!("{name}.{extension}")) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not the name of a file in a folder",
            ));
        }
        std::fs::create_dir_all(&self.root)?;
        let root = Dir::open_ambient_dir(&self.root, ambient_authority())?;
        root.create_dir_all(folder)?;
        let dir = root.open_dir(folder)?;
        let (mut opened, file) = match series {
            Some(_) => self.in_turn(folder, || create(&dir, name, extension, series))?,
            // Whoever is second finds the name taken, and tries the next.
            None => create(&dir, name, extension, None)?,
        };
        opened.write_all(bytes)?;
        Ok(format!("{folder}/{file}"))
    }

    /// Does what no one else may do in the folder meanwhile.
    fn in_turn<T>(&self, folder: &str, work: impl FnOnce() -> T) -> T {
        let turn = lock(&self.turns).entry(folder.to_owned()).or_default().clone();
        let done = {
            let _turn = lock(&turn);
            work()
        };
        drop(turn);
        let mut turns = lock(&self.turns);
        // Nobody else has it or waits for it: they take it while they hold `turns`.
        if turns.get(folder).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(folder);
        }
        done
    }

    /// Writes a file beside one that [`Outputs::save`] wrote, under its name with another `extension`; what has that name already
    /// is written over.
    ///
    /// # Errors
    /// Of the file system; `InvalidInput` where `path` has no extension.
    pub fn save_beside(&self, path: &str, extension: &str, bytes: &[u8]) -> io::Result<()> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "it is not the path of a saved file");
        let (stem, _) = path.rsplit_once('.').ok_or_else(invalid)?;
        let root = Dir::open_ambient_dir(&self.root, ambient_authority())?;
        root.write(format!("{stem}.{extension}"), bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An empty file that was not there before, and its name.
fn create(dir: &Dir, name: &str, extension: &str, series: Option<Series>) -> io::Result<(File, String)> {
    let first = series.map_or(Ok(0), |series| next_number(dir, series.before))?;
    for number in first..first.saturating_add(TRIES) {
        let stem = match (series, number) {
            (Some(Series { before, digits }), _) => {
                let dash = if name.is_empty() { "" } else { "-" };
                format!("{before}{number:0digits$}{dash}{name}")
            }
            (None, 0) if !name.is_empty() => name.to_owned(),
            (None, _) => format!("{name}-{number}"),
        };
        let file = format!("{stem}.{extension}");
        match dir.open_with(&file, OpenOptions::new().write(true).create_new(true)) {
            Ok(opened) => return Ok((opened, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name that was tried is taken"))
}

/// One more than the highest number that a file of the folder has behind `before`, which its name begins with.
fn next_number(dir: &Dir, before: &str) -> io::Result<u32> {
    let mut next = 0;
    for entry in dir.entries()? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let Some(numbered) = name.strip_prefix(before) else { continue };
        let digits = numbered.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
        if let Ok(number) = digits.parse::<u32>() {
            next = next.max(number.saturating_add(1));
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn files_are_numbered_on_and_none_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(&folder.path().join("deep"));
        let save = |name: &str, series| outputs.save("a/2026-01-02", name, "png", series, b"x").unwrap();
        let (pictures, grids) = (Some(Series::PICTURES), Some(Series::GRIDS));
        assert_eq!(save("7", pictures), "a/2026-01-02/00000-7.png");
        assert_eq!(save("7", pictures), "a/2026-01-02/00001-7.png");
        std::fs::write(folder.path().join("deep/a/2026-01-02/00041.jpg"), b"").unwrap();
        assert_eq!(save("", pictures), "a/2026-01-02/00042.png");
        assert_eq!(
            (save("x", None), save("x", None)),
            ("a/2026-01-02/x.png".into(), "a/2026-01-02/x-1.png".into())
        );
        // Each series counts its own files.
        assert_eq!(save("", grids), "a/2026-01-02/grid-0000.png");
        assert_eq!(save("7", grids), "a/2026-01-02/grid-0001-7.png");
        assert_eq!(save("", pictures), "a/2026-01-02/00043.png");
    }

    #[test]
    fn pictures_that_are_saved_at_once_have_numbers_of_their_own() {
        const WRITERS: usize = 8;
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(folder.path());
        let begin = std::sync::Barrier::new(WRITERS);
        let write = |writer: usize| {
            begin.wait();
            let save = |picture: usize| {
                let name = format!("{writer}-{picture}");
                outputs.clone().save("a", &name, "png", Some(Series::PICTURES), b"x").unwrap()
            };
            (0..8).map(save).collect::<Vec<_>>()
        };
        let paths: Vec<String> = std::thread::scope(|scope| {
            let write = &write;
            let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        let numbers: std::collections::BTreeSet<&str> = paths.iter().map(|path| &path[..7]).collect();
        assert_eq!((numbers.len(), numbers.last()), (8 * WRITERS, Some(&"a/00063")));
    }

    #[test]
    fn only_numbers_of_the_same_folder_are_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(folder.path());
        let beside = outputs.clone();
        let (saved, is_saved) = std::sync::mpsc::channel();
        outputs.in_turn("a", || {
            std::thread::spawn(move || {
                for (folder, series) in [("b", Some(Series::PICTURES)), ("a", None)] {
                    saved.send(beside.save(folder, "x", "png", series, b"x").unwrap()).unwrap();
                }
            });
            for path in ["b/00000-x.png", "a/x.png"] {
                assert_eq!(is_saved.recv_timeout(Duration::from_secs(10)).unwrap(), path);
            }
        });
        // No turn is kept for a folder that nobody is in.
        assert!(lock(&outputs.turns).is_empty());
    }

    #[test]
    fn a_text_lies_beside_its_picture() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(folder.path());
        let path = outputs.save("a", "b.c", "png", None, b"x").unwrap();
        outputs.save_beside(&path, "txt", b"text").unwrap();
        assert_eq!(std::fs::read(folder.path().join("a/b.c.txt")).unwrap(), b"text");
        assert!(outputs.save_beside("../x.png", "txt", b"text").is_err());
        assert!(outputs.save_beside("a", "txt", b"text").is_err());
    }

    #[test]
    fn no_name_and_no_link_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(&folder.path().join("in"));
        for (into, name) in
            [("..", "x"), ("a/../..", "x"), ("/etc", "x"), ("a", "../x"), ("a", "b/c"), ("", "x")]
        {
            let refused = outputs.save(into, name, "png", None, b"x").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{into} {name}");
        }
        std::fs::create_dir_all(folder.path().join("in")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("in/out")).unwrap();
        assert!(outputs.save("out", "x", "png", None, b"x").is_err());
        assert!(!folder.path().join("x.png").exists());
    }
}
