//! Deribit: numbers are JSON numbers, read as text, never as floats.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use super::book::Sides;
use super::{Expected, Line, lines};
use marketprism_tests::number::{key, plain};

type Object = BTreeMap<String, Box<RawValue>>;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// `BTC-24SEP21-8000-P` as `BTC-USD-210924-8000-P`. The recording holds options only.
fn symbol(name: &str) -> String {
    let parts: Vec<&str> = name.split('-').collect();
    let [coin, date, strike, kind] = parts[..] else { panic!("not an option: {name}") };
    let (day, rest) = date.split_at(date.len() - 5);
    let month = MONTHS.iter().position(|month| *month == &rest[..3]).unwrap() + 1;
    format!("{coin}-USD-{}{month:02}{day:0>2}-{strike}-{kind}", &rest[3..])
}

fn object(raw: &RawValue) -> Object {
    serde_json::from_str(raw.get()).unwrap()
}

fn text(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap()
}

fn time_us(data: &Object) -> i64 {
    data["timestamp"].get().parse::<i64>().unwrap() * 1000
}

#[derive(Default)]
struct LocalBook {
    last: Option<i64>,
    sides: Sides,
}

impl LocalBook {
    fn frame(&mut self, name: &str, data: &Object) -> Expected {
        let id: i64 = data["change_id"].get().parse().unwrap();
        if text(&data["type"]) == "snapshot" {
            self.sides = Sides::default();
        } else {
            let previous: i64 = data["prev_change_id"].get().parse().unwrap();
            assert_eq!(Some(previous), self.last, "the recording itself has a gap at {name} {id}");
        }
        self.last = Some(id);
        for (side, field) in [(&mut self.sides.bids, "bids"), (&mut self.sides.asks, "asks")] {
            for row in serde_json::from_str::<Vec<[Box<RawValue>; 3]>>(data[field].get()).unwrap() {
                let [action, price, amount] = row;
                let amount = if text(&action) == "delete" { "0" } else { amount.get() };
                Sides::set(side, [price.get().to_owned(), amount.to_owned()]);
            }
        }
        let (bids, asks) = self.sides.top(|_, amount| amount);
        Expected::Book { symbol: symbol(name), id, time_us: time_us(data), bids, asks }
    }
}

pub fn calculate(recording: &Path) -> Vec<Expected> {
    let mut books: BTreeMap<String, LocalBook> = BTreeMap::new();
    let mut expected = Vec::new();
    for Line { kind, data, .. } in lines(recording) {
        let is_data = serde_json::from_str::<Value>(&data).is_ok_and(|data| data["method"] == "subscription");
        if kind != "ws-in" || !is_data {
            continue;
        }
        let frame: Object = serde_json::from_str(&data).unwrap();
        let params = object(&frame["params"]);
        let (channel, data) = (text(&params["channel"]), object(&params["data"]));
        let (kind, rest) = channel.split_once('.').unwrap();
        let (name, _) = rest.rsplit_once('.').unwrap();
        match kind {
            "book" => expected.push(books.entry(name.to_owned()).or_default().frame(name, &data)),
            "ticker" => expected.push(Expected::OpenInterest {
                symbol: symbol(name),
                time_us: time_us(&data),
                base: plain(key(data["open_interest"].get())),
            }),
            other => panic!("unexpected channel {other}"),
        }
    }
    expected
}
