//! Streams, windows, gaps and the heatmap.

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::time::{self, Time};

/// Number of windows by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Windows)]
pub struct WindowCounts {
    /// Compared and equal.
    pub verified: u64,
    /// Compared and different.
    pub mismatch: u64,
    /// Not comparable: no audit, no answer, failed.
    pub unverifiable: u64,
    /// Not closed yet.
    pub open: u64,
    /// Verified, except for a time in which the edge collected nothing on purpose.
    pub not_collected: u64,
}

impl WindowCounts {
    pub const fn total(&self) -> u64 {
        self.closed() + self.open
    }

    pub const fn closed(&self) -> u64 {
        self.verified + self.mismatch + self.unverifiable + self.not_collected
    }

    pub const fn add(&mut self, other: &Self) {
        self.verified += other.verified;
        self.mismatch += other.mismatch;
        self.unverifiable += other.unverifiable;
        self.open += other.open;
        self.not_collected += other.not_collected;
    }

    /// Numbers of a heatmap cell, but for the last one.
    pub const fn cell(&self) -> [u64; 5] {
        [self.verified, self.mismatch, self.unverifiable, self.open, self.not_collected]
    }
}

/// Share of each state in percent, two decimals, together 100. A state with a window has at least 0.01: `verified` is 100 only when
/// every window is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct WindowPercent {
    pub verified: f64,
    pub mismatch: f64,
    pub unverifiable: f64,
    pub open: f64,
    pub not_collected: f64,
}

impl WindowPercent {
    /// `None` without windows.
    pub fn of(counts: &WindowCounts) -> Option<Self> {
        let cell = counts.cell();
        let total = cell.iter().map(|count| u128::from(*count)).sum::<u128>();
        let share = |count: u64| (u128::from(count) * 10_000).checked_div(total);
        let mut shares = [0_i64; 5];
        for (slot, count) in shares.iter_mut().zip(cell) {
            *slot = i64::try_from(share(count)?).ok()?.max(i64::from(count > 0));
        }
        // What rounding left over goes to the largest share.
        let rest = 10_000 - shares.iter().sum::<i64>();
        *shares.iter_mut().max()? += rest;
        let [verified, mismatch, unverifiable, open, not_collected] =
            shares.map(|share| share as f64 / 100.0);
        Some(Self { verified, mismatch, unverifiable, open, not_collected })
    }
}

/// Verified windows and stored rows by what proves them. The report claims no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct EvidenceCounts {
    /// Verified complete: the venue's numbers prove that no event is missing.
    pub complete_windows: u64,
    /// Stored = received: everything that an edge received is stored; the venue gives no numbers that would show more.
    pub received_windows: u64,
    /// Stored = received of a stream in which the venue publishes only some of the events.
    pub lower_bound_windows: u64,
    pub complete_rows: u64,
    pub received_rows: u64,
    pub lower_bound_rows: u64,
}

impl EvidenceCounts {
    pub const fn add(&mut self, other: &Self) {
        self.complete_windows += other.complete_windows;
        self.received_windows += other.received_windows;
        self.lower_bound_windows += other.lower_bound_windows;
        self.complete_rows += other.complete_rows;
        self.received_rows += other.received_rows;
        self.lower_bound_rows += other.lower_bound_rows;
    }

    pub const fn windows(&self) -> [u64; 3] {
        [self.complete_windows, self.received_windows, self.lower_bound_windows]
    }

    pub const fn rows(&self) -> [u64; 3] {
        [self.complete_rows, self.received_rows, self.lower_bound_rows]
    }

