//! A log file of bounded size, with the text before it in a second file.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result, Seek as _, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most bytes of each of the two files.
pub(crate) const LOG_FILE_BYTES_MAX: u64 = 32 << 20;

/// Interval at which the file is looked for by its name.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Appends to a file. A full one is copied over `<file>.1` and emptied: both were opened at the start, so that this works in a process that
/// may open no files any more, and other output that is appended to the file stays in it.
///
/// A file that was renamed or deleted meanwhile (`logrotate`) is created again under its name.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    looked: Instant,
    current: File,
    previous: File,
    max_bytes: u64,
    bytes: u64,
}

impl LogFile {
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Self> {
        let mut before = path.as_os_str().to_owned();
        before.push(".1");
        let current = open_current(path)?;
        let previous = OpenOptions::new().create(true).write(true).truncate(false).open(before)?;
        let bytes = current.metadata()?.len();
        Ok(Self { path: path.to_owned(), looked: Instant::now(), current, previous, max_bytes, bytes })
    }

    /// A process that may open no files goes on with the file that it has.
    fn follow_name(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let of = |found: std::fs::Metadata| (found.dev(), found.ino());
        let named = std::fs::metadata(&self.path).map(of);
        if named.is_ok_and(|named| self.current.metadata().map(of).is_ok_and(|ours| ours == named)) {
            return;
        }
        if let Ok(file) = open_current(&self.path) {
            self.bytes = file.metadata().map_or(0, |found| found.len());
            self.current = file;
        }
    }

    /// On a full disk the text is lost rather than the bound.
    fn rotate(&mut self) -> Result<()> {
        let copied = self.copy();
        self.current.set_len(0)?;
        self.bytes = 0;
        copied.or_else(|error| writeln!(self.current, "the log before this line is lost: {error}"))
    }

    fn copy(&mut self) -> std::result::Result<(), Error> {
        self.previous.set_len(0)?;
        self.previous.seek(SeekFrom::Start(0))?;
        self.current.seek(SeekFrom::Start(0))?;
        std::io::copy(&mut self.current, &mut self.previous).map(drop)
    }
}

fn open_current(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).read(true).append(true).open(path)
}

impl Write for LogFile {
    fn write(&mut self, text: &[u8]) -> Result<usize> {
        self.follow_name();
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(length) > self.max_bytes {
            self.rotate()?;
        }
        self.current.write_all(text)?;
        self.bytes = self.bytes.saturating_add(length);
        Ok(text.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.current.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_of_bounded_size_hold_the_newest_lines_also_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.log");
        let before = folder.path().join("edge.log.1");
        for run in 0..3 {
            let mut log = LogFile::open(&path, 1_000).unwrap();
            for line in 0..150 {
                log.write_all(format!("run {run} line {line:04}\n").as_bytes()).unwrap();
            }
            let sizes = [&path, &before].map(|path| std::fs::metadata(path).unwrap().len());
            assert!(sizes.iter().all(|size| *size <= 1_000), "{sizes:?}");
        }
        let text = std::fs::read_to_string(before).unwrap() + &std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let wanted: Vec<String> =
            (150 - lines.len()..150).map(|line| format!("run 2 line {line:04}")).collect();
        assert!(lines.len() > 50 && lines == wanted, "{text}");
    }

    /// As `logrotate` does without `copytruncate`.
    #[test]
    fn a_file_that_was_renamed_or_deleted_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("edge.log"), folder.path().join("edge.log.old"));
        let mut log = LogFile::open(&path, 1_000).unwrap();
        let mut write = |line: &str| {
            log.looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
            log.write_all(line.as_bytes()).unwrap();
        };
        write("one\n");
        std::fs::rename(&path, &moved).unwrap();
        write("two\n");
        std::fs::remove_file(&path).unwrap();
        write("three\n");
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!([read(&moved), read(&path)], ["one\n", "three\n"]);
    }

    /// As the stack starts a part: its standard error is appended to the same file.
    #[test]
    fn other_output_in_the_file_stays_behind_the_lines_that_were_written_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut other = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut log = LogFile::open(&path, 10).unwrap();
        log.write_all(b"12345678\n").unwrap();
        log.write_all(b"abc\n").unwrap();
        writeln!(other, "abort").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc\nabort\n");
    }
}
