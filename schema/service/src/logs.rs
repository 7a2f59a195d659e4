//! Log output of the binaries, and the rate limit of lines that could come with every frame or message.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{Result, Write};
use std::panic::PanicHookInfo;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

use crate::mask;

/// Interval of [`LogLimit::default`].
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Allows one line per interval and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    every: Duration,
    last: Option<Instant>,
    held_back: u64,
}

impl LogLimit {
    /// One line per `every`.
    pub const fn new(every: Duration) -> Self {
        Self { every, last: None, held_back: 0 }
    }

    /// `Some` if a line may be written now, with the number of lines that were held back before it.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new(LOG_EVERY)
    }
}

/// Starts logging to standard error. `MARKETPRISM_LOG` filters (such as `info,marketprism_edge=debug`);
/// `MARKETPRISM_LOG_FORMAT=json` writes one JSON object a line. Secrets of addresses are masked in every line and in the text of a
/// panic. A second call changes nothing.
pub fn init_logs() {
    let filter =
        EnvFilter::try_from_env("MARKETPRISM_LOG").unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| MaskedWriter(std::io::stderr()));
    let started = if std::env::var("MARKETPRISM_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().try_init()
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
    match started {
        Ok(()) => std::panic::set_hook(Box::new(report_panic)),
        Err(error) => tracing::debug!(%error, "logging was already started"),
    }
}

/// As the standard hook, masked. An error of writing has nobody to be reported to.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let (thread, backtrace) = (std::thread::current(), Backtrace::capture());
    let mut output = MaskedWriter(std::io::stderr());
    let _ = writeln!(output, "thread '{}' {panic}", thread.name().unwrap_or("<unnamed>"));
    if backtrace.status() == BacktraceStatus::Captured {
        let _ = writeln!(output, "{backtrace}");
    }
}

/// Longest line. Texts of venues are cut where they are logged; this bounds all others.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Output without secrets. Texts come whole: a line in one call.
struct MaskedWriter<W>(W);

impl<W: Write> Write for MaskedWriter<W> {
    fn write(&mut self, text: &[u8]) -> Result<usize> {
        let line = String::from_utf8_lossy(text);
        let masked = mask(&line);
        match masked.split_at_checked(masked.floor_char_boundary(LINE_BYTES_MAX)) {
            Some((head, cut)) if !cut.is_empty() => writeln!(self.0, "{head} [{} bytes cut]", cut.len())?,
            _ => self.0.write_all(masked.as_bytes())?,
        }
        Ok(text.len())
    }

    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> Result<()> {
        self.write_all(text.to_string().as_bytes())
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_line_is_masked_as_a_whole() {
        let (mut output, url, token) = (MaskedWriter(Vec::new()), "http://u:secret@h", "secret");
        writeln!(output, "cannot reach {url}?token={token}: refused").unwrap();
        assert_eq!(output.0, b"cannot reach http://***@h?token=***: refused\n");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut output = MaskedWriter(Vec::new());
        writeln!(output, "{}", "x".repeat(1 << 20)).unwrap();
        assert!(output.0.len() < LINE_BYTES_MAX + 40, "{} bytes", output.0.len());
        assert!(output.0.ends_with(b"x [983041 bytes cut]\n"));
    }

    #[test]
    fn a_flood_becomes_one_line_per_interval_with_a_count() {
        let (mut limit, start) = (LogLimit::default(), Instant::now());
        assert_eq!(limit.allow(start), Some(0));
        for _ in 0..1_000 {
            assert_eq!(limit.allow(start + Duration::from_millis(1)), None);
        }
        assert_eq!(limit.allow(start + LOG_EVERY), Some(1_000));
    }
}
