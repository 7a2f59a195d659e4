//! The memory of a feed is bounded: it does not grow with resyncs, duplicates and time.

use std::time::Duration;

use marketprism_adapter_host::contract::{BookChange, MarketType, Payload};
use marketprism_book::{BookSettings, SequenceRule, SnapshotSource};
use marketprism_edge::books::{BookPlan, BooksPlan, StatePace};
use marketprism_edge::queue::EventRecord;
use marketprism_edge::records::{RecordBuilder, RecordOptions};
use marketprism_tests::process::is_alone;

use crate::records::{book, builder, instrument, options, trade};

const INSTRUMENTS: u32 = 300;
const LEVELS: i64 = 50;
const MILLISECOND_NS: i64 = 1_000_000;
const START_NS: i64 = 1_700_000_000_000 * MILLISECOND_NS;

/// Resident memory of this process; `None` where the system does not show it.
fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn feed() -> RecordBuilder {
    let instruments: Vec<_> =
        (0..INSTRUMENTS).map(|i| instrument(&format!("A{i}-CD"), MarketType::Spot)).collect();
    let settings = BookSettings::new(SequenceRule::Contiguous, SnapshotSource::Request, 20);
    let options = RecordOptions {
        books: Some(BooksPlan {
            books: (0..INSTRUMENTS).map(|i| BookPlan { settings, resync: Some(i.into()) }).collect(),
            publish_interval: Duration::from_millis(100),
            pace: StatePace::Newest,
        }),
        depth: 20,
        contiguous_trade_ids: true,
        ..options(INSTRUMENTS as usize)
    };
    builder("sim_spot", &instruments, options)
}

/// Every book has a gap and gets its snapshot; every instrument trades, with duplicates and gaps.
fn round(builder: &mut RecordBuilder, number: i64, records: &mut Vec<EventRecord>) {
    // Ids are kept for a minute, which half of the rounds take more than.
    let now_ns = START_NS + number * 400 * MILLISECOND_NS;
    let whole: Vec<i64> = (1..=LEVELS)
        .flat_map(|i| [10_000 - i, i])
        .chain((1..=LEVELS).flat_map(|i| [10_000 + i, i]))
        .collect();
    let change = [9_999, number, 10_001, number];
    let id = number * 100;
    for instrument in 0..INSTRUMENTS {
        let mut send = |builder: &mut RecordBuilder, payload: &Payload, levels: &[i64]| {
            builder.event(payload, levels, now_ns, now_ns, records);
        };
        for after in 0..5 {
            let ids = (id + after, id + after);
            send(builder, &book(instrument, BookChange::Delta, ids, (1, 1)), &change);
        }
        let sides = (LEVELS as usize, LEVELS as usize);
        send(builder, &book(instrument, BookChange::Snapshot, (id + 1, id + 1), sides), &whole);
        for number_of_trade in 0..22 {
            // Two of them are duplicates, and one id is missing.
            let id = number as u64 * 21 + u64::from(number_of_trade as u32) % 20;
            send(builder, &trade(instrument, id), &[]);
        }
    }
    builder.publish_due(now_ns, records);
    builder.books().unwrap().resyncs_due(now_ns);
    builder.take_counts();
    builder.take_trade_holes();
    assert!(records.len() >= 20 * INSTRUMENTS as usize, "{} records", records.len());
    records.clear();
}

/// Compares resident memory after rounds that fill every bounded table, and after as many again. This process runs nothing else.
#[test]
fn memory_is_flat_through_resyncs_duplicates_and_gaps_of_300_instruments() {
    if !is_alone("memory::memory_is_flat_through_resyncs_duplicates_and_gaps_of_300_instruments") {
        return;
    }
    let (mut builder, mut records) = (feed(), Vec::new());
    for number in 1..=180 {
        round(&mut builder, number, &mut records);
    }
    let Some(before) = resident_kb() else {
        println!("SKIPPED: this system does not show the memory of a process");
        return;
    };
    for number in 181..=360 {
        round(&mut builder, number, &mut records);
    }
    let after = resident_kb().unwrap();
    println!("resident {before} kB after 180 rounds, {after} kB after 360");
    assert!(after < before + 1_024, "resident memory rose from {before} to {after} kB");
}
