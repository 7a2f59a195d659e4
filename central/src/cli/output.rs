//! Output of the reporting commands: JSON or text.

use anyhow::Context as _;
use serde::Serialize;

use crate::report::text_table::Paint;

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
