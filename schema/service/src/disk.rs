//! Room on a disk.

use std::path::Path;

/// Room on the file system of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Size.
    pub total_bytes: u64,
}

impl DiskSpace {
    /// Of the nearest folder above `path` that exists.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let path = std::path::absolute(path)?;
        let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(&path);
        let found = rustix::fs::statvfs(existing)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) })
    }

    /// Less than a tenth is free, as the report on ClickHouse's disks judges too.
    pub const fn is_low(self) -> bool {
        self.free_bytes < self.total_bytes / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_yet_has_the_room_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let space = DiskSpace::of(&folder.path().join("not/yet")).unwrap();
        assert_eq!(space.total_bytes, DiskSpace::of(folder.path()).unwrap().total_bytes);
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes, "{space:?}");
        assert!(DiskSpace { free_bytes: 9, total_bytes: 100 }.is_low());
        assert!(!DiskSpace { free_bytes: 10, total_bytes: 100 }.is_low());
    }
}
