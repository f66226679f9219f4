//! How much room there is on the volume of a folder, and what of it is kept. Called by the guard of the task store and
//! by the server's upkeep and backups.

use std::io;
use std::path::Path;

const RESERVE_PART: u64 = 20;
const RESERVE_BYTES_MAX: u64 = 256 << 20;

/// Of a volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// For whoever has no special rights.
    pub free: u64,
    pub total: u64,
}

impl Room {
    /// What is kept for running tasks: a twentieth of the volume, at most 256 MiB.
    pub fn reserve(self) -> u64 {
        (self.total / RESERVE_PART).min(RESERVE_BYTES_MAX)
    }
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
    fn a_twentieth_is_kept_and_no_more_than_256_mib() {
        assert_eq!(Room { free: 0, total: 100 }.reserve(), 5);
        assert_eq!(Room { free: 0, total: u64::MAX }.reserve(), 256 << 20);
    }

    #[test]
    fn a_volume_has_no_more_free_than_it_has_and_one_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let room = room_of(folder.path()).unwrap();
        assert!(room.total > 0 && room.free <= room.total, "{room:?}");
        assert_eq!(room_of(&folder.path().join("nothing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
