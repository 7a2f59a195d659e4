//! An options chain that changes every day, over three simulated days: lists and audits every ten minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use marketprism_adapter_host::contract::{self, Instrument};
use marketprism_schema::{Capability, DataType, DataTypeMap, DowntimeReason, StreamId};

use super::fixtures::spot;
use super::parts::{InstrumentKey, InstrumentParts, PartNumber, key_of};
use crate::audit::{AuditFeed, AuditOrigin, AuditStream, Auditor, StreamTable};
use crate::limits::ADDED_PARTS_MAX;

const EXCHANGE: &str = "sim_options";
const SERIES: usize = 10;
const SERIES_SIZE: usize = 100;
const LISTS_A_DAY: i64 = 144;
const DAYS: i64 = 3;
const MINUTE: i64 = 60_000_000_000;
const START: i64 = 1_790_000_400_000_000_000;

/// A strike of a series; a series expires a day after the one before it.
fn option(series: usize, strike: usize) -> Instrument {
    let symbol =
        format!("BTC-USD-26{:02}{:02}-{}-C", 1 + series / 28, 1 + series % 28, 50_000 + 1_000 * strike);
    Instrument {
        market_type: contract::MarketType::Options,
        base: "BTC".to_owned(),
        quote: "USD".to_owned(),
        price_scale: 4,
        quantity_scale: 1,
        ..spot(&symbol)
    }
}

/// The venue's list at a moment: ten series from that of the day on. At noon one strike of the series that lasts longest gets a finer tick.
fn listed(list: i64) -> Vec<Instrument> {
    let day = usize::try_from(list / LISTS_A_DAY).unwrap();
    let mut all: Vec<Instrument> = (day..day + SERIES)
        .flat_map(|series| (0..SERIES_SIZE).map(move |strike| option(series, strike)))
        .collect();
    let is_refined = list >= LISTS_A_DAY / 2;
    for instrument in all.iter_mut().filter(|one| is_refined && one.symbol == option(SERIES - 1, 7).symbol) {
        instrument.price_scale = 5;
    }
    all
}

/// Parts as the feed has them, each with its streams in the audits.
struct SimulatedFeed {
    auditor: Auditor,
    parts: InstrumentParts,
    /// By number; the first one first.
    running: BTreeMap<PartNumber, RunningPart>,
    last_number: PartNumber,
}

struct RunningPart {
    feed: AuditFeed,
    streams: BTreeMap<InstrumentKey, AuditStream>,
}

fn trades(instrument: &Instrument) -> StreamId {
    StreamId::new(DataType::Trade, EXCHANGE, instrument.market_type.into(), &instrument.symbol).unwrap()
}

impl SimulatedFeed {
    fn subscribe(&mut self, number: PartNumber, feed: AuditFeed, instruments: &[Instrument], now_ns: i64) {
        let row = |one: &Instrument| {
            let id = trades(one);
            DataTypeMap::from_fn(|kind| {
                (kind == DataType::Trade).then(|| (id.clone(), Capability::UNNUMBERED))
            })
        };
        let rows: Vec<_> = instruments.iter().map(row).collect();
        let table: StreamTable = self.auditor.subscribe(feed, &rows, now_ns);
        let numbered = instruments.iter().zip(&table);
        let streams = numbered.map(|(one, row)| (key_of(one), row[DataType::Trade].unwrap())).collect();
        self.running.insert(number, RunningPart { feed, streams });
    }

    /// As `PartSet::apply` does. Gives the keys that ended.
    fn apply(&mut self, list: &[Instrument], now_ns: i64) -> BTreeSet<InstrumentKey> {
        let number = self.last_number + 1;
        let change = self.parts.change(list, now_ns, number);
        let mut ended = BTreeSet::new();
        for (part, keys) in &change.delisted {
            let part = self.running.get_mut(part).unwrap();
            let streams = keys.iter().map(|key| part.streams.remove(key).unwrap()).collect();
            self.auditor.end_streams(part.feed, streams, now_ns, DowntimeReason::Delisted);
            ended.extend(keys.iter().cloned());
        }
        if !change.new.is_empty() {
            self.last_number = number;
            let mut instruments = change.new;
            let is_full = self.running.len() > ADDED_PARTS_MAX;
            let newest = self.running.last_entry().filter(|newest| is_full && *newest.key() > 0);
            let feed = match newest.map(|newest| newest.remove_entry()) {
                Some((newest, part)) => {
                    self.parts.merge(newest, number);
                    instruments = self.parts.of(number);
                    part.feed
                }
                None => self.auditor.added_feed(EXCHANGE, now_ns),
            };
            for (part, keys) in &change.changed {
                let from = self.running.get_mut(part).map_or(feed, |part| {
                    part.streams.retain(|key, _| !keys.contains(key));
                    part.feed
                });
                let is_moved = |stream: &StreamId| keys.iter().any(|(symbol, _)| *symbol == stream.symbol);
                self.auditor.move_streams((from, feed), &is_moved, now_ns, "other terms");
            }
            self.subscribe(number, feed, &instruments, now_ns);
        }
        let empty: Vec<PartNumber> =
            self.running.keys().copied().filter(|part| *part > 0 && self.parts.is_empty(*part)).collect();
        for part in empty.iter().filter_map(|part| self.running.remove(part)) {
            self.auditor.release(part.feed, now_ns, DowntimeReason::Delisted);
        }
        ended
    }
}

