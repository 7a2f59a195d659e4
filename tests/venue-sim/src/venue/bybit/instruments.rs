//! Names (`BTCUSDT`, `BTCPERP`, `BTCUSDT-25DEC26`, `BTC-25DEC26`), default listings, and the rows of `instruments-info`.

use serde_json::{Value, json};

use crate::clock;
use crate::market::{Contract, Instrument, Sizing};

/// Pair, price scale, tick, start in ticks, quantity scale, step, usual level in steps.
type Row = (&'static str, u8, i64, i64, u8, i64, i64);

const SPOT: [Row; 2] =
    [("BTCUSDT", 2, 1, 9_512_345, 6, 1, 2_000_000), ("ETHUSDT", 2, 1, 312_345, 5, 1, 3_000_000)];
const CONTRACTS: [Row; 4] = [
    ("BTCUSDT", 2, 10, 951_234, 3, 1, 20_000),
    ("ETHUSDT", 2, 1, 312_345, 2, 1, 20_000),
    ("BTCUSDC", 2, 10, 951_230, 3, 1, 10_000),
    ("1000PEPEUSDT", 7, 1, 123_450, 0, 100, 50_000),
];
const OTHER: Row = ("", 4, 1, 105_000, 2, 1, 50_000);

const QUOTES: [&str; 5] = ["USDT", "USDC", "USDE", "BTC", "EUR"];

/// `None` for a name not of the venue's form.
pub(super) fn by_name(name: &str, spot: bool) -> Option<Instrument> {
    let (pair, day) = name.split_once('-').map_or((name, None), |(pair, day)| (pair, Some(day)));
    let plain = pair.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if pair.is_empty() || !plain || (spot && day.is_some()) {
        return None;
    }
    let delivery_ms = day.map(clock::named_delivery);
    if delivery_ms == Some(None) {
        return None;
    }
    let delivery_ms = delivery_ms.flatten();
    let split =
        |quote: &&'static str| Some((pair.strip_suffix(*quote).filter(|base| !base.is_empty())?, *quote));
    // Contracts without a quote asset in their name are in USDC.
    let in_usdc = || (pair.strip_suffix("PERP").unwrap_or(pair), "USDC");
    let (base, quote) = QUOTES.iter().find_map(split).unwrap_or_else(in_usdc);
    let (rows, pair): (&[Row], String) = (if spot { &SPOT } else { &CONTRACTS }, format!("{base}{quote}"));
    let row = rows.iter().find(|row| row.0 == pair).copied().unwrap_or(OTHER);
    let (_, price_scale, tick, start_ticks, quantity_scale, step, usual_steps) = row;
    let perpetual = !spot && delivery_ms.is_none();
    Some(Instrument {
        symbol: name.to_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        pair,
        contract: match delivery_ms {
            _ if spot => Contract::Spot,
            Some(delivery_ms) => Contract::Dated { delivery_ms },
            None => Contract::Perpetual,
        },
        sizing: Sizing::Base,
        funding_hours: perpetual.then_some(if base.starts_with("1000") { 4 } else { 8 }),
        price_scale,
        tick,
        listed_ticks: 1,
        quantity_scale,
        step,
        trims: None,
        start_ticks,
        usual_steps,
    })
}

pub(super) fn default_symbols(spot: bool, now_ms: i64) -> Vec<String> {
    if spot {
        return ["BTCUSDT", "ETHUSDT", "BTCUSDC"].map(str::to_owned).to_vec();
    }
    let day = clock::day_name(clock::next_quarter(now_ms).0);
    let dated = ["BTCUSDT", "BTC"].map(|pair| format!("{pair}-{day:0>7}"));
    ["BTCUSDT", "ETHUSDT", "BTCPERP", "1000PEPEUSDT"].map(str::to_owned).into_iter().chain(dated).collect()
}

pub(super) fn row(i: &Instrument) -> Value {
    let (tick, step) = (i.price(1).to_string(), i.quantity(1).to_string());
    let (kind, delivery_ms) = match i.contract {
        Contract::Dated { delivery_ms } => ("LinearFutures", delivery_ms),
        Contract::Perpetual => ("LinearPerpetual", 0),
        _ => {
            return json!({
                "symbol": i.symbol, "status": "Trading", "baseCoin": i.base, "quoteCoin": i.quote,
                "marginTrading": "both", "priceFilter": {"tickSize": tick},
                "lotSizeFilter": {"basePrecision": step, "quotePrecision": "0.00000001"},
            });
        }
    };
    json!({
        "symbol": i.symbol, "contractType": kind, "status": "Trading", "baseCoin": i.base,
        "quoteCoin": i.quote, "settleCoin": i.quote, "deliveryTime": delivery_ms.to_string(),
        "priceFilter": {"minPrice": tick, "tickSize": tick},
        "lotSizeFilter": {"minOrderQty": step, "qtyStep": step},
        "fundingInterval": i.funding_hours.map_or(0, |hours| hours * 60),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_products_they_name() {
        for (name, spot, normalized) in [
            ("BTCUSDT", true, "BTC-USDT"),
            ("BTCUSDT", false, "BTC-USDT"),
            ("BTCPERP", false, "BTC-USDC"),
            ("1000PEPEUSDT", false, "1000PEPE-USDT"),
            ("BTCUSDT-25DEC26", false, "BTC-USDT-261225"),
            ("BTC-05JAN27", false, "BTC-USDC-270105"),
        ] {
            let found = by_name(name, spot).map(|i| i.normalized());
            assert_eq!(found.as_deref(), Some(normalized), "{name}");
        }
        for name in ["BTC-USDT", "BTC-USDT-SWAP", "BTC-PERPETUAL", "BTC_USDC", "BTCUSDT-", ""] {
            assert_eq!(by_name(name, false), None, "{name}");
        }
        assert_eq!(by_name("BTC-25DEC26", true), None);
        assert_eq!(default_symbols(false, 1_795_305_600_000)[4], "BTCUSDT-25DEC26");
    }
}
