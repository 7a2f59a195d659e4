//! The journal's access to the disk, as a seam: tests put a failing disk behind it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use marketprism_service::sync_folder;

pub trait JournalFile: Send + Sync {
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts what a failed append has left.
    fn truncate(&self, length: u64) -> io::Result<()>;

    fn sync(&self) -> io::Result<()>;
}

pub trait JournalFiles: Send + Sync {
    /// A new file; the folder is created where it is missing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Syncs what an earlier run has written.
    fn sync(&self, path: &Path) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl JournalFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl JournalFiles for DiskFiles {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder)?;
        let file = OpenOptions::new().create_new(true).append(true).open(path)?;
        // The file's name must outlive a power cut as its content does.
        sync_folder(folder)?;
        Ok(Arc::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().append(true).open(path)?.sync_data()
    }
}
