//! What the ledger found of one window of one source.

use crate::ledger::source::Source;
use crate::ledger::state::State;
use crate::row::{Column, TEXT, binary};

/// Columns of `verdicts`, in the order in which rows are written.
pub const VERDICTS: &[Column] = &[
    ("window_start", "DateTime64(3, 'UTC')"),
    ("window_seconds", "UInt16"),
    ("data_type", TEXT),
    ("exchange", TEXT),
    ("market_type", TEXT),
    ("symbol", TEXT),
    ("edge", TEXT),
    ("state", TEXT),
    ("reason", "String"),
    ("expected", "UInt64"),
    ("found", "UInt64"),
    ("duplicates", "UInt64"),
    ("conflated", "UInt64"),
    ("gaps", "UInt32"),
    ("missing", "UInt64"),
    ("causes", "Array(LowCardinality(String))"),
    ("judged_at", "DateTime64(3, 'UTC')"),
];

/// What the ledger found. The columns are told in [`crate::ledger::state`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// State.
    pub state: State,
    /// Why, in plain words; empty when there is nothing to say.
    pub reason: String,
    /// Events that the edge says the broker stored of it.
    pub expected: u64,
    /// Events of these that central has.
    pub found: u64,
    /// What came more than once.
    pub duplicates: u64,
    /// Books that newer ones replaced before they were published.
    pub conflated: u64,
    /// Gaps that the edge names.
    pub gaps: u32,
    /// Events that these gaps name as missing.
    pub missing: u64,
    /// Causes of gaps and losses, sorted.
    pub causes: Vec<String>,
}

impl Verdict {
    /// Events that the edge says are stored and central does not have, as far as numbers tell.
    pub const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.found)
    }

    /// Appends a row of `verdicts`.
    pub fn encode(&self, (window, source): (i64, &Source), seconds: u16, judged_ms: i64, out: &mut Vec<u8>) {
        binary::int64(out, window / 1_000_000);
        binary::uint16(out, seconds);
        for text in [
            source.data_type.as_str(),
            &source.exchange,
            &source.market_type,
            &source.symbol,
            &source.edge,
            self.state.as_str(),
            &self.reason,
        ] {
            binary::text(out, text);
        }
        for number in [self.expected, self.found, self.duplicates, self.conflated] {
            binary::uint64(out, number);
        }
        binary::uint32(out, self.gaps);
        binary::uint64(out, self.missing);
        binary::length(out, self.causes.len());
        for cause in &self.causes {
            binary::text(out, cause);
        }
        binary::int64(out, judged_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::defined::{defined, owned};

    /// Goal: verdicts are written for exactly the columns that the table definition has, in their order.
    #[test]
    fn columns_are_those_of_the_definition() {
        assert_eq!(owned(VERDICTS), defined("verdicts"));
    }
}
