//! Ledger entries of what messages report, with the same value names for all venues.
//!
//! Sizes are as printed (`quantity`, `contracts`), and as `base` or `base_quantity` where that is exact; where a contract has a fixed
//! value, as `quote_value`, to be divided by the price.

use crate::decimal::Decimal;
use crate::ledger::{DataType, EventData, Values};
use crate::market::{Instrument, Liquidation, Ratio, RatioKind, Reference, Side, Sizing};

/// A quantity in base units, or its value in the quote asset; one of the two.
pub fn trade_sizes(instrument: &Instrument, quantity: Decimal) -> (Option<String>, Option<String>) {
    match instrument.sizing {
        Sizing::Base => (Some(quantity.to_string()), None),
        Sizing::Contracts(size) => (Some(quantity.times(size)), None),
        Sizing::Value(value) => (None, Some(quantity.times(value))),
    }
}

/// `None` for an instrument without funding. `with_prices`: the message has mark and index price; `with_next`: it has the next funding
/// time.
pub fn funding(
    instrument: &Instrument,
    r: &Reference,
    with_prices: bool,
    with_next: bool,
) -> Option<EventData> {
    let funding = r.funding?;
    let mut values = Values::from([("funding_rate", funding.rate.to_string())]);
    if with_next {
        values.insert("next_funding_time_ms", funding.next_ms.to_string());
        values.insert("interval_hours", funding.hours.to_string());
    }
    if with_prices {
        values.insert("mark_price", r.mark.to_string());
        values.insert("index_price", r.index.to_string());
    }
    Some(event(instrument, DataType::FundingRate, r.time_ms, values))
}

pub fn open_interest(instrument: &Instrument, time_ms: i64, values: Values) -> EventData {
    event(instrument, DataType::OpenInterest, time_ms, values)
}

pub fn liquidation(instrument: &Instrument, order: &Liquidation) -> EventData {
    let sizes = (instrument.price(order.price), instrument.quantity(order.quantity));
    liquidation_of(instrument, order.side, sizes, (order.trade_ms, order.event_ms))
}

/// `side` of the forced order, price and quantity as printed, times of the fill and of the message in ms.
pub fn liquidation_of(
    instrument: &Instrument,
    side: Side,
    (price, quantity): (Decimal, Decimal),
    (fill_ms, event_ms): (i64, i64),
) -> EventData {
    let (base, value) = trade_sizes(instrument, quantity);
    let mut values = Values::from([
        ("side", side.order().to_owned()),
        ("price", price.to_string()),
        ("quantity", quantity.to_string()),
        ("event_time_ms", event_ms.to_string()),
    ]);
    values.extend(base.map(|text| ("base_quantity", text)));
    values.extend(value.map(|text| ("quote_value", text)));
    event(instrument, DataType::Liquidation, fill_ms, values)
}

/// `None` for a ratio that no adapter takes. `with_shares`: the message has the shares of both sides.
pub fn ratio(
    instrument: &Instrument,
    kind: RatioKind,
    row: &Ratio,
    with_shares: bool,
    period: &str,
) -> Option<EventData> {
    let mut values = Values::from([("ratio", row.ratio.to_string()), ("period", period.to_owned())]);
    if with_shares {
        values.insert("long", row.long.to_string());
        values.insert("short", row.short.to_string());
    }
    let data_type = match kind {
        RatioKind::TopPosition => DataType::LsrTopPosition,
        RatioKind::AllAccounts => DataType::LsrAllAccount,
        RatioKind::TopAccount => return None,
    };
    Some(event(instrument, data_type, row.time_ms, values))
}

pub fn volatility(index: &str, underlying: &str, time_ms: i64, value: Decimal) -> EventData {
    let values = Values::from([("index_value", value.to_string()), ("underlying", underlying.to_owned())]);
    EventData { symbol: index.to_owned(), data_type: DataType::VolatilityIndex, time_ms, values }
}

fn event(instrument: &Instrument, data_type: DataType, time_ms: i64, values: Values) -> EventData {
    EventData { symbol: instrument.symbol.clone(), data_type, time_ms, values }
}
