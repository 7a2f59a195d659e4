//! Runs an adapter natively over recorded frames, and compares its events and notes with golden output.
//!
//! `frames/<exchange>.<case>.jsonl` holds recordings: JSON lines `{"at","kind","conn","url","data"}` with
//! kind `ws-open`, `ws-in`, `ws-out` or `rest`. `expected/<exchange>.<case>.jsonl` holds a line for every
//! event and note. The REST answers of `frames/<exchange>.instruments.jsonl` serve every case of that
//! exchange; its own golden output is the list of instruments and the plan. A case is run with every
//! instrument of its answers and every data type that the adapter declares.

mod golden;
mod json;
mod oracle;
mod recording;
mod session;
mod writing;

pub use golden::golden;
pub use json::{lines, start_lines};
pub use oracle::{comparable, compare_damaged, compare_rewritten, has_huge_number, plain_number};
pub use recording::{RecordKind, RecordedMessage, read};
pub use session::{
    OwnedFrame, Session, answers, batch, endpoint, feed, frames, instrument_records, is_answer, is_part,
    remarks, whole_feed,
};
pub use writing::{Random, damage, rewrite};
