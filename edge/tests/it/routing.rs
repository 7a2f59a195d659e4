//! From normalized events to the payloads that are published.

use std::time::Duration;

use marketprism_adapter_host::contract::{
    Book, BookChange, Decimal, Instrument, MarketType, Payload, Side, Trade, TradeId,
};
use marketprism_book::{BookSettings, SequenceRule, SnapshotSource};
use marketprism_edge::books::{BookPlan, BooksPlan};
use marketprism_edge::queue::Record;
use marketprism_edge::records::{EventEncoder, Origin};
use marketprism_edge::records::{RecordBuilder, RecordOptions, Subscription};
use marketprism_schema::{Body, DataType, Event, EventId, WireForm, decode_json};

const MILLISECOND_NS: i64 = 1_000_000;

fn router(every_update: bool, deduplicate: bool) -> RecordBuilder {
    router_with(every_update, deduplicate, [WireForm::Json; 8])
}

fn router_with(every_update: bool, deduplicate: bool, forms: [WireForm; 8]) -> RecordBuilder {
    let instrument = Instrument {
        symbol: "AB-CD".into(),
        venue_symbol: "ABCD".into(),
        market_type: MarketType::Spot,
        base: "AB".into(),
        quote: "CD".into(),
        contract_size: None,
        contract_value: None,
        price_scale: 2,
        quantity_scale: 3,
        trading: true,
    };
    let origin = Origin {
        edge: "edge-1".into(),
        region: "here".into(),
        adapter: "sim@1.0.0+0123456789ab".into(),
        exchange: "sim_spot".into(),
    };
    let envelope = EventEncoder::new(origin, &[instrument], [0; 8]).unwrap().with_forms(forms);
    let plan = RecordOptions {
        books: Some(BooksPlan {
            books: vec![BookPlan {
                settings: BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 2),
                resync: Some(7.into()),
            }],
            publish_interval: Duration::from_millis(100),
        }),
        asked: Subscription::everything(1),
        depth: 2,
        contiguous_trade_ids: true,
        deduplicate,
        every_update,
    };
    RecordBuilder::new(plan, envelope, 1)
}

fn trade(id: u64) -> Payload {
    Payload::Trade(Trade {
        instrument: 0,
        time_us: 1_700_000_000_000_000,
        id: TradeId::Number(id),
        price: Decimal { mantissa: 12_500, scale: 2 },
        quantity: Decimal { mantissa: 1_050, scale: 3 },
        side: Side::Sell,
    })
}

fn book(change: BookChange, first_id: i64, last_id: i64, levels: &[i64], bids: u32) -> (Payload, Vec<i64>) {
    let asks = levels.len() as u32 / 2 - bids;
    let book = Book {
        instrument: 0,
        change,
        time_us: Some(last_id),
        first_id,
        last_id,
        previous_id: None,
        checksum: None,
        price_scale: 2,
        quantity_scale: 3,
        levels_at: 0,
        bids,
        asks,
    };
    (Payload::Book(book), levels.to_vec())
}

fn events(records: &[Record]) -> Vec<Event<'_>> {
    records.iter().map(|record| decode_json(&record.payload).unwrap()).collect()
}

/// Goal: a trade's payload is the documented one, and the record carries the same id under the right subject.
#[test]
fn a_trade_becomes_its_payload() {
    let mut records = Vec::new();
    router(false, true).event(&trade(77), &[], 5, 6, &mut records);
    let text = String::from_utf8(records[0].payload.to_vec()).unwrap();
    let id = records[0].event_id;
    assert_eq!(
        text,
        format!(
            "{{\"data_type\":\"trade\",\"exchange\":\"sim_spot\",\"market_type\":\"spot\",\"symbol\":\"AB-CD\",\
             \"venue_symbol\":\"ABCD\",\"timestamp\":1700000000000000,\"received_at\":5,\"event_id\":\"{id}\",\
             \"edge\":\"edge-1\",\"region\":\"here\",\"adapter\":\"sim@1.0.0+0123456789ab\",\"trade_id\":\"77\",\
             \"price\":\"125\",\"quantity\":\"1.05\",\"side\":\"sell\",\"is_maker\":true}}"
        )
    );
    assert_eq!(records[0].subject.as_str(), "trade.sim_spot.spot.AB-CD");
    assert_eq!(EventId::of(&decode_json(&records[0].payload).unwrap()), id);
}