    /// Windows with their shares in one line; empty without any.
    pub fn as_text(&self) -> String {
        let total: u64 = self.windows().iter().sum();
        let rows = self.rows();
        let named = ["verified complete", "stored = received", "lower bound"];
        let parts = named.iter().zip(self.windows()).zip(rows).filter(|((_, windows), _)| *windows > 0);
        let part = |((name, windows), rows): ((&&str, u64), u64)| {
            // Rounded down: 100 % means all.
            let tenths = u128::from(windows) * 1_000 / u128::from(total.max(1));
            format!("{name}: {windows} windows ({}.{} %), {rows} rows", tenths / 10, tenths % 10)
        };
        parts.map(part).collect::<Vec<_>>().join("; ")
    }
}

/// Windows and gaps of the streams over time.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct HeatMap {
    /// Begin of the first bucket.
    pub from: Option<Time>,
    pub bin_seconds: u64,
    pub bins: usize,
    /// Names of the numbers in a cell.
    pub cell: [&'static str; 7],
    /// Number of streams in all; those with the worst state come first.
    pub streams_total: u64,
    pub streams: Vec<StreamState>,
    /// Replication from hot to cold, one row per table. The last three numbers of a cell are 0.
    pub replication: Vec<TableRow>,
}

/// Names of the numbers in a heatmap cell. `complete`: windows that the venue's numbers prove to be complete.
pub const CELL: [&str; 7] =
    ["verified", "mismatch", "unverifiable", "open", "not_collected", "missing_events", "complete"];

/// One stream: the events of one subject.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StreamState {
    /// Subject: `data_type.exchange.market_type.symbol`.
    pub stream: String,
    /// Edges that report audits of it.
    pub edges: Vec<String>,
    /// Its windows by state, counted per edge.
    pub windows: WindowCounts,
    /// Windows between the first and the last verdict that have none.
    pub absent_windows: u64,
    /// Unverifiable windows that another edge covers or the venue's numbers prove.
    pub covered_windows: u64,
    /// Events that hot lacks: holes in the venue's ids, or losses that an edge counted and no other edge covers.
    pub missing_events: u64,
    /// Its windows and rows by what proves them.
    pub evidence: EvidenceCounts,
    /// `by_one`: ids rise by one; `linked`: each update names its predecessor; `unnumbered`: a loss at the venue is visible to nobody.
    pub numbering: &'static str,
    /// `complete`, or `lower_bound`: the venue publishes only some of the events.
    pub completeness: &'static str,
    /// Events are requested this long after they happened.
    pub delay_seconds: u32,
    /// Windows that an edge did not collect on purpose, and that neither another edge nor the venue's numbers cover.
    pub not_collected_windows: u64,
    /// Events that the venue numbered meanwhile.
    pub not_collected_events: u64,
    /// Duplicates that the broker or ingest recognized.
    pub duplicates: u64,
    /// Order books conflated on purpose: only the newest state was published.
    pub conflated: u64,
    /// Gaps by cause (venue, network, ours, operator, retention).
    pub gaps: BTreeMap<String, GapCount>,
    /// Begin of the newest window with a verdict.
    pub newest_window: Option<Time>,
    /// Numbers per bucket, in the order of `cell`; an empty list where there is no verdict.
    pub cells: Vec<Vec<u64>>,
}

/// One table in the heatmap.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TableRow {
    pub table: String,
    /// Numbers per bucket, in the order of `cell`; an empty list where nothing was logged.
    pub cells: Vec<Vec<u64>>,
}

/// Gaps of one cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct GapCount {
    pub gaps: u64,
    /// Missing events that they name.
    pub missing: u64,
    pub unknown: u64,
}

impl GapCount {
    pub const fn add(&mut self, other: Self) {
        self.gaps += other.gaps;
        self.missing += other.missing;
        self.unknown += other.unknown;
    }
}

/// A window that is not verified.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize, Serialize, ToSchema)]
pub struct WorstWindow {
    /// `ledger` (edge against hot) or `replication` (hot against cold).
    pub kind: String,
    pub of: String,
    /// The edge that reported it; ledger only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub edge: String,
    pub window_start: Time,
    pub window_seconds: u64,
    /// `mismatch`, `unverifiable`, `failed` or `open`.
    pub state: String,
    pub reason: String,
    pub expected: u64,
    pub found: u64,
}

