//! Properties of a venue's market, independent of its wire format.

use super::event::Topic;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateIds {
    Consecutive,
    Leaping,
}

#[derive(Debug, Clone)]
pub struct MarketRules {
    pub update_ids: UpdateIds,
    /// Periods of updates by cadence, ms; 0: with every book event.
    pub cadences_ms: &'static [i64],
    /// Timed content with its period in ms.
    pub topics: &'static [(Topic, i64)],
    /// Liquidations per message at most; 0: none.
    pub liquidations_max: usize,
    /// Time after which an unchanged book gets an empty update, ms; `None`: never.
    pub still_book_ms: Option<i64>,
    /// Updates include removals of levels that the previous update did not have.
    pub announces_unknown: bool,
    pub funding_scale: u8,
    /// Period of open interest in REST answers, ms.
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
