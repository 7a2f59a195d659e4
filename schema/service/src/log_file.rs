//! A log file of bounded size, with the text before it in a second file.

use std::fs::{File, OpenOptions};
use std::io::{Result, Seek as _, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most bytes of each of the two files.
pub(crate) const LOG_FILE_BYTES_MAX: u64 = 32 << 20;

/// Interval at which both files are checked by their names.
const NAME_CHECK: Duration = Duration::from_secs(1);

/// Appends to a file. A full one is copied over `<file>.old` and emptied: both were opened at the start, so that this works in a process that
/// may open no files any more, and other output that is appended to the file stays in it.
///
/// A file that was renamed or deleted (`logrotate`, whose archives are `<file>.1` and so on) is created again under its name.
#[derive(Debug)]
pub(crate) struct LogFile {
    current: NamedFile,
    previous: NamedFile,
    checked: Instant,
    max_bytes: u64,
    bytes: u64,
}

impl LogFile {
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Self> {
        let mut before = path.as_os_str().to_owned();
        before.push(".old");
        let current = NamedFile::open(path.to_owned(), OpenOptions::new().read(true).append(true))?;
        let previous = NamedFile::open(before.into(), OpenOptions::new().write(true).truncate(false))?;
        let bytes = current.file.metadata()?.len();
        Ok(Self { current, previous, checked: Instant::now(), max_bytes, bytes })
    }

    fn follow_names(&mut self) {
        if self.checked.elapsed() < NAME_CHECK {
            return;
        }
        self.checked = Instant::now();
        self.previous.follow_name();
        self.current.follow_name();
        self.measure();
    }

    /// Other processes with this variable, such as commands in the container of a service, write into the file and empty it too.
    fn measure(&mut self) {
        self.bytes = self.current.file.metadata().map_or(self.bytes, |found| found.len());
    }

    /// On a full disk the text is lost rather than the bound.
    fn rotate(&mut self) -> Result<()> {
        let copied = self.copy();
        self.current.file.set_len(0)?;
        self.bytes = 0;
        copied.or_else(|error| writeln!(self.current.file, "the log before this line is lost: {error}"))
    }

    fn copy(&mut self) -> Result<()> {
        let (from, to) = (&mut self.current.file, &mut self.previous.file);
        to.set_len(0)?;
        to.seek(SeekFrom::Start(0))?;
        from.seek(SeekFrom::Start(0))?;
        std::io::copy(from, to).map(drop)
    }
}

#[derive(Debug)]
struct NamedFile {
    path: PathBuf,
    options: OpenOptions,
    file: File,
}

impl NamedFile {
    fn open(path: PathBuf, options: &mut OpenOptions) -> Result<Self> {
        let file = options.create(true).open(&path)?;
        Ok(Self { path, options: options.clone(), file })
    }

    /// Opens the file again whose name is that of another one, or of none. A process that may open no files goes on with the file that it has.
    fn follow_name(&mut self) {
        let of = |found: std::fs::Metadata| (found.dev(), found.ino());
        let named = std::fs::metadata(&self.path).map(of);
        if named.is_ok_and(|named| self.file.metadata().map(of).is_ok_and(|opened| opened == named)) {
            return;
        }
        if let Ok(file) = self.options.open(&self.path) {
            self.file = file;
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, text: &[u8]) -> Result<usize> {
        self.follow_names();
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(length) > self.max_bytes {
            self.measure();
        }
        if self.bytes.saturating_add(length) > self.max_bytes {
            self.rotate()?;
        }
        self.current.file.write_all(text)?;
        self.bytes = self.bytes.saturating_add(length);
        Ok(text.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.current.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_of_bounded_size_hold_the_newest_lines_also_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.log");
        let before = folder.path().join("edge.log.old");
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

    /// As `logrotate` does without `copytruncate`, with its default names. A copy of a full file went over its newest archive.
    #[test]
    fn files_that_were_renamed_or_deleted_are_created_again_and_no_archive_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let of = |end: &str| folder.path().join(format!("edge.log{end}"));
        let read = |end: &str| std::fs::read_to_string(of(end)).unwrap();
        let mut log = LogFile::open(&of(""), 20).unwrap();
        let mut write = |line: &str| {
            log.checked = Instant::now().checked_sub(NAME_CHECK).unwrap();
            log.write_all(line.as_bytes()).unwrap();
        };
        for day in ["first day\n", "second day\n", "third day\n"] {
            write(day);
            if of(".1").exists() {
                std::fs::rename(of(".1"), of(".2")).unwrap();
            }
            std::fs::rename(of(""), of(".1")).unwrap();
        }
        write("fourth day\n");
        write("which fills it\n");
        assert_eq!([read(".2"), read(".1")], ["second day\n", "third day\n"]);
        assert_eq!([read(".old"), read("")], ["fourth day\n", "which fills it\n"]);
        ["", ".old"].iter().for_each(|end| std::fs::remove_file(of(end)).unwrap());
        write("fifth day\n");
        write("which fills it too\n");
        assert_eq!([read(".old"), read("")], ["fifth day\n", "which fills it too\n"]);
    }

    /// As a command in the container of a service. Its line filled the file, and the next one of the service replaced all that it had copied.
    #[test]
    fn a_file_that_another_process_has_just_emptied_is_not_copied_over_the_text_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut service = LogFile::open(&path, 20).unwrap();
        service.write_all(b"first\nsecond\nthird\n").unwrap();
        let mut command = LogFile::open(&path, 20).unwrap();
        command.write_all(b"command\n").unwrap();
        service.write_all(b"fourth\n").unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&folder.path().join("x.log.old")), "first\nsecond\nthird\n");
        assert_eq!(read(&path), "command\nfourth\n");
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
