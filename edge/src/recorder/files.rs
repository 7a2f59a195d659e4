//! The files of a recording, each bounded in size.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use marketprism_schema::Line;
use time::OffsetDateTime;

use crate::limits::{RECORDING_FILE_BYTES, RECORDING_FLUSH};

/// Files that may start in one second.
const NAMES_MAX: u32 = 1_000;

/// Writes lines to `<exchange>-<utc>.jsonl`, and continues in a new file at [`RECORDING_FILE_BYTES`].
#[derive(Debug)]
pub(super) struct RecordingFiles {
    dir: PathBuf,
    exchange: String,
    file_bytes_max: u64,
    open: Option<OpenFile>,
    line: Vec<u8>,
}

#[derive(Debug)]
struct OpenFile {
    writer: BufWriter<File>,
    bytes: u64,
    flushed: Instant,
}

impl RecordingFiles {
    pub(super) fn new(dir: &Path, exchange: &str) -> Self {
        let (dir, exchange) = (dir.to_owned(), exchange.to_owned());
        Self { dir, exchange, file_bytes_max: RECORDING_FILE_BYTES, open: None, line: Vec::new() }
    }

    pub(super) fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.line.clear();
        line.write(&mut self.line).map_err(io::Error::other)?;
        if self.open.as_ref().is_some_and(|open| open.bytes >= self.file_bytes_max) {
            self.flush()?;
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let file = create(&self.dir, &self.exchange, line.at)?;
                let writer = BufWriter::with_capacity(1 << 18, file);
                self.open.insert(OpenFile { writer, bytes: 0, flushed: Instant::now() })
            }
        };
        open.writer.write_all(&self.line)?;
        open.bytes += u64::try_from(self.line.len()).unwrap_or_default();
        if open.flushed.elapsed() >= RECORDING_FLUSH { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.flushed = Instant::now();
        open.writer.flush()
    }
}

/// A new file; an existing one is never overwritten.
fn create(dir: &Path, exchange: &str, at_ns: i64) -> io::Result<File> {
    let start = utc_text(at_ns);
    for number in 1..=NAMES_MAX {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let path = dir.join(format!("{exchange}-{start}{suffix}.jsonl"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            Ok(file) => {
                tracing::info!(file = %path.display(), "recording");
                return Ok(file);
            }
        }
    }
    Err(io::Error::other(format!("{}: more than {NAMES_MAX} recordings start at {start}", dir.display())))
}

/// `YYYYMMDDTHHMMSSZ`.
fn utc_text(at_ns: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(at_ns.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use marketprism_schema::Kind;

    #[test]
    fn names_have_the_right_date_on_leap_days_too() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_633_998_511, "20211012T002831Z"),
            (1_709_251_199, "20240229T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(utc_text(seconds * 1_000_000_000), text);
        }
    }

    #[test]
    fn a_large_recording_continues_in_a_new_file_without_lost_or_split_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = RecordingFiles::new(dir.path(), "sim_spot");
        files.file_bytes_max = 200;
        for at in 0..20 {
            let data = Some(format!("frame {at}").into());
            files.write(&Line { at, kind: Kind::WsIn, conn: Some(1), url: None, data }).unwrap();
        }
        files.flush().unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert!(names.len() > 2, "{names:?}");
        let mut seen = Vec::new();
        for name in &names {
            let text = std::fs::read_to_string(name).unwrap();
            seen.extend(text.lines().map(|line| Line::parse(line).unwrap().at));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    }
}
