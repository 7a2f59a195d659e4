//! Holes in trade ids: which trades are requested, published and reported as missing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::MarketType;
use marketprism_edge::gaps::{Backfill, BackfilledHole};
use marketprism_edge::limits::{
    BACKFILL_AGAIN, BACKFILL_DELAY, BACKFILL_FAILURES_MAX, BACKFILL_HOLES_MAX, BACKFILL_MISSES_MAX,
    BACKFILL_PAUSE, BACKFILL_TIME_MAX, TRADE_AGE_MAX,
};
use marketprism_edge::queue::EventRecord;
use marketprism_edge::records::{PastTrade, RecordBuilder, RecordOptions, TradeIdRange, TradePosition};
use marketprism_edge::telemetry::Metrics;
use marketprism_schema::{DataSource, DataType, GapKind, decode_json};

use crate::records::{AT_US, builder, instrument, options, trade};

const EXCHANGE: &str = "sim_spot";
const AT_NS: i64 = AT_US * 1_000;

struct Filling {
    builder: RecordBuilder,
    backfill: Backfill,
    metrics: Metrics,
    records: Vec<EventRecord>,
    start: Instant,
    passed: Duration,
}

impl Filling {
    fn of(instruments: usize) -> Self {
        let instruments: Vec<_> =
            (0..instruments).map(|at| instrument(&format!("A{at}-CD"), MarketType::Spot)).collect();
        let options = RecordOptions { contiguous_trade_ids: true, ..options(instruments.len()) };
        let metrics = Metrics::new().unwrap();
        Self {
            builder: builder(EXCHANGE, &instruments, options),
            backfill: Backfill::new(&metrics, EXCHANGE),
            metrics,
            records: Vec::new(),
            start: Instant::now(),
            passed: Duration::ZERO,
        }
    }

    fn live(&mut self, instrument: u32, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.builder.event(&trade(instrument, id), &[], AT_NS, AT_NS, &mut self.records);
        }
        let (now, now_ns) = self.now();
        self.backfill.take_holes(&mut self.builder, now, now_ns);
    }

    fn now(&self) -> (Instant, i64) {
        (self.start + self.passed, AT_NS + i64::try_from(self.passed.as_nanos()).unwrap())
    }

    /// The next request after a pause.
    fn next_after(&mut self, pause: Duration) -> Option<(u64, u64)> {
        self.passed += pause;
        let (now, now_ns) = self.now();
        let asked = self.backfill.next(&mut self.builder, now, now_ns);
        asked.map(|(_, ids)| (ids.first, ids.last))
    }

    fn answer(&mut self, ids: impl IntoIterator<Item = u64>) {
        let mut filled = 0;
        for id in ids {
            let asked = self.backfill.asked().unwrap();
            let row = trade(asked.into(), id);
            match self.builder.past_trade(asked, &row, AT_NS, &mut self.records) {
                PastTrade::Fills => {
                    self.backfill.filled();
                    filled += 1;
                }
                PastTrade::NotMissing => self.backfill.discarded(),
                PastTrade::Invalid { id } => self.backfill.invalid(id),
            }
        }
        let (now, now_ns) = self.now();
        self.backfill.answered(filled, &mut self.builder, now, now_ns);
    }

    fn done(&mut self) -> Vec<BackfilledHole> {
        self.backfill.take_done()
    }

    fn counted(&self, outcome: &str) -> u64 {
        self.metrics.backfill_trades.with_label_values(&[EXCHANGE, outcome]).get()
    }

    fn missing(&mut self, instrument: u32) -> Vec<(i64, i64)> {
        let (gaps, _) = self.builder.trade_gaps(instrument.into());
        gaps.iter().map(|gap| (gap.from_sequence.unwrap(), gap.to_sequence.unwrap())).collect()
    }
}

