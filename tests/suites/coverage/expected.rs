//! Stored rows against the simulator's ledger.

use std::collections::BTreeMap;

use marketprism_tests::number::{derived_places, divided, key, plain};
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::{DataType, EventRecord, InstrumentView, Sim};
use serde_json::Value;

/// Column texts by name; absent where the column is NULL.
type Texts = BTreeMap<String, String>;

pub struct ExpectedRows<'a> {
    sim: &'a Sim,
    exchange: &'a str,
    instruments: BTreeMap<String, InstrumentView>,
}

impl<'a> ExpectedRows<'a> {
    pub fn new(sim: &'a Sim, exchange: &'a str) -> Self {
        let listed = sim.instruments(exchange).unwrap().into_iter();
        let instruments = listed.map(|instrument| (instrument.venue_symbol.clone(), instrument)).collect();
        Self { sim, exchange, instruments }
    }

    /// Each trade accepted by a socket is one row, and there are no other rows.
    pub async fn trades(&self, stack: &Stack) {
        let mut expected: BTreeMap<(String, String), Texts> = BTreeMap::new();
        for (symbol, instrument) in &self.instruments {
            for trade in self.sim.all_trades(self.exchange, symbol).unwrap() {
                if trade.accepted == 0 {
                    continue;
                }
                let quantity = base(
                    instrument,
                    &trade.price,
                    trade.base_quantity.as_deref(),
                    trade.quote_value.as_deref(),
                );
                let columns = texts(&[
                    ("price", &plain(key(&trade.price))),
                    ("quantity", &quantity),
                    ("side", trade.side),
                    ("timestamp", &(trade.trade_time_ms * 1000).to_string()),
                    ("symbol", &instrument.symbol),
                    ("market_type", instrument.market_type),
                ]);
                expected.insert((symbol.clone(), trade.trade_id.clone()), columns);
            }
        }
        assert!(!expected.is_empty(), "{}: no trade was sent", self.exchange);
        let columns =
            "trade_id, toString(price) AS price, toString(quantity) AS quantity, side, symbol, market_type";
        let keyed = |row: Texts| ((row["venue_symbol"].clone(), row["trade_id"].clone()), row);
        self.compare(stack, "trades", columns, &expected, &keyed).await;
    }

    /// Each accepted event of a type is one row, and there are no other rows.
    pub async fn events(&self, stack: &Stack, data_type: &str, table: &str) {
        let kind: DataType = serde_json::from_value(Value::from(data_type)).unwrap();
        let sent = self.sim.all_events(self.exchange, kind).unwrap();
        let sent = sent.iter().filter(|event| event.deliveries.accepted > 0);
        let expected: BTreeMap<(String, String), Texts> = sent
            .map(|event| {
                let row = self.expected_row(event, data_type);
                ((event.symbol.clone(), identity(&row, data_type)), row)
            })
            .collect();
        assert!(!expected.is_empty(), "{} {data_type}: nothing was sent", self.exchange);
        let keyed = |row: Texts| ((row["venue_symbol"].clone(), identity(&row, data_type)), row);
        self.compare(stack, table, columns(data_type), &expected, &keyed).await;
    }

