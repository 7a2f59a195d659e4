//! Frames as the venue writes them: field order, decimals as text with the venue's digits.

use std::fmt::Write as _;
use std::sync::Arc;

use super::streams;
use super::venue::Flavor;
use crate::decimal;
use crate::frame::Frame;
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{BookTicker, Contract, DepthUpdate, Event, Instrument, Liquidation, MarkPrice, Side};
use crate::venue::Listed;

pub(super) fn push_price(out: &mut String, instrument: &Instrument, ticks: i64) {
    decimal::push(out, ticks * instrument.tick, instrument.price_scale);
}

pub(super) fn push_quantity(out: &mut String, instrument: &Instrument, steps: i64) {
    decimal::push(out, steps * instrument.step, instrument.quantity_scale);
}

/// Appends `[["price","quantity"],...]`.
pub(super) fn push_levels(out: &mut String, instrument: &Instrument, levels: &[(i64, i64)]) {
    out.push('[');
    for (n, (price, quantity)) in levels.iter().enumerate() {
        out.push_str(if n == 0 { "[\"" } else { ",[\"" });
        push_price(out, instrument, *price);
        out.push_str("\",\"");
        push_quantity(out, instrument, *quantity);
        out.push_str("\"]");
    }
    out.push(']');
}

pub(super) fn trade(flavor: Flavor, listed: &Listed, kind: TradeKind, r: &TradeRecord) -> String {
    let symbol = &listed.instrument.symbol;
    let (id, price, quantity, at, event) = (r.id, r.price, r.quantity, r.trade_ms, r.event_ms);
    let (first, last) = r.matches;
    let maker = r.taker == Side::Ask;
    match (flavor, kind) {
        (Flavor::Spot, TradeKind::Trade) => format!(
            concat!(
                r#"{{"e":"trade","E":{},"s":"{}","t":{},"p":"{}","q":"{}","#,
                r#""T":{},"m":{},"M":true}}"#
            ),
            event, symbol, id, price, quantity, at, maker
        ),
        (Flavor::Spot, TradeKind::Aggregate) => format!(
            concat!(
                r#"{{"e":"aggTrade","E":{},"s":"{}","a":{},"p":"{}","q":"{}","#,
                r#""f":{},"l":{},"T":{},"m":{},"M":true}}"#
            ),
            event, symbol, id, price, quantity, first, last, at, maker
        ),
        (Flavor::UsdM, _) => format!(
            concat!(
                r#"{{"e":"aggTrade","E":{},"a":{},"s":"{}","p":"{}","q":"{}","nq":"{}","#,
                r#""f":{},"l":{},"T":{},"m":{},"st":1}}"#
            ),
            event, id, symbol, price, quantity, quantity, first, last, at, maker
        ),
    }
}

pub(super) fn event(
    flavor: Flavor,
    listed: &Listed,
    event: &Event,
    wants: &dyn Fn(&str) -> bool,
    out: &mut Vec<Frame>,
) {
    let mut send = |stream: &Arc<str>, book: bool, raw: String| {
        out.push(Frame::new(stream.clone(), Some(listed.index), book, None, raw));
    };
    let wanted = |stream: Option<&Arc<str>>| stream.filter(|name| wants(name)).cloned();
    match event {
        Event::Depth(update) => {
            let mut raw = None;
            for stream in streams::depth(flavor, listed, update.cadence).iter().filter(|name| wants(name)) {
                let raw = raw.get_or_insert_with(|| depth(flavor, &listed.instrument, update));
                send(stream, true, raw.clone());
            }
        }
        Event::Ticker(t) => {
            if let Some(stream) = wanted(streams::ticker(flavor, listed)) {
                send(&stream, false, ticker(flavor, &listed.instrument, t));
            }
        }
        Event::Mark(mark) => {
            if let Some(stream) = wanted(streams::mark(listed, mark.period_s)) {
                send(&stream, false, mark_price(&listed.instrument, mark));
            }
        }
        Event::Liquidation(order) => {
            if let Some(stream) = wanted(streams::liquidation(listed)) {
                send(&stream, false, liquidation(&listed.instrument, order));
            }
        }
        // Trades are written from their ledger entry.
        Event::Trade(_) | Event::Aggregate(_) => {}
    }
}

