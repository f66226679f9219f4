//! The one place that maps a file into memory. Called by the loader, which copies what it needs and lets go.

#![expect(unsafe_code, reason = "memory mapping is unsafe because other processes may change the file")]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

/// Maps a regular file, privately and for reading only.
pub(crate) fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    // SAFETY: the map is read as plain bytes that are checked as they are read, so a writer can at worst make us
    // load wrong numbers. Shortening the file while it is mapped would end the process with SIGBUS; that window
    // is the load alone, because tensors are copied out and the map is dropped with it.
    unsafe { MmapOptions::new().map_copy_read_only(&file) }
}
