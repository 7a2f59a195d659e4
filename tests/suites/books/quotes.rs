//! The newest stored quote of a book has the best levels of each of its states.

use std::collections::BTreeMap;

use marketprism_tests::stack::Stack;
use marketprism_tests::wait::eventually;
use serde_json::Value;

/// Price and quantity of bid and ask; none of an empty side.
type BestTexts = [Option<[String; 2]>; 2];

/// State of a book at one update: the book is exchange, symbol and epoch.
pub struct BestLevels {
    pub book: String,
    pub id: u64,
    pub best: BestTexts,
}

/// Quotes by book and update, as the view with decimals shows them.
async fn quotes(stack: &Stack) -> Result<BTreeMap<String, BTreeMap<u64, BestTexts>>, String> {
    let columns = ["bid_price", "bid_quantity", "ask_price", "ask_quantity"]
        .map(|column| format!("toString({column}) AS {column}_text"))
        .join(", ");
    let query = format!(
        "SELECT exchange, symbol, epoch, toString(last_update_id) AS id, {columns} FROM marketprism_hot.quote_prices ORDER BY received_at"
    );
    let mut found: BTreeMap<String, BTreeMap<u64, BestTexts>> = BTreeMap::new();
    for row in stack.clickhouse.rows(&query).await? {
        let text = |name: String| row[name].as_str().map(str::to_owned);
        let level =
            |side: &str| text(format!("{side}_price_text")).zip(text(format!("{side}_quantity_text")));
        let best = ["bid", "ask"].map(|side| level(side).map(|(price, quantity)| [price, quantity]));
        let id = row["id"].as_str().unwrap().parse().unwrap();
        found.entry(book_of(&row)).or_default().insert(id, best);
    }
    Ok(found)
}

pub fn book_of(row: &Value) -> String {
    format!("{} {} {}", row["exchange"], row["symbol"], row["epoch"])
}

/// Quotes may be stored later than the states.
pub async fn have_the_best_levels(stack: &Stack, states: &[BestLevels]) {
    eventually("each state's best levels are those of its quote", || async {
        let quotes = quotes(stack).await?;
        for BestLevels { book, id, best } in states {
            let newest = quotes.get(book).and_then(|quotes| quotes.range(..=id).next_back());
            if newest.is_none_or(|(_, quote)| quote != best) {
                return Err(format!("{book} at {id}: {newest:?} instead of {best:?}"));
            }
        }
        Ok(())
    })
    .await;
}