    fn expected_row(&self, event: &EventRecord, data_type: &str) -> Texts {
        let value = |name: &str| event.values.get(name).map(String::as_str);
        let number = |name: &str| value(name).map(|text| plain(key(text)));
        let mut row = texts(&[("timestamp", &(event.time_ms * 1000).to_string())]);
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                row.insert(name.to_owned(), value);
            }
        };
        match data_type {
            "funding_rate" => {
                for name in ["funding_rate", "interval_hours", "mark_price", "index_price"] {
                    set(name, number(name));
                }
                let next = value("next_funding_time_ms").map(|ms| ms.parse::<i64>().unwrap() * 1000);
                set("next_funding_time", next.map(|us| us.to_string()));
            }
            "open_interest" => {
                set("open_interest", number("base"));
                set("open_interest_contracts", number("contracts"));
                set("open_interest_value", number("value_usd").or_else(|| number("quote_value")));
            }
            "liquidation" => {
                let instrument = &self.instruments[&event.symbol];
                let price = value("price").unwrap();
                set("side", value("side").map(str::to_owned));
                set("price", number("price"));
                set("quantity", Some(base(instrument, price, value("base_quantity"), value("quote_value"))));
            }
            "volatility_index" => {
                set("index_value", number("index_value"));
                set("underlying_asset", value("underlying").map(str::to_owned));
            }
            _ => {
                let one = 10_i128.pow(18);
                let of_ratio = |ratio| divided(key(ratio), one + key(ratio), 12);
                let long = value("long").map_or_else(|| of_ratio(value("ratio").unwrap()), key);
                let short = value("short").map_or(one - long, key);
                set("long", Some(plain(long)));
                set("short", Some(plain(short)));
                set("ratio", number("ratio").or_else(|| Some(plain(divided(long, short, 12)))));
                set("period", value("period").map(str::to_owned));
            }
        }
        row
    }

    async fn compare(
        &self,
        stack: &Stack,
        table: &str,
        columns: &str,
        expected: &BTreeMap<(String, String), Texts>,
        keyed: &impl Fn(Texts) -> ((String, String), Texts),
    ) {
        let query = format!(
            "SELECT venue_symbol, toString(toUnixTimestamp64Micro(timestamp)) AS time_us, {columns} \
             FROM marketprism_hot.{table} WHERE exchange = '{}'",
            self.exchange
        );
        let what = format!("{table} of {}", self.exchange);
        let found = eventually(&format!("all {what} are stored"), || async {
            let rows = stack.clickhouse.rows(&query).await?;
            let count = rows.len();
            let found: BTreeMap<_, _> = rows.iter().map(row_texts).map(keyed).collect();
            assert_eq!(found.len(), count, "{what}: an event shows twice");
            let missing: Vec<_> = expected.iter().filter(|(key, _)| !found.contains_key(*key)).collect();
            match missing.first() {
                None => Ok(found),
                Some(first) => {
                    Err(format!("{} of {} missing, first {first:?}", missing.len(), expected.len()))
                }
            }
        })
        .await;
        for (key, row) in &found {
            let expected =
                expected.get(key).unwrap_or_else(|| panic!("{what}: the venue never sent {key:?}: {row:?}"));
            let of_both: Texts = row
                .iter()
                .filter(|(name, _)| *name != "venue_symbol" && *name != "trade_id")
                .fold(Texts::new(), |mut texts, (name, value)| {
                    let name = if name == "time_us" { "timestamp" } else { name };
                    texts.insert(name.to_owned(), value.clone());
                    texts
                });
            assert_eq!(&of_both, expected, "{what}: {key:?}");
        }
    }

    /// The newest books of each instrument equal the venue's best `depth` levels at their update ids.
    pub async fn books(&self, stack: &Stack, depth: usize) {
        let query = format!(
            "SELECT venue_symbol, toString(last_update_id) AS id, \
             arrayMap(l -> [toString(l.1), toString(l.2)], bids) AS bids, \
             arrayMap(l -> [toString(l.1), toString(l.2)], asks) AS asks FROM marketprism_hot.orderbooks \
             WHERE exchange = '{}' ORDER BY received_at DESC LIMIT 10 BY venue_symbol",
            self.exchange
        );
        let rows = stack.clickhouse.rows(&query).await.unwrap();
        let mut compared = BTreeMap::new();
        for row in &rows {
            let (symbol, id) = (row["venue_symbol"].as_str().unwrap(), row["id"].as_str().unwrap());
            let own = self.sim.book_at(self.exchange, symbol, id.parse().unwrap()).unwrap();
            let own = own.unwrap_or_else(|| panic!("{symbol} of {} had no update {id}", self.exchange));
            let instrument = &self.instruments[symbol];
            for (name, side) in [("bids", &own.bids), ("asks", &own.asks)] {
                let expected: Vec<[String; 2]> =
                    side.iter().take(depth).map(|level| converted(instrument, level)).collect();
                assert_eq!(levels(&row[name]), expected, "{name} of {symbol} at {id}");
            }
            *compared.entry(symbol.to_owned()).or_insert(0) += 1;
        }
        for symbol in self.instruments.keys() {
            assert!(compared.contains_key(symbol), "no book of {symbol} is stored: {compared:?}");
        }
    }
}

