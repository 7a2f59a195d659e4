//! What the commands that report print.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::report::grid::Paint;

/// Exit status when nothing can be told, as of `integrity`.
pub const EXIT_CANNOT_TELL: u8 = 2;

/// Prints JSON or text.
pub fn print<T: Serialize>(
    as_json: bool,
    answer: &T,
    text: impl FnOnce(Paint) -> String,
) -> anyhow::Result<()> {
    let text = if as_json {
        let mut json = serde_json::to_string_pretty(answer).context("cannot write the answer")?;
        json.push('\n');
        json
    } else {
        text(Paint::of_stdout())
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the answer"),
    }
}

/// The exit status.
pub fn exit(status: u8) -> ExitCode {
    ExitCode::from(status)
}
