//! What a feed keeps is bounded: its memory does not rise with resyncs, copies and time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

use std::time::Duration;

use marketprism_adapter_host::contract::{
    Book, BookChange, Decimal, Instrument, MarketType, Payload, Side, Trade, TradeId,
};
use marketprism_book::{BookSettings, SequenceRule, SnapshotSource};
use marketprism_edge::books::{BookPlan, BooksPlan};
use marketprism_edge::records::{EventEncoder, Origin};
use marketprism_edge::records::{RecordBuilder, RecordOptions, Subscription};

const INSTRUMENTS: u32 = 300;
const LEVELS: i64 = 50;
const MILLISECOND_NS: i64 = 1_000_000;

/// Resident memory of this process; nothing where the system does not tell it.
fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn router() -> RecordBuilder {
    let instruments: Vec<Instrument> = (0..INSTRUMENTS)
        .map(|i| Instrument {
            symbol: format!("A{i}-CD"),
            venue_symbol: format!("A{i}CD"),
            market_type: MarketType::Spot,
            base: format!("A{i}"),
            quote: "CD".into(),
            contract_size: None,
            contract_value: None,
            price_scale: 2,
            quantity_scale: 3,
            trading: true,
        })
        .collect();
    let origin = Origin {
        edge: "edge-1".into(),
        region: "here".into(),
        adapter: "sim@1.0.0+0123456789ab".into(),
        exchange: "sim_spot".into(),
    };
    let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 20);
    let plan = RecordOptions {
        books: Some(BooksPlan {
            books: (0..INSTRUMENTS).map(|i| BookPlan { settings, resync: Some(i.into()) }).collect(),
            publish_interval: Duration::from_millis(100),
        }),
        asked: Subscription::everything(INSTRUMENTS as usize),
        depth: 20,
        contiguous_trade_ids: true,
        deduplicate: true,
        every_update: false,
    };
    RecordBuilder::new(plan, EventEncoder::new(origin, &instruments, [0; 8]).unwrap(), INSTRUMENTS as usize)
}

fn book(instrument: u32, change: BookChange, id: i64, levels: &[i64]) -> Payload {
    let sides = levels.len() as u32 / 4;
    Payload::Book(Book {
        instrument,
        change,
        time_us: Some(id),
        first_id: id,
        last_id: id,
        previous_id: None,
        checksum: None,
        price_scale: 2,
        quantity_scale: 3,
        levels_at: 0,
        bids: sides,
        asks: sides,
    })
}

/// One round: every book has a gap, is asked for, gets its snapshot and lives; every instrument trades, with copies and holes.
fn round(router: &mut RecordBuilder, number: i64, records: &mut Vec<marketprism_edge::queue::Record>) {
    let now_ns = number * 200 * MILLISECOND_NS;
    let whole: Vec<i64> = (1..=LEVELS)
        .flat_map(|i| [10_000 - i, i])
        .chain((1..=LEVELS).flat_map(|i| [10_000 + i, i]))
        .collect();
    let change = [9_999, number, 10_001, number];
    let id = number * 100;
    for instrument in 0..INSTRUMENTS {
        let mut send = |router: &mut RecordBuilder, payload: &Payload, levels: &[i64]| {
            router.event(payload, levels, now_ns, now_ns, records);
        };
        for after in 0..5 {
            send(router, &book(instrument, BookChange::Delta, id + after, &change), &change);
        }
        send(router, &book(instrument, BookChange::Snapshot, id + 1, &whole), &whole);
        for trade in 0..22 {
            // Two of them are copies, and one id is left out.
            let id = number as u64 * 21 + u64::from(trade as u32) % 20;
            let payload = Payload::Trade(Trade {
                instrument,
                time_us: number,
                id: TradeId::Number(id),
                price: Decimal { mantissa: 1, scale: 0 },
                quantity: Decimal { mantissa: 1, scale: 0 },
                side: Side::Buy,
            });
            send(router, &payload, &[]);
        }
    }
    router.publish_due(now_ns, records);
    router.books().unwrap().resyncs_due(now_ns);
    router.take_routed();
    assert!(records.len() >= 20 * INSTRUMENTS as usize, "{} records", records.len());
    records.clear();
}

/// Goal: with 300 instruments, a resync of every book and trades with copies and holes in every round, memory is flat once every bounded
/// table is full.
/// Method: rounds until the tables are full, then as many again; resident memory of this process (which runs nothing else) before and
/// after.
#[test]
fn memory_is_flat_through_resyncs() {
    let (mut router, mut records) = (router(), Vec::new());
    for number in 1..=230 {
        round(&mut router, number, &mut records);
    }
    let Some(before) = resident_kb() else {
        println!("skipped: this system does not tell the memory of a process");
        return;
    };
    for number in 231..=460 {
        round(&mut router, number, &mut records);
    }
    let after = resident_kb().unwrap();
    println!("resident {before} kB after 230 rounds, {after} kB after 460");
    assert!(after < before + 8 * 1_024, "resident memory rose from {before} to {after} kB");
}
