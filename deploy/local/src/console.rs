//! Output for people.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Instant;

use crate::limits;

/// A closed output (`make up | head`) does not stop the work.
#[derive(Debug)]
pub struct Console {
    target: Target,
    terminal: bool,
    progress: Mutex<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Output,
    Error,
    Nowhere,
}

#[derive(Debug, Default)]
struct Progress {
    /// The terminal's last line has no line break yet.
    open: bool,
    told: Option<Instant>,
}

impl Console {
    pub fn output() -> Self {
        Self::new(Target::Output, std::io::stdout().is_terminal())
    }

    /// For commands whose standard output is read by programs.
    pub fn error() -> Self {
        Self::new(Target::Error, std::io::stderr().is_terminal())
    }

    pub fn silent() -> Self {
        Self::new(Target::Nowhere, false)
    }

    fn new(target: Target, terminal: bool) -> Self {
        Self { target, terminal, progress: Mutex::default() }
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
        } else if progress.told.is_none_or(|told| told.elapsed() >= limits::PROGRESS_LINE_EVERY) {
            progress.told = Some(Instant::now());
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
        let written = match self.target {
            Target::Output => write_all(std::io::stdout().lock(), text),
            Target::Error => write_all(std::io::stderr().lock(), text),
            Target::Nowhere => Ok(()),
        };
        // The output was closed; starting and stopping continue without reports.
        drop(written);
    }
}

fn write_all(mut stream: impl std::io::Write, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Aligned columns; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).add_rows(rows);
    table.trim_fmt()
}
