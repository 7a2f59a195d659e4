//! Promise: real captured frames, replayed, give exactly the trades and books that an independent calculation gives.
//!
//! The calculation here shares no code with the adapter or the host: it reads the recording with a general JSON reader, follows the
//! venue's documented procedure for a local order book, and keeps prices and quantities as padded text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use marketprism_tests::parts;
use serde_json::Value;

const DEPTH: usize = 400;

/// What must come out, in order.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Expected {
    Trade { symbol: String, id: u64, price: String, quantity: String, side: String, time_us: i64 },
    Book { symbol: String, id: i64, time_us: i64, bids: Vec<[String; 2]>, asks: Vec<[String; 2]> },
}

/// A decimal text as an integer of 18 places: an exact key that sorts.
fn key(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= 18);
    format!("{whole}{fraction:0<18}").parse().unwrap()
}

/// The shortest plain text of a key.
fn plain(key: i128) -> String {
    let digits = format!("{key:019}");
    let (whole, fraction) = digits.split_at(digits.len() - 18);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[derive(Default)]
struct LocalBook {
    waiting: Vec<Value>,
    last: Option<i64>,
    live: bool,
    bids: BTreeMap<i128, i128>,
    asks: BTreeMap<i128, i128>,
}

struct Judge {
    futures: bool,
    symbols: BTreeMap<String, String>,
    books: BTreeMap<String, LocalBook>,
    expected: Vec<Expected>,
}

impl Judge {
    fn levels(side: &mut BTreeMap<i128, i128>, changes: &Value) {
        for change in changes.as_array().unwrap() {
            let price = key(change[0].as_str().unwrap());
            match key(change[1].as_str().unwrap()) {
                0 => drop(side.remove(&price)),
                quantity => drop(side.insert(price, quantity)),
            }
        }
    }

    fn frame(&mut self, data: &Value) {
        let Some(symbol) = data["s"].as_str().map(|s| self.symbols[s].clone()) else { return };
        match data["e"].as_str() {
            Some("aggTrade") => self.expected.push(Expected::Trade {
                symbol,
                id: data["a"].as_u64().unwrap(),
                price: plain(key(data["p"].as_str().unwrap())),
                quantity: plain(key(data["q"].as_str().unwrap())),
                side: if data["m"].as_bool().unwrap() { "sell" } else { "buy" }.to_owned(),
                time_us: data["T"].as_i64().unwrap() * 1000,
            }),
            Some("depthUpdate") => self.delta(&symbol, data.clone()),
            _ => {}
        }
    }

    /// The documented procedures: spot compares first ids with the last one, futures the previous id.
    fn delta(&mut self, symbol: &str, data: Value) {
        let book = self.books.entry(symbol.to_owned()).or_default();
        let Some(last) = book.last else {
            book.waiting.push(data);
            return;
        };
        let (first, id) = (data["U"].as_i64().unwrap(), data["u"].as_i64().unwrap());
        let follows = if self.futures {
            if id < last && !book.live {
                return;
            }
            let previous = data["pu"].as_i64().unwrap();
            if book.live { previous == last } else { (first <= last && last <= id) || previous == last }
        } else {
            if id <= last {
                return;
            }
            first <= last + 1
        };
        assert!(follows, "the recording itself has a gap at {symbol} {id}");
        book.live = true;
        book.last = Some(id);
        Self::levels(&mut book.bids, &data["b"]);
        Self::levels(&mut book.asks, &data["a"]);
        let time_us = data[if self.futures { "T" } else { "E" }].as_i64().unwrap() * 1000;
        let pair = |(price, quantity): (&i128, &i128)| [plain(*price), plain(*quantity)];
        self.expected.push(Expected::Book {
            symbol: symbol.to_owned(),
            id,
            time_us,
            bids: book.bids.iter().rev().take(DEPTH).map(pair).collect(),
            asks: book.asks.iter().take(DEPTH).map(pair).collect(),
        });
    }

    fn snapshot(&mut self, venue_symbol: &str, data: &Value) {
        let symbol = self.symbols[venue_symbol].clone();
        let book = self.books.entry(symbol.clone()).or_default();
        book.last = data["lastUpdateId"].as_i64();
        Self::levels(&mut book.bids, &data["bids"]);
        Self::levels(&mut book.asks, &data["asks"]);
        for delta in std::mem::take(&mut book.waiting) {
            self.delta(&symbol, delta);
        }
    }
}

fn judge(recording: &Path, futures: bool) -> Vec<Expected> {
    let mut judge = Judge { futures, symbols: BTreeMap::new(), books: BTreeMap::new(), expected: Vec::new() };
    for line in std::fs::read_to_string(recording).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let url = line["url"].as_str().unwrap_or_default();
        let data: Value =
            line["data"].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        match line["kind"].as_str().unwrap() {
            "rest" if url.ends_with("/exchangeInfo") => {
                for item in data["symbols"].as_array().unwrap() {
                    let [base, quote] =
                        ["baseAsset", "quoteAsset"].map(|field| item[field].as_str().unwrap());
                    let symbol = item["symbol"].as_str().unwrap().to_owned();
                    judge.symbols.insert(symbol, format!("{base}-{quote}"));
                }
            }
            "rest" => {
                let (_, query) = url.split_once("symbol=").unwrap();
                judge.snapshot(query.split('&').next().unwrap(), &data);
            }
            "ws-in" => judge.frame(&data["data"]),
            _ => {}
        }
    }
    judge.expected
}

fn replayed(recording: &Path, exchange: &str) -> Vec<(Value, Expected)> {
    let output = Command::new(parts::binary("marketprism-edge"))
        .args(["replay", "--exchange", exchange, "--every-update", "--adapter"])
        .arg(parts::adapter("binance"))
        .arg(recording)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|e| (e.clone(), event(&e)))
        .collect()
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
        other => panic!("unexpected data type {other}"),
    }
}

fn compare(name: &str, exchange: &str, futures: bool, least: [usize; 2]) {
    let Some(recording) = parts::recording(name) else {
        println!("SKIPPED: ../shared/recordings/{name} is not here");
        return;
    };
    let expected = judge(&recording, futures);
    let found = replayed(&recording, exchange);
    let trades = expected.iter().filter(|e| matches!(e, Expected::Trade { .. })).count();
    assert!(
        trades >= least[0] && expected.len() - trades >= least[1],
        "the judge found too little to compare"
    );
    for (i, (expected, (line, found))) in expected.iter().zip(&found).enumerate() {
        assert_eq!(found, expected, "event {i}: {line}");
    }
    assert_eq!(found.len(), expected.len());
    let ids: std::collections::BTreeSet<&str> =
        found.iter().map(|(e, _)| e["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), found.len(), "two events share an id");
}

/// Goal: spot trades and every book state are right. Method: all events of the recording, in order, against the calculation above.
#[test]
fn the_spot_recording_gives_the_calculated_trades_and_books() {
    compare("binance_spot.jsonl", "binance_spot", false, [2, 150]);
}

/// Goal: the same for USD-M futures, whose updates name their predecessor.
#[test]
fn the_futures_recording_gives_the_calculated_trades_and_books() {
    compare("binance_derivatives.jsonl", "binance_derivatives", true, [91, 700]);
}