#[test]
fn only_missing_trades_are_published_each_once_with_the_id_of_the_live_trade() {
    let mut filling = Filling::of(2);
    filling.live(0, [10, 14]);
    let asked = InstrumentIndex::from(0);
    let mut publish = |row: (u32, u64)| {
        filling.builder.past_trade(asked, &trade(row.0, row.1), AT_NS + 7, &mut filling.records)
    };
    for (row, expected) in [
        ((0, 9), PastTrade::NotMissing),
        ((0, 10), PastTrade::NotMissing),
        ((0, 14), PastTrade::NotMissing),
        ((0, 15), PastTrade::NotMissing),
        ((1, 12), PastTrade::NotMissing),
        ((0, 12), PastTrade::Fills),
        ((0, 12), PastTrade::NotMissing),
        ((0, 11), PastTrade::Fills),
        ((0, 13), PastTrade::Fills),
    ] {
        assert_eq!(publish(row), expected, "{row:?}");
    }
    let sources =
        filling.records.iter().map(|record| decode_json(&record.payload).unwrap().header.data_source);
    let mut expected = vec![DataSource::Live; 2];
    expected.resize(5, DataSource::Backfill);
    assert_eq!(sources.collect::<Vec<_>>(), expected);
    let ids: BTreeSet<_> = filling.records.iter().map(|record| record.event_id).collect();
    assert_eq!(ids.len(), 5);
    let mut live = Filling::of(1);
    live.live(0, 10..=14);
    assert_eq!(ids, live.records.iter().map(|record| record.event_id).collect());
    assert_eq!(filling.missing(0), []);
    assert_eq!(filling.builder.take_counts().events[DataType::Trade], 5);
}

/// Some venues begin a subscription with the last trades, however old: central refuses what hot would delete before it is copied.
#[test]
fn trades_of_before_two_days_are_dropped_and_counted_unless_their_ids_are_missing_or_new() {
    let limit_ns = i64::try_from(TRADE_AGE_MAX.as_nanos()).unwrap();
    let publish = |builder: &mut RecordBuilder, id, age_ns| {
        let mut out = Vec::new();
        builder.event(&trade(0, id), &[], AT_NS + age_ns, AT_NS + age_ns, &mut out);
        out.len()
    };
    let mut plain = builder(EXCHANGE, &[instrument("AB-CD", MarketType::Spot)], options(1));
    for (id, age_ns, published) in [(1, limit_ns + 1, 0), (2, limit_ns, 1), (3, limit_ns + 1, 0)] {
        assert_eq!(publish(&mut plain, id, age_ns), published, "{id}");
    }
    let counts = plain.take_counts();
    assert_eq!((counts.events[DataType::Trade], counts.old_trades), (1, 2));
    let mut numbered = Filling::of(1).builder;
    let first = publish(&mut numbered, 8, limit_ns + 1);
    assert_eq!((first, publish(&mut numbered, 10, 0)), (0, 1));
    for (id, published) in [(9, 0), (13, 1), (12, 1), (14, 1)] {
        assert_eq!(publish(&mut numbered, id, limit_ns + 1), published, "{id}");
    }
}

#[test]
fn a_hole_is_filled_page_by_page_and_reported_to_the_audits() {
    let mut filling = Filling::of(1);
    filling.live(0, [10, 20]);
    assert_eq!(filling.next_after(Duration::ZERO), None, "late trades may still come");
    filling.live(0, [11]);
    assert_eq!(filling.next_after(BACKFILL_DELAY), Some((12, 19)));
    assert_eq!(filling.next_after(Duration::ZERO), None, "one request at a time");
    filling.answer(10..=15);
    assert_eq!(filling.next_after(Duration::ZERO), Some((16, 19)));
    assert_eq!(filling.done(), []);
    filling.answer(16..=25);
    let done = filling.done();
    let gap = done[0].as_gap();
    assert_eq!((done.len(), gap.kind, gap.missing), (1, GapKind::Backfilled, Some(0)));
    assert_eq!((gap.from_sequence, gap.to_sequence), (Some(11), Some(19)));
    assert_eq!(gap.evidence, "trades 11 to 19: 8 filled from the venue's history");
    assert_eq!(
        ["requested", "filled", "discarded", "not_served"].map(|one| filling.counted(one)),
        [9, 8, 8, 0]
    );
    assert_eq!(filling.metrics.backfill_requests.with_label_values(&[EXCHANGE]).get(), 2);
    assert_eq!(filling.next_after(Duration::from_secs(9_000)), None);
}

