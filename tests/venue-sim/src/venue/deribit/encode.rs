//! Frames as the venue writes them: numbers are JSON numbers with at least one digit behind the point.

use std::fmt::Write as _;
use std::sync::Arc;

use super::forced::Forced;
use super::{instruments, streams};
use crate::decimal::Decimal;
use crate::ledger::{Told, TradeRecord, Values};
use crate::market::reference::draw_in;
use crate::market::{DepthUpdate, Event, Instrument, LevelChange, Reference, Side, Sizing};
use crate::venue::{self, Encoded, Listed, Snapshot};

// Writing to a String cannot fail, so the results of `write!` are let go below.

/// What a coin is worth where a price is in coins: a round figure that moves a little.
fn dollars(time_ms: i64) -> Decimal {
    Decimal { units: 9_500_000 + draw_in(0..10_000, 0, 53, time_ms), scale: 2 }.trimmed_to(1)
}

/// A frame of a channel.
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
    let mut out = format!(r#"{{"type":"snapshot","timestamp":{},"#, s.engine_ms);
    // Both are seen: the field without a value, and no field.
    if s.last_update_id.is_multiple_of(2) {
        out.push_str(r#""prev_change_id":null,"#);
    }
    let _ = write!(out, r#""instrument_name":"{}","change_id":{},"bids":"#, i.symbol, s.last_update_id);
    push_rows(&mut out, i, s.bids.iter().map(|(price, amount)| ("new", *price, *amount)));
    out.push_str(r#","asks":"#);
    push_rows(&mut out, i, s.asks.iter().map(|(price, amount)| ("new", *price, *amount)));
    out.push('}');
    frame(channel, &out)
}

fn change(i: &Instrument, channel: &str, d: &DepthUpdate) -> String {
    let row = |level: &LevelChange| {
        let action = match (level.before, level.quantity) {
            (_, 0) => "delete",
            (0, _) => "new",
            _ => "change",
        };
        (action, level.price, level.quantity)
    };
    let mut out = format!(
        concat!(
            r#"{{"type":"change","timestamp":{},"prev_change_id":{},"instrument_name":"{}","#,
            r#""change_id":{},"bids":"#
        ),
        d.engine_ms, d.previous_id, i.symbol, d.last_id
    );
    push_rows(&mut out, i, d.bids.iter().map(row));
    out.push_str(r#","asks":"#);
    push_rows(&mut out, i, d.asks.iter().map(row));
    out.push('}');
    frame(channel, &out)
}

/// Contracts of an amount.
fn contracts(i: &Instrument, amount: Decimal) -> Decimal {
    if instruments::kind(i) == "option" {
        return amount;
    }
    let finer = u32::from(i.quantity_scale.saturating_sub(amount.scale));
    let steps = amount.units.saturating_mul(10i64.pow(finer)) / i.step.max(1);
    Decimal { units: steps.saturating_mul(10), scale: 1 }
}

/// A trade, with the mark of those who were forced if it shows. `trade_seq` counts those of the instrument,
/// `trade_id` is unique over all of them.
pub(super) fn trade(listed: &Listed, r: &TradeRecord, forced: Option<Forced>) -> String {
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
        if r.taker == Side::Bid { "buy" } else { "sell" },
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

pub(super) fn trades(listed: &Listed, channel: &str, records: &[TradeRecord]) -> String {
    let rows: Vec<String> = records.iter().map(|record| trade(listed, record, None)).collect();
    frame(channel, &format!("[{}]", rows.join(",")))
}

pub(super) fn event(listed: &Listed, event: &Event, wants: &dyn Fn(&str) -> bool) -> Vec<Encoded> {
    let i = &listed.instrument;
    let wanted = |stream: &&Arc<str>| wants(stream);
    match event {
        Event::Depth(update) => {
            let stream = streams::of(listed, "book").get(update.cadence).filter(wanted);
            let frames = stream.map(|stream| (stream.clone(), change(i, stream, update)));
            vec![Encoded { told: Vec::new(), frames: frames.into_iter().collect() }]
        }
        Event::Reference(_, reference) => {
            let r = printed(reference);
            let data = ticker(i, &r);
            let streams = streams::of(listed, "ticker").iter().filter(wanted);
            let frames = streams.map(|stream| (stream.clone(), frame(stream, &data))).collect();
            vec![Encoded { told: told(i, &r), frames }]
        }
        _ => Vec::new(),
    }
}

/// Numbers as they are printed.
fn printed(r: &Reference) -> Reference {
    let mut r = r.clone();
    (r.mark, r.index) = (r.mark.trimmed_to(1), r.index.trimmed_to(1));
    r.open_interest = r.open_interest.trimmed_to(1);
    r.funding = r.funding.map(|mut funding| {
        funding.rate = funding.rate.trimmed_to(1);
        funding
    });
    r
}

fn ticker(i: &Instrument, r: &Reference) -> String {
    let index = if instruments::is_coin_priced(i) { dollars(r.time_ms) } else { r.index };
    let funding = r.funding.map(|funding| {
        // What is paid at this moment is another number than what was paid over eight hours.
        let now = Decimal { units: funding.rate.units + 7, scale: funding.rate.scale };
        format!(r#""funding_8h":{},"current_funding":{},"#, funding.rate, now.trimmed_to(1))
    });
    format!(
        concat!(
            r#"{{"timestamp":{},"stats":{{"volume":null,"price_change":null,"low":null,"high":null}},"#,
            r#""state":"open","settlement_price":{},"open_interest":{},"mark_price":{},"#,
            r#""last_price":{},"instrument_name":"{}","index_price":{},{}"#,
            r#""estimated_delivery_price":{}}}"#
        ),
        r.time_ms,
        r.mark,
        r.open_interest,
        r.mark,
        i.price(i.start_ticks),
        i.symbol,
        index,
        funding.unwrap_or_default(),
        index
    )
}

/// Funding is told as that of the last eight hours; open interest is an amount: dollars or coins.
fn told(i: &Instrument, r: &Reference) -> Vec<Told> {
    let unit = if matches!(i.sizing, Sizing::Value(_)) { "value_usd" } else { "base" };
    let interest = Values::from([(unit, r.open_interest.to_string())]);
    let mut told = vec![venue::open_interest(i, r.time_ms, interest)];
    if let Some(mut funding) = venue::funding(i, r, true, false) {
        funding.values.insert("interval_hours", "8".to_owned());
        told.push(funding);
    }
    told
}

pub(super) fn index(name: &str, time_ms: i64, value: Decimal) -> Option<Encoded> {
    let value = value.trimmed_to(1);
    let underlying = name.split('_').next()?.to_uppercase();
    let channel = streams::index(name);
    let data = format!(r#"{{"timestamp":{time_ms},"volatility":{value},"index_name":"{name}"}}"#);
    let raw = frame(&channel, &data);
    let told = venue::volatility(name, &underlying, time_ms, value);
    Some(Encoded { told: vec![told], frames: vec![(Arc::from(channel), raw)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: an amount is so many contracts, whatever zeros its print leaves out.
    #[test]
    fn amounts_are_whole_contracts() {
        for (name, steps, amount, expected) in [
            ("BTC-PERPETUAL", 5, "50.0", "5.0"),
            ("ETH-PERPETUAL", 12, "12.0", "12.0"),
            ("BTC_USDC-PERPETUAL", 1250, "0.125", "1250.0"),
            ("BTC-25DEC26-100000-C", 3, "0.3", "0.3"),
        ] {
            let listed = instruments::listed(&[name.to_owned()], 0);
            let i = listed.first().expect("known");
            assert_eq!(i.quantity(steps).to_string(), amount, "{name}");
            assert_eq!(contracts(i, i.quantity(steps)).to_string(), expected, "{name}");
        }
    }
}
