//! A folder whose file names may come from a user or a plugin. Called by the plugin host and the model list, from
//! threads that may block. cap-std opens every name below the folder, so no name and no symlink leads out of it.

use std::io::{self, Read};
use std::path::{Component, Path};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

/// The most files a listing may hold.
pub const MAX_FILES: usize = 10_000;
/// The most names a listing looks at: files, folders and all else. Folders alone would keep it as long.
pub const MAX_ENTRIES: usize = 2 * MAX_FILES;
/// How many folders deep a listing looks.
pub const MAX_DEPTH: usize = 16;

/// An open folder. It stays the same folder when its path is given to another one later.
#[derive(Debug)]
pub struct Folder {
    dir: Dir,
}

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("there is no file {0:?} in this folder")]
    NotFound(String),
    #[error("{0:?} is not the name of a file inside this folder; give a relative path without '..'")]
    Outside(String),
    #[error("{path:?} has more than {limit} bytes, which is the most that may be read")]
    TooLarge { path: String, limit: u64 },
    #[error(
        "the folder has more than {MAX_FILES} files, {MAX_ENTRIES} files and folders together, or {MAX_DEPTH} levels; grant a \
         smaller one"
    )]
    TooMany,
    #[error("{path:?} cannot be read: {source}")]
    Io { path: String, source: io::Error },
}

impl Folder {
    /// Opens the folder an admin named; only here is a path taken as it is.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())
            .map_err(|error| FolderError::from_io(&path.display().to_string(), error))?;
        Ok(Self { dir })
    }

    /// The relative paths of all files, with `/` between the parts, sorted. Symlinked files are listed if they stay
    /// inside; symlinked folders are not entered, since they may form circles. Names that are not UTF-8, and files
    /// that vanish meanwhile, are left out.
    pub fn list(&self) -> Result<Vec<String>, FolderError> {
        let mut found = Found::default();
        collect(&self.dir, "", 0, &mut found)?;
        found.files.sort();
        Ok(found.files)
    }

    /// The bytes of a regular file of at most `max_bytes`.
    pub fn read(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, FolderError> {
        check_relative(path)?;
        // Opening a named pipe waits for a writer, unless it is said not to. What it is is asked of the open file, since a name
        // may come to stand for something else in between.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let failed = |error| FolderError::from_io(path, error);
        let file = self.dir.open_with(path, &options).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(FolderError::NotFound(path.to_owned()));
        }
        let too_large = || FolderError::TooLarge { path: path.to_owned(), limit: max_bytes };
        if metadata.len() > max_bytes {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        // The file may have grown since; one byte more than allowed tells.
        file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > max_bytes {
            return Err(too_large());
        }
        Ok(bytes)
    }
}

impl FolderError {
    fn from_io(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound(path),
            // What cap-std answers when a name or a symlink leads out.
            io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => Self::Outside(path),
            _ if source.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => Self::Outside(path),
            _ => Self::Io { path, source },
        }
    }
}

fn check_relative(path: &str) -> Result<(), FolderError> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.contains(['\0', '\\']) {
        return Err(FolderError::Outside(path.to_owned()));
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    files: Vec<String>,
    /// Whatever was looked at.
    entries: usize,
}

