//! What a venue's market looks like, whatever its wire format.

use super::event::Topic;

/// How a venue numbers book changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateIds {
    /// Each change has the next number.
    Consecutive,
    /// Numbers are shared with other instruments: they grow by leaps.
    Leaping,
}

/// The rules of one venue.
#[derive(Debug, Clone)]
pub struct MarketRules {
    /// How changes are numbered.
    pub update_ids: UpdateIds,
    /// Periods in ms at which updates go out; 0 means with every book event. Index = cadence.
    pub cadences_ms: &'static [i64],
    /// What is published by the clock, with its period in ms.
    pub topics: &'static [(Topic, i64)],
    /// Forced orders published at one moment at most; 0 where none are.
    pub liquidations_max: usize,
    /// An update without changes is sent when a book stood still this long, ms; `None` where the venue sends
    /// none.
    pub still_book_ms: Option<i64>,
    /// Whether updates announce the removal of levels that were not there at the previous update.
    pub announces_unknown: bool,
    /// Digits behind the point of a funding rate.
    pub funding_scale: u8,
    /// Period of open interest where it is asked for, ms.
    pub interest_ms: i64,
    /// Period of long/short ratios, ms.
    pub ratio_ms: i64,
    /// Changes kept for `book_at`.
    pub history_changes: usize,
    /// Levels per side that the book is kept above.
    pub depth_min: usize,
}
