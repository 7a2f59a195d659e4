//! Promise: replayed recordings give exactly the events of an independent calculation.
//!
//! The calculation shares no code with adapters or host: it uses a JSON library, the venue's documented procedure for a local order book,
//! and integers of 18 decimal places.

mod binance;
mod book;
mod deltas;
mod deribit;
mod history;
mod okx;
mod references;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use marketprism_tests::parts;
use marketprism_tests::process::run;
use serde_json::Value;

use self::book::Levels;

/// Levels per side of a replayed book.
const DEPTH: usize = 400;

#[derive(Debug, PartialEq, Eq, Clone)]
enum Expected {
    Trade { symbol: String, id: u64, price: String, quantity: String, side: String, time_us: i64 },
    Book { symbol: String, id: i64, time_us: i64, bids: Levels, asks: Levels },
    OpenInterest { symbol: String, time_us: i64, base: String },
}

impl Expected {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Trade { .. } => "trades",
            Self::Book { .. } => "books",
            Self::OpenInterest { .. } => "open interests",
        }
    }
}

struct Line {
    kind: String,
    url: String,
    data: String,
}

fn lines(recording: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(recording).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let [kind, url, data] =
            ["kind", "url", "data"].map(|name| line[name].as_str().unwrap_or_default().to_owned());
        Line { kind, url, data }
    };
    text.lines().map(line).collect()
}

fn replayed(recording: &Path, adapter: &str, exchange: &str) -> Vec<(Value, Expected)> {
    let text = replayed_lines(recording, [adapter, exchange], &[]);
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|e| (e.clone(), event(&e)))
        .collect()
}

fn replayed_lines(recording: &Path, [adapter, exchange]: [&str; 2], data_types: &[&str]) -> String {
    let mut replay = Command::new(parts::binary("marketprism-edge"));
    replay.args(["replay", "--exchange", exchange, "--every-update", "--adapter"]);
    replay.arg(parts::adapter(adapter)).args(data_types.iter().flat_map(|kind| ["--data-type", kind]));
    run(replay.arg(recording))
}

fn event(event: &Value) -> Expected {
    let text = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("{name}: {event}")).to_owned();
    let side = |name: &str| {
        let levels = event[name].as_array().unwrap().iter();
        levels.map(|level| [0, 1].map(|i| level[i].as_str().unwrap().to_owned())).collect()
    };
    let time_us = event["timestamp"].as_i64().unwrap();
    match event["data_type"].as_str().unwrap() {
        "trade" => Expected::Trade {
            symbol: text("symbol"),
            id: text("trade_id").parse().unwrap(),
            price: text("price"),
            quantity: text("quantity"),
            side: text("side"),
            time_us,
        },
        "orderbook" => Expected::Book {
            symbol: text("symbol"),
            id: event["last_update_id"].as_i64().unwrap(),
            time_us,
            bids: side("bids"),
            asks: side("asks"),
        },
        "open_interest" => {
            for absent in ["open_interest_contracts", "open_interest_value"] {
                assert_eq!(event.get(absent), None, "the recording does not have it: {event}");
            }
            Expected::OpenInterest { symbol: text("symbol"), time_us, base: text("open_interest") }
        }
        other => panic!("unexpected data type {other}"),
    }
}

/// Replays a recording and compares every event in order. `counts`: the known content, so that the calculation cannot miss events.
fn compare(
    name: &str,
    [adapter, exchange]: [&str; 2],
    calculate: impl Fn(&Path) -> Vec<Expected>,
    counts: &[(&str, usize)],
) {
    let Some(recording) = parts::recording(name) else {
        println!("SKIPPED: ../shared/recordings/{name} is not here");
        return;
    };
    let expected = calculate(&recording);
    let found = replayed(&recording, adapter, exchange);
    let mut found_in_it: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &expected {
        *found_in_it.entry(event.kind()).or_default() += 1;
    }
    assert_eq!(
        found_in_it,
        counts.iter().copied().collect(),
        "the calculation misses events of the recording"
    );
    for (i, (expected, (line, found))) in expected.iter().zip(&found).enumerate() {
        assert_eq!(found, expected, "event {i}: {line}");
    }
    assert_eq!(found.len(), expected.len());
    let ids: std::collections::BTreeSet<&str> =
        found.iter().map(|(e, _)| e["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), found.len(), "two events share an id");
    let books = found_in_it.get("books").copied().unwrap_or_default();
    let lines = replayed_lines(&recording, [adapter, exchange], &["orderbook", "orderbook_delta", "quote"]);
    assert_eq!(deltas::rebuilt_at_every_update(name, &lines), books);
}

#[test]
fn the_spot_recording_gives_the_calculated_trades_and_books() {
    let calculate = |path: &Path| binance::calculate(path, false);
    compare("binance_spot.jsonl", ["binance", "binance_spot"], calculate, &[("trades", 2), ("books", 172)]);
}

#[test]
fn the_futures_recording_gives_the_calculated_trades_and_books() {
    let calculate = |path: &Path| binance::calculate(path, true);
    let counts = [("trades", 91), ("books", 752)];
    compare("binance_derivatives.jsonl", ["binance", "binance_derivatives"], calculate, &counts);
}

/// The venue's checksum of each update verifies the calculated book.
#[test]
fn the_okx_recording_gives_the_calculated_spot_events() {
    let calculate = |path: &Path| okx::calculate(path, okx::Market::Spot);
    compare("okx.jsonl", ["okx", "okx_spot"], calculate, &[("trades", 69), ("books", 98)]);
}

#[test]
fn the_okx_recording_gives_the_calculated_derivatives_events() {
    let calculate = |path: &Path| okx::calculate(path, okx::Market::Derivatives);
    compare("okx.jsonl", ["okx", "okx_derivatives"], calculate, &[("trades", 5), ("books", 192)]);
}

#[test]
fn the_deribit_recording_gives_the_calculated_books_and_open_interest() {
    let counts = [("books", 46), ("open interests", 89)];
    compare("deribit.jsonl", ["deribit", "deribit_derivatives"], deribit::calculate, &counts);
}