fn collect(dir: &Dir, prefix: &str, depth: usize, found: &mut Found) -> Result<(), FolderError> {
    if depth > MAX_DEPTH {
        return Err(FolderError::TooMany);
    }
    let here = if prefix.is_empty() { "." } else { prefix };
    let failed = |error| FolderError::from_io(here, error);
    for item in dir.entries().map_err(failed)? {
        let item = item.map_err(failed)?;
        found.entries += 1;
        if found.entries > MAX_ENTRIES {
            return Err(FolderError::TooMany);
        }
        let Ok(name) = item.file_name().into_string() else { continue };
        let Ok(kind) = item.file_type() else { continue };
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if kind.is_dir() {
            let Ok(below) = item.open_dir() else { continue };
            collect(&below, &path, depth + 1, found)?;
        } else if kind.is_file()
            || (kind.is_symlink() && dir.metadata(&name).is_ok_and(|target| target.is_file()))
        {
            if found.files.len() == MAX_FILES {
                return Err(FolderError::TooMany);
            }
            found.files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::write(outside.path().join("secret.txt"), "secret").unwrap();
        fs::write(root.join("z.txt"), "last").unwrap();
        fs::write(root.join("b/c/deep.txt"), "deep").unwrap();
        symlink(outside.path().join("secret.txt"), root.join("absolute-out")).unwrap();
        symlink("../secret.txt", root.join("relative-out")).unwrap();
        symlink("..", root.join("folder-out")).unwrap();
        symlink("z.txt", root.join("inside")).unwrap();
        symlink(".", root.join("circle")).unwrap();
        let opened = Folder::open(&root).unwrap();
        (outside, opened)
    }

    #[test]
    fn lists_files_sorted_and_leaves_out_what_leads_out() {
        let (_outside, folder) = folder();
        assert_eq!(folder.list().unwrap(), ["b/c/deep.txt", "inside", "z.txt"]);
    }

    #[test]
    fn reads_files_inside_also_through_a_symlink() {
        let (_outside, folder) = folder();
        assert_eq!(folder.read("b/c/deep.txt", 4).unwrap(), b"deep");
        assert_eq!(folder.read("inside", 100).unwrap(), b"last");
    }

    #[test]
    fn refuses_names_and_symlinks_that_lead_out() {
        let (outside, folder) = folder();
        let absolute = outside.path().join("secret.txt").display().to_string();
        for path in [
            "../secret.txt",
            "b/../../secret.txt",
            "b/../z.txt",
            absolute.as_str(),
            "",
            ".",
            "..",
            "b\\..\\z.txt",
            "z.txt\0",
            "absolute-out",
            "relative-out",
            "folder-out/secret.txt",
        ] {
            let error = folder.read(path, 100).unwrap_err();
            assert!(matches!(error, FolderError::Outside(_)), "{path:?} gave {error:?}");
        }
    }

    #[test]
    fn refuses_a_file_over_the_limit_by_one_byte() {
        let (_outside, folder) = folder();
        assert!(matches!(folder.read("z.txt", 3), Err(FolderError::TooLarge { limit: 3, .. })));
    }

    #[test]
    fn a_folder_a_missing_file_and_a_named_pipe_are_not_found() {
        let (outside, folder) = folder();
        rustix::fs::mkfifoat(rustix::fs::CWD, outside.path().join("root/pipe"), rustix::fs::Mode::RWXU)
            .unwrap();
        for path in ["b", "missing.txt", "z.txt/below", "pipe"] {
            let error = folder.read(path, 100).unwrap_err();
            assert!(matches!(error, FolderError::NotFound(_)), "{path:?} gave {error:?}");
        }
    }

    #[test]
    fn a_name_that_changes_while_it_is_read_neither_leads_out_nor_keeps_the_reader() {
        let (outside, folder) = folder();
        let (next, name) = (outside.path().join("root/next"), outside.path().join("root/changing"));
        let until = Instant::now() + Duration::from_secs(1);
        let swap = |turn: usize| {
            match turn % 3 {
                0 => fs::write(&next, "mine").unwrap(),
                1 => symlink(outside.path().join("secret.txt"), &next).unwrap(),
                _ => rustix::fs::mkfifoat(rustix::fs::CWD, &next, rustix::fs::Mode::RWXU).unwrap(),
            }
            fs::rename(&next, &name).unwrap();
        };
        swap(0);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..).take_while(|_| Instant::now() < until).for_each(swap));
            let mut read = 0;
            while Instant::now() < until {
                // Why the others are refused is the moment's matter.
                if let Ok(bytes) = folder.read("changing", 100) {
                    assert_eq!(bytes, b"mine");
                    read += 1;
                }
            }
            assert!(read > 0, "the file was never read");
        });
        assert!(Instant::now() < until + Duration::from_secs(5), "the reader was kept");
    }

    #[test]
    fn refuses_to_list_more_files_or_levels_than_the_limits() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..=MAX_FILES {
            fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        assert!(matches!(Folder::open(root.path()).unwrap().list(), Err(FolderError::TooMany)));
        let deep = tempfile::tempdir().unwrap();
        fs::create_dir_all(deep.path().join("x/".repeat(MAX_DEPTH + 1))).unwrap();
        assert!(matches!(Folder::open(deep.path()).unwrap().list(), Err(FolderError::TooMany)));
    }

    #[test]
    fn refuses_to_look_at_more_folders_than_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let parent = |number: usize| root.path().join((number % 100).to_string());
        (0..100).for_each(|number| fs::create_dir(parent(number)).unwrap());
        // The parents count too.
        for number in 100..MAX_ENTRIES {
            fs::create_dir(parent(number).join(number.to_string())).unwrap();
        }
        let folder = Folder::open(root.path()).unwrap();
        assert_eq!(folder.list().unwrap(), Vec::<String>::new());
        fs::create_dir(root.path().join("one more")).unwrap();
        assert!(matches!(folder.list(), Err(FolderError::TooMany)));
    }
}
