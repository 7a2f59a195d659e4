//! Files that a user names: regular ones only, and bounded. A pipe could block for ever, a device may have no end. And files of a program's own
//! state, which a crash leaves whole.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Opens a regular file. Anything else is refused before it is opened.
pub fn open_file(path: &Path) -> Result<File> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_file() {
        return File::open(path);
    }
    let found = if kind.is_dir() { "a folder" } else { "a pipe or device" };
    Err(Error::new(ErrorKind::InvalidInput, format!("is {found}, allowed is a regular file")))
}

/// Reads a regular file of at most `max` bytes.
pub fn read_file(path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("is larger than {max} bytes")));
    }
    Ok(bytes)
}

/// Some editors begin a UTF-8 file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a regular UTF-8 file of at most `max` bytes.
pub fn read_text(path: &Path, max: u64) -> Result<String> {
    String::from_utf8(without_mark(read_file(path, max)?))
        .map_err(|_| Error::new(ErrorKind::InvalidData, "is not UTF-8 text"))
}

/// Longest PEM file: the whole list of a system's authorities has some hundred kilobytes.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// Reads a regular file of certificates or keys. Readers of PEM skip a first certificate that does not begin its line.
pub fn read_pem(path: &Path) -> Result<Vec<u8>> {
    read_file(path, PEM_BYTES_MAX).map(without_mark)
}

/// Writes a file in the place of the one before. After a crash of the machine it has the old or the new content.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    });
    if let Err(error) = written {
        // It would keep its place on a disk that is full.
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    sync_folder(path.parent().unwrap_or_else(|| Path::new(".")))
}

/// A name that is new in this folder outlives a power cut. Where the file system syncs no folders (shared folders of virtual machines, some
/// network and user-space file systems), that of a file's content is all there is.
pub fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder)?.sync_all() {
        // What the kernel answers for a missing operation; failed writes have other codes.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP)) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

fn without_mark(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    bytes
}

/// Changes whenever a file is written or replaced, also by one of the same length and time: stores and images without times
/// (`SOURCE_DATE_EPOCH`) give every file the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    bytes: u64,
    modified: (i64, i64),
    /// Of content, name or owner: no program can set it.
    changed: (i64, i64),
    device: u64,
    inode: u64,
}

impl FileStamp {
    /// Of the file that a link names.
    pub fn of(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self {
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    /// False within the resolution of the times, in which a second write leaves the stamp as it is.
    pub fn is_settled(&self) -> bool {
        const SETTLED: Duration = Duration::from_secs(2);
        let seconds = self.modified.0.max(self.changed.0);
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        at.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > SETTLED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As files of `/nix/store`, of archives, and as `cp -p` writes into a file that is there.
    #[test]
    fn a_file_of_the_same_length_and_time_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(UNIX_EPOCH).unwrap();
            path
        };
        let (first, second) = (write("a", "one"), write("b", "two"));
        let [a, b] = [&first, &second].map(|path| FileStamp::of(path).unwrap());
        assert_ne!(a, b);
        assert_eq!(a, FileStamp::of(&first).unwrap());
        // The time of a change is that of the last tick.
        let is_found = (0..1_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            FileStamp::of(&write("a", "six")).unwrap() != a
        });
        assert!(is_found);
    }

    /// The journal was never written there, and no adapter stored, though every file could be. `/proc` is such a file system.
    #[test]
    fn a_file_system_that_syncs_no_folders_is_no_failure_and_a_missing_folder_is_one() {
        let refused = File::open("/proc").unwrap().sync_all().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
        sync_folder(Path::new("/proc")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        sync_folder(folder.path()).unwrap();
        assert!(sync_folder(&folder.path().join("none")).is_err());
    }

    #[test]
    fn endless_and_oversized_files_are_refused_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read_text(file.path(), 5).unwrap(), "12345");
        std::fs::write(file.path(), "\u{feff}12").unwrap();
        assert_eq!(read_text(file.path(), 5).unwrap(), "12", "a mark of some editors is no text");
        std::fs::write(file.path(), "12345").unwrap();
        let text = |path: &Path| read_file(path, 4).unwrap_err().to_string();
        assert_eq!(text(file.path()), "is larger than 4 bytes");
        assert_eq!(text(Path::new("/dev/zero")), "is a pipe or device, allowed is a regular file");
        assert_eq!(text(Path::new("/")), "is a folder, allowed is a regular file");
    }
}