/// Goal: copies end here and are counted, holes in the ids are counted and closed by late trades; a replay keeps copies.
#[test]
fn copies_and_holes_of_trades_are_counted() {
    let mut router_run = router(false, true);
    let mut records = Vec::new();
    for id in [1, 2, 2, 5, 3, 1] {
        router_run.event(&trade(id), &[], 5, 6, &mut records);
    }
    assert_eq!(records.len(), 4);
    let routed = router_run.take_routed();
    assert_eq!((routed.events[0], routed.duplicates[0], routed.trade_gaps), (4, 2, 1));
    let report = &router_run.trade_reports()[0];
    assert_eq!((report.missing, report.open[0].from, report.open[0].to), (1, 4, 4));
    let mut records = Vec::new();
    let mut replayed = router(false, false);
    for id in [1, 1] {
        replayed.event(&trade(id), &[], 5, 6, &mut records);
    }
    assert_eq!(records.len(), 2);
}

/// Goal: with every update, buffered updates that a snapshot releases are shown one by one, the best levels first.
#[test]
fn every_update_shows_released_ones_too() {
    let mut router = router(true, true);
    let mut records = Vec::new();
    let steps = [
        book(BookChange::Delta, 11, 12, &[100, 5, 103, 0], 1),
        book(BookChange::Delta, 13, 13, &[99, 7], 1),
        book(BookChange::Snapshot, 10, 10, &[98, 1, 97, 1, 102, 2, 103, 3], 2),
        book(BookChange::Delta, 14, 15, &[101, 4], 0),
    ];
    for (payload, levels) in &steps {
        router.event(payload, levels, 5, 6, &mut records);
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
        "the snapshot alone is not shown"
    );
    assert_eq!(books[2].0, 15);
    assert_eq!(books[2].3, 15);
}

/// Goal: a book is published at once, then once per interval with its newest state, and a gap silences it and asks for a state.
#[test]
fn books_are_published_once_per_interval_and_never_across_a_gap() {
    let mut router = router(false, true);
    let mut records = Vec::new();
    let mut at_ns = 0;
    let apply =
        |router: &mut RecordBuilder, records: &mut Vec<Record>, at_ns: i64, step: (Payload, Vec<i64>)| {
            router.event(&step.0, &step.1, at_ns, at_ns, records);
            router.publish_due(at_ns, records);
        };
    apply(&mut router, &mut records, at_ns, book(BookChange::Delta, 11, 11, &[100, 5], 1));
    assert_eq!(router.books().unwrap().resyncs_due(at_ns), [7.into()]);
    assert!(router.books().unwrap().resyncs_due(at_ns).is_empty(), "asked once");
    apply(&mut router, &mut records, at_ns, book(BookChange::Snapshot, 10, 10, &[98, 1, 102, 2], 1));
    assert_eq!(records.len(), 1, "live, published at once");
    for id in 12..22 {
        at_ns += 20 * MILLISECOND_NS;
        apply(&mut router, &mut records, at_ns, book(BookChange::Delta, id, id, &[100, id], 1));
    }
    let ids: Vec<_> = events(&records)
        .iter()
        .map(|event| match &event.body {
            Body::OrderBook(book) => book.last_update_id,
            _ => 0,
        })
        .collect();
    assert_eq!(ids, [11, 16, 21]);
    apply(&mut router, &mut records, at_ns, book(BookChange::Delta, 25, 25, &[100, 1], 1));
    at_ns += 1_000 * MILLISECOND_NS;
    router.publish_due(at_ns, &mut records);
    router.publish_rest(at_ns, &mut records);
    assert_eq!(records.len(), 3, "nothing is published across a gap");
    assert!(router.books().unwrap().is_asking());
    at_ns += 10_000 * MILLISECOND_NS;
    assert_eq!(router.books().unwrap().resyncs_due(at_ns), [7.into()], "asked again, after the back-off");
}

/// Goal: each data type is encoded as configured, and both forms hold the same event. Method: trades and books through two routers that
/// differ in the forms only, decoded and compared.
#[test]
fn both_wire_forms_hold_the_same_events() {
    let records = |forms: [WireForm; 8]| {
        let mut router = router_with(true, true, forms);
        let mut records = Vec::new();
        router.event(&trade(77), &[], 5, 6, &mut records);
        let (snapshot, levels) = book(BookChange::Snapshot, 1, 10, &[100, 5, 101, 6], 1);
        router.event(&snapshot, &levels, 7, 8, &mut records);
        let (delta, levels) = book(BookChange::Delta, 11, 12, &[100, 7], 1);
        router.event(&delta, &levels, 9, 10, &mut records);
        records
    };
    let json = records([WireForm::Json; 8]);
    let mut forms = [WireForm::Protobuf; 8];
    forms[0] = WireForm::Json;
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
