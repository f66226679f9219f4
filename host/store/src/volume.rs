//! How much room there is on the volume of a folder. Called by the guard of the task store and by the server's upkeep.

use std::io;
use std::path::Path;

/// Of a volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// For whoever has no special rights.
    pub free: u64,
    pub total: u64,
}

/// Asks the system: call it where blocking is allowed.
pub fn room_of(folder: &Path) -> io::Result<Room> {
    let volume = rustix::fs::statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
    Ok(Room { free: bytes(volume.f_bavail), total: bytes(volume.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_no_more_free_than_it_has_and_one_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let room = room_of(folder.path()).unwrap();
        assert!(room.total > 0 && room.free <= room.total, "{room:?}");
        assert_eq!(room_of(&folder.path().join("nothing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
