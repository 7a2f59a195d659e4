//! Holes in the trade ids of a feed that its venue's history may fill: a bounded queue, one request at a time, each for the lowest ids that
//! are still missing and not older than the history. Filled trades, trades that the history lacks and trades given up are each reported exactly once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use marketprism_adapter_host::InstrumentIndex;
use prometheus::IntCounter;

use super::hole::{BackfilledHole, LeftMissing, QueuedHole};
use super::horizon::{HorizonSearch, KnownHorizon};
use crate::limits::{
    BACKFILL_AGAIN, BACKFILL_ANSWER_MAX, BACKFILL_FAILURES_MAX, BACKFILL_HOLES_MAX, BACKFILL_MISSES_MAX,
    BACKFILL_PAUSE, BACKFILL_TIME_MAX,
};
use crate::records::{RecordBuilder, TradeHoles, TradeIdRange};
use crate::telemetry::Metrics;

/// Labels of trades by their outcome.
pub const BACKFILL_OUTCOMES: [&str; 5] = ["requested", "filled", "not_served", "given_up", "discarded"];

#[derive(Debug)]
struct AskedRange {
    hole: QueuedHole,
    range: TradeIdRange,
    at: Instant,
    /// The venue refused these ids before.
    is_again: bool,
    /// The answer has a row of the range with a value that cannot be true.
    is_invalid: bool,
}

#[derive(Debug)]
struct BackfillCounters {
    requests: IntCounter,
    requested: IntCounter,
    filled: IntCounter,
    not_served: IntCounter,
    given_up: IntCounter,
    discarded: IntCounter,
}

/// Backfill of one part of a feed.
#[derive(Debug)]
pub struct Backfill {
    holes: VecDeque<QueuedHole>,
    asked: Option<AskedRange>,
    /// By instrument.
    horizons: BTreeMap<InstrumentIndex, KnownHorizon>,
    done: Vec<BackfilledHole>,
    counters: BackfillCounters,
}

impl Backfill {
    pub fn new(metrics: &Metrics, exchange: &str) -> Self {
        let [requested, filled, not_served, given_up, discarded] =
            BACKFILL_OUTCOMES.map(|outcome| metrics.backfill_trades.with_label_values(&[exchange, outcome]));
        let requests = metrics.backfill_requests.with_label_values(&[exchange]);
        Self {
            holes: VecDeque::new(),
            asked: None,
            horizons: BTreeMap::new(),
            done: Vec::new(),
            counters: BackfillCounters { requests, requested, filled, not_served, given_up, discarded },
        }
    }

    /// Takes over what the builder found missing.
    pub fn take_holes(&mut self, builder: &mut RecordBuilder, now: Instant, now_ns: i64) {
        let TradeHoles { found, overflow } = builder.take_trade_holes();
        for (instrument, ids) in found {
            let mut hole = QueuedHole::new(instrument, ids, now, now_ns);
            self.counters.requested.inc_by(ids.count());
            if self.holes.len() < BACKFILL_HOLES_MAX {
                self.holes.push_back(hole);
            } else {
                let why = format!("{BACKFILL_HOLES_MAX} other holes wait");
                self.leave(&mut hole, ids, &LeftMissing::GivenUp(why), builder);
                self.finish(hole, now_ns);
            }
        }
        for (instrument, ids) in overflow {
            let asked = self.asked.as_mut().map(|asked| &mut asked.hole);
            let mut holes = self.holes.iter_mut().chain(asked);
            let known = holes.find(|hole| hole.instrument == instrument && hole.all.contains(ids.first));
            if let Some(hole) = known {
                let why = "the list of open gaps of the instrument is full".to_owned();
                hole.leave(ids, &LeftMissing::GivenUp(why));
                self.counters.given_up.inc_by(ids.count());
            }
        }
    }

