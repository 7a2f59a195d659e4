//! From normalized events to published payloads.

use std::time::Duration;

use marketprism_adapter_host::contract::{BookChange, Decimal, MarketType, Payload, Side, Trade, TradeId};
use marketprism_book::{BookSettings, SequenceRule, SnapshotSource};
use marketprism_edge::books::{BookPlan, BooksPlan, StatePace};
use marketprism_edge::queue::EventRecord;
use marketprism_edge::records::{RecordBuilder, RecordOptions};
use marketprism_schema::{Body, DataType, DataTypeMap, Event, EventId, WireForm, decode_json};

use crate::records::{self, AT_US, encoder, instrument, options};

const AT_NS: i64 = AT_US * 1_000;

const MILLISECOND_NS: i64 = 1_000_000;

fn builder(every_update: bool, deduplicate: bool) -> RecordBuilder {
    builder_with(every_update, deduplicate, DataTypeMap::from_fn(|_| WireForm::Json))
}

fn builder_with(every_update: bool, deduplicate: bool, forms: DataTypeMap<WireForm>) -> RecordBuilder {
    let instruments = [instrument("AB-CD", MarketType::Spot)];
    let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 2);
    let options = RecordOptions {
        books: Some(BooksPlan {
            books: vec![BookPlan { settings, resync: Some(7.into()) }],
            publish_interval: Duration::from_millis(100),
            pace: StatePace::Newest,
        }),
        depth: 2,
        contiguous_trade_ids: true,
        deduplicate,
        every_update,
        ..options(1)
    };
    RecordBuilder::new(options, encoder("sim_spot", &instruments).with_forms(forms), 1)
}

fn trade(id: u64) -> Payload {
    Payload::Trade(Trade {
        instrument: 0,
        time_us: AT_US,
        id: TradeId::Number(id),
        price: Decimal { mantissa: 12_500, scale: 2 },
        quantity: Decimal { mantissa: 1_050, scale: 3 },
        side: Side::Sell,
    })
}

fn book(change: BookChange, first_id: i64, last_id: i64, levels: &[i64], bids: usize) -> (Payload, Vec<i64>) {
    let sides = (bids, levels.len() / 2 - bids);
    (records::book(0, change, (first_id, last_id), sides), levels.to_vec())
}

fn events(records: &[EventRecord]) -> Vec<Event<'_>> {
    records.iter().map(|record| decode_json(&record.payload).unwrap()).collect()
}

#[test]
fn a_trade_has_the_documented_payload_and_its_id_under_the_right_subject() {
    let mut records = Vec::new();
    builder(false, true).event(&trade(77), &[], AT_NS + 5, AT_NS + 6, &mut records);
    let text = String::from_utf8(records[0].payload.to_vec()).unwrap();
    let id = records[0].event_id;
    assert_eq!(
        text,
        format!(
            "{{\"data_type\":\"trade\",\"exchange\":\"sim_spot\",\"market_type\":\"spot\",\"symbol\":\"AB-CD\",\
             \"venue_symbol\":\"ABCD\",\"timestamp\":1700000000000000,\"received_at\":1700000000000000005,\"event_id\":\"{id}\",\
             \"edge\":\"edge-1\",\"region\":\"here\",\"adapter\":\"sim@1.0.0+0123456789ab\",\"trade_id\":\"77\",\
             \"price\":\"125\",\"quantity\":\"1.05\",\"side\":\"sell\",\"is_maker\":true}}"
        )
    );
    assert_eq!(records[0].subject.as_str(), "trade.sim_spot.spot.AB-CD");
    assert_eq!(EventId::of(&decode_json(&records[0].payload).unwrap()), id);
}

#[test]
fn duplicates_and_gaps_of_trades_are_counted_late_trades_close_gaps_and_a_replay_keeps_duplicates() {
    let mut builder_run = builder(false, true);
    let mut records = Vec::new();
    for id in [1, 2, 2, 5, 3, 1] {
        builder_run.event(&trade(id), &[], AT_NS + 5, AT_NS + 6, &mut records);
    }
    assert_eq!(records.len(), 4);
    let counts = builder_run.take_counts();
    assert_eq!(
        (counts.events[DataType::Trade], counts.duplicates[DataType::Trade], counts.trade_gaps),
        (4, 2, 1)
    );
    let report = &builder_run.trade_reports()[0];
    assert_eq!(
        (report.missing, report.open[0].from_sequence, report.open[0].to_sequence),
        (1, Some(4), Some(4))
    );
    let mut records = Vec::new();
    let mut replayed = builder(false, false);
    for id in [1, 1] {
        replayed.event(&trade(id), &[], AT_NS + 5, AT_NS + 6, &mut records);
    }
    assert_eq!(records.len(), 2);
}

