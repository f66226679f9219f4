//! The files that a plugin's own file carries: a zip archive in the custom section `gesso:assets`. Written for authors by
//! `pack`, read by `inspect`; whoever made the archive, what it unpacks to is bounded.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

pub(crate) const SECTION: &str = "gesso:assets";
const FILES_MAX: usize = 1_000;
/// Of all files together; they stay in memory as long as the plugin does. The archive has to be smaller, too.
const BYTES_MAX: u64 = 16 << 20;
const NAME_BYTES_MAX: usize = 200;

/// Files by name, `/` between the parts of one. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assets(Arc<BTreeMap<String, Bytes>>);

impl Assets {
    /// # Errors
    /// The first name that is none, or how many files or bytes are too many, as the rest of a sentence.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        let mut room = BYTES_MAX;
        for (name, bytes) in files {
            if !is_name(&name) {
                return Err(format!(
                    "there is a file named {name:.100?}; a name has 1 to {NAME_BYTES_MAX} bytes, and `/` between parts, none of which is empty, `.` or `..`"
                ));
            }
            room = room.checked_sub(bytes.len() as u64).ok_or_else(too_many_bytes)?;
            if all.len() == FILES_MAX {
                return Err(too_many_files());
            }
            if let Some(name) = all.insert(name.clone(), Bytes::from(bytes)).map(|_| name) {
                return Err(format!("there are two files named {name:.100?}"));
            }
        }
        Ok(Self(Arc::new(all)))
    }

    /// From the bytes of the section.
    pub(crate) fn read(section: &[u8]) -> Result<Self, String> {
        if section.len() as u64 > BYTES_MAX {
            return Err(too_many_bytes());
        }
        let problem = |error: ZipError| format!("the archive does not read: {error}");
        let mut archive = ZipArchive::new(Cursor::new(section)).map_err(problem)?;
        if archive.len() > FILES_MAX {
            return Err(too_many_files());
        }
        let (mut files, mut room) = (Vec::with_capacity(archive.len()), BYTES_MAX);
        for index in 0..archive.len() {
            let file = archive.by_index(index).map_err(problem)?;
            let name = file.name().map_err(problem)?.into_owned();
            let mut bytes = Vec::new();
            // What an archive says of a file's length is not believed: one byte more than there is room for tells.
            let read = file.take(room + 1).read_to_end(&mut bytes);
            read.map_err(|error| format!("{name:.100?} does not unpack: {error}"))?;
            room = room.checked_sub(bytes.len() as u64).ok_or_else(too_many_bytes)?;
            files.push((name, bytes));
        }
        Self::new(files)
    }

    /// The bytes of the section; the same files give the same bytes.
    pub(crate) fn write(&self) -> Result<Vec<u8>, String> {
        let problem = |error: &dyn std::fmt::Display| format!("the archive cannot be made: {error}");
        let packed = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in self.0.iter() {
            archive.start_file(name.as_str(), packed).map_err(|error| problem(&error))?;
            archive.write_all(bytes).map_err(|error| problem(&error))?;
        }
        Ok(archive.finish().map_err(|error| problem(&error))?.into_inner())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.get(name)
    }
}

fn too_many_bytes() -> String {
    format!("they have more than {BYTES_MAX} bytes together")
}

fn too_many_files() -> String {
    format!("there are more than {FILES_MAX} files")
}

fn is_name(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.len() <= NAME_BYTES_MAX
        && name.split('/').all(is_part)
        && !name.chars().any(|letter| letter.is_control() || letter == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            archive.start_file(*name, options).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn files_come_back_as_they_went_in_and_in_the_same_bytes() {
        let files = [("page/index.html".to_owned(), b"<p>".to_vec()), ("a".to_owned(), Vec::new())];
        let assets = Assets::new(files).unwrap();
        let section = assets.write().unwrap();
        assert_eq!(Assets::read(&section).unwrap(), assets);
        assert_eq!(assets.write().unwrap(), section);
        assert_eq!(assets.names().collect::<Vec<_>>(), ["a", "page/index.html"]);
        assert_eq!(assets.get("page/index.html").unwrap().as_ref(), b"<p>");
    }

    #[test]
    fn a_bomb_a_wrong_name_and_what_is_no_archive_are_refused() {
        let much = vec![0; BYTES_MAX as usize + 1];
        let bomb = packed(&[("zeros", &much)]);
        assert!(bomb.len() < 1 << 20, "it is no bomb: {} bytes", bomb.len());
        assert!(Assets::read(&bomb).unwrap_err().contains("more than 16777216 bytes"));
        for name in ["../x", "/x", "a//b", "a\\b", "a/./b"] {
            assert!(Assets::read(&packed(&[(name, b"")])).unwrap_err().contains("a name has"), "{name}");
        }
        assert!(Assets::read(b"hello").unwrap_err().contains("does not read"));
        assert!(Assets::new((0..=FILES_MAX).map(|n| (n.to_string(), Vec::new()))).is_err());
    }
}
