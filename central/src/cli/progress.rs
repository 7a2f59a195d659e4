//! Progress on standard error: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::report::VerifyProgress;

const BAR_WIDTH: u64 = 24;
/// Time between two drawings of the bar.
const REDRAW: Duration = Duration::from_millis(100);
/// Percent between two lines of the same work.
const LINE_PERCENT: u64 = 10;

#[derive(Debug)]
pub struct ProgressLine {
    /// Name of the work.
    what: &'static str,
    is_terminal: bool,
    has_lines: bool,
    shown: Mutex<Option<ShownProgress>>,
}

#[derive(Debug)]
struct ShownProgress {
    doing: String,
    percent: u64,
    at: Instant,
}

impl ProgressLine {
    pub fn on_stderr(what: &'static str) -> Self {
        Self { what, is_terminal: std::io::stderr().is_terminal(), has_lines: true, shown: Mutex::default() }
    }

    /// Without lines elsewhere: the work prints lines of its own.
    pub fn on_terminal(what: &'static str) -> Self {
        Self { has_lines: false, ..Self::on_stderr(what) }
    }

    pub fn show(&self, progress: &VerifyProgress) {
        if !(self.is_terminal || self.has_lines) {
            return;
        }
        let percent = percent(progress);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = shown.as_ref().is_none_or(|last| {
            let is_due = match self.is_terminal {
                true => last.at.elapsed() >= REDRAW,
                false => percent >= last.percent + LINE_PERCENT,
            };
            is_due || last.doing != progress.doing
        });
        if is_due {
            write(&self.text(&progress.doing, percent));
            *shown = Some(ShownProgress { doing: progress.doing.clone(), percent, at: Instant::now() });
        }
    }

    fn text(&self, doing: &str, percent: u64) -> String {
        if !self.is_terminal {
            return format!("{}, {percent} %: {doing}\n", self.what);
        }
        let full = percent * BAR_WIDTH / 100;
        let bar: String = (0..BAR_WIDTH).map(|place| if place < full { '#' } else { '-' }).collect();
        format!("{ERASE_LINE}[{bar}] {percent:>3} %  {doing}")
    }

    /// Removes the bar.
    pub fn end(&self) {
        if self.is_terminal {
            write(ERASE_LINE);
        }
    }
}

const ERASE_LINE: &str = "\r\u{1b}[K";

fn percent(progress: &VerifyProgress) -> u64 {
    let part = u128::from(progress.done) * 100 / u128::from(progress.total.max(1));
    u64::try_from(part).unwrap_or(100).min(100)
}

pub fn write(text: &str) {
    let mut out = std::io::stderr().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "cannot write to standard error");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up_and_lines_have_no_escapes() {
        let at = |done, total| percent(&VerifyProgress { doing: String::new(), done, total });
        assert_eq!([at(0, 0), at(1, 3), at(u64::MAX, u64::MAX), at(5, 1)], [0, 33, 100, 100]);
        let text = |is_terminal, percent| {
            let line =
                ProgressLine { what: "verifying", is_terminal, has_lines: true, shown: Mutex::default() };
            line.text("trades", percent)
        };
        assert_eq!(text(false, 33), "verifying, 33 %: trades\n");
        assert_eq!(text(true, 50), "\r\u{1b}[K[############------------]  50 %  trades");
    }
}
