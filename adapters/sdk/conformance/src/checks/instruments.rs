//! Instruments: a fixed order, the normalized form, and the same one whoever asks.

use std::collections::BTreeSet;

use marketprism_adapter_host::contract::{DataType, Feed, Instrument, MarketType, Venue};
use marketprism_adapter_sdk::decimal::derived_scale;
use marketprism_adapter_sdk::symbol::Expiry;

use crate::case::Cases;
use crate::market::Market;
use crate::names::{is_index, market_type};
use crate::report::{Check, Findings};

use super::plan::is_cell;

/// Instruments of feeds with one symbol: each call reads the venue's lists again.
const ALONE: usize = 40;

/// Looks at the instruments of every market.
pub(crate) fn instruments(cases: &Cases<'_>) -> Check {
    let promise = "lists instruments in a fixed order, normalized, and finds each one alone";
    let mut findings = Findings::new("instruments", promise);
    for closed in &cases.closed {
        findings.cause(closed.clone());
    }
    let markets = cases.start.iter().map(|(market, _)| ("golden", market.as_ref()));
    let recorded = cases.cases.iter().filter(|case| case.is_recording());
    let recorded = recorded.map(|case| (case.name.as_str(), case.market.as_ref()));
    let (mut count, mut alone) = (0, 0);
    for (name, market) in markets.chain(recorded) {
        count += market.instruments.len();
        same_again(name, market, &mut findings);
        unique(name, &market.instruments, &mut findings);
        for one in &market.instruments {
            if let Err(problem) = sound(one) {
                let (kind, symbol) = (market_type(one.market_type), &one.symbol);
                findings.cause(format!("{name}: {kind} {symbol:?} ({}): {problem}", one.venue_symbol));
            }
        }
        alone += found_alone(name, market, &mut findings);
    }
    if cases.market().is_none() {
        return findings.skipped(super::NO_MARKET);
    }
    findings.done(format!("{count} instruments, {alone} asked for alone"))
}

fn same_again(name: &str, market: &Market<'_>, findings: &mut Findings) {
    match market.instruments_of(&market.feed) {
        Ok(again) if again == market.instruments => {}
        Ok(again) => {
            let differs = market.instruments.iter().zip(&again).position(|(one, other)| one != other);
            let at = differs.unwrap_or(again.len().min(market.instruments.len()));
            findings
                .cause(format!("{name}: another instance lists other instruments, from position {at} on"));
        }
        Err(error) => findings.cause(format!("{name}: another instance: {error}")),
    }
}

fn unique(name: &str, instruments: &[Instrument], findings: &mut Findings) {
    let (mut symbols, mut venue_symbols) = (BTreeSet::new(), BTreeSet::new());
    for one in instruments {
        let kind = market_type(one.market_type);
        if !symbols.insert((kind, &one.symbol)) {
            findings.cause(format!("{name}: two {kind} instruments are {}", one.symbol));
        }
        if !venue_symbols.insert((kind, &one.venue_symbol)) {
            findings.cause(format!("{name}: two {kind} instruments are {} at the venue", one.venue_symbol));
        }
    }
}