    /// The ids to request now; then one of [`Backfill::answered`], [`Backfill::failed`] and [`Backfill::not_kept`] is due.
    pub fn next(
        &mut self,
        builder: &mut RecordBuilder,
        now: Instant,
        now_ns: i64,
    ) -> Option<(InstrumentIndex, TradeIdRange)> {
        if self.asked.as_ref().is_some_and(|asked| now >= asked.at + BACKFILL_ANSWER_MAX) {
            self.failed("no answer", builder, now, now_ns);
        }
        while self.asked.is_none() {
            let position = self.holes.iter().position(|hole| hole.due <= now)?;
            let mut hole = self.holes.remove(position)?;
            // Late trades may have left nothing to search in.
            self.end_search(&mut hole, "refused", builder, now);
            self.apply_horizon(&mut hole, builder, now);
            let Some((range, is_again)) = hole.next(builder) else {
                self.finish(hole, now_ns);
                continue;
            };
            if is_again && now < hole.again_at {
                hole.due = hole.again_at;
                self.holes.push_back(hole);
                continue;
            }
            let tried = *hole.tried.get_or_insert(now);
            if now >= tried + BACKFILL_TIME_MAX {
                let why = format!("not filled within {} s", BACKFILL_TIME_MAX.as_secs());
                self.leave_rest(&mut hole, &why, builder);
                self.finish(hole, now_ns);
                continue;
            }
            self.counters.requests.inc();
            let instrument = hole.instrument;
            self.asked = Some(AskedRange { hole, range, at: now, is_again, is_invalid: false });
            return Some((instrument, range));
        }
        None
    }

    /// A row of the answer was published, or stands for an id without a trade.
    pub fn filled(&mut self) {
        self.counters.filled.inc();
        if let Some(asked) = &mut self.asked {
            asked.hole.filled += 1;
        }
    }

    /// A row of the answer is not published: a value cannot be true.
    pub fn invalid(&mut self, id: u64) {
        if let Some(asked) = &mut self.asked {
            asked.is_invalid |= asked.range.contains(id);
        }
    }

    /// A row of the answer has no missing id.
    pub fn discarded(&self) {
        self.counters.discarded.inc();
    }

    /// The instrument whose answer is due.
    pub fn asked(&self) -> Option<InstrumentIndex> {
        Some(self.asked.as_ref()?.hole.instrument)
    }

    /// The answer is processed, `filled` rows of it by [`Backfill::filled`].
    pub fn answered(&mut self, filled: u64, builder: &mut RecordBuilder, now: Instant, now_ns: i64) {
        let Some(AskedRange { mut hole, range, is_again, is_invalid, .. }) = self.asked.take() else {
            return;
        };
        hole.failures = 0;
        if filled > 0 {
            hole.misses = 0;
            hole.pause.reset();
            (hole.due, hole.tried) = (now, Some(now));
        } else {
            hole.misses += 1;
            hole.due = now + hole.pause.pause();
        }
        if is_again {
            // The refusal did not hold.
            self.horizons.remove(&hole.instrument);
            hole.rest = hole.older.take().unwrap_or(hole.rest);
        } else if let Some(search) = &mut hole.search {
            search.answered(range.first);
            hole.misses = 0;
            self.end_search(&mut hole, "", builder, now);
        } else if hole.misses >= BACKFILL_MISSES_MAX {
            let why = match is_invalid {
                true => LeftMissing::GivenUp("the venue's rows have values that cannot be true".to_owned()),
                false => LeftMissing::NotServed,
            };
            self.leave(&mut hole, range, &why, builder);
            (hole.misses, hole.due) = (0, now);
            hole.pause.reset();
            hole.rest.first = range.last.saturating_add(1);
        }
        self.requeue_or_finish(hole, builder, now_ns);
    }

    /// No answer came, or it could not be used.
    pub fn failed(&mut self, why: &str, builder: &mut RecordBuilder, now: Instant, now_ns: i64) {
        let Some(AskedRange { mut hole, .. }) = self.asked.take() else { return };
        self.count_failure(&mut hole, why, builder, now);
        self.requeue_or_finish(hole, builder, now_ns);
    }

    fn count_failure(&self, hole: &mut QueuedHole, why: &str, builder: &mut RecordBuilder, now: Instant) {
        hole.failures += 1;
        hole.due = now + hole.pause.pause();
        if hole.failures >= BACKFILL_FAILURES_MAX {
            let why = format!("{} requests failed, the last: {why}", hole.failures);
            self.leave_rest(hole, &why, builder);
        }
    }

    /// The venue refuses a request from the first of these ids on: its history may begin later.
    pub fn not_kept(&mut self, why: &str, builder: &mut RecordBuilder, now: Instant, now_ns: i64) {
        let Some(AskedRange { mut hole, range, is_again, .. }) = self.asked.take() else { return };
        hole.due = now + BACKFILL_PAUSE.0;
        if is_again {
            if let Some(older) = hole.older.take() {
                if let Some(known) = self.horizons.get_mut(&hole.instrument) {
                    known.is_confirmed |= known.newest_refused <= older.last;
                }
                self.leave_all(&mut hole, older, &LeftMissing::Refused, builder);
            }
        } else {
            hole.search.get_or_insert(HorizonSearch::after_refusal(range.first)).refused(range.first);
            self.end_search(&mut hole, why, builder, now);
        }
        self.requeue_or_finish(hole, builder, now_ns);
    }

