//! Selection of a feed's instruments from a venue's list.

use crate::feed::{closest, refusal};
use crate::log;
use crate::types::{Feed, Instrument, MarketType, Refusal};

/// The instruments of the feed, in the order of symbols. A named symbol is taken also when it does not trade; without named symbols,
/// every instrument that trades. Of two with one normalized name the one that trades is kept.
///
/// # Errors
/// A symbol that is not listed, with similar ones; nothing to collect.
pub fn select(feed: &Feed, mut listed: Vec<Instrument>) -> Result<Vec<Instrument>, Refusal> {
    listed.retain(|one| match feed.market_types.as_slice() {
        // Options are so many that the feed must name them.
        [] => one.market_type != MarketType::Options,
        wanted => wanted.contains(&one.market_type),
    });
    let has = |symbol: &String| listed.iter().any(|one| one.symbol == *symbol);
    let missing: Vec<&str> = feed.symbols.iter().filter(|symbol| !has(symbol)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(unknown(feed, &missing, &listed));
    }
    listed
        .retain(|one| if feed.symbols.is_empty() { one.trading } else { feed.symbols.contains(&one.symbol) });
    listed.sort_by(|one, other| order(one).cmp(&order(other)));
    listed.dedup_by(|later, kept| {
        let same = later.symbol == kept.symbol && later.market_type == kept.market_type;
        if same {
            let (later, kept, symbol) = (&later.venue_symbol, &kept.venue_symbol, &kept.symbol);
            log::warn(&format!("{later} left out: {kept} is {symbol} already"));
        }
        same
    });
    for one in listed.iter().filter(|one| !one.trading) {
        log::warn(&format!("{} is listed but not trading now", one.symbol));
    }
    if listed.is_empty() {
        return Err(refusal("symbols", "[]", format!("an instrument of {} that trades", feed.exchange)));
    }
    Ok(listed)
}

fn order(instrument: &Instrument) -> (&str, u8, bool, &str) {
    (&instrument.symbol, instrument.market_type as u8, !instrument.trading, &instrument.venue_symbol)
}

fn unknown(feed: &Feed, missing: &[&str], listed: &[Instrument]) -> Refusal {
    let symbols = || listed.iter().map(|one| one.symbol.as_str());
    let mut near: Vec<&str> = missing.iter().flat_map(|symbol| closest(symbol, symbols())).collect();
    near.dedup();
    let allowed = if near.is_empty() {
        format!("symbols such as BTC-USDT, of the {} instruments that {} lists", listed.len(), feed.exchange)
    } else {
        format!("an instrument that {} lists, such as {}", feed.exchange, near.join(", "))
    };
    refusal("symbols", missing.join(", "), allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(symbol: &str, market_type: MarketType, trading: bool) -> Instrument {
        Instrument {
            symbol: symbol.to_owned(),
            venue_symbol: format!("{symbol}.{trading}"),
            market_type,
            base: "BTC".to_owned(),
            quote: "USD".to_owned(),
            contract_size: None,
            contract_value: None,
            price_scale: 0,
            quantity_scale: 0,
            tick_size: None,
            step_size: None,
            trading,
        }
    }

    fn chosen(symbols: &[&str], market_types: &[MarketType]) -> Result<Vec<String>, Refusal> {
        let feed = Feed {
            exchange: "venue_spot".to_owned(),
            symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
            market_types: market_types.to_vec(),
            data_types: Vec::new(),
            depth: 1,
            endpoints: Vec::new(),
        };
        let listed = vec![
            instrument("ETH-USD", MarketType::Spot, true),
            instrument("BTC-USD", MarketType::Spot, false),
            instrument("BTC-USD", MarketType::Spot, true),
            instrument("BTC-USD", MarketType::Perpetual, true),
            instrument("OLD-USD", MarketType::Spot, false),
            instrument("BTC-USD-251226-1-C", MarketType::Options, true),
        ];
        select(&feed, listed).map(|found| found.into_iter().map(|one| one.venue_symbol).collect())
    }

    #[test]
    fn the_feeds_instruments_are_selected_once_in_a_fixed_order() {
        use MarketType::{Options, Spot};
        assert_eq!(chosen(&[], &[]).unwrap(), ["BTC-USD.true", "BTC-USD.true", "ETH-USD.true"]);
        assert_eq!(chosen(&[], &[Options]).unwrap(), ["BTC-USD-251226-1-C.true"]);
        assert_eq!(chosen(&["OLD-USD", "BTC-USD"], &[Spot]).unwrap(), ["BTC-USD.true", "OLD-USD.false"]);
        let refused = chosen(&["BTC-USD", "ethusd"], &[]).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.value.as_str()), ("symbols", "ethusd"));
        assert!(refused.allowed.contains("ETH-USD"), "{}", refused.allowed);
        assert!(chosen(&[], &[MarketType::Futures]).is_err(), "nothing to collect");
    }
}
