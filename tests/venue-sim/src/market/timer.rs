//! Times of the last publications of timed content.

use super::event::Topic;

#[derive(Debug)]
pub(super) struct Timer {
    /// Content, period and time of the last publication.
    pub(super) topics: Vec<(Topic, i64, i64)>,
    /// Nothing is due before.
    pub(super) next_ms: i64,
    /// Time of the newest liquidation: all times are distinct.
    pub(super) liquidated_ms: i64,
}

impl Timer {
    pub(super) fn new(topics: &[(Topic, i64)]) -> Timer {
        Timer {
            topics: topics.iter().map(|(topic, period)| (*topic, *period, 0)).collect(),
            next_ms: 0,
            liquidated_ms: 0,
        }
    }
}
