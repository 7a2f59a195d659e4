//! What the commands that report print.

use anyhow::Context as _;
use serde::Serialize;

use crate::report::grid::Paint;

/// Prints JSON or text.
pub fn print<T: Serialize>(
    as_json: bool,
    answer: &T,
    text: impl FnOnce(Paint) -> String,
) -> anyhow::Result<()> {
    let text = if as_json {
        serde_json::to_string_pretty(answer).context("cannot write the answer")?
    } else {
        text(Paint::of_stdout())
    };
    marketprism_service::print(&text).context("cannot write the answer")
}
