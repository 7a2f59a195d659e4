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
pub use recording::{RecordKind, RecordedMessage, read, shared_recording};
pub use session::{
    OwnedFrame, Session, answers, batch, endpoint, feed, frames, instrument_records, is_answer, is_part,
    remarks, whole_feed,
};
pub use writing::{Random, damage, rewrite};

/// The test of an adapter's golden output at several batch sizes (`MARKETPRISM_BLESS=1` rewrites it, for review), and the functions that
/// its other tests begin with: `records` gives the recorded instrument lists of an exchange, `feed` a feed, `open` a loaded adapter.
#[macro_export]
macro_rules! adapter_tests {
    ($adapter:ty, at least $cases:literal golden cases) => {
        fn records(exchange: &str) -> Vec<$crate::testkit::RecordedMessage> {
            $crate::testkit::instrument_records(env!("CARGO_MANIFEST_DIR"), exchange).unwrap()
        }

        fn feed(exchange: &str, symbols: &[&str]) -> $crate::Feed {
            $crate::testkit::feed::<$adapter>(exchange, symbols).unwrap()
        }

        fn open(feed: &$crate::Feed) -> $crate::testkit::Session<$adapter> {
            $crate::testkit::Session::open(feed, &records(&feed.exchange)).unwrap()
        }

        #[test]
        fn frames_give_the_golden_output() {
            let cases = $crate::testkit::golden::<$adapter>(env!("CARGO_MANIFEST_DIR").as_ref());
            let cases = cases.unwrap_or_else(|differences| panic!("{differences}"));
            assert!(cases >= $cases, "{cases} cases");
        }
    };
}
