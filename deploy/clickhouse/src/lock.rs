use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};

const FILE: &str = "marketprism-clickhouse.lock";

/// Locks the directory until dropped. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Fails with the id of the process that holds the directory.
    pub fn take(directory: &Path) -> anyhow::Result<DirectoryLock> {
        let path = directory.join(FILE);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.as_mut().map_err(|e| anyhow::anyhow!("cannot open {}: {e}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                bail!("data directory {} is in use by process {}", directory.display(), holder.trim());
            }
            Err(TryLockError::Error(e)) => bail!("cannot lock {}: {e}", path.display()),
        }
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).context("cannot write the lock file")?;
        writeln!(file, "{}", std::process::id()).context("cannot write the lock file")?;
        Ok(DirectoryLock { _file: file.try_clone().context("cannot keep the lock file")? })
    }
}