#[test]
fn what_the_history_does_not_have_stays_named_and_the_ids_after_it_are_filled() {
    let mut filling = Filling::of(1);
    filling.live(0, [10, 20]);
    assert_eq!(filling.next_after(BACKFILL_DELAY), Some((11, 19)));
    // The horizon of the history lies within the hole.
    filling.answer(14..=16);
    for _ in 0..BACKFILL_MISSES_MAX {
        assert_eq!(filling.next_after(BACKFILL_PAUSE.1), Some((11, 13)));
        filling.answer([]);
    }
    assert_eq!(filling.next_after(Duration::ZERO), Some((17, 19)), "without a pause");
    filling.answer([17, 18, 19]);
    let done = filling.done();
    assert_eq!((done.len(), done[0].filled, done[0].left), (1, 6, 3));
    let evidence = "trades 11 to 19: 6 filled from the venue's history; trades 11 to 13 not served by the venue's history";
    assert_eq!(done[0].evidence, evidence);
    assert_eq!(["filled", "not_served", "given_up"].map(|one| filling.counted(one)), [6, 3, 0]);
    let (gaps, _) = filling.builder.trade_gaps(0.into());
    assert_eq!((gaps.len(), gaps[0].missing), (1, Some(3)));
    assert!(gaps[0].evidence.ends_with("trades 11 to 13 not served by the venue's history"));
}

#[test]
fn a_long_hole_is_filled_in_turn_with_the_others() {
    let mut filling = Filling::of(2);
    filling.live(0, [10, 1_000]);
    filling.live(1, [5, 7]);
    assert_eq!(filling.next_after(BACKFILL_DELAY), Some((11, 999)));
    filling.answer(11..=20);
    assert_eq!(filling.next_after(Duration::ZERO), Some((6, 6)));
    filling.answer([6]);
    assert_eq!(filling.next_after(Duration::ZERO), Some((21, 999)));
    filling.answer(21..=30);
    assert_eq!(filling.next_after(BACKFILL_TIME_MAX / 2), Some((31, 999)));
    filling.answer(31..=40);
    assert_eq!(filling.next_after(BACKFILL_TIME_MAX / 2), Some((41, 999)), "it goes on");
}

#[test]
fn a_row_that_cannot_be_true_is_given_up_and_not_reported_as_missing_in_the_history() {
    let mut filling = Filling::of(1);
    filling.live(0, [10, 14]);
    assert_eq!(filling.next_after(BACKFILL_DELAY), Some((11, 13)));
    filling.answer([11]);
    for _ in 0..BACKFILL_MISSES_MAX {
        assert_eq!(filling.next_after(BACKFILL_PAUSE.1), Some((12, 13)));
        filling.backfill.invalid(12);
        filling.answer([]);
    }
    assert_eq!(["filled", "not_served", "given_up"].map(|one| filling.counted(one)), [1, 0, 2]);
    assert!(
        filling.done()[0].evidence.ends_with("given up: the venue's rows have values that cannot be true")
    );
}

