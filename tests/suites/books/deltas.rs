//! Books rebuilt from the stored deltas equal the venue's book at the same update, and their best levels those of the stored quotes.

use std::collections::BTreeMap;

use marketprism_schema::{BookLevels, Decimal, OrderBookDelta, RebuiltBook};
use marketprism_tests::number::{key, plain};
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::Sim;
use serde_json::Value;

use super::quotes::{BestLevels, book_of, have_the_best_levels};

/// Levels a side that every exchange's edge knows.
const DEPTH: usize = 40;
/// The venue looks its book up for one update of so many.
const COMPARED: usize = 10;

/// Records by exchange, symbol and epoch. A gap between two is a record that is not inserted yet, or lost for good.
async fn records(stack: &Stack) -> Result<BTreeMap<String, Vec<Value>>, String> {
    let text = |column: &str| format!("arrayMap(number -> toString(number), {column}) AS `{column}_text`");
    let columns = ["bids.price", "bids.quantity", "asks.price", "asks.quantity"].map(text).join(", ");
    let rows = stack
        .clickhouse
        .rows(&format!(
            "SELECT exchange, symbol, venue_symbol, epoch, toString(epoch_started_at) AS started, toUInt32(number) AS place, is_snapshot, parts_left, \
             toString(last_update_id) AS id, price_scale, quantity_scale, {columns} FROM marketprism_hot.orderbook_deltas \
             ORDER BY exchange, venue_symbol, epoch_started_at, number"
        ))
        .await?;
    let mut epochs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let epoch = format!("{} {} {}", row["exchange"], row["venue_symbol"], row["started"]);
        let records = epochs.entry(epoch).or_default();
        if row["place"].as_u64() != Some(records.len() as u64) {
            return Err(format!("{} instead of {}: {row}", row["place"], records.len()));
        }
        records.push(row);
    }
    Ok(epochs)
}

fn side(row: &Value, name: &str) -> Vec<[i64; 2]> {
    let numbers = |column: &str| -> Vec<i64> {
        let texts = row[format!("{name}.{column}_text")].as_array().unwrap().iter();
        texts.map(|text| text.as_str().unwrap().parse().unwrap()).collect()
    };
    numbers("price").into_iter().zip(numbers("quantity")).map(|(price, quantity)| [price, quantity]).collect()
}

fn delta(row: &Value) -> OrderBookDelta<'static> {
    let number = |name: &str| row[name].as_u64().unwrap();
    let scale = |name: &str| u8::try_from(number(name)).unwrap();
    OrderBookDelta {
        number: number("place"),
        is_snapshot: row["is_snapshot"].as_bool().unwrap(),
        parts_left: u32::try_from(number("parts_left")).unwrap(),
        levels: BookLevels {
            price_scale: scale("price_scale"),
            quantity_scale: scale("quantity_scale"),
            bids: side(row, "bids").into(),
            asks: side(row, "asks").into(),
        },
        ..OrderBookDelta::default()
    }
}

fn texts(levels: impl Iterator<Item = [Decimal; 2]>) -> Vec<[String; 2]> {
    levels.take(DEPTH).map(|level| level.map(|number| plain(number.to_scale_18()))).collect()
}

fn best(levels: &[[String; 2]]) -> Vec<[String; 2]> {
    levels.iter().take(DEPTH).map(|level| level.each_ref().map(|text| plain(key(text)))).collect()
}

/// Gives the number of epochs. Every record is applied, so that one that is wrong spoils each state after it.
pub async fn equal_the_venues_books(stack: &Stack, sim: &Sim) -> usize {
    let found = eventually("no record between two is missing", || records(stack)).await;
    let mut states = Vec::new();
    for records in found.values() {
        let mut book = RebuiltBook::default();
        for (at, row) in records.iter().enumerate() {
            book.apply(&delta(row)).unwrap();
            let is_compared = at % COMPARED == 0 || at + 1 == records.len();
            if !is_compared || !book.is_whole() {
                continue;
            }
            let name = |column: &str| row[column].as_str().unwrap();
            let (exchange, symbol, id) = (name("exchange"), name("venue_symbol"), name("id"));
            let own = sim.book_at(exchange, symbol, id.parse().unwrap()).unwrap();
            let own =
                own.unwrap_or_else(|| panic!("{exchange} {symbol}: the venue never had an update {id}"));
            assert_eq!(texts(book.bids()), best(&own.bids), "{exchange} {symbol} {id}: bids");
            assert_eq!(texts(book.asks()), best(&own.asks), "{exchange} {symbol} {id}: asks");
            let best = [best(&own.bids), best(&own.asks)].map(|side| side.first().cloned());
            states.push(BestLevels { book: book_of(row), id: id.parse().unwrap(), best });
        }
    }
    assert!(states.len() > 100, "{} states compared", states.len());
    have_the_best_levels(stack, &states).await;
    found.len()
}
