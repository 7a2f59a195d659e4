//! What messages tell, in the names every venue's ledger uses. Sizes stand as the venue prints them (`quantity`,
//! `contracts`), and as `base` or `base_quantity` where that is exact; where a contract has a fixed value, as
//! `quote_value`, to be divided by the price.

use std::sync::Arc;

use crate::decimal::Decimal;
use crate::ledger::{DataType, Told, Values};
use crate::market::{Instrument, Liquidation, Ratio, Reference, Side, Sizing};

/// A quantity as base units, or as a value in the quote asset; one of the two.
#[must_use]
pub fn trade_sizes(instrument: &Instrument, quantity: Decimal) -> (Option<String>, Option<String>) {
    match instrument.sizing {
        Sizing::Base => (Some(quantity.to_string()), None),
        Sizing::Contracts(size) => (Some(quantity.times(size)), None),
        Sizing::Value(value) => (None, Some(quantity.times(value))),
    }
}

/// Mark and index price with the funding rate; `None` for an instrument without funding. `prices`: whether
/// the message has mark and index price; `until`: whether it names the next funding time.
#[must_use]
pub fn funding(instrument: &Instrument, r: &Reference, prices: bool, until: bool) -> Option<Told> {
    let funding = r.funding?;
    let mut values = Values::from([("funding_rate", funding.rate.to_string())]);
    if until {
        values.insert("next_funding_time_ms", funding.next_ms.to_string());
        values.insert("interval_hours", funding.hours.to_string());
    }
    if prices {
        values.insert("mark_price", r.mark.to_string());
        values.insert("index_price", r.index.to_string());
    }
    Some(of(instrument, DataType::FundingRate, r.time_ms, values))
}

/// Open interest, further values given.
#[must_use]
pub fn open_interest(instrument: &Instrument, time_ms: i64, values: Values) -> Told {
    of(instrument, DataType::OpenInterest, time_ms, values)
}

/// A forced order.
#[must_use]
pub fn liquidation(instrument: &Instrument, order: &Liquidation) -> Told {
    let sizes = (instrument.price(order.price), instrument.quantity(order.quantity));
    forced(instrument, order.side, sizes, (order.trade_ms, order.event_ms))
}

/// A forced order of a side, with price and quantity as printed, filled and told at these times, ms.
#[must_use]
pub fn forced(
    instrument: &Instrument,
    side: Side,
    (price, quantity): (Decimal, Decimal),
    (filled_ms, told_ms): (i64, i64),
) -> Told {
    let (base, value) = trade_sizes(instrument, quantity);
    let mut values = Values::from([
        ("side", if side == Side::Bid { "buy" } else { "sell" }.to_owned()),
        ("price", price.to_string()),
        ("quantity", quantity.to_string()),
        ("event_time_ms", told_ms.to_string()),
    ]);
    values.extend(base.map(|text| ("base_quantity", text)));
    values.extend(value.map(|text| ("quote_value", text)));
    of(instrument, DataType::Liquidation, filled_ms, values)
}

/// A row of a long/short ratio. `shares`: whether the message has them.
#[must_use]
pub fn ratio(instrument: &Instrument, data_type: DataType, row: &Ratio, shares: bool, period: &str) -> Told {
    let mut values = Values::from([("ratio", row.ratio.to_string()), ("period", period.to_owned())]);
    if shares {
        values.insert("long", row.long.to_string());
        values.insert("short", row.short.to_string());
    }
    of(instrument, data_type, row.time_ms, values)
}

/// A volatility index.
#[must_use]
pub fn volatility(index: &str, underlying: &str, time_ms: i64, value: Decimal) -> Told {
    let values = Values::from([("index_value", value.to_string()), ("underlying", underlying.to_owned())]);
    Told { symbol: Arc::from(index), data_type: DataType::VolatilityIndex, time_ms, values }
}

fn of(instrument: &Instrument, data_type: DataType, time_ms: i64, values: Values) -> Told {
    Told { symbol: Arc::from(instrument.symbol.as_str()), data_type, time_ms, values }
}