    /// If the search is over: what was refused is set aside, or all of it was refused, which says nothing about the history.
    fn end_search(&mut self, hole: &mut QueuedHole, why: &str, builder: &mut RecordBuilder, now: Instant) {
        let missing = |ids| builder.first_missing(hole.instrument, ids);
        let Some(search) = hole.search.filter(|search| search.next(hole.rest.last, missing).is_none()) else {
            return;
        };
        if let Some(newest_refused) = search.newest_refused() {
            hole.set_aside(newest_refused, now + BACKFILL_AGAIN);
            let known = KnownHorizon { newest_refused, found: now, is_confirmed: false };
            self.horizons.insert(hole.instrument, known);
        } else {
            hole.search = None;
            self.count_failure(hole, why, builder, now);
        }
    }

    /// Sets aside or leaves what is older than the horizon that another hole of the instrument found.
    fn apply_horizon(&mut self, hole: &mut QueuedHole, builder: &mut RecordBuilder, now: Instant) {
        let known = self.horizons.get(&hole.instrument).filter(|known| known.is_valid(now));
        let Some(&KnownHorizon { newest_refused, found, is_confirmed }) = known else { return };
        if hole.rest.first <= newest_refused && hole.rest.first <= hole.rest.last {
            hole.set_aside(newest_refused, found + BACKFILL_AGAIN);
        }
        if is_confirmed && let Some(older) = hole.older.take_if(|older| older.last <= newest_refused) {
            self.leave_all(hole, older, &LeftMissing::Refused, builder);
        }
    }

    /// The adapter cannot request these trades.
    pub fn refused(&mut self, why: &str, builder: &mut RecordBuilder, now_ns: i64) {
        let Some(AskedRange { mut hole, .. }) = self.asked.take() else { return };
        self.leave_rest(&mut hole, why, builder);
        self.requeue_or_finish(hole, builder, now_ns);
    }

    fn requeue_or_finish(&mut self, hole: QueuedHole, builder: &RecordBuilder, now_ns: i64) {
        match hole.next(builder) {
            // Behind the others: a long hole does not keep them waiting.
            Some(_) => self.holes.push_back(hole),
            None => self.finish(hole, now_ns),
        }
    }

    /// Leaves every undecided id of a hole missing.
    fn leave_rest(&self, hole: &mut QueuedHole, why: &str, builder: &mut RecordBuilder) {
        hole.search = None;
        let rest = std::mem::replace(&mut hole.rest, TradeIdRange { first: 1, last: 0 });
        for ids in hole.older.take().into_iter().chain([rest]) {
            self.leave_all(hole, ids, &LeftMissing::GivenUp(why.to_owned()), builder);
        }
    }

    /// Leaves those of the ids missing that are.
    fn leave_all(
        &self,
        hole: &mut QueuedHole,
        mut ids: TradeIdRange,
        why: &LeftMissing,
        builder: &mut RecordBuilder,
    ) {
        while let Some(range) = builder.first_missing(hole.instrument, ids) {
            self.leave(hole, range, why, builder);
            match range.last.checked_add(1).filter(|next| *next <= ids.last) {
                Some(next) => ids.first = next,
                None => break,
            }
        }
    }

    fn leave(
        &self,
        hole: &mut QueuedHole,
        ids: TradeIdRange,
        why: &LeftMissing,
        builder: &mut RecordBuilder,
    ) {
        let counter = match why {
            LeftMissing::NotServed | LeftMissing::Refused => &self.counters.not_served,
            LeftMissing::GivenUp(_) => &self.counters.given_up,
        };
        counter.inc_by(ids.count());
        builder.leave_missing(hole.instrument, ids, &why.evidence(ids));
        hole.leave(ids, why);
    }

    fn finish(&mut self, hole: QueuedHole, now_ns: i64) {
        self.done.extend(hole.result(now_ns));
    }

    /// Holes that were decided since the last call.
    pub fn take_done(&mut self) -> Vec<BackfilledHole> {
        std::mem::take(&mut self.done)
    }
}