#[test]
fn with_every_update_the_buffered_updates_that_a_snapshot_releases_are_published_one_by_one() {
    let mut builder = builder(true, true);
    let mut records = Vec::new();
    let steps = [
        book(BookChange::Delta, 11, 12, &[100, 5, 103, 0], 1),
        book(BookChange::Delta, 13, 13, &[99, 7], 1),
        book(BookChange::Snapshot, 10, 10, &[98, 1, 97, 1, 102, 2, 103, 3], 2),
        book(BookChange::Delta, 14, 15, &[101, 4], 0),
    ];
    for (payload, levels) in &steps {
        builder.event(payload, levels, AT_NS + 5, AT_NS + 6, &mut records);
    }
    let books: Vec<_> = events(&records)
        .into_iter()
        .map(|event| match event.body {
            Body::OrderBook(book) => (
                book.last_update_id,
                book.levels.bids.to_vec(),
                book.levels.asks.to_vec(),
                event.header.timestamp_us,
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        books.iter().map(|(id, ..)| *id).collect::<Vec<_>>(),
        [12, 13, 15],
        "the snapshot alone is not published"
    );
    assert_eq!(books[2].0, 15);
    assert_eq!(books[2].3, AT_US + 15);
}

#[test]
fn books_are_published_at_once_then_once_per_interval_and_never_across_a_gap() {
    let mut builder = builder(false, true);
    let mut records = Vec::new();
    let mut at_ns = AT_NS;
    let apply = |builder: &mut RecordBuilder,
                 records: &mut Vec<EventRecord>,
                 at_ns: i64,
                 step: (Payload, Vec<i64>)| {
        builder.event(&step.0, &step.1, at_ns, at_ns, records);
        builder.publish_due(at_ns, records);
    };
    apply(&mut builder, &mut records, at_ns, book(BookChange::Delta, 11, 11, &[100, 5], 1));
    assert_eq!(builder.books().unwrap().resyncs_due(at_ns), [7.into()]);
    assert!(builder.books().unwrap().resyncs_due(at_ns).is_empty(), "requested once");
    apply(&mut builder, &mut records, at_ns, book(BookChange::Snapshot, 10, 10, &[98, 1, 102, 2], 1));
    assert_eq!(records.len(), 1, "live, published at once");
    for id in 12..22 {
        at_ns += 20 * MILLISECOND_NS;
        apply(&mut builder, &mut records, at_ns, book(BookChange::Delta, id, id, &[100, id], 1));
    }
    let ids: Vec<_> = events(&records)
        .iter()
        .map(|event| match &event.body {
            Body::OrderBook(book) => book.last_update_id,
            _ => 0,
        })
        .collect();
    assert_eq!(ids, [11, 16, 21]);
    apply(&mut builder, &mut records, at_ns, book(BookChange::Delta, 25, 25, &[100, 1], 1));
    at_ns += 1_000 * MILLISECOND_NS;
    builder.publish_due(at_ns, &mut records);
    builder.publish_rest(at_ns, &mut records);
    assert_eq!(records.len(), 3, "nothing is published across a gap");
    assert!(builder.books().unwrap().is_resyncing());
    at_ns += 10_000 * MILLISECOND_NS;
    assert_eq!(
        builder.books().unwrap().resyncs_due(at_ns),
        [7.into()],
        "requested again, after the back-off"
    );
}

#[test]
fn each_data_type_has_its_configured_wire_form_and_both_forms_hold_the_same_event() {
    let records = |forms: DataTypeMap<WireForm>| {
        let mut builder = builder_with(true, true, forms);
        let mut records = Vec::new();
        builder.event(&trade(77), &[], AT_NS + 5, AT_NS + 6, &mut records);
        let (snapshot, levels) = book(BookChange::Snapshot, 1, 10, &[100, 5, 101, 6], 1);
        builder.event(&snapshot, &levels, AT_NS + 7, AT_NS + 8, &mut records);
        let (delta, levels) = book(BookChange::Delta, 11, 12, &[100, 7], 1);
        builder.event(&delta, &levels, AT_NS + 9, AT_NS + 10, &mut records);
        records
    };
    let json = records(DataTypeMap::from_fn(|_| WireForm::Json));
    let mut forms = DataTypeMap::from_fn(|_| WireForm::Protobuf);
    forms[DataType::Trade] = WireForm::Json;
    let mixed = records(forms);
    assert!(json.len() > 1 && json.len() == mixed.len(), "{} {}", json.len(), mixed.len());
    for (json, mixed) in json.iter().zip(&mixed) {
        let is_trade = json.data_type == DataType::Trade;
        assert_eq!(mixed.form, if is_trade { WireForm::Json } else { WireForm::Protobuf });
        assert_eq!(mixed.form.decode(&mixed.payload).unwrap(), json.form.decode(&json.payload).unwrap());
        assert_eq!((mixed.event_id, mixed.sequence), (json.event_id, json.sequence));
        assert!(is_trade || mixed.payload.len() < json.payload.len());
    }
    assert_eq!(json[0].sequence, Some(77));
}

#[test]
fn an_event_that_cannot_be_true_is_not_published_but_reported() {
    let mut builder = builder(false, true);
    let mut records = Vec::new();
    let with = |id: u64, change: &dyn Fn(&mut Trade)| {
        let Payload::Trade(mut trade) = trade(id) else { panic!("no trade") };
        change(&mut trade);
        Payload::Trade(trade)
    };
    for payload in [
        with(1, &|trade| trade.price.mantissa = -1),
        with(2, &|trade| trade.price.mantissa = 0),
        with(3, &|trade| trade.time_us = 5),
        with(4, &|trade| trade.quantity.mantissa = -1),
        trade(5),
    ] {
        builder.event(&payload, &[], AT_NS, AT_NS, &mut records);
    }
    assert_eq!(records.len(), 1);
    let invalid: Vec<String> =
        builder.take_invalid().iter().map(|event| format!("{} {}", event.data_type, event.error)).collect();
    assert_eq!(invalid.len(), 4, "{invalid:?}");
    for (found, expected) in invalid.iter().zip([
        "trade price: is -0.01",
        "trade price: is 0",
        "trade timestamp",
        "trade quantity",
    ]) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(builder.take_invalid().is_empty());
}

#[test]
fn a_trade_without_quantity_is_no_trade_but_its_id_is_no_gap() {
    let mut builder = builder(false, true);
    let mut records = Vec::new();
    for id in [1, 2, 3] {
        let Payload::Trade(mut trade) = trade(id) else { panic!("no trade") };
        trade.quantity.mantissa *= i64::from(id != 2);
        builder.event(&Payload::Trade(trade), &[], AT_NS, AT_NS, &mut records);
    }
    let counts = builder.take_counts();
    assert_eq!((records.len(), counts.empty, counts.trade_gaps), (2, 1, 0));
    assert!(builder.take_invalid().is_empty());
}

/// A locked book, best bid equal to best ask, is published.
#[test]
fn a_crossed_book_waits_for_the_update_that_uncrosses_it() {
    let mut builder = builder(false, true);
    let mut records = Vec::new();
    let mut at_ns = AT_NS;
    let mut apply = |step: (Payload, Vec<i64>)| {
        at_ns += 1_000 * MILLISECOND_NS;
        builder.event(&step.0, &step.1, at_ns, at_ns, &mut records);
        builder.publish_due(at_ns, &mut records);
        records.len()
    };
    apply(book(BookChange::Delta, 11, 11, &[100, 5], 1));
    assert_eq!(apply(book(BookChange::Snapshot, 10, 10, &[98, 1, 102, 2], 1)), 1);
    assert_eq!(apply(book(BookChange::Delta, 12, 12, &[103, 5], 1)), 1, "crossed");
    assert_eq!(apply(book(BookChange::Delta, 13, 13, &[103, 0, 102, 5], 2)), 2, "locked");
    assert!(builder.take_invalid().is_empty());
}
