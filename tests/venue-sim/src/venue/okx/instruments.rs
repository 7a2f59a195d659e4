//! Default listings and instrument lists.

use serde_json::{Value, json};

use crate::clock;
use crate::decimal::Decimal;
use crate::market::{Contract, Instrument, Sizing};

/// Liquidations of all instruments of a type.
pub(super) const LIQUIDATIONS: &str = "liquidation-orders";

/// `instType`. X-Perps are perpetual but listed as futures.
pub(super) fn instrument_type(instrument: &Instrument) -> &'static str {
    match instrument.contract {
        Contract::Spot => "SPOT",
        Contract::Perpetual if instrument.symbol.contains("_XPERP-") => "FUTURES",
        Contract::Perpetual => "SWAP",
        Contract::Dated { .. } => "FUTURES",
        Contract::Option { .. } => "OPTION",
    }
}

/// Pair, price scale, tick, start in ticks.
type Pair = (&'static str, u8, i64, i64);

const PAIRS: [Pair; 6] = [
    ("BTC-USDT", 1, 1, 951_234),
    ("BTC-USD", 1, 1, 950_870),
    ("ETH-USDT", 2, 1, 312_345),
    ("ETH-USD", 2, 1, 312_050),
    ("SOL-USD", 2, 1, 18_950),
    ("PEPE-USDT", 9, 1, 12_345),
];

const SPOT_LOTS: [(&str, u8, i64); 3] =
    [("BTC-USDT", 8, 50_000_000), ("ETH-USDT", 6, 9_000_000), ("PEPE-USDT", 0, 900_000_000)];

/// Contract value: in the coin for linear contracts, in USD for inverse ones.
fn contract_value(base: &str, quote: &str) -> Decimal {
    let (units, scale) = match (base, quote) {
        ("BTC", "USD") => (100, 0),
        (_, "USD") => (10, 0),
        ("BTC", _) => (1, 2),
        ("ETH", _) => (1, 1),
        _ => (1, 0),
    };
    Decimal { units, scale }
}

/// `None` for a name not of the venue's form.
pub(super) fn by_name(name: &str, spot: bool) -> Option<Instrument> {
    let parts: Vec<&str> = name.split('-').collect();
    let [base, quote, rest @ ..] = parts.as_slice() else { return None };
    let is_asset = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    let margined = quote.strip_suffix("_UM_XPERP").or_else(|| quote.strip_suffix("_UM"));
    let plain = margined.unwrap_or(quote);
    if !is_asset(base) || !is_asset(plain) || spot != rest.is_empty() {
        return None;
    }
    let contract = match rest {
        [] => Contract::Spot,
        ["SWAP"] => Contract::Perpetual,
        [date] if quote.ends_with("_XPERP") => clock::delivery(date).map(|_| Contract::Perpetual)?,
        [date] => Contract::Dated { delivery_ms: clock::delivery(date)? },
        [date, strike, kind @ ("C" | "P")] => Contract::Option {
            delivery_ms: clock::delivery(date)?,
            strike: (*strike).to_owned(),
            call: *kind == "C",
        },
        _ => return None,
    };
    Some(instrument(name, (base, plain), contract, margined.is_some()))
}

fn instrument(name: &str, (base, quote): (&str, &str), contract: Contract, margined: bool) -> Instrument {
    let pair = format!("{base}-{quote}");
    let known = PAIRS.iter().find(|row| row.0 == pair);
    let (_, price_scale, tick, start_ticks) = known.copied().unwrap_or(("", 4, 1, 105_000));
    let value = contract_value(base, quote);
    let mut instrument = Instrument {
        symbol: name.to_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        funding_hours: (contract == Contract::Perpetual).then_some(if base == "ETH" { 4 } else { 8 }),
        sizing: match &contract {
            Contract::Spot => Sizing::Base,
            // One coin times a multiplier of a hundredth.
            Contract::Option { .. } => Sizing::Contracts(Decimal { units: 1, scale: 2 }),
            // Margined in dollars: contracts of a coin.
            _ if margined => Sizing::Contracts(contract_value(base, "")),
            _ if quote == "USD" => Sizing::Value(value),
            _ => Sizing::Contracts(value),
        },
        pair,
        contract,
        price_scale,
        tick,
        listed_ticks: 1,
        quantity_scale: 0,
        step: 1,
        trims: Some(0),
        start_ticks,
        usual_steps: 5000,
    };
    match &instrument.contract {
        Contract::Spot => {
            let lots = SPOT_LOTS.iter().find(|row| row.0 == instrument.pair);
            (instrument.quantity_scale, instrument.usual_steps) =
                lots.map_or((4, 5_000_000), |row| (row.1, row.2));
        }
        // Linear contracts trade in hundredths.
        Contract::Perpetual | Contract::Dated { .. } if !matches!(instrument.sizing, Sizing::Value(_)) => {
            (instrument.quantity_scale, instrument.usual_steps) = (2, 500_000);
        }
        Contract::Option { call, .. } => {
            let start = if *call { 650 } else { 840 };
            (instrument.price_scale, instrument.tick, instrument.start_ticks) = (4, 1, start);
        }
        _ => {}
    }
    instrument
}

pub(super) fn default_symbols(spot: bool, now_ms: i64) -> Vec<String> {
    if spot {
        return ["BTC-USDT", "ETH-USDT", "PEPE-USDT"].map(str::to_owned).to_vec();
    }
    let date = clock::next_quarter(now_ms).1;
    vec![
        "BTC-USDT-SWAP".into(),
        "ETH-USDT-SWAP".into(),
        "BTC-USD-SWAP".into(),
        format!("BTC-USD-{date}"),
        format!("BTC-USDT-{date}"),
        "SOL-USD_UM_XPERP-310404".into(),
        format!("BTC-USD-{date}-100000-C"),
        format!("BTC-USD-{date}-90000-P"),
    ]
}

pub(super) fn family(instrument: &Instrument) -> String {
    let mut parts = instrument.symbol.splitn(3, '-');
    let pair = [parts.next(), parts.next()].map(Option::unwrap_or_default);
    pair.join("-").replace("_XPERP", "")
}

pub(super) fn row(i: &Instrument) -> Value {
    let spot = i.contract == Contract::Spot;
    let (value, multiplier, currency, kind) = match (&i.contract, i.sizing) {
        (Contract::Option { .. }, _) => ("1".to_owned(), "0.01", i.base.as_str(), ""),
        (_, Sizing::Base) => (String::new(), "", "", ""),
        (_, Sizing::Contracts(size)) => (size.to_string(), "1", i.base.as_str(), "linear"),
        (_, Sizing::Value(value)) => (value.to_string(), "1", i.quote.as_str(), "inverse"),
    };
    let (expiry, strike, option) = match &i.contract {
        Contract::Dated { delivery_ms } => (delivery_ms.to_string(), "", ""),
        Contract::Option { delivery_ms, strike, call } => {
            (delivery_ms.to_string(), strike.as_str(), if *call { "C" } else { "P" })
        }
        Contract::Perpetual if instrument_type(i) == "FUTURES" => {
            let date = i.symbol.rsplit('-').next().unwrap_or_default();
            (clock::delivery(date).map(|ms| ms.to_string()).unwrap_or_default(), "", "")
        }
        _ => (String::new(), "", ""),
    };
    let family = if spot { String::new() } else { family(i) };
    let (tick, lot) = (i.price(1).to_string(), i.quantity(1).to_string());
    let of_spot = |text: &str| if spot { text.to_owned() } else { String::new() };
    let settled = if currency == i.quote { &i.base } else { &i.quote };
    json!({
        "alias": "", "baseCcy": of_spot(&i.base), "category": "1", "ctMult": multiplier, "ctType": kind,
        "ctVal": value, "ctValCcy": currency, "expTime": expiry, "instFamily": family, "instId": i.symbol,
        "instType": instrument_type(i), "lever": "10", "listTime": "1611916828000", "lotSz": lot,
        "minSz": lot, "optType": option, "quoteCcy": of_spot(&i.quote), "ruleType": "normal",
        "settleCcy": if spot { "" } else { settled.as_str() }, "state": "live", "stk": strike,
        "tickSz": tick, "uly": family,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_products_they_name() {
        let find = |name: &str| by_name(name, false).map(|i| (instrument_type(&i), i.normalized(), i.sizing));
        let size = |units, scale| Decimal { units, scale };
        for (name, kind, normalized, sizing) in [
            ("BTC-USDT-SWAP", "SWAP", "BTC-USDT", Sizing::Contracts(size(1, 2))),
            ("BTC-USD-SWAP", "SWAP", "BTC-USD", Sizing::Value(size(100, 0))),
            ("BTC-USD-261225", "FUTURES", "BTC-USD-261225", Sizing::Value(size(100, 0))),
            ("SOL-USD_UM_XPERP-310404", "FUTURES", "SOL-USD", Sizing::Contracts(size(1, 0))),
            ("BTC-USD-261225-100000-C", "OPTION", "BTC-USD-261225-100000-C", Sizing::Contracts(size(1, 2))),
        ] {
            assert_eq!(find(name), Some((kind, normalized.to_owned(), sizing)), "{name}");
        }
        for name in ["BTC-USDT", "BTCUSDT", "BTC-USD-999999", "BTC-PERPETUAL"] {
            assert_eq!(find(name), None, "{name}");
        }
        assert_eq!(by_name("BTC-USDT", true).map(|i| i.normalized()), Some("BTC-USDT".to_owned()));
        assert_eq!(family(&by_name("SOL-USD_UM_XPERP-310404", false).expect("known")), "SOL-USD_UM");
    }
}