/// Columns of a table other than time and instrument.
fn columns(data_type: &str) -> &'static str {
    match data_type {
        "funding_rate" => {
            "toString(funding_rate) AS funding_rate, toString(interval_hours) AS interval_hours, \
             toString(mark_price) AS mark_price, toString(index_price) AS index_price, \
             toString(toUnixTimestamp64Micro(next_funding_time)) AS next_funding_time"
        }
        "open_interest" => {
            "toString(open_interest) AS open_interest, toString(open_interest_contracts) AS open_interest_contracts, \
             toString(open_interest_value) AS open_interest_value"
        }
        "liquidation" => "side, toString(price) AS price, toString(quantity) AS quantity",
        "lsr_top_position" => {
            "toString(long_position_ratio) AS long, toString(short_position_ratio) AS short, \
             toString(ratio) AS ratio, period"
        }
        "lsr_all_account" => {
            "toString(long_account_ratio) AS long, toString(short_account_ratio) AS short, \
             toString(ratio) AS ratio, period"
        }
        "volatility_index" => "toString(index_value) AS index_value, underlying_asset",
        other => panic!("{other}"),
    }
}

/// Distinguishes two events of one instrument. Liquidations may share a millisecond.
fn identity(row: &Texts, data_type: &str) -> String {
    let time = row.get("timestamp").or_else(|| row.get("time_us")).unwrap();
    match data_type {
        "liquidation" => format!("{time} {} {} {}", row["side"], row["price"], row["quantity"]),
        _ => time.clone(),
    }
}

fn texts(pairs: &[(&str, &str)]) -> Texts {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Columns of a row, numbers in their shortest form.
fn row_texts(row: &Value) -> Texts {
    let texts = row.as_object().unwrap().iter().filter_map(|(name, value)| {
        let text = value.as_str()?;
        let is_number = name != "trade_id" && text.contains('.') && text.parse::<f64>().is_ok();
        Some((name.clone(), if is_number { plain(key(text)) } else { text.to_owned() }))
    });
    texts.collect()
}

/// Quantity in base units, or value divided by price.
fn base(instrument: &InstrumentView, price: &str, base: Option<&str>, value: Option<&str>) -> String {
    match (base, value) {
        (Some(base), None) => plain(key(base)),
        (None, Some(value)) => plain(divided(key(value), key(price), derived_places(&instrument.tick))),
        both => panic!("{}: one of base quantity and value, not {both:?}", instrument.venue_symbol),
    }
}

fn converted(instrument: &InstrumentView, [price, quantity]: &[String; 2]) -> [String; 2] {
    let one = 10_i128.pow(18);
    let product =
        |factor: &str| plain(key(quantity) * (key(factor) / 10_i128.pow(9)) / (one / 10_i128.pow(9)));
    let base = match (&instrument.contract_size, &instrument.contract_value) {
        (Some(size), None) => product(size),
        (None, Some(value)) => base(instrument, price, None, Some(&product(value))),
        both => panic!("{}: one of contract size and value, not {both:?}", instrument.venue_symbol),
    };
    [plain(key(price)), base]
}

fn levels(side: &Value) -> Vec<[String; 2]> {
    let levels = side.as_array().unwrap().iter();
    levels.map(|level| [0, 1].map(|i| plain(key(level[i].as_str().unwrap())))).collect()
}
