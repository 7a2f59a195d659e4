//! Streams, windows, the heat map.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::report::Time;

/// Windows by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Windows {
    /// Compared and equal.
    pub verified: u64,
    /// Compared and different.
    pub mismatch: u64,
    /// Cannot be compared: not reported, not answered, failed.
    pub unverifiable: u64,
    /// Not closed yet.
    pub open: u64,
}

impl Windows {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.verified + self.mismatch + self.unverifiable + self.open
    }

    /// Adds others.
    pub const fn add(&mut self, other: &Self) {
        self.verified += other.verified;
        self.mismatch += other.mismatch;
        self.unverifiable += other.unverifiable;
        self.open += other.open;
    }

    /// As the heat map writes it.
    pub const fn cell(&self) -> [u64; 4] {
        [self.verified, self.mismatch, self.unverifiable, self.open]
    }
}

/// How windows and gaps of the streams stand, over time.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct HeatMap {
    /// Begin of the first bin.
    pub from: Option<Time>,
    /// Length of a bin.
    pub bin_seconds: u64,
    /// How many bins.
    pub bins: usize,
    /// What the numbers of a cell count.
    pub cell: [&'static str; 5],
    /// Streams in all; those with the worst state come first.
    pub streams_total: u64,
    /// The streams.
    pub streams: Vec<StreamState>,
    /// Copies from hot to cold, one row a table. The fifth number is 0.
    pub replication: Vec<TableRow>,
}

/// Names of the numbers of a cell.
pub const CELL: [&str; 5] = ["verified", "mismatch", "unverifiable", "open", "missing_events"];

/// One stream: the events of one subject.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StreamState {
    /// Its subject.
    pub stream: String,
    /// Edges that vouch for it.
    pub edges: Vec<String>,
    /// Its windows in the scope by state, one per edge.
    pub windows: Windows,
    /// Windows between the first and the last judged that no verdict mentions.
    pub absent_windows: u64,
    /// Unverifiable windows of one edge in times that another edge vouches for.
    pub covered_by_another_edge: u64,
    /// Events that the edges know to be missing, and no other edge has.
    pub missing_events: u64,
    /// Copies that the broker recognized.
    pub duplicates: u64,
    /// Book updates left out on purpose: only the newest state was stored.
    pub conflated: u64,
    /// Gaps by cause (venue, network, ours, retention).
    pub gaps: BTreeMap<String, GapCount>,
    /// Begin of the newest window judged.
    pub newest_window: Option<Time>,
    /// Numbers per bin, in the order of `cell`; an empty list where nothing was judged.
    pub cells: Vec<Vec<u64>>,
}

/// One table in the heat map.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TableRow {
    /// The table.
    pub table: String,
    /// Numbers per bin, in the order of `cell`; an empty list where nothing was logged.
    pub cells: Vec<Vec<u64>>,
}

/// Gaps of one cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct GapCount {
    /// How many.
    pub gaps: u64,
    /// Events they name as missing.
    pub missing: u64,
    /// Gaps of which nobody can tell how many events are missing.
    pub unknown: u64,
}

/// A window that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WorstWindow {
    /// `ledger` (edge against hot) or `replication` (hot against cold).
    pub kind: &'static str,
    /// Stream or table.
    pub of: String,
    /// The edge that vouched, for the ledger.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub edge: String,
    /// Begin.
    pub window_start: Time,
    /// Length.
    pub window_seconds: u64,
    /// `mismatch`, `unverifiable`, `failed` or `open`.
    pub state: String,
    /// Why, in words.
    pub reason: String,
    /// Events or rows that should be there.
    pub expected: u64,
    /// Events or rows that are there.
    pub found: u64,
}
