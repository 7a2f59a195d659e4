//! Frames as the venue writes them: JSON numbers with at least one digit behind the point. Liquidations are marks of trades, on REST only,
//! and only when they are old.

use std::fmt::Write as _;
use std::sync::Arc;

use super::instruments;
use crate::decimal::Decimal;
use crate::ledger::{EventData, TradeRecord, Values};
use crate::market::{DepthUpdate, Instrument, LevelChange, Reference, Side, Sizing, draw_in};
use crate::venue::{Encoded, ListedInstrument, Snapshot, event_data as data};

/// Dollar price of a coin where instruments are priced in coins: a round figure that moves a little.
fn dollars(time_ms: i64) -> Decimal {
    Decimal { units: 9_500_000 + draw_in(0..10_000, 0, 53, time_ms), scale: 2 }.trimmed_to(1)
}

pub(super) fn frame(channel: &str, data: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}"#)
}

fn push_rows(out: &mut String, i: &Instrument, rows: impl Iterator<Item = (&'static str, i64, i64)>) {
    out.push('[');
    for (n, (action, price, amount)) in rows.enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(out, r#"{comma}["{action}",{},{}]"#, i.price(price), i.quantity(amount));
    }
    out.push(']');
}

pub(super) fn snapshot(i: &Instrument, channel: &str, s: &Snapshot) -> String {
    let (time, id) = (s.engine_ms, s.last_update_id);
    // Both exist: the field without a value, and no field.
    let previous = if id.is_multiple_of(2) { r#""prev_change_id":null,"# } else { "" };
    let mut out = format!(
        r#"{{"type":"snapshot","timestamp":{time},{previous}"instrument_name":"{}","change_id":{id},"bids":"#,
        i.symbol
    );
    push_rows(&mut out, i, s.bids.iter().map(|(price, amount)| ("new", *price, *amount)));
    out.push_str(r#","asks":"#);
    push_rows(&mut out, i, s.asks.iter().map(|(price, amount)| ("new", *price, *amount)));
    out.push('}');
    frame(channel, &out)
}

pub(super) fn change(i: &Instrument, channel: &str, d: &DepthUpdate) -> String {
    let row = |level: &LevelChange| {
        let action = match (level.before, level.quantity) {
            (_, 0) => "delete",
            (0, _) => "new",
            _ => "change",
        };
        (action, level.price, level.quantity)
    };
    let mut out = format!(
        r#"{{"type":"change","timestamp":{},"prev_change_id":{},"instrument_name":"{}","change_id":{},"bids":"#,
        d.engine_ms, d.previous_id, i.symbol, d.last_id
    );
    push_rows(&mut out, i, d.bids.iter().map(row));
    out.push_str(r#","asks":"#);
    push_rows(&mut out, i, d.asks.iter().map(row));
    out.push('}');
    frame(channel, &out)
}

fn contracts(i: &Instrument, amount: Decimal) -> Decimal {
    if instruments::kind(i) == "option" {
        return amount;
    }
    let finer = u32::from(i.quantity_scale.saturating_sub(amount.scale));
    let steps = amount.units.saturating_mul(10i64.pow(finer)) / i.step.max(1);
    Decimal { units: steps.saturating_mul(10), scale: 1 }
}

/// A trade, with the mark of a liquidation if it shows. `trade_seq` counts the trades of the instrument, `trade_id` is unique over all.
pub(super) fn trade(listed: &ListedInstrument, r: &TradeRecord, forced: Option<Forced>) -> String {
    let i = &listed.instrument;
    let draw = |range, what| draw_in(range, 0, what, r.id.cast_signed());
    let near = |what| {
        let units = r.price.units.saturating_mul(100) + draw(-50..50, what);
        Decimal { units, scale: r.price.scale + 2 }.trimmed_to(1)
    };
    let index = if instruments::is_coin_priced(i) { dollars(r.trade_ms) } else { near(51) };
    let mut out = format!(
        concat!(
            r#"{{"timestamp":{},"price":{},"amount":{},"direction":"{}","index_price":{},"#,
            r#""instrument_name":"{}","trade_seq":{},"mark_price":{},"tick_direction":{},"#,
            r#""contracts":{},"trade_id":"{}{:03}""#
        ),
        r.trade_ms,
        r.price,
        r.quantity,
        r.taker.order(),
        index,
        i.symbol,
        r.id,
        near(52),
        draw(0..4, 54),
        contracts(i, r.quantity),
        r.id,
        listed.index
    );
    if instruments::kind(i) == "option" {
        let _ = write!(out, r#","iv":{}.{}"#, draw(40..90, 55), draw(0..10, 56));
    }
    if let Some(forced) = forced {
        let _ = write!(out, r#","liquidation":"{}""#, forced.mark());
    }
    out.push('}');
    out
}

/// The reference with its numbers as printed.
pub(super) fn printed(r: &Reference) -> Reference {
    let mut r = r.clone();
    (r.mark, r.index) = (r.mark.trimmed_to(1), r.index.trimmed_to(1));
    r.open_interest = r.open_interest.trimmed_to(1);
    if let Some(funding) = &mut r.funding {
        funding.rate = funding.rate.trimmed_to(1);
    }
    r
}

pub(super) fn ticker(i: &Instrument, r: &Reference) -> String {
    let index = if instruments::is_coin_priced(i) { dollars(r.time_ms) } else { r.index };
    let funding = r.funding.map(|funding| {
        // The current rate differs from the rate of the last eight hours.
        let current = Decimal { units: funding.rate.units + 7, scale: funding.rate.scale };
        format!(r#""funding_8h":{},"current_funding":{},"#, funding.rate, current.trimmed_to(1))
    });
    let (funding, symbol, last) = (funding.unwrap_or_default(), &i.symbol, i.price(i.start_ticks));
    let Reference { time_ms, mark, open_interest, .. } = r;
    format!(
        concat!(
            r#"{{"timestamp":{time_ms},"stats":{{"volume":null,"price_change":null,"low":null,"high":null}},"#,
            r#""state":"open","settlement_price":{mark},"open_interest":{interest},"mark_price":{mark},"#,
            r#""last_price":{last},"instrument_name":"{symbol}","index_price":{index},{funding}"#,
            r#""estimated_delivery_price":{index}}}"#
        ),
        time_ms = time_ms,
        mark = mark,
        interest = open_interest,
        last = last,
        symbol = symbol,
        index = index,
        funding = funding
    )
}

/// Open interest is an amount, dollars or coins; funding is that of the last eight hours.
pub(super) fn ticker_data(i: &Instrument, r: &Reference) -> Vec<EventData> {
    let unit = if matches!(i.sizing, Sizing::Value(_)) { "value_usd" } else { "base" };
    let interest = Values::from([(unit, r.open_interest.to_string())]);
    let mut events = vec![data::open_interest(i, r.time_ms, interest)];
    if let Some(mut funding) = data::funding(i, r, true, false) {
        funding.values.insert("interval_hours", "8".to_owned());
        events.push(funding);
    }
    events
}

pub(super) fn index_channel(index: &str) -> String {
    format!("deribit_volatility_index.{index}")
}

pub(super) fn index(name: &str, time_ms: i64, value: Decimal) -> Option<Encoded> {
    let value = value.trimmed_to(1);
    let underlying = name.split('_').next()?.to_uppercase();
    let channel = index_channel(name);
    let raw =
        frame(&channel, &format!(r#"{{"timestamp":{time_ms},"volatility":{value},"index_name":"{name}"}}"#));
    let event = data::volatility(name, &underlying, time_ms, value);
    Some(Encoded { events: vec![event], frames: vec![(Arc::from(channel), raw)] })
}

/// The liquidated side of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forced {
    Maker,
    Taker,
    Both,
}

impl Forced {
    pub(super) fn mark(self) -> &'static str {
        match self {
            Forced::Maker => "M",
            Forced::Taker => "T",
            Forced::Both => "MT",
        }
    }

    fn order_sides(self, taker: Side) -> Vec<Side> {
        match self {
            Forced::Maker => vec![taker.opposite()],
            Forced::Taker => vec![taker],
            Forced::Both => vec![taker, taker.opposite()],
        }
    }
}

/// One trade in six is a liquidation, each kind equally often.
pub(super) fn forced_of(instrument: &Instrument, record: &TradeRecord) -> Option<Forced> {
    let seed = instrument.symbol.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
    match draw_in(0..18, seed, 41, record.id.cast_signed()) {
        0 => Some(Forced::Maker),
        1 => Some(Forced::Taker),
        2 => Some(Forced::Both),
        _ => None,
    }
}

/// One liquidation per forced side; `trade_id` is the trade's number.
pub(super) fn liquidation_events(
    instrument: &Instrument,
    record: &TradeRecord,
    forced: Forced,
) -> Vec<EventData> {
    let event = |side| {
        let (sizes, times) = ((record.price, record.quantity), (record.trade_ms, record.trade_ms));
        let mut event = data::liquidation_of(instrument, side, sizes, times);
        event.values.insert("trade_id", record.id.to_string());
        event
    };
    forced.order_sides(record.taker).into_iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_whole_number_of_contracts() {
        for (name, steps, amount, expected) in [
            ("BTC-PERPETUAL", 5, "50.0", "5.0"),
            ("ETH-PERPETUAL", 12, "12.0", "12.0"),
            ("BTC_USDC-PERPETUAL", 1250, "0.125", "1250.0"),
            ("BTC-25DEC26-100000-C", 3, "0.3", "0.3"),
        ] {
            let i = &instruments::by_name(name).expect("known");
            assert_eq!(i.quantity(steps).to_string(), amount, "{name}");
            assert_eq!(contracts(i, i.quantity(steps)).to_string(), expected, "{name}");
        }
    }
}
