//! A lock file that names its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Result, Write as _};
use std::path::Path;

/// Longest text of a holder.
const TEXT_BYTES_MAX: u64 = 1_024;

/// Held until dropped; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock as this process, with its id as the text.
    pub fn try_take(path: &Path) -> Result<std::result::Result<Self, String>> {
        Self::try_take_as(path, &std::process::id().to_string())
    }

    /// Takes the lock, creating folder and file if needed. The inner error is the text of the process that holds it; empty if
    /// that has not been written yet, or could not be: the text is for people, and a full disk ends no start.
    pub fn try_take_as(path: &Path, text: &str) -> Result<std::result::Result<Self, String>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.take(TEXT_BYTES_MAX).read_to_string(&mut holder)?;
                return Ok(Err(holder.trim().to_owned()));
            }
        }
        let written = file.set_len(0).and_then(|()| (&file).write_all(format!("{text}\n").as_bytes()));
        if let Err(error) = written {
            tracing::warn!(%error, ?path, "holder of the lock not written: a second process will not name it");
        }
        Ok(Ok(Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No byte can be written into this file, as on a full disk.
    #[test]
    fn a_lock_whose_holder_cannot_be_written_is_held_all_the_same() {
        let taken = FileLock::try_take_as(Path::new("/dev/full"), "process 1");
        // Another run of this test may hold it.
        assert!(taken.is_ok(), "{taken:?}");
    }
}