// Writing to a String cannot fail, so the results of `write!` are let go below.

fn depth(flavor: Flavor, instrument: &Instrument, d: &DepthUpdate) -> String {
    let mut out = String::with_capacity(160 + 40 * (d.bids.len() + d.asks.len()));
    let (symbol, event, first, last) = (&instrument.symbol, d.event_ms, d.first_id, d.last_id);
    let _ = match flavor {
        Flavor::Spot => {
            write!(out, r#"{{"e":"depthUpdate","E":{event},"s":"{symbol}","U":{first},"u":{last},"b":"#)
        }
        Flavor::UsdM => write!(
            out,
            concat!(
                r#"{{"e":"depthUpdate","E":{},"T":{},"s":"{}","ps":"{}","st":1,"#,
                r#""U":{},"u":{},"pu":{},"b":"#
            ),
            event, d.engine_ms, symbol, instrument.pair, first, last, d.previous_id
        ),
    };
    push_levels(&mut out, instrument, &d.bids);
    out.push_str(",\"a\":");
    push_levels(&mut out, instrument, &d.asks);
    out.push('}');
    out
}

fn ticker(flavor: Flavor, instrument: &Instrument, t: &BookTicker) -> String {
    let mut out = String::with_capacity(200);
    let (symbol, id) = (&instrument.symbol, t.update_id);
    let _ = match flavor {
        Flavor::Spot => write!(out, r#"{{"u":{id},"s":"{symbol}","#),
        Flavor::UsdM => {
            write!(out, r#"{{"e":"bookTicker","u":{id},"s":"{symbol}","ps":"{}","#, instrument.pair)
        }
    };
    for (price_key, quantity_key, level) in [("b", "B", t.bid), ("a", "A", t.ask)] {
        let _ = write!(out, r#""{price_key}":""#);
        push_price(&mut out, instrument, level.0);
        let _ = write!(out, r#"","{quantity_key}":""#);
        push_quantity(&mut out, instrument, level.1);
        out.push_str("\",");
    }
    if flavor == Flavor::UsdM {
        let _ = write!(out, r#""T":{0},"E":{0},"st":1,"#, t.event_ms);
    }
    out.pop();
    out.push('}');
    out
}

fn mark_price(instrument: &Instrument, m: &MarkPrice) -> String {
    let text = |ticks| {
        let mut price = String::new();
        push_price(&mut price, instrument, ticks);
        price
    };
    let mut rate = String::new();
    if let Some(funding) = m.funding_e8 {
        decimal::push(&mut rate, funding, 8);
    }
    format!(
        concat!(
            r#"{{"e":"markPriceUpdate","E":{},"s":"{}","p":"{}","ap":"{}","P":"{}","i":"{}","#,
            r#""r":"{}","T":{},"st":1}}"#
        ),
        m.event_ms,
        instrument.symbol,
        text(m.mark),
        text(m.mark),
        text(m.index),
        text(m.index),
        rate,
        m.next_funding_ms
    )
}

fn liquidation(instrument: &Instrument, order: &Liquidation) -> String {
    let side = if order.side == Side::Bid { "BUY" } else { "SELL" };
    let (mut price, mut quantity) = (String::new(), String::new());
    push_price(&mut price, instrument, order.price);
    push_quantity(&mut quantity, instrument, order.quantity);
    let pair = match instrument.contract {
        Contract::Quarter { .. } => &instrument.pair,
        _ => &instrument.symbol,
    };
    format!(
        concat!(
            r#"{{"e":"forceOrder","E":{},"st":1,"o":{{"s":"{}","ps":"{}","S":"{}","o":"LIMIT","f":"IOC","#,
            r#""q":"{}","p":"{}","ap":"{}","X":"FILLED","l":"{}","z":"{}","T":{}}}}}"#
        ),
        order.event_ms,
        instrument.symbol,
        pair,
        side,
        quantity,
        price,
        price,
        quantity,
        quantity,
        order.trade_ms
    )
}
