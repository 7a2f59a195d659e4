//! Gaps: one type from where an edge sees data missing to the audit that reports it.

use serde::{Deserialize, Serialize};

use crate::names::names;

/// Gaps of a stream in one window that an audit lists. More: the last one is the sum of the rest.
pub const GAPS_MAX: usize = 64;

/// Data that is missing from a stream, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Kind of evidence.
    pub kind: GapKind,
    /// Who caused it.
    pub cause: GapCause,
    /// First missing sequence of the venue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_sequence: Option<i64>,
    /// Last missing one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_sequence: Option<i64>,
    /// Number of missing events, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// Last receive time before it, nanoseconds since 1970 UTC; in an audit before the window's start only where it was noticed late.
    pub from: i64,
    /// First receive time after it, nanoseconds; in an audit at the latest the window's end. [`Gap::OPEN`] while it lasts.
    pub to: i64,
    /// Time of the last event before it by the venue's clock, nanoseconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue_from: Option<i64>,
    /// Time of the first event after it by the venue's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue_to: Option<i64>,
    /// Observations that show it.
    pub evidence: String,
}

impl Gap {
    /// [`Gap::to`] of a gap that has not ended.
    pub const OPEN: i64 = i64::MAX;

    /// A gap that has not ended, without sequences.
    pub fn open(kind: GapKind, cause: GapCause, from: i64, evidence: impl Into<String>) -> Self {
        let evidence = evidence.into();
        Self {
            kind,
            cause,
            from_sequence: None,
            to_sequence: None,
            missing: None,
            from,
            to: Self::OPEN,
            venue_from: None,
            venue_to: None,
            evidence,
        }
    }

    /// Trade ids from `first` to `last` that did not come, each of which counts as one event. The cause is the venue and the evidence
    /// is empty until [`Gap::explain`].
    pub fn trade_ids(first: u64, last: u64, from: i64, to: i64) -> Self {
        let mut gap = Self { to, ..Self::open(GapKind::TradeIds, GapCause::Venue, from, "") };
        gap.set_trade_ids(first, last);
        gap
    }

    /// Replaces the missing trade ids, for example when late trades close a part of the gap.
    pub fn set_trade_ids(&mut self, first: u64, last: u64) {
        (self.from_sequence, self.to_sequence) = (i64::try_from(first).ok(), i64::try_from(last).ok());
        self.missing = Some(last.saturating_sub(first).saturating_add(1));
    }

    /// Sets cause and evidence once they are known.
    pub fn explain(&mut self, cause: GapCause, evidence: String) {
        (self.cause, self.evidence) = (cause, evidence);
    }

    /// Sets the venue's times; the end is never before the begin.
    pub fn set_venue_times(&mut self, from: Option<i64>, to: Option<i64>) {
        (self.venue_from, self.venue_to) = (from, from.map_or(to, |from| to.map(|to| to.max(from))));
    }

    /// The part of the gap within a window; `known_to` is the end of what is known of a gap that is open. Sequences are in the window
    /// in which the gap begins only; the venue's times are in the windows of the begin and the end.
    pub fn within(&self, start: i64, end: i64, known_to: i64) -> Option<Self> {
        let (to, begins_here) = (self.to.min(known_to), start <= self.from);
        if self.from >= end || (to <= start && !begins_here) {
            return None;
        }
        let from = self.from.max(start);
        let (from_sequence, to_sequence, missing) = if begins_here {
            (self.from_sequence, self.to_sequence, self.missing)
        } else {
            (None, None, None)
        };
        let (venue_from, venue_to) =
            (self.venue_from.filter(|_| begins_here), self.venue_to.filter(|_| self.to <= end));
        let to = to.min(end).max(from);
        Some(Self { from_sequence, to_sequence, missing, from, to, venue_from, venue_to, ..self.clone() })
    }

    /// Widens the gap to contain another one, and adds its missing events. Cause and evidence stay.
    pub fn merge(&mut self, other: &Self) {
        self.missing = match (self.missing, other.missing) {
            (Some(left), Some(right)) => Some(left.saturating_add(right)),
            (left, right) => left.or(right),
        };
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.venue_from = self.venue_from.into_iter().chain(other.venue_from).min();
        self.venue_to = self.venue_to.max(other.venue_to);
        self.from_sequence = self.from_sequence.into_iter().chain(other.from_sequence).min();
        self.to_sequence = self.to_sequence.into_iter().chain(other.to_sequence).max();
    }
}

names! {
    /// Kinds of evidence for a gap.
    GapKind, "kind", unknown = Unknown, {
        /// Missing trade ids, where they rise by one.
        TradeIds = "trade_ids",
        /// Trades of an earlier gap that came from the venue's history: nothing is missing.
        Backfilled = "backfilled",
        /// A missing update of an order book.
        BookSequence = "book_sequence",
        /// An order book whose checksum is not the venue's.
        BookChecksum = "book_checksum",
        /// No connection, or no answer to a poll.
        Connection = "connection",
        /// A run of the edge began, and this stream had no connection yet.
        Start = "start",
        /// A run of the edge was stopped, and its connections were closed.
        Stop = "stop",
        /// The edge lost it before it was published: its queue or journal was full, or its disk failed.
        Dropped = "dropped",
        /// The broker rejects the message for its content.
        Refused = "refused",
        /// The adapter faulted, or the edge's own pipeline did.
        AdapterFault = "adapter_fault",
        /// A name that this version does not know.
        Unknown = "unknown",
    }
}

names! {
    /// Who caused a gap.
    GapCause, "cause", unknown = Unknown, {
        /// The venue did not send it.
        Venue = "venue",
        /// A connection was lost.
        Network = "network",
        /// This system lost it.
        Ours = "ours",
        /// An operator stopped the edge: nothing was collected on purpose.
        Operator = "operator",
        /// It was deleted by age or size before it could be stored.
        Retention = "retention",
        /// A name that this version does not know.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_over_several_windows_is_cut_to_each_with_its_sequences_in_the_first() {
        let mut gap = Gap::open(GapKind::Connection, GapCause::Network, 150, "lost");
        (gap.from_sequence, gap.to_sequence) = (Some(3), Some(4));
        (gap.venue_from, gap.venue_to) = (Some(140), Some(310));
        let part = |start, end| gap.within(start, end, 320).map(|gap| (gap.from, gap.to, gap.from_sequence));
        assert_eq!(part(0, 100), None);
        assert_eq!(part(100, 200), Some((150, 200, Some(3))));
        assert_eq!(part(200, 300), Some((200, 300, None)));
        assert_eq!(part(300, 400), Some((300, 320, None)));
        assert_eq!(part(400, 500), None);
        gap.to = 320;
        let venue = |start, end| gap.within(start, end, 320).map(|gap| (gap.venue_from, gap.venue_to));
        let parts = [venue(100, 200), venue(200, 300), venue(300, 400)];
        assert_eq!(parts, [Some((Some(140), None)), Some((None, None)), Some((None, Some(310)))]);
    }

    #[test]
    fn merged_gaps_contain_both_and_count_the_events_of_both() {
        let mut sum = Gap::trade_ids(5, 6, 10, 20);
        sum.merge(&Gap::trade_ids(8, 8, 15, 30));
        assert_eq!((sum.from_sequence, sum.to_sequence, sum.missing), (Some(5), Some(8), Some(3)));
        assert_eq!((sum.from, sum.to), (10, 30));
    }
}
