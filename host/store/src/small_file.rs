//! Small files of the data folder that hold secrets: written whole or not at all, and for their owner's eyes only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Puts `bytes` in the place of what `file` held. A crash leaves the one or the other.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let staged = file.with_added_extension("new");
    let mut writer = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    writer.set_permissions(fs::Permissions::from_mode(0o600))?;
    writer.write_all(bytes)?;
    writer.sync_all()?;
    fs::rename(&staged, file)?;
    File::open(folder)?.sync_all()
}

/// Opens a file for reading. One that was restored or copied by hand may have lost its narrow rights: they are
/// given back, and the log says so.
pub(crate) fn open(file: &Path) -> io::Result<File> {
    let opened = File::open(file)?;
    if opened.metadata()?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %file.display(), "others could read this file; its rights were narrowed");
        opened.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(opened)
}
