//! A lock file that names its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Result, Seek as _, Write as _};
use std::path::Path;

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
    /// that has not been written yet.
    pub fn try_take_as(path: &Path, text: &str) -> Result<std::result::Result<Self, String>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                return Ok(Err(holder.trim().to_owned()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{text}")?;
        Ok(Ok(Self { _file: file }))
    }
}
