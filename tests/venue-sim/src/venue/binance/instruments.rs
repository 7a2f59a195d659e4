//! The instrument table: what is listed by default, and exchangeInfo.

use serde_json::{Value, json};

use super::venue::Flavor;
use crate::clock;
use crate::decimal::Decimal;
use crate::market::{Contract, Instrument, Sizing};

/// Quote assets tried, longest first, for symbols that have no row of their own.
const QUOTES: [&str; 9] = ["FDUSD", "USDT", "USDC", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY"];

/// Far delivery date the venue gives for perpetuals.
const PERPETUAL_DELIVERY_MS: i64 = 4_133_404_800_000;

/// Symbol, base, quote, price scale, tick, quantity scale, step, start in ticks, usual level in steps.
type Row = (&'static str, &'static str, &'static str, u8, i64, u8, i64, i64, i64);

const SPOT: [Row; 4] = [
    ("BTCUSDT", "BTC", "USDT", 8, 1_000_000, 8, 1000, 9_512_345, 300_000),
    ("ETHUSDT", "ETH", "USDT", 8, 1_000_000, 8, 10_000, 312_345, 400_000),
    ("BTCFDUSD", "BTC", "FDUSD", 8, 1_000_000, 8, 1000, 9_511_230, 200_000),
    ("1000SATSUSDT", "1000SATS", "USDT", 8, 1, 8, 100_000_000, 32_150, 9_000_000),
];

const USD_M: [Row; 3] = [
    ("BTCUSDT", "BTC", "USDT", 2, 10, 3, 1, 951_234, 20_000),
    ("ETHUSDT", "ETH", "USDT", 2, 1, 3, 1, 312_345, 200_000),
    ("1000PEPEUSDT", "1000PEPE", "USDT", 7, 1, 0, 1, 123_450, 5_000_000),
];

fn from_row(row: &Row, contract: Contract) -> Instrument {
    let (symbol, base, quote, price_scale, tick, quantity_scale, step, start_ticks, usual_steps) = *row;
    Instrument {
        symbol: symbol.into(),
        base: base.into(),
        quote: quote.into(),
        pair: symbol.into(),
        // The list of adjusted intervals names the others; absent there means eight hours.
        funding_hours: (contract == Contract::Perpetual).then_some(if symbol == "1000PEPEUSDT" {
            4
        } else {
            8
        }),
        contract,
        sizing: Sizing::Base,
        trims: None,
        price_scale,
        tick,
        quantity_scale,
        step,
        start_ticks,
        usual_steps,
    }
}

pub(super) fn listed(flavor: Flavor, symbols: &[String], now_ms: i64) -> Vec<Instrument> {
    let (rows, usual): (&[Row], _) = match flavor {
        Flavor::Spot => (&SPOT, Contract::Spot),
        Flavor::UsdM => (&USD_M, Contract::Perpetual),
    };
    let find = |name: &str| rows.iter().find(|row| row.0 == name).map(|row| from_row(row, usual.clone()));
    let own: Vec<&String> = symbols.iter().filter(|name| is_own_form(flavor, name)).collect();
    if !own.is_empty() {
        let one = |name: &String| find(name).unwrap_or_else(|| generic(flavor, name, &find, now_ms));
        return own.into_iter().map(one).collect();
    }
    let mut all: Vec<Instrument> = rows.iter().map(|row| from_row(row, usual.clone())).collect();
    if flavor == Flavor::UsdM {
        let (current_ms, current) = clock::next_quarter(now_ms);
        for date in [current, clock::next_quarter(current_ms).1] {
            all.push(generic(flavor, &format!("BTCUSDT_{date}"), &find, now_ms));
        }
    }
    all
}

/// Symbols are capitals and digits; a dated contract has a date of six digits behind `_`.
fn is_own_form(flavor: Flavor, name: &str) -> bool {
    let (pair, date) = name.split_once('_').unwrap_or((name, ""));
    let plain =
        |text: &str| text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || !c.is_ascii());
    !pair.is_empty() && plain(pair) && (date.is_empty() || flavor == Flavor::UsdM) && plain(date)
}

/// An instrument for a symbol without a row: a dated contract of a pair, or a plain one with usual digits.
fn generic(flavor: Flavor, name: &str, find: &dyn Fn(&str) -> Option<Instrument>, now_ms: i64) -> Instrument {
    if let (Flavor::UsdM, Some((pair, date))) = (flavor, name.split_once('_')) {
        let mut instrument = find(pair).unwrap_or_else(|| generic(flavor, pair, find, now_ms));
        // Other dates count as half a year ahead.
        let delivery_ms = clock::delivery(date).unwrap_or(now_ms + 182 * 86_400_000);
        instrument.contract = Contract::Dated { delivery_ms };
        instrument.funding_hours = None;
        instrument.symbol = name.to_owned();
        instrument.start_ticks += instrument.start_ticks / 200;
        return instrument;
    }
    let quote = QUOTES
        .iter()
        .find(|quote| name.len() > quote.len() && name.ends_with(*quote))
        .copied()
        .unwrap_or("USDT");
    let base = name.strip_suffix(quote).unwrap_or(name);
    let digits = if flavor == Flavor::Spot { (8, 10_000, 8, 1_000_000) } else { (4, 1, 2, 1) };
    let contract = if flavor == Flavor::Spot { Contract::Spot } else { Contract::Perpetual };
    let mut instrument =
        from_row(&("", "", "", digits.0, digits.1, digits.2, digits.3, 105_000, 50_000), contract);
    instrument.symbol = name.to_owned();
    instrument.pair = name.to_owned();
    instrument.base = base.to_owned();
    instrument.quote = quote.to_owned();
    instrument
}

fn text(units: i64, scale: u8) -> String {
    Decimal { units, scale }.to_string()
}

/// `exchangeInfo`.
pub(super) fn exchange_info<'a>(
    flavor: Flavor,
    instruments: impl Iterator<Item = &'a Instrument>,
    now_ms: i64,
) -> String {
    let symbols: Vec<Value> = instruments
        .map(|i| match flavor {
            Flavor::Spot => spot_symbol(i),
            Flavor::UsdM => usd_m_symbol(i, now_ms),
        })
        .collect();
    let weight = if flavor == Flavor::Spot { 6000 } else { 2400 };
    let limits =
        json!([{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":weight}]);
    let mut info = json!({
        "timezone": "UTC", "serverTime": now_ms, "rateLimits": limits, "exchangeFilters": [],
        "symbols": symbols,
    });
    if let (Flavor::UsdM, Some(fields)) = (flavor, info.as_object_mut()) {
        fields.insert("futuresType".into(), "U_MARGINED".into());
    }
    info.to_string()
}

/// `fundingInfo`: only instruments whose interval is not the usual one.
pub(super) fn funding_info<'a>(instruments: impl Iterator<Item = &'a Instrument>) -> String {
    let rows: Vec<Value> = instruments
        .filter_map(|i| i.funding_hours.filter(|hours| *hours != 8).map(|hours| (i, hours)))
        .map(|(i, hours)| {
            json!({
                "symbol": i.symbol, "adjustedFundingRateCap": "0.02500000",
                "adjustedFundingRateFloor": "-0.02500000", "fundingIntervalHours": hours,
                "disclaimer": false, "updateTime": 1_790_000_000_000_i64,
            })
        })
        .collect();
    Value::Array(rows).to_string()
}

fn filters(i: &Instrument) -> Value {
    let (tick, step) = (text(i.tick, i.price_scale), text(i.step, i.quantity_scale));
    let price_max = text(i.tick * 100_000_000, i.price_scale);
    let quantity_max = text(i.step * 900_000_000, i.quantity_scale);
    json!([
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": price_max, "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": quantity_max, "stepSize": step},
    ])
}

fn spot_symbol(i: &Instrument) -> Value {
    json!({
        "symbol": i.symbol, "status": "TRADING", "baseAsset": i.base, "baseAssetPrecision": 8,
        "quoteAsset": i.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"], "isSpotTradingAllowed": true, "isMarginTradingAllowed": false,
        "filters": filters(i), "permissions": [], "permissionSets": [["SPOT"]],
    })
}

fn usd_m_symbol(i: &Instrument, now_ms: i64) -> Value {
    let (kind, delivery) = match i.contract {
        Contract::Dated { delivery_ms } if delivery_ms > clock::next_quarter(now_ms).0 => {
            ("NEXT_QUARTER", delivery_ms)
        }
        Contract::Dated { delivery_ms } => ("CURRENT_QUARTER", delivery_ms),
        _ => ("PERPETUAL", PERPETUAL_DELIVERY_MS),
    };
    json!({
        "symbol": i.symbol, "pair": i.pair, "contractType": kind, "deliveryDate": delivery,
        "onboardDate": 1_569_398_400_000_i64, "status": "TRADING", "baseAsset": i.base, "quoteAsset": i.quote,
        "marginAsset": i.quote, "pricePrecision": i.price_scale, "quantityPrecision": i.quantity_scale,
        "underlyingType": "COIN", "filters": filters(i), "orderTypes": ["LIMIT", "MARKET"],
    })
}
