//! Pictures saved for people: below one folder, in folders and under names that requests choose. Called by the server's
//! worker, from threads that may block. cap-std opens every name below the folder, so none leads out of it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

/// Digits of a sequence number, with zeros before it.
const DIGITS: usize = 5;
/// Names that are tried when others write into the same folder at the same time.
const TRIES: u32 = 100;

/// The folder.
#[derive(Debug, Clone)]
pub struct Outputs {
    root: PathBuf,
}

impl Outputs {
    /// It is made when the first picture is saved.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Writes a file that was not there before into `folder`, and returns its path below the root. `name` is without
    /// its `extension`. `is_numbered` puts the next number of the folder before it: `00042-name.png`; without it, a name
    /// that is taken gets a number behind it.
    ///
    /// # Errors
    /// Of the file system; `InvalidInput` where `folder` or `name` is none.
    pub fn save(
        &self,
        folder: &str,
        name: &str,
        extension: &str,
        is_numbered: bool,
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
        let first = if is_numbered { next_number(&dir)? } else { 0 };
        for number in first..first.saturating_add(TRIES) {
            let stem = match (is_numbered, number) {
                (true, _) if name.is_empty() => format!("{number:0DIGITS$}"),
                (true, _) => format!("{number:0DIGITS$}-{name}"),
                (false, 0) if !name.is_empty() => name.to_owned(),
                (false, _) => format!("{name}-{number}"),
            };
            let file = format!("{stem}.{extension}");
            match dir.open_with(&file, OpenOptions::new().write(true).create_new(true)) {
                Ok(mut opened) => {
                    opened.write_all(bytes)?;
                    return Ok(format!("{folder}/{file}"));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name that was tried is taken"))
    }
}

/// One more than the highest number that a file of the folder begins with.
fn next_number(dir: &Dir) -> io::Result<u32> {
    let mut next = 0;
    for entry in dir.entries()? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let digits = name.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
        if let Ok(number) = digits.parse::<u32>() {
            next = next.max(number.saturating_add(1));
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_numbered_on_and_none_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(&folder.path().join("deep"));
        let save =
            |name: &str, is_numbered| outputs.save("a/2026-01-02", name, "png", is_numbered, b"x").unwrap();
        assert_eq!(save("7", true), "a/2026-01-02/00000-7.png");
        assert_eq!(save("7", true), "a/2026-01-02/00001-7.png");
        std::fs::write(folder.path().join("deep/a/2026-01-02/00041.jpg"), b"").unwrap();
        assert_eq!(save("", true), "a/2026-01-02/00042.png");
        assert_eq!(
            (save("x", false), save("x", false)),
            ("a/2026-01-02/x.png".into(), "a/2026-01-02/x-1.png".into())
        );
    }

    #[test]
    fn no_name_and_no_link_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(&folder.path().join("in"));
        for (into, name) in
            [("..", "x"), ("a/../..", "x"), ("/etc", "x"), ("a", "../x"), ("a", "b/c"), ("", "x")]
        {
            let refused = outputs.save(into, name, "png", false, b"x").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{into} {name}");
        }
        std::fs::create_dir_all(folder.path().join("in")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("in/out")).unwrap();
        assert!(outputs.save("out", "x", "png", false, b"x").is_err());
        assert!(!folder.path().join("x.png").exists());
    }
}