/// The forms of symbols: `BASE-QUOTE`, dated `-YYMMDD`, options `-YYMMDD-STRIKE-C|P`, the coin of an index.
fn sound(one: &Instrument) -> Result<(), String> {
    let (base, quote) = (&one.base, &one.quote);
    if base.is_empty() {
        return Err("base is empty".to_owned());
    }
    if is_index(one) {
        let right = one.symbol == *base && one.market_type == MarketType::Options;
        return if right {
            Ok(())
        } else {
            Err("a symbol without a quote is that of a volatility index: the coin, with market type options"
                .to_owned())
        };
    }
    let pair = format!("{base}-{quote}");
    let Some(rest) = one.symbol.strip_prefix(&pair).filter(|_| !quote.is_empty()) else {
        return Err(format!("symbol does not begin with base and quote, {pair:?}"));
    };
    let date =
        |text: &str| Expiry::from_digits(text).map(drop).ok_or(format!("{text:?} is no day as YYMMDD"));
    let parts: Vec<&str> = rest.split('-').skip(1).collect();
    match (one.market_type, parts.as_slice()) {
        (MarketType::Spot | MarketType::Perpetual, []) if rest.is_empty() => {}
        (MarketType::Futures, [day]) => date(day)?,
        (MarketType::Options, [day, strike, "C" | "P"]) => {
            date(day)?;
            // Written `d` for a point, which separates the tokens of a subject.
            let digits = |byte: u8| byte.is_ascii_digit() || byte == b'd';
            if strike.is_empty() || !strike.bytes().all(digits) {
                return Err(format!("strike {strike:?} is no number"));
            }
        }
        (kind, _) => {
            return Err(format!("{rest:?} after the pair is not the form of {}", market_type(kind)));
        }
    }
    let kinds = [one.contract_size.is_some(), one.contract_value.is_some()];
    if kinds == [true, true] {
        return Err("contract_size and contract_value are both given, a contract has one of them".to_owned());
    }
    let least = derived_scale(one.price_scale);
    if one.contract_value.is_some() && one.quantity_scale < least {
        let scale = one.quantity_scale;
        return Err(format!("quantity_scale is {scale}, quantities divided by this price need {least}"));
    }
    Ok(())
}

fn found_alone(name: &str, market: &Market<'_>, findings: &mut Findings) -> usize {
    let step = market.instruments.len().div_ceil(ALONE).max(1);
    let mut asked = 0;
    for one in market.instruments.iter().step_by(step) {
        asked += 1;
        let feed = Feed {
            symbols: vec![one.symbol.clone()],
            market_types: vec![one.market_type],
            // A type that none of the market types has is refused.
            data_types: types_of(market.venue, one),
            ..market.feed.clone()
        };
        let asked = format!("{name}: asked for {} {} alone", market_type(one.market_type), one.symbol);
        match market.instruments_of(&feed) {
            Ok(found) if found.len() == 1 && found.first() == Some(one) => {}
            Ok(found) => {
                let found: Vec<&str> = found.iter().map(|one| one.venue_symbol.as_str()).collect();
                findings.cause(format!(
                    "{asked} it gives [{}], expected {}",
                    found.join(", "),
                    one.venue_symbol
                ));
            }
            Err(error) => findings.cause(format!("{asked}: {error}")),
        }
    }
    asked
}

/// The data types that the venue has of an instrument.
fn types_of(venue: &Venue, one: &Instrument) -> Vec<DataType> {
    let cells = venue.capabilities.iter().filter(|capability| is_cell(capability, one));
    cells.map(|capability| capability.data_type).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbol_forms_are_checked() {
        let sound = |symbol: &str, market_type, base: &str, quote: &str| {
            sound(&Instrument {
                symbol: symbol.into(),
                venue_symbol: "X".into(),
                market_type,
                base: base.into(),
                quote: quote.into(),
                contract_size: None,
                contract_value: None,
                price_scale: 1,
                quantity_scale: 1,
                tick_size: None,
                step_size: None,
                trading: true,
            })
        };
        use MarketType::{Futures, Options, Perpetual, Spot};
        for (symbol, kind) in [
            ("BTC-USD", Spot),
            ("BTC-USD", Perpetual),
            ("BTC-USD-270326", Futures),
            ("BTC-USD-270326-100000-C", Options),
            ("BTC-USD-270326-0d55-P", Options),
        ] {
            assert_eq!(sound(symbol, kind, "BTC", "USD"), Ok(()), "{symbol}");
        }
        assert_eq!(sound("BTC", Options, "BTC", "USD"), Ok(()));
        for (symbol, kind) in [
            ("BTCUSD", Spot),
            ("BTC-USDT", Spot),
            ("BTC-USD-270326", Perpetual),
            ("BTC-USD", Futures),
            ("BTC-USD-270399", Futures),
            ("BTC-USD-270326-100000-X", Options),
            ("BTC-USD-270326-1e5-C", Options),
            ("BTC-USD-270326-0.55-C", Options),
            ("BTC", Spot),
        ] {
            assert!(sound(symbol, kind, "BTC", "USD").is_err(), "{symbol}");
        }
    }
}