/// A gap that an edge detected.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize, Serialize, ToSchema)]
#[schema(as = Gap)]
pub struct ReportedGap {
    /// Stream: `data_type.exchange.market_type.symbol`.
    pub stream: String,
    pub edge: String,
    /// Begin of the audit window that reported it.
    pub window_start: Time,
    /// Detected by: `trade_ids`, `book_sequence`, `book_checksum`, `connection`, `dropped`, `refused`, `adapter_fault`;
    /// `start` and `stop`: before a run's first and after its last frame; `backfilled`: trades of an earlier gap came from the venue's
    /// history, and `missing` are those that it did not have.
    pub kind: String,
    /// `venue`, `network`, `ours` (a part of MarketPrism), `operator` (stopped on purpose) or `retention`.
    pub cause: String,
    /// Missing events; null when unknown.
    pub missing: Option<u64>,
    /// Last sequence before the gap.
    pub from_sequence: Option<i64>,
    /// First sequence after the gap.
    pub to_sequence: Option<i64>,
    /// Last event before the gap.
    #[serde(deserialize_with = "time::optional")]
    pub from: Option<Time>,
    /// First event after it.
    #[serde(deserialize_with = "time::optional")]
    pub to: Option<Time>,
    /// Clock of `from` and `to`: `venue` for the times of the venue's events, `edge` for receive times, or `venue, edge`, `edge, venue`.
    pub clock: String,
    /// Observation of the edge, as text.
    pub evidence: String,
}

/// Time in which an edge collected nothing on purpose, or of which a killed edge has no audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Downtime)]
pub struct ReportedDowntime {
    pub edge: String,
    /// End of the last connection.
    pub from: Time,
    /// First frame of the next run; absent while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    pub reason: String,
    /// Streams that the edge collected before.
    pub streams: u64,
    /// Those that neither another edge nor the venue's numbers cover.
    pub uncovered_streams: u64,
}

/// Windows of several streams in which an edge was alone, or in which another edge filled its holes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EdgeTime {
    pub edge: String,
    /// The edge that had what this one missed; absent where the edge was alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    pub from: Time,
    pub to: Time,
    pub streams: u64,
}

/// Messages that the broker discarded before they were stored.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize, Serialize, ToSchema)]
#[schema(as = Loss)]
pub struct LostMessages {
    pub stream: String,
    pub from_seq: u64,
    pub to_seq: u64,
    pub messages: u64,
    /// `retention` or `ours`.
    pub cause: String,
    /// Observation of central, as text.
    pub evidence: String,
    pub seen_at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_add_up_and_only_all_is_a_hundred() {
        let of = |[verified, mismatch, unverifiable, open]: [u64; 4]| {
            let counts = WindowCounts { verified, mismatch, unverifiable, open, not_collected: 0 };
            let WindowPercent { verified, mismatch, unverifiable, open, .. } = WindowPercent::of(&counts)?;
            Some([verified, mismatch, unverifiable, open])
        };
        assert_eq!(of([0, 0, 0, 0]), None);
        assert_eq!(of([7, 0, 0, 0]), Some([100.0, 0.0, 0.0, 0.0]));
        assert_eq!(of([1, 1, 1, 0]), Some([33.33, 33.33, 33.34, 0.0]));
        assert_eq!(of([9_999_999, 1, 0, 0]), Some([99.99, 0.01, 0.0, 0.0]));
        assert_eq!(of([9_999_997, 1, 1, 1]), Some([99.97, 0.01, 0.01, 0.01]));
        assert_eq!(of([u64::MAX, u64::MAX, 0, 0]), Some([50.0, 50.0, 0.0, 0.0]));
        assert_eq!(of([1_438, 0, 1, 1]), Some([99.88, 0.0, 0.06, 0.06]));
    }
}
