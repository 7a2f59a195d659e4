//! Disks of the journal that fail.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marketprism_edge::journal::{DiskFiles, JournalFile, JournalFiles};

/// A fault of a disk; without one, it does what the real one does.
pub trait DiskFault: Clone + Send + Sync + 'static {
    fn append(&self, file: &dyn JournalFile, bytes: &[u8]) -> io::Result<()> {
        file.append(bytes)
    }

    fn sync(&self, file: &dyn JournalFile, _path: &Path) -> io::Result<()> {
        file.sync()
    }

    /// Of what an earlier run has written.
    fn sync_earlier(&self, path: &Path) -> io::Result<()> {
        DiskFiles.sync(path)
    }
}

pub struct FaultyDisk<F>(pub F);

struct FaultyFile<F> {
    file: Arc<dyn JournalFile>,
    path: PathBuf,
    fault: F,
}

impl<F: DiskFault> JournalFiles for FaultyDisk<F> {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        let (file, path, fault) = (DiskFiles.create(path)?, path.to_owned(), self.0.clone());
        Ok(Arc::new(FaultyFile { file, path, fault }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.0.sync_earlier(path)
    }
}

impl<F: DiskFault> JournalFile for FaultyFile<F> {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.fault.append(&*self.file, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.fault.sync(&*self.file, &self.path)
    }
}

/// A disk that is full while this is set: each append leaves half of its bytes.
#[derive(Clone)]
pub struct FullDisk(pub Arc<AtomicBool>);

impl DiskFault for FullDisk {
    fn append(&self, file: &dyn JournalFile, bytes: &[u8]) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            file.append(&bytes[..bytes.len() / 2])?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        file.append(bytes)
    }
}

/// Remembers what was synced, until `is_stuck`.
#[derive(Clone, Default)]
pub struct SyncedDisk {
    pub lengths: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
    pub is_stuck: Arc<AtomicBool>,
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

impl DiskFault for SyncedDisk {
    fn sync(&self, file: &dyn JournalFile, path: &Path) -> io::Result<()> {
        if self.is_stuck.load(Ordering::Acquire) { Ok(()) } else { self.note(path, || file.sync()) }
    }

    fn sync_earlier(&self, path: &Path) -> io::Result<()> {
        self.note(path, || DiskFiles.sync(path))
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

impl DiskFault for BadDisk {
    fn append(&self, file: &dyn JournalFile, bytes: &[u8]) -> io::Result<()> {
        wait_while(&self.is_stuck);
        let mut bytes = bytes.to_vec();
        if self.is_damaging.swap(false, Ordering::AcqRel) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }
        file.append(&bytes)
    }

    fn sync(&self, file: &dyn JournalFile, _path: &Path) -> io::Result<()> {
        wait_while(&self.is_sync_stuck);
        if self.is_sync_failing.load(Ordering::Acquire) {
            return Err(io::Error::other("input/output error"));
        }
        file.sync()
    }
}

/// A disk on which files can be created, but not written.
#[derive(Clone)]
pub struct FailingDisk;

impl DiskFault for FailingDisk {
    fn append(&self, _file: &dyn JournalFile, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::other("the device does not answer"))
    }
}
