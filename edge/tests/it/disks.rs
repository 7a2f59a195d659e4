//! Disks of the journal that fail.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marketprism_edge::journal::{DiskFiles, JournalFile, JournalFiles};

/// A disk that is full while `full` is set: each append leaves half of its bytes.
pub struct FullDisk(pub Arc<AtomicBool>);

struct FullFile(Arc<dyn JournalFile>, Arc<AtomicBool>);

impl JournalFiles for FullDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        Ok(Arc::new(FullFile(DiskFiles.create(path)?, Arc::clone(&self.0))))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        DiskFiles.sync(path)
    }
}

impl JournalFile for FullFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if self.1.load(Ordering::Acquire) {
            self.0.append(&bytes[..bytes.len() / 2])?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0.append(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// Remembers what was synced, until `is_stuck`.
#[derive(Clone, Default)]
pub struct SyncedDisk {
    pub lengths: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
    pub is_stuck: Arc<AtomicBool>,
}

struct SyncedFile(Arc<dyn JournalFile>, PathBuf, SyncedDisk);

impl JournalFiles for SyncedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        Ok(Arc::new(SyncedFile(DiskFiles.create(path)?, path.to_owned(), self.clone())))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.note(path, || DiskFiles.sync(path))
    }
}

impl SyncedDisk {
    /// Bytes written while the sync runs may not be on disk.
    fn note(&self, path: &Path, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let length = std::fs::metadata(path)?.len();
        sync()?;
        self.lengths.lock().unwrap().insert(path.to_owned(), length);
        Ok(())
    }
}

impl JournalFile for SyncedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        if self.2.is_stuck.load(Ordering::Acquire) { Ok(()) } else { self.2.note(&self.1, || self.0.sync()) }
    }
}

/// A disk that flips a bit in the middle of the next append after `is_damaging`, does not answer while `is_stuck`, syncs nothing while
/// `is_sync_stuck`, and refuses syncs while `is_sync_failing`.
#[derive(Clone, Default)]
pub struct BadDisk {
    pub is_damaging: Arc<AtomicBool>,
    pub is_stuck: Arc<AtomicBool>,
    pub is_sync_stuck: Arc<AtomicBool>,
    pub is_sync_failing: Arc<AtomicBool>,
}

fn wait_while(is_stuck: &AtomicBool) {
    while is_stuck.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct BadFile(Arc<dyn JournalFile>, BadDisk);

impl JournalFiles for BadDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        Ok(Arc::new(BadFile(DiskFiles.create(path)?, self.clone())))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        DiskFiles.sync(path)
    }
}

impl JournalFile for BadFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        wait_while(&self.1.is_stuck);
        let mut bytes = bytes.to_vec();
        if self.1.is_damaging.swap(false, Ordering::AcqRel) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }
        self.0.append(&bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        wait_while(&self.1.is_sync_stuck);
        if self.1.is_sync_failing.load(Ordering::Acquire) {
            return Err(io::Error::other("input/output error"));
        }
        self.0.sync()
    }
}

/// A disk on which files can be created, but not written.
pub struct FailingDisk;

struct FailingFile(Arc<dyn JournalFile>);

impl JournalFiles for FailingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        Ok(Arc::new(FailingFile(DiskFiles.create(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        DiskFiles.sync(path)
    }
}

impl JournalFile for FailingFile {
    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::other("the device does not answer"))
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}
