//! Verdict on one window of one stream and edge, as stored in `verdicts`.
//!
//! Columns: `expected` is the number of events that the edge reports as published, its ambiguous ones and missing duplicates included; `found` those of them in hot
//! or `copies`; `duplicates` were dropped by the broker or are in `copies`; `gaps`, `missing` and `causes` come from the edge: a verified
//! window with gaps lost nothing in transport, and is incomplete all the same.

use marketprism_schema::Capability;

use crate::ledger::windows::EdgeStream;
use crate::row::{Column, TEXT, TableRows};

/// In the order in which rows are written.
pub const VERDICT_COLUMNS: &[Column] = &[
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
    ("numbering", TEXT),
    ("completeness", TEXT),
    ("delay_seconds", "UInt32"),
    ("stored_ids", "Array(Tuple(Int64, Int64))"),
    ("is_early", "Bool"),
    ("judged_at", "DateTime64(3, 'UTC')"),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowVerdict {
    pub state: VerdictState,
    /// For people; empty when there is none.
    pub reason: String,
    pub expected: u64,
    pub found: u64,
    pub duplicates: u64,
    pub conflated: u64,
    pub gaps: u32,
    pub missing: u64,
    /// Causes of gaps and losses, sorted.
    pub causes: Vec<String>,
    pub capability: Capability,
    /// Ranges of the stream's numbered ids that hot holds of this window, of all edges together; empty without numbers.
    pub stored_ids: Vec<IdRange>,
    /// An audit came before the end of its own time: the clock of the edge was ahead.
    pub is_early: bool,
}

/// First and last id, both included.
pub type IdRange = (i64, i64);

impl WindowVerdict {
    /// Events that the edge reports and central does not have, as far as numbers show.
    pub const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.found)
    }

    pub fn encode(
        &self,
        (window, edge_stream): (i64, &EdgeStream),
        seconds: u16,
        judged_ms: i64,
        rows: &mut TableRows,
    ) {
        rows.push(|row| {
            row.int64(window / 1_000_000);
            row.uint16(seconds);
            let texts = [edge_stream.edge.as_str(), self.state.as_str(), &self.reason];
            for text in edge_stream.stream.names().into_iter().chain(texts) {
                row.text(text);
            }
            for number in [self.expected, self.found, self.duplicates, self.conflated] {
                row.uint64(number);
            }
            row.uint32(self.gaps);
            row.uint64(self.missing);
            row.array(&self.causes, |row, cause| row.text(cause));
            row.text(self.capability.numbering.as_str());
            row.text(self.capability.completeness.as_str());
            row.uint32(self.capability.delay_seconds);
            row.array(&self.stored_ids, |row, (first, last)| {
                row.int64(*first);
                row.int64(*last);
            });
            row.bool(self.is_early);
            row.int64(judged_ms);
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerdictState {
    /// Hot has exactly the events that the edge reports as published.
    Verified,
    /// Hot has other events than the edge reports.
    Mismatch,
    /// The audit or rows may still arrive.
    Open,
    /// No audit covers the window, or not all of it.
    Unverifiable,
    /// Verified, except for a time in which the edge collected nothing on purpose.
    NotCollected,
}

impl VerdictState {
    pub const ALL: [Self; 5] =
        [Self::Verified, Self::Mismatch, Self::Open, Self::Unverifiable, Self::NotCollected];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Mismatch => "mismatch",
            Self::Open => "open",
            Self::Unverifiable => "unverifiable",
            Self::NotCollected => "not_collected",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::defined::{defined, owned};

    #[test]
    fn columns_are_those_of_the_table_definition() {
        assert_eq!(owned(VERDICT_COLUMNS), defined("verdicts"));
    }
}
