//! OKX: books have their snapshot in the stream, and a checksum over their texts.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::book::Sides;
use super::{Expected, Line, lines};
use marketprism_tests::number::{derived_places, divided, key, plain};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Market {
    Spot,
    Derivatives,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Base,
    /// Contracts: quote units per contract, and decimal places of the base quantity.
    Value(i128, u32),
}

struct Calculation {
    instruments: BTreeMap<String, (String, Unit)>,
    books: BTreeMap<String, (Option<i64>, Sides)>,
    expected: Vec<Expected>,
}

impl Calculation {
    fn instruments(&mut self, list: &Value, market: Market) {
        for item in list["data"].as_array().unwrap() {
            let text = |name: &str| item[name].as_str().unwrap();
            let (symbol, unit) = match (text("instType"), market) {
                ("SPOT", Market::Spot) => (format!("{}-{}", text("baseCcy"), text("quoteCcy")), Unit::Base),
                ("SWAP" | "FUTURES", Market::Derivatives) => {
                    assert_eq!((text("ctType"), text("ctMult")), ("inverse", "1"));
                    let scale = derived_places(text("tickSz"));
                    let symbol = match text("instType") {
                        "SWAP" => text("uly").to_owned(),
                        _ => text("instId").to_owned(),
                    };
                    (symbol, Unit::Value(key(text("ctVal")) / 10_i128.pow(18), scale))
                }
                _ => continue,
            };
            self.instruments.insert(text("instId").to_owned(), (symbol, unit));
        }
    }

    fn frame(&mut self, frame: &Value) {
        let Some((symbol, unit)) = frame["arg"]["instId"].as_str().and_then(|id| self.instruments.get(id))
        else {
            return;
        };
        let (symbol, unit) = (symbol.clone(), *unit);
        for item in frame["data"].as_array().into_iter().flatten() {
            match frame["arg"]["channel"].as_str().unwrap() {
                "trades" => self.trade(&symbol, unit, item),
                "books" => self.book(&symbol, unit, frame["action"].as_str().unwrap(), item),
                _ => {}
            }
        }
    }

    fn trade(&mut self, symbol: &str, unit: Unit, item: &Value) {
        let text = |name: &str| item[name].as_str().unwrap();
        let (price, size) = (key(text("px")), key(text("sz")));
        self.expected.push(Expected::Trade {
            symbol: symbol.to_owned(),
            id: text("tradeId").parse().unwrap(),
            price: plain(price),
            quantity: plain(base(unit, price, size)),
            side: text("side").to_owned(),
            time_us: text("ts").parse::<i64>().unwrap() * 1000,
        });
    }

    fn book(&mut self, symbol: &str, unit: Unit, action: &str, item: &Value) {
        let (last, sides) = self.books.entry(symbol.to_owned()).or_default();
        let [previous, id] = ["prevSeqId", "seqId"].map(|name| item[name].as_i64().unwrap());
        if action == "snapshot" {
            *sides = Sides::default();
        } else {
            assert_eq!(Some(previous), *last, "the recording itself has a gap at {symbol} {id}");
        }
        *last = Some(id);
        sides.change(&item["bids"], &item["asks"]);
        assert_eq!(
            i64::from(checksum(sides).cast_signed()),
            item["checksum"].as_i64().unwrap(),
            "the calculation's own book is wrong at {symbol} {id}"
        );
        let (bids, asks) = sides.top(|price, size| base(unit, price, size));
        let time_us = item["ts"].as_str().unwrap().parse::<i64>().unwrap() * 1000;
        self.expected.push(Expected::Book { symbol: symbol.to_owned(), id, time_us, bids, asks });
    }
}

fn base(unit: Unit, price: i128, size: i128) -> i128 {
    match unit {
        Unit::Base => size,
        Unit::Value(value, scale) => divided(size * value, price, scale),
    }
}

/// The venue's checksum at the time of the recording: CRC-32 over the texts of the best 25 levels, bids and asks in turn.
fn checksum(sides: &Sides) -> u32 {
    let bids: Vec<&[String; 2]> = sides.bids.values().rev().take(25).collect();
    let asks: Vec<&[String; 2]> = sides.asks.values().take(25).collect();
    let turns = (0..25).flat_map(|place| [bids.get(place), asks.get(place)]).flatten();
    let texts: Vec<String> = turns.map(|texts| texts.join(":")).collect();
    crc32(texts.join(":").as_bytes())
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn crc32_has_its_check_value() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

/// All events of a recording for a market.
pub fn calculate(recording: &Path, market: Market) -> Vec<Expected> {
    let mut calculation =
        Calculation { instruments: BTreeMap::new(), books: BTreeMap::new(), expected: Vec::new() };
    for Line { kind, url, data } in lines(recording) {
        let data: Value = serde_json::from_str(&data).unwrap_or_default();
        match kind.as_str() {
            "rest" if url.contains("/instruments?") => calculation.instruments(&data, market),
            "ws-in" => calculation.frame(&data),
            _ => {}
        }
    }
    calculation.expected
}