#[test]
fn a_hole_is_given_up_after_failures_a_refusal_an_hour_or_with_a_full_queue() {
    let mut filling = Filling::of(1);
    filling.live(0, [10, 12]);
    for _ in 0..BACKFILL_FAILURES_MAX {
        assert_eq!(filling.next_after(BACKFILL_PAUSE.1), Some((11, 11)));
        let now = filling.start + filling.passed;
        filling.backfill.failed("timeout", &mut filling.builder, now, AT_NS);
    }
    let done = filling.done();
    let evidence = "trade 11: 0 filled from the venue's history; trade 11 given up: 10 requests failed, the last: timeout";
    assert_eq!(done[0].evidence, evidence);
    filling.live(0, [14]);
    assert_eq!(filling.next_after(BACKFILL_DELAY), Some((13, 13)));
    filling.backfill.refused("not offered", &mut filling.builder, AT_NS);
    assert!(filling.done()[0].evidence.ends_with("trade 13 given up: not offered"));
    filling.live(0, [16]);
    // However long the others take before it.
    assert_eq!(filling.next_after(2 * BACKFILL_TIME_MAX), Some((15, 15)));
    filling.answer([]);
    assert_eq!(filling.next_after(BACKFILL_TIME_MAX), None);
    assert!(filling.done()[0].evidence.ends_with("trade 15 given up: not filled within 3600 s"));
    assert_eq!(filling.counted("given_up"), 3);

    let instruments = BACKFILL_HOLES_MAX / 32;
    let mut full = Filling::of(instruments);
    for instrument in (0..).take(instruments) {
        full.live(instrument, (0..=32).map(|number| number * 2));
    }
    assert_eq!((full.counted("given_up"), full.done().len()), (0, 0));
    full.live(0, [100]);
    let done = full.done();
    assert_eq!((done.len(), done[0].left), (1, 35), "trades 65 to 99");
    assert!(done[0].evidence.ends_with("given up: 1024 other holes wait"), "{}", done[0].evidence);
}

/// As of a venue that refuses requests from before its history: the first ids of all requests.
fn fill_from(filling: &mut Filling, horizon: u64) -> Vec<u64> {
    const PAGE: u64 = 1_000;
    let mut requests = Vec::new();
    for _ in 0..1_000 {
        let Some((from, to)) = filling.next_after(BACKFILL_PAUSE.0) else { continue };
        requests.push(from);
        if from < horizon {
            let now = filling.start + filling.passed;
            filling.backfill.not_kept("status 400", &mut filling.builder, now, AT_NS);
        } else {
            filling.answer(from..=to.min(from + PAGE - 1));
        }
    }
    requests
}

/// A hole from an earlier run.
fn hole_of(first: u64, last: u64) -> Filling {
    let mut filling = Filling::of(1);
    let position =
        TradePosition { next: i64::try_from(first).unwrap(), last_venue_ns: AT_NS, holes: Vec::new() };
    filling.builder.resume_trades(0.into(), &position);
    filling.live(0, [last + 1]);
    filling
}

#[test]
fn of_a_hole_that_began_before_the_venues_history_everything_that_it_keeps_is_filled() {
    for horizon in [501, 10_000, 29_999, 30_000] {
        let mut filling = hole_of(11, 30_000);
        let requests = fill_from(&mut filling, horizon);
        let left = horizon - 11;
        assert_eq!(
            ["filled", "not_served", "given_up"].map(|one| filling.counted(one)),
            [30_001 - horizon, left, 0],
            "{horizon}"
        );
        let done = filling.done().remove(0);
        let evidence = format!("; trades 11 to {} older than the venue's history", horizon - 1);
        assert!(done.evidence.ends_with(&evidence), "{}", done.evidence);
        // What is about to leave the history is requested before the rest.
        let oldest = requests.iter().position(|from| *from == horizon).unwrap();
        assert!(oldest <= 18, "request {oldest}");
        assert_eq!(*requests.last().unwrap(), horizon - 1, "asked once more");
        assert!(requests.len() as u64 <= (30_001 - horizon) / 1_000 + 36, "{}", requests.len());
    }
}

#[test]
fn requests_that_are_all_refused_say_nothing_about_the_history() {
    let mut filling = hole_of(11, 30_000);
    let requests = fill_from(&mut filling, u64::MAX);
    assert_eq!(requests.len(), 2 * BACKFILL_FAILURES_MAX as usize);
    assert_eq!(["not_served", "given_up"].map(|one| filling.counted(one)), [0, 29_990]);
    let evidence = filling.done().remove(0).evidence;
    assert!(evidence.ends_with("given up: 10 requests failed, the last: status 400"), "{evidence}");
}

