//! Where log lines go: never an error for whoever logs, and no wait for a stalled reader of a pipe, socket or terminal (unless the
//! terminal is one that only another user may open).
//!
//! Lines that the output does not take (a full disk, a closed pipe, a reader that reads nothing) are dropped and counted; once it takes
//! lines again, the first one gives their number.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Result, Write};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_getpipe_size;
use socket2::SockRef;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::journal_priority::Priority;
use crate::log_file::{LOG_FILE_BYTES_MAX, LogFile};

/// Longest wait for a reader. Passed: the line is dropped, and the next ones too until there is room.
const ROOM_WAIT: Duration = Duration::from_millis(200);
/// Interval of looks for room.
const ROOM_CHECK: Duration = Duration::from_millis(5);
/// Bytes that a pipe with room takes without a wait (`PIPE_BUF` of Linux).
const PIECE_BYTES: usize = 4096;

const NOTICE: &str = "log lines were lost: the output took none";

static LOG_FILE: OnceLock<Mutex<LogFile>> = OnceLock::new();
/// Standard error where it is a terminal, opened again so that writes of this process do not block and those of others do.
static TERMINAL: OnceLock<Option<File>> = OnceLock::new();
static LOST_LINES: LostLines = LostLines::new();
static JSON_NOTICES: AtomicBool = AtomicBool::new(false);

/// Lines go to this file from now on.
pub(crate) fn log_to_file(path: &Path) -> Result<()> {
    let file = LogFile::open(path, LOG_FILE_BYTES_MAX)?;
    // Set before by an earlier call.
    let _ = LOG_FILE.set(Mutex::new(file));
    Ok(())
}

/// The number of lost lines is reported in JSON.
pub(crate) fn write_json_notices() {
    JSON_NOTICES.store(true, Ordering::Relaxed);
}

/// The log file if there is one, else standard error. Each write is a whole line, or lines of one priority.
pub(crate) struct LogOutput {
    pub(crate) priority: Priority,
}

impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        match LOG_FILE.get() {
            Some(file) => {
                // A line that was cut by a panic does not keep others from being written.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                LOST_LINES.write(line, |text, _| file.write_all(text));
            }
            None => {
                let text = String::from_utf8_lossy(line);
                let line = self.priority.for_stderr(&text);
                let line = line.as_bytes();
                let mut stderr = std::io::stderr().lock();
                match TERMINAL.get_or_init(|| stderr.is_terminal().then(|| without_block(&stderr)).flatten())
                {
                    Some(terminal) => {
                        LOST_LINES.write(line, |text, wait| write_without_stall(&mut &*terminal, text, wait));
                    }
                    None => LOST_LINES.write(line, |text, wait| write_without_stall(&mut stderr, text, wait)),
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Lines that were dropped since the last one that was written.
struct LostLines {
    count: AtomicU64,
    /// The output has a part of a line.
    is_cut: AtomicBool,
}

impl LostLines {
    const fn new() -> Self {
        Self { count: AtomicU64::new(0), is_cut: AtomicBool::new(false) }
    }

    /// Writes a line, before it the number of lost ones. `put` writes a text and waits at most for the given time. The caller holds
    /// the output's lock.
    fn write(&self, line: &[u8], mut put: impl FnMut(&[u8], Duration) -> Result<()>) {
        let lost = self.count.load(Ordering::Relaxed);
        if lost > 0 {
            let begin = if self.is_cut.load(Ordering::Relaxed) { "\n" } else { "" };
            if put(format!("{begin}{}", notice(lost)).as_bytes(), Duration::ZERO).is_err() {
                self.count.store(lost.saturating_add(1), Ordering::Relaxed);
                return;
            }
            self.count.store(0, Ordering::Relaxed);
        }
        // No second wait where the reader has just missed lines.
        let written = put(line, if lost > 0 { Duration::ZERO } else { ROOM_WAIT });
        self.is_cut.store(written.is_err(), Ordering::Relaxed);
        if written.is_err() {
            self.count.store(1, Ordering::Relaxed);
        }
    }
}

fn notice(lost: u64) -> String {
    let text = notice_text(lost);
    match LOG_FILE.get() {
        Some(_) => text,
        None => Priority::Warning.for_stderr(&text).into_owned(),
    }
}

fn notice_text(lost: u64) -> String {
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let target = module_path!();
    if JSON_NOTICES.load(Ordering::Relaxed) {
        return format!(
            "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"fields\":{{\"message\":\"{NOTICE}\",\"lost\":{lost}}},\
             \"target\":\"{target}\"}}\n"
        );
    }
    format!("{time}  WARN {target}: {NOTICE} lost={lost}\n")
}

/// Writes to what may be a pipe, in pieces that fit into its room.
fn write_without_stall(output: &mut (impl Write + AsFd), text: &[u8], wait: Duration) -> Result<()> {
    let until = Instant::now() + wait;
    let mut rest = text;
    while !rest.is_empty() {
        let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
        match write_at_once(output, piece) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Or it does not block, since another process wants it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() >= until {
                    return Err(error);
                }
                std::thread::sleep(ROOM_CHECK);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what the output takes now. A flag of the call, not of the socket or pipe: other processes may share it.
fn write_at_once(output: &mut (impl Write + AsFd), piece: &[u8]) -> Result<usize> {
    let kind = fstat(&*output).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Socket) => SockRef::from(&*output).send_with_flags(piece, libc::MSG_DONTWAIT),
        Ok(FileType::Fifo) if !has_room(output) => Err(ErrorKind::WouldBlock.into()),
        _ => output.write(piece),
    }
}

/// Pages of a pipe may be filled by half.
fn has_room(pipe: &impl AsFd) -> bool {
    match (fcntl_getpipe_size(pipe), ioctl_fionread(pipe)) {
        (Ok(size), Ok(unread)) => {
            let unread = usize::try_from(unread).unwrap_or(usize::MAX);
            unread == 0 || unread.saturating_add(PIECE_BYTES) <= size / 2
        }
        _ => true,
    }
}

/// Opens a terminal or pipe again, for writes that do not block; none where it cannot be opened, as that of another user.
fn without_block(output: &impl AsFd) -> Option<File> {
    let path = format!("/proc/self/fd/{}", output.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).ok().map(File::from)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Read, pipe};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn write(lines: &LostLines, output: &mut (impl Write + AsFd), line: &[u8]) {
        lines.write(line, |text, wait| write_without_stall(output, text, wait));
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time_and_is_told_their_number() {
        let (reader, writer) = pipe().unwrap();
        lines_are_lost_and_told(reader, writer);
    }

    /// Services log to a socket of the journal.
    #[test]
    fn a_socket_whose_reader_stands_still_costs_lines_and_no_time() {
        let (reader, writer) = UnixStream::pair().unwrap();
        lines_are_lost_and_told(reader, writer);
    }

    /// So is a terminal opened whose output its user has stopped.
    #[test]
    fn an_output_that_is_opened_again_blocks_nobody_and_stays_as_it_was_for_others() {
        let (reader, writer) = pipe().unwrap();
        let mut again = without_block(&writer).unwrap();
        let written: usize = std::iter::repeat_with(|| again.write(&[0; 4096])).map_while(Result::ok).sum();
        assert!(written > 0 && again.write(b"x").unwrap_err().kind() == ErrorKind::WouldBlock);
        let flags = |output: &dyn AsFd| rustix::fs::fcntl_getfl(output.as_fd()).unwrap();
        assert!(flags(&again).contains(OFlags::NONBLOCK) && !flags(&writer).contains(OFlags::NONBLOCK));
        drop(reader);
    }

    fn lines_are_lost_and_told(mut reader: impl Read, mut writer: impl Write + AsFd) {
        let lines = LostLines::new();
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        let started = Instant::now();
        // More than a pipe or socket takes.
        (0..1_000).for_each(|_| write(&lines, &mut writer, &line));
        write(&lines, &mut writer, &b"y".repeat(100_000));
        assert!(started.elapsed() < Duration::from_secs(30), "it waits for each line");
        let mut read = vec![0; 16 << 10];
        reader.read_exact(&mut read).unwrap();
        write(&lines, &mut writer, b"after\n");
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let told: Vec<&str> = rest.lines().filter(|line| line.contains(NOTICE)).collect();
        let lost: usize = told[0].rsplit_once("lost=").unwrap().1.parse().unwrap();
        assert!(told.len() == 1 && rest.ends_with("\nafter\n"), "{told:?}");
        let written = read.iter().chain(rest.as_bytes()).filter(|byte| **byte == b'x').count() / 99;
        assert_eq!(lost + written, 1_001, "{written} written");
    }

    #[test]
    fn a_full_disk_and_a_closed_pipe_cost_lines_only() {
        let lines = LostLines::new();
        let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (reader, mut closed) = pipe().unwrap();
        drop(reader);
        write(&lines, &mut full, b"a\n");
        write(&lines, &mut closed, b"b\n");
        let mut output = Vec::new();
        lines.write(b"c\n", |text, _| output.write_all(text));
        lines.write(b"d\n", |text, _| output.write_all(text));
        let text = String::from_utf8(output).unwrap();
        assert!(
            text.starts_with('\n')
                && text.contains("log lines were lost")
                && text.ends_with("lost=2\nc\nd\n"),
            "{text}"
        );
    }
}
