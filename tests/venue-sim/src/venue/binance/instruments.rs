//! Default listings and exchangeInfo.

use serde_json::{Value, json};

use crate::clock;
use crate::decimal::Decimal;
use crate::market::{Contract, Instrument, Sizing};

/// Quote assets of symbols without a row of their own, longest first.
const QUOTES: [&str; 9] = ["FDUSD", "USDT", "USDC", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY"];

/// Delivery date of perpetuals in the venue's list.
const PERPETUAL_DELIVERY_MS: i64 = 4_133_404_800_000;

/// Symbol, base, quote, price scale, tick, quantity scale, step, start in ticks, largest usual level in steps.
type SymbolRow<'a> = (&'a str, &'a str, &'a str, u8, i64, u8, i64, i64, i64);

const SPOT: [SymbolRow<'_>; 4] = [
    ("BTCUSDT", "BTC", "USDT", 8, 1_000_000, 8, 1000, 9_512_345, 300_000),
    ("ETHUSDT", "ETH", "USDT", 8, 1_000_000, 8, 10_000, 312_345, 400_000),
    ("BTCFDUSD", "BTC", "FDUSD", 8, 1_000_000, 8, 1000, 9_511_230, 200_000),
    ("1000SATSUSDT", "1000SATS", "USDT", 8, 1, 8, 100_000_000, 32_150, 9_000_000),
];

const USD_M: [SymbolRow<'_>; 3] = [
    ("BTCUSDT", "BTC", "USDT", 2, 10, 3, 1, 951_234, 20_000),
    ("ETHUSDT", "ETH", "USDT", 2, 1, 3, 1, 312_345, 200_000),
    ("1000PEPEUSDT", "1000PEPE", "USDT", 7, 1, 0, 1, 123_450, 5_000_000),
];

#[derive(Debug, Clone, Copy)]
pub struct Binance {
    pub spot: bool,
}

impl Binance {
    fn rows(self) -> &'static [SymbolRow<'static>] {
        if self.spot { &SPOT } else { &USD_M }
    }

    pub(super) fn usual_symbols(self, now_ms: i64) -> Vec<String> {
        let mut names: Vec<String> = self.rows().iter().map(|row| row.0.to_owned()).collect();
        if !self.spot {
            let (current_ms, current) = clock::next_quarter(now_ms);
            let next = clock::next_quarter(current_ms).1;
            names.extend([current, next].map(|date| format!("BTCUSDT_{date}")));
        }
        names
    }

    /// Symbols are capitals and digits; a dated contract has a date of six digits behind `_`.
    pub(super) fn is_own_form(self, name: &str) -> bool {
        let (pair, date) = name.split_once('_').unwrap_or((name, ""));
        let plain =
            |text: &str| text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || !c.is_ascii());
        !pair.is_empty() && plain(pair) && (date.is_empty() || !self.spot) && plain(date)
    }

    /// The instrument of a symbol's row, a dated contract of a pair, or one with usual digits.
    pub(super) fn by_name(self, name: &str, now_ms: i64) -> Instrument {
        if let Some((pair, date)) = name.split_once('_').filter(|_| !self.spot) {
            let mut instrument = self.by_name(pair, now_ms);
            // Other dates count as half a year ahead.
            let delivery_ms = clock::delivery(date).unwrap_or(now_ms + 182 * 86_400_000);
            instrument.contract = Contract::Dated { delivery_ms };
            instrument.funding_hours = None;
            instrument.symbol = name.to_owned();
            instrument.start_ticks += instrument.start_ticks / 200;
            return instrument;
        }
        if let Some(row) = self.rows().iter().find(|row| row.0 == name) {
            return self.row_instrument(row);
        }
        let is_quote = |quote: &&&str| name.len() > quote.len() && name.ends_with(**quote);
        let quote = QUOTES.iter().find(is_quote).copied().unwrap_or("USDT");
        let base = name.strip_suffix(quote).unwrap_or(name);
        let (price_scale, tick, quantity_scale, step) =
            if self.spot { (8, 10_000, 8, 1_000_000) } else { (4, 1, 2, 1) };
        self.row_instrument(&(name, base, quote, price_scale, tick, quantity_scale, step, 105_000, 50_000))
    }

    fn row_instrument(self, row: &SymbolRow<'_>) -> Instrument {
        let (symbol, base, quote, price_scale, tick, quantity_scale, step, start_ticks, usual_steps) = *row;
        // The list of adjusted funding intervals has the others; absent there means eight hours.
        let hours = if symbol == "1000PEPEUSDT" { 4 } else { 8 };
        Instrument {
            symbol: symbol.into(),
            base: base.into(),
            quote: quote.into(),
            pair: symbol.into(),
            funding_hours: (!self.spot).then_some(hours),
            contract: if self.spot { Contract::Spot } else { Contract::Perpetual },
            sizing: Sizing::Base,
            trims: None,
            price_scale,
            tick,
            listed_ticks: 1,
            quantity_scale,
            step,
            start_ticks,
            usual_steps,
        }
    }

    pub(super) fn exchange_info<'a>(
        self,
        instruments: impl Iterator<Item = &'a Instrument>,
        now_ms: i64,
    ) -> String {
        let symbols: Vec<Value> =
            instruments.map(|i| if self.spot { spot_symbol(i) } else { usd_m_symbol(i, now_ms) }).collect();
        let weight = if self.spot { 6000 } else { 2400 };
        let mut info = json!({
            "timezone": "UTC", "serverTime": now_ms, "exchangeFilters": [], "symbols": symbols,
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight}
            ],
        });
        if let Some(fields) = info.as_object_mut().filter(|_| !self.spot) {
            fields.insert("futuresType".to_owned(), "U_MARGINED".into());
        }
        info.to_string()
    }
}

/// `fundingInfo`: only instruments whose interval is not the usual one.
pub(super) fn funding_info<'a>(instruments: impl Iterator<Item = &'a Instrument>) -> String {
    let adjusted = instruments.filter_map(|i| i.funding_hours.filter(|hours| *hours != 8).map(|h| (i, h)));
    let rows: Vec<Value> = adjusted
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
    let price = |units| Decimal { units, scale: i.price_scale }.to_string();
    let quantity = |units| Decimal { units, scale: i.quantity_scale }.to_string();
    json!([
        {"filterType": "PRICE_FILTER", "minPrice": price(i.tick), "maxPrice": price(i.tick * 100_000_000),
            "tickSize": price(i.tick * i.listed_ticks)},
        {"filterType": "LOT_SIZE", "minQty": quantity(i.step), "maxQty": quantity(i.step * 900_000_000),
            "stepSize": quantity(i.step)},
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
