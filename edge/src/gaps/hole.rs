//! A hole in the trade ids of one stream: its undecided ids, how the others were decided, and its result.

use std::time::Instant;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_schema::{Gap, GapCause, GapKind};
use marketprism_service::Backoff;

use super::horizon::HorizonSearch;
use crate::limits::{BACKFILL_DELAY, BACKFILL_PAUSE};
use crate::records::{RecordBuilder, TradeIdRange};

/// Ranges that the evidence of a hole names. More: their number.
const NAMED_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct QueuedHole {
    pub(super) instrument: InstrumentIndex,
    /// Ids that were missing when it was noticed.
    pub(super) all: TradeIdRange,
    /// Ids that are not decided.
    pub(super) rest: TradeIdRange,
    pub(super) search: Option<HorizonSearch>,
    /// Undecided ids before `rest`, from before the history: the newest of them is requested once more when the rest is decided.
    pub(super) older: Option<TradeIdRange>,
    /// Earliest time of that request.
    pub(super) again_at: Instant,
    /// First request, or last answer with a trade of the hole.
    pub(super) tried: Option<Instant>,
    since_ns: i64,
    pub(super) due: Instant,
    pub(super) pause: Backoff,
    /// Answers in a row without a trade of the hole.
    pub(super) misses: u32,
    /// Requests in a row without an answer that can be used.
    pub(super) failures: u32,
    pub(super) filled: u64,
    left: Vec<(TradeIdRange, LeftMissing)>,
}

impl QueuedHole {
    pub(super) fn new(instrument: InstrumentIndex, ids: TradeIdRange, now: Instant, now_ns: i64) -> Self {
        Self {
            instrument,
            all: ids,
            rest: ids,
            search: None,
            older: None,
            again_at: now,
            tried: None,
            since_ns: now_ns,
            due: now + BACKFILL_DELAY,
            pause: Backoff::new(BACKFILL_PAUSE.0, BACKFILL_PAUSE.1),
            misses: 0,
            failures: 0,
            filled: 0,
            left: Vec::new(),
        }
    }

    /// The ids to request next, and whether they were refused before.
    pub(super) fn next(&self, builder: &RecordBuilder) -> Option<(TradeIdRange, bool)> {
        let missing = |ids| builder.first_missing(self.instrument, ids);
        let next = match &self.search {
            Some(search) => search.next(self.rest.last, missing),
            None => missing(self.rest),
        };
        let again = || {
            let older = self.older?;
            missing(TradeIdRange { first: older.last, ..older }).or_else(|| missing(older))
        };
        next.map(|ids| (ids, false)).or_else(|| Some((again()?, true)))
    }

    /// Sets the undecided ids up to this one aside.
    pub(super) fn set_aside(&mut self, newest: u64, again_at: Instant) {
        let first = self.older.map_or(self.rest.first, |older| older.first);
        self.older = Some(TradeIdRange { first, last: newest.min(self.rest.last) });
        self.rest.first = newest.saturating_add(1);
        (self.search, self.again_at) = (None, again_at);
    }

    /// These trades stay missing.
    pub(super) fn leave(&mut self, ids: TradeIdRange, why: &LeftMissing) {
        match self.left.last_mut() {
            Some((left, reason)) if reason == why && left.last.checked_add(1) == Some(ids.first) => {
                left.last = ids.last;
            }
            _ => self.left.push((ids, why.clone())),
        }
    }

    /// `None`: late trades of the stream have closed the hole.
    pub(super) fn result(self, now_ns: i64) -> Option<BackfilledHole> {
        let Self { instrument, all, since_ns, filled, left, .. } = self;
        if filled == 0 && left.is_empty() {
            return None;
        }
        let mut parts = vec![format!("{filled} filled from the venue's history")];
        parts.extend(left.iter().take(NAMED_MAX).map(|(ids, why)| why.evidence(*ids)));
        if left.len() > NAMED_MAX {
            parts.push(format!("{} more ranges missing", left.len() - NAMED_MAX));
        }
        Some(BackfilledHole {
            instrument,
            ids: all,
            filled,
            left: left.iter().map(|(ids, _)| ids.count()).sum(),
            from_ns: since_ns,
            to_ns: now_ns,
            evidence: format!("{}: {}", named(all), parts.join("; ")),
        })
    }
}

/// Reason for which trades stay missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeftMissing {
    NotServed,
    Refused,
    GivenUp(String),
}

impl LeftMissing {
    pub(super) fn evidence(&self, ids: TradeIdRange) -> String {
        let ids = named(ids);
        match self {
            Self::NotServed => format!("{ids} not served by the venue's history"),
            Self::Refused => format!("{ids} older than the venue's history"),
            Self::GivenUp(why) => format!("{ids} given up: {why}"),
        }
    }
}

/// A hole of which every id is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfilledHole {
    pub instrument: InstrumentIndex,
    pub ids: TradeIdRange,
    pub filled: u64,
    /// Trades that stay missing.
    pub left: u64,
    /// Time in which it was filled.
    pub from_ns: i64,
    pub to_ns: i64,
    pub evidence: String,
}

impl BackfilledHole {
    /// Its end as the audits report it: no further gap.
    pub fn as_gap(&self) -> Gap {
        let mut gap = Gap::open(GapKind::Backfilled, GapCause::Venue, self.from_ns, self.evidence.clone());
        gap.set_trade_ids(self.ids.first, self.ids.last);
        Gap { missing: Some(self.left), to: self.to_ns, ..gap }
    }
}

fn named(TradeIdRange { first, last }: TradeIdRange) -> String {
    if first == last { format!("trade {first}") } else { format!("trades {first} to {last}") }
}
