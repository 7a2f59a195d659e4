//! Files that a user names: regular ones only, and bounded. A pipe could block for ever, a device may have no end.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

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
    let mut bytes = read_file(path, max)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