#[test]
fn refusals_that_do_not_hold_leave_nothing_missing() {
    for refused in 1..6 {
        let mut filling = hole_of(11, 5_000);
        for request in 0.. {
            let Some((from, to)) = filling.next_after(BACKFILL_PAUSE.1) else { break };
            if [0, 2, 3, 5, 6].iter().take(refused).any(|number| *number == request) {
                let now = filling.start + filling.passed;
                filling.backfill.not_kept("status 400", &mut filling.builder, now, AT_NS);
            } else {
                filling.answer(from..=to.min(from + 999));
            }
        }
        assert_eq!((filling.counted("filled"), filling.done()[0].left), (4_990, 0), "{refused}");
    }
}

#[test]
fn refused_ids_are_requested_again_after_a_pause() {
    let mut filling = hole_of(11, 12);
    let refuse = |filling: &mut Filling| {
        let now = filling.start + filling.passed;
        filling.backfill.not_kept("status 400", &mut filling.builder, now, AT_NS);
    };
    assert_eq!(filling.next_after(BACKFILL_DELAY), Some((11, 12)));
    refuse(&mut filling);
    assert_eq!(filling.next_after(Duration::ZERO), None, "not at once");
    assert_eq!(filling.next_after(BACKFILL_PAUSE.0), Some((12, 12)));
    filling.answer([12]);
    assert_eq!(filling.next_after(BACKFILL_PAUSE.0), None);
    assert_eq!(filling.next_after(BACKFILL_AGAIN), Some((11, 11)));
    refuse(&mut filling);
    assert!(filling.done()[0].evidence.ends_with("; trade 11 older than the venue's history"));
}

#[test]
fn the_beginning_of_the_history_is_searched_once_for_all_holes_of_an_instrument() {
    let mut filling = Filling::of(1);
    let holes = [11, 2_011, 4_011, 6_011].map(|first| TradeIdRange { first, last: first + 999 });
    let position = TradePosition { next: 8_000, last_venue_ns: AT_NS, holes: holes.to_vec() };
    filling.builder.resume_trades(0.into(), &position);
    filling.live(0, [10_000]);
    let requests = fill_from(&mut filling, 9_000);
    assert_eq!(["filled", "not_served"].map(|one| filling.counted(one)), [1_000, 5_000]);
    assert_eq!(filling.done().len(), 5);
    // The first holes are refused some times before the last one shows the beginning, and once after.
    assert!(requests.len() < 60, "{requests:?}");
}

#[test]
fn a_later_run_fills_what_was_traded_since_the_one_before() {
    let mut before = Filling::of(1);
    before.live(0, [10, 13]);
    let positions = before.builder.take_trade_positions();
    let hole = |first, last| TradeIdRange { first, last };
    let position = TradePosition { next: 14, last_venue_ns: AT_NS, holes: vec![hole(11, 12)] };
    assert_eq!(positions, [(0.into(), position.clone())]);
    assert_eq!(before.builder.take_trade_positions(), []);
    let mut after = Filling::of(1);
    after.builder.resume_trades(0.into(), &position);
    after.live(0, [20]);
    assert_eq!(after.missing(0), [], "central sees them by the ids in hot");
    assert_eq!(after.next_after(BACKFILL_DELAY), Some((11, 12)));
    after.answer([11, 12]);
    assert_eq!(after.next_after(Duration::ZERO), Some((14, 19)));
    after.answer(14..=19);
    let reported: Vec<_> = after.done().iter().map(|hole| (hole.ids, hole.filled)).collect();
    assert_eq!(reported, [(hole(11, 12), 2), (hole(14, 19), 6)]);
    assert_eq!(after.records.len(), 9);
}
