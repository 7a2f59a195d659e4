//! Binance: books are diff streams over a REST snapshot.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::book::Sides;
use super::{Expected, Line, lines};
use marketprism_tests::number::{key, plain};

#[derive(Default)]
struct LocalBook {
    waiting: Vec<Value>,
    last: Option<i64>,
    live: bool,
    sides: Sides,
}

struct Calculation {
    futures: bool,
    symbols: BTreeMap<String, String>,
    books: BTreeMap<String, LocalBook>,
    expected: Vec<Expected>,
}

impl Calculation {
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
        book.sides.change(&data["b"], &data["a"]);
        let time_us = data[if self.futures { "T" } else { "E" }].as_i64().unwrap() * 1000;
        let (bids, asks) = book.sides.top(|_, quantity| quantity);
        self.expected.push(Expected::Book { symbol: symbol.to_owned(), id, time_us, bids, asks });
    }

    fn snapshot(&mut self, venue_symbol: &str, data: &Value) {
        let symbol = self.symbols[venue_symbol].clone();
        let book = self.books.entry(symbol.clone()).or_default();
        book.last = data["lastUpdateId"].as_i64();
        book.sides.change(&data["bids"], &data["asks"]);
        for delta in std::mem::take(&mut book.waiting) {
            self.delta(&symbol, delta);
        }
    }
}

/// All events of a recording. Spot and futures have different sequence rules.
pub fn calculate(recording: &Path, futures: bool) -> Vec<Expected> {
    let mut calculation =
        Calculation { futures, symbols: BTreeMap::new(), books: BTreeMap::new(), expected: Vec::new() };
    for Line { kind, url, data } in lines(recording) {
        let data: Value = serde_json::from_str(&data).unwrap_or_default();
        match kind.as_str() {
            "rest" if url.ends_with("/exchangeInfo") => {
                for item in data["symbols"].as_array().unwrap() {
                    let [base, quote] =
                        ["baseAsset", "quoteAsset"].map(|field| item[field].as_str().unwrap());
                    let symbol = item["symbol"].as_str().unwrap().to_owned();
                    calculation.symbols.insert(symbol, format!("{base}-{quote}"));
                }
            }
            "rest" => {
                let (_, query) = url.split_once("symbol=").unwrap();
                calculation.snapshot(query.split('&').next().unwrap(), &data);
            }
            "ws-in" => calculation.frame(&data["data"]),
            _ => {}
        }
    }
    calculation.expected
}
