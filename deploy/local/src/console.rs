//! Output for people.

use std::io::{IsTerminal as _, Write};
use std::sync::Mutex;
use std::time::Instant;

use crate::limits;

/// A closed output (`make up | head`) does not stop the work.
pub struct Console {
    output: Mutex<Box<dyn Write + Send>>,
    terminal: bool,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The terminal's last line has no line break yet.
    open: bool,
    shown: Option<Instant>,
}

impl Console {
    pub fn output() -> Self {
        Self::new(Box::new(std::io::stdout()), std::io::stdout().is_terminal())
    }

    /// For commands whose standard output is read by programs.
    pub fn error() -> Self {
        Self::new(Box::new(std::io::stderr()), std::io::stderr().is_terminal())
    }

    pub fn silent() -> Self {
        Self::new(Box::new(std::io::sink()), false)
    }

    fn new(output: Box<dyn Write + Send>, terminal: bool) -> Self {
        Self { output: Mutex::new(output), terminal, progress: Mutex::default() }
    }

    pub fn say(&self, text: impl AsRef<str>) {
        self.end_progress();
        self.write(&format!("{}\n", text.as_ref()));
    }

    /// Shows progress: in place on a terminal, otherwise as a line every few seconds.
    pub fn progress(&self, text: &str) {
        let Ok(mut progress) = self.progress.lock() else { return };
        if self.terminal {
            progress.open = true;
            self.write(&format!("\r\x1b[K{text}"));
        } else if progress.shown.is_none_or(|shown| shown.elapsed() >= limits::PROGRESS_LINE_EVERY) {
            progress.shown = Some(Instant::now());
            self.write(&format!("{text}\n"));
        }
    }

    /// Asks a question; only `yes` confirms. Without a terminal the answer is no.
    pub fn confirms(&self, question: &str) -> bool {
        if !self.terminal || !std::io::stdin().is_terminal() {
            return false;
        }
        self.end_progress();
        self.write(&format!("{question} [yes/no] "));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
    }

    fn end_progress(&self) {
        let Ok(mut progress) = self.progress.lock() else { return };
        if progress.open {
            self.write("\n");
        }
        *progress = Progress::default();
    }

    fn write(&self, text: &str) {
        if let Ok(mut output) = self.output.lock() {
            // Fails if the output was closed; starting and stopping continue without reports.
            drop(output.write_all(text.as_bytes()).and_then(|()| output.flush()));
        }
    }
}

/// Aligned columns; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).add_rows(rows);
    table.trim_fmt()
}
