//! Buffers the data of an insert until it is complete: the engine reads it from a file descriptor, and a
//! client that disconnects must not leave half of its rows behind.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::MemfdFlags;

use crate::limits::{INSERT_BYTES, SPOOL_MEMORY_BYTES, SPOOL_TOTAL_MEMORY_BYTES};

const COPY: usize = 128 << 10;

/// Storage for inserts: memory up to a limit, then unnamed files in a directory.
#[derive(Debug)]
pub struct SpoolSpace {
    directory: PathBuf,
    memory_used: AtomicU64,
}

impl SpoolSpace {
    /// Creates the directory if it is missing.
    pub fn open(directory: &Path) -> io::Result<Arc<SpoolSpace>> {
        std::fs::create_dir_all(directory)?;
        Ok(Arc::new(SpoolSpace { directory: directory.to_owned(), memory_used: AtomicU64::new(0) }))
    }

    fn reserve(&self, bytes: u64) -> bool {
        let take = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= SPOOL_TOTAL_MEMORY_BYTES);
        self.memory_used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// A file without a name: it disappears with its last descriptor, also when the process is killed.
    pub fn nameless_file(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.directory)
    }
}

pub struct Spool {
    space: Arc<SpoolSpace>,
    file: File,
    length: u64,
    reserved: u64,
    in_memory: bool,
}

impl Spool {
    /// Reads the source to its end. Errors: those of the source, `FileTooLarge` beyond [`INSERT_BYTES`],
    /// and a full disk.
    pub fn fill(space: &Arc<SpoolSpace>, first: &[u8], mut rest: impl Read) -> io::Result<Spool> {
        let file = File::from(rustix::fs::memfd_create("insert", MemfdFlags::CLOEXEC)?);
        let mut spool = Spool { space: Arc::clone(space), file, length: 0, reserved: 0, in_memory: true };
        spool.append(first)?;
        let mut buffer = vec![0_u8; COPY];
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => return Ok(spool),
                Ok(n) => spool.append(buffer.get(..n).unwrap_or_default())?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if length > INSERT_BYTES {
            let text = format!("an insert of more than {INSERT_BYTES} bytes: send it in several");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        if self.in_memory && length > self.reserved {
            let more = (length - self.reserved).next_multiple_of(1 << 20);
            if length <= SPOOL_MEMORY_BYTES && self.space.reserve(more) {
                self.reserved += more;
            } else {
                self.move_to_disk()?;
            }
        }
        self.file.write_all(bytes)?;
        self.length = length;
        Ok(())
    }

    fn move_to_disk(&mut self) -> io::Result<()> {
        let mut disk = self.space.nameless_file()?;
        self.file.seek(SeekFrom::Start(0))?;
        io::copy(&mut self.file, &mut disk)?;
        self.file = disk;
        self.in_memory = false;
        self.release();
        Ok(())
    }

    fn release(&mut self) {
        self.space.memory_used.fetch_sub(std::mem::take(&mut self.reserved), Ordering::AcqRel);
    }

    /// A second descriptor of the same data, for the engine to open by number.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::{Spool, SpoolSpace};
    use std::io::{Read, Seek, SeekFrom};
    use std::sync::atomic::Ordering;

    #[test]
    fn a_large_insert_moves_to_disk_whole() {
        let directory = tempfile::tempdir().unwrap();
        let space = SpoolSpace::open(directory.path()).unwrap();
        let small = Spool::fill(&space, b"ab", &b"c"[..]).unwrap();
        assert!(small.in_memory);
        assert!(space.memory_used.load(Ordering::Acquire) > 0);
        let mut large = Spool::fill(&space, b"abc", std::io::repeat(7).take(65 << 20)).unwrap();
        assert!(!large.in_memory);
        large.file.seek(SeekFrom::Start(0)).unwrap();
        let mut all = Vec::new();
        large.file.read_to_end(&mut all).unwrap();
        assert_eq!((all.len(), &all[..4]), (3 + (65 << 20), &b"abc\x07"[..]));
        drop((small, large));
        assert_eq!(space.memory_used.load(Ordering::Acquire), 0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