#[test]
fn a_chain_of_1000_that_changes_daily_ends_each_expired_stream_once_and_touches_no_other() {
    let (edge, region, settle) = ("e1".to_owned(), "r".to_owned(), Duration::from_secs(1));
    let origin = AuditOrigin { edge, region, run_ns: START, window_seconds: 600, settle };
    let auditor = Auditor::new(origin);
    let first = auditor.feed(EXCHANGE);
    let (parts, running) = (InstrumentParts::default(), BTreeMap::new());
    let mut feed = SimulatedFeed { auditor, parts, running, last_number: 0 };
    let begun = feed.parts.begin(0, &listed(0), START).instruments;
    assert_eq!(begun.len(), SERIES * SERIES_SIZE);
    feed.subscribe(0, first, &begun, START);
    let lasting: BTreeMap<InstrumentKey, AuditStream> = feed.running[&0].streams.clone();
    let (mut ends, mut downtimes, mut numbers) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    // With the change at the end of the third day, and the list that confirms it.
    for list in 1..=LISTS_A_DAY * DAYS + 1 {
        let now_ns = START + list * 10 * MINUTE;
        let mut found = listed(list);
        match list % LISTS_A_DAY {
            // Maintenance: an empty list, and one with the half of all.
            30 => found.clear(),
            60 => found.truncate(found.len() / 2 - 1),
            // One of the series is late once.
            90 => found.retain(|one| !one.symbol.contains("-60000-")),
            _ => {}
        }
        for key in feed.apply(&found, now_ns) {
            assert!(ends.insert(key, list).is_none(), "a stream ended twice");
        }
        let settled_ns = now_ns + MINUTE;
        for part in feed.running.values() {
            feed.auditor.observe(part.feed, Vec::new(), Some(settled_ns));
            numbers.extend(part.streams.values().copied());
        }
        let audits = feed.auditor.close(settled_ns, feed.auditor.frontier_ns(), 20);
        assert_eq!(audits.len(), 1, "every window closes: list {list}");
        for downtime in feed.auditor.take_downtimes() {
            assert_eq!((downtime.reason, downtime.to), (DowntimeReason::Delisted, None));
            for stream in downtime.streams {
                assert!(downtimes.insert(stream.symbol, downtime.from).is_none(), "reported twice");
            }
        }
        assert!(feed.running.len() <= 1 + ADDED_PARTS_MAX, "list {list}");
    }
    let expired = |day: usize| (0..SERIES_SIZE).map(move |strike| option(day, strike));
    for day in [0, 1, 2] {
        for instrument in expired(day) {
            // The second list without it.
            let list = (i64::try_from(day).unwrap() + 1) * LISTS_A_DAY + 1;
            assert_eq!(ends.get(&key_of(&instrument)), Some(&list), "{}", instrument.symbol);
            assert_eq!(downtimes.get(&instrument.symbol), Some(&(START + list * 10 * MINUTE)));
        }
    }
    assert_eq!((ends.len(), downtimes.len()), (3 * SERIES_SIZE, 3 * SERIES_SIZE), "nothing else ended");
    // Series that were there from the start are still in the first part under their numbers, but for the one with other terms.
    let moved = key_of(&option(SERIES - 1, 7));
    let stays = |key: &&InstrumentKey| !ends.contains_key(*key) && **key != moved;
    let left = &feed.running[&0].streams;
    assert!(lasting.iter().filter(|(key, _)| stays(key)).all(|(key, stream)| left.get(key) == Some(stream)));
    assert!(
        !left.contains_key(&moved) && feed.running.values().any(|part| part.streams.contains_key(&moved))
    );
    // Numbers of ended streams are taken over: months of expiries take no more memory.
    assert!(numbers.len() <= (SERIES + 1) * SERIES_SIZE, "{} numbers", numbers.len());
}
