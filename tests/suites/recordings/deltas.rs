//! Books rebuilt from `orderbook_delta` equal the states of the same updates, level by level, and the newest `quote` has their best levels.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::{Body, BookLevels, Decimal, OrderBook, Quote, RebuiltBook, WireForm, decode_json};

use super::DEPTH;

/// Sizes of the records of one recording.
#[derive(Default)]
struct Sizes {
    records: usize,
    levels: usize,
    packed_bytes: usize,
    json_bytes: usize,
}

impl Sizes {
    const fn add(&mut self, levels: usize, packed_bytes: usize, json_bytes: usize) {
        self.records += 1;
        self.levels += levels;
        self.packed_bytes += packed_bytes;
        self.json_bytes += json_bytes;
    }
}

/// Whichever update the quote is of: the newest one of a book.
fn has_best_levels_of(quote: &Quote, state: &OrderBook<'_>) {
    let BookLevels { price_scale, quantity_scale, bids, asks } = &state.levels;
    let [bid, ask] = [bids, asks].map(|side| side.first().copied());
    let of_state = Quote { price_scale: *price_scale, quantity_scale: *quantity_scale, bid, ask, ..*quote };
    assert!(quote.has_levels_of(&of_state), "{quote:?} at {}: {of_state:?}", state.last_update_id);
}

/// Rebuilds each book from its records, in the order of the lines; gives the number of states that were compared. Prints the sizes.
pub fn rebuilt_at_every_update(name: &str, lines: &str) -> usize {
    let mut rebuilt: BTreeMap<String, RebuiltBook> = BTreeMap::new();
    let mut states: BTreeMap<String, (usize, OrderBook<'_>)> = BTreeMap::new();
    let mut quotes: BTreeMap<String, Quote> = BTreeMap::new();
    let mut compared = BTreeSet::new();
    let [mut changes, mut snapshots, mut changed_quotes] = [(); 3].map(|()| Sizes::default());
    for (at, line) in lines.lines().enumerate() {
        let event = decode_json(line.as_bytes()).unwrap();
        let symbol = event.header.symbol.to_string();
        let mut packed = Vec::new();
        WireForm::Protobuf.encode(&event, &mut packed);
        match event.body {
            Body::OrderBook(state) => {
                if let Some((_, before)) = states.get(&symbol) {
                    has_best_levels_of(&quotes[&symbol], before);
                }
                states.insert(symbol, (at, state));
            }
            Body::OrderBookDelta(delta) => {
                let sizes = if delta.is_snapshot { &mut snapshots } else { &mut changes };
                sizes.add(delta.levels.bids.len() + delta.levels.asks.len(), packed.len(), line.len());
                let book = rebuilt.entry(symbol.clone()).or_default();
                if delta.number == 0 {
                    *book = RebuiltBook::default();
                }
                book.apply(&delta).unwrap_or_else(|hole| panic!("{hole}: {line}"));
                let (state_at, state) = &states[&symbol];
                assert_eq!(
                    (delta.last_update_id, delta.checksum),
                    (state.last_update_id, state.checksum),
                    "{line}"
                );
                if book.is_whole() {
                    equals(book, state);
                    compared.insert(*state_at);
                }
            }
            Body::Quote(quote) => {
                assert_eq!(quote.last_update_id, states[&symbol].1.last_update_id, "{line}");
                changed_quotes.add(2, packed.len(), line.len());
                let before = quotes.insert(symbol, quote);
                let is_other = |last: Quote| last.epoch != quote.epoch || !last.has_levels_of(&quote);
                assert!(before.is_none_or(is_other), "{line}: repeats the one before");
            }
            other => panic!("{other:?}"),
        }
    }
    for (symbol, (_, state)) in &states {
        has_best_levels_of(&quotes[symbol], state);
    }
    for (kind, sizes) in [("changes", changes), ("snapshots", snapshots), ("quotes", changed_quotes)] {
        let each = |sum: usize| sum.checked_div(sizes.records).unwrap_or_default();
        println!(
            "{name}: {} {kind}, each of {} levels, {} bytes as protobuf, {} as JSON",
            sizes.records,
            each(sizes.levels),
            each(sizes.packed_bytes),
            each(sizes.json_bytes)
        );
    }
    compared.len()
}

fn equals(book: &RebuiltBook, state: &OrderBook<'_>) {
    let BookLevels { price_scale, quantity_scale, bids, asks } = &state.levels;
    let decimal = |mantissa, scale| Decimal { mantissa, scale }.to_scale_18();
    let level =
        |[price, quantity]: &[i64; 2]| [decimal(*price, *price_scale), decimal(*quantity, *quantity_scale)];
    let found = |side: Vec<[Decimal; 2]>| -> Vec<[i128; 2]> {
        side.into_iter().map(|level| level.map(Decimal::to_scale_18)).collect()
    };
    let id = state.last_update_id;
    assert_eq!(found(book.bids().take(DEPTH).collect()), bids.iter().map(level).collect::<Vec<_>>(), "{id}");
    assert_eq!(found(book.asks().take(DEPTH).collect()), asks.iter().map(level).collect::<Vec<_>>(), "{id}");
}
