//! What a venue's market looks like, whatever its wire format.

use super::event::Topic;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateIds {
    Consecutive,
    Leaping,
}

#[derive(Debug, Clone)]
pub struct MarketRules {
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
    pub funding_scale: u8,
    /// Period of open interest where it is asked for, ms.
    pub interest_ms: i64,
    pub ratio_ms: i64,
    pub history_changes: usize,
    pub depth_min: usize,
}

impl MarketRules {
    pub const DEFAULT: MarketRules = MarketRules {
        update_ids: UpdateIds::Leaping,
        cadences_ms: &[0],
        topics: &[],
        liquidations_max: 0,
        still_book_ms: None,
        announces_unknown: false,
        funding_scale: 8,
        interest_ms: 1000,
        ratio_ms: 300_000,
        history_changes: 200_000,
        depth_min: 100,
    };
}
