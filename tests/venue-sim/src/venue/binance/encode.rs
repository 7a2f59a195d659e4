//! Frames as the venue writes them: field order, decimals as text with the venue's digits.

use std::fmt::Write as _;
use std::sync::Arc;

use super::streams;
use super::venue::Flavor;
use crate::decimal;
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{
    BookTicker, DepthUpdate, Event, Instrument, LevelChange, Liquidation, Reference, Side, Topic,
};
use crate::venue::{Encoded, Listed, funding, liquidation as told_liquidation};

fn push_price(out: &mut String, instrument: &Instrument, ticks: i64) {
    decimal::push(out, ticks * instrument.tick, instrument.price_scale);
}

fn push_quantity(out: &mut String, instrument: &Instrument, steps: i64) {
    decimal::push(out, steps * instrument.step, instrument.quantity_scale);
}

/// Appends `[["price","quantity"],...]`.
pub(super) fn push_levels(
    out: &mut String,
    instrument: &Instrument,
    levels: impl Iterator<Item = (i64, i64)>,
) {
    out.push('[');
    for (n, (price, quantity)) in levels.enumerate() {
        out.push_str(if n == 0 { "[\"" } else { ",[\"" });
        push_price(out, instrument, price);
        out.push_str("\",\"");
        push_quantity(out, instrument, quantity);
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
) -> Vec<Encoded> {
    let instrument = &listed.instrument;
    let wanted = |stream: Option<&Arc<str>>| stream.filter(|name| wants(name)).cloned();
    let plain = |stream, raw| vec![Encoded { told: Vec::new(), frames: vec![(stream, raw)] }];
    match event {
        Event::Depth(update) => {
            let streams = streams::depth(flavor, listed, update.cadence);
            let mut wanted = streams.iter().filter(|name| wants(name)).peekable();
            if wanted.peek().is_none() {
                return Vec::new();
            }
            let raw = depth(flavor, instrument, update);
            let frames = wanted.map(|stream| (stream.clone(), raw.clone())).collect();
            vec![Encoded { told: Vec::new(), frames }]
        }
        Event::Ticker(t) => match wanted(streams::ticker(flavor, listed)) {
            Some(stream) => plain(stream, ticker(flavor, instrument, t)),
            None => Vec::new(),
        },
        Event::Reference(Topic::Mark(number), reference) => match wanted(streams::mark(listed, *number)) {
            Some(stream) => {
                let told = funding(instrument, reference, true, true).into_iter().collect();
                vec![Encoded { told, frames: vec![(stream, mark_price(instrument, reference))] }]
            }
            None => Vec::new(),
        },
        Event::Liquidations(orders) => {
            orders.iter().flat_map(|order| liquidations(listed, order, wants)).collect()
        }
        // Trades are written from their ledger entry.
        _ => Vec::new(),
    }
}

fn liquidations(listed: &Listed, order: &Liquidation, wants: &dyn Fn(&str) -> bool) -> Vec<Encoded> {
    let instrument = &listed.instrument;
    let raw = liquidation((&instrument.symbol, &instrument.pair, 1), instrument, order);
    let all = Arc::from(streams::ALL_LIQUIDATIONS);
    let own = streams::liquidation(listed).into_iter().chain([&all]).filter(|stream| wants(stream));
    let frames: Vec<_> = own.map(|stream| (stream.clone(), raw.clone())).collect();
    let mut encoded = Vec::new();
    if !frames.is_empty() {
        encoded.push(Encoded { told: vec![told_liquidation(instrument, order)], frames });
    }
    if wants(&all) {
        // The coin-margined venue's order comes beside it: another symbol, contracts instead of base units.
        let coin = instrument.base.clone() + "USD";
        let raw = liquidation((&format!("{coin}_PERP"), &coin, 2), instrument, order);
        encoded.push(Encoded { told: Vec::new(), frames: vec![(all, raw)] });
    }
    encoded
}

// Writing to a String cannot fail, so the results of `write!` are let go below.

fn plain(level: &LevelChange) -> (i64, i64) {
    (level.price, level.quantity)
}

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
    push_levels(&mut out, instrument, d.bids.iter().map(plain));
    out.push_str(",\"a\":");
    push_levels(&mut out, instrument, d.asks.iter().map(plain));
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

fn mark_price(instrument: &Instrument, r: &Reference) -> String {
    let (rate, next) = r.funding.map_or((String::new(), 0), |f| (f.rate.to_string(), f.next_ms));
    format!(
        concat!(
            r#"{{"e":"markPriceUpdate","E":{},"s":"{}","p":"{}","ap":"{}","P":"{}","i":"{}","#,
            r#""r":"{}","T":{},"st":1}}"#
        ),
        r.time_ms, instrument.symbol, r.mark, r.mark, r.index, r.index, rate, next
    )
}

/// `names`: symbol, pair, and the venue's number of the kind of contract.
fn liquidation(names: (&str, &str, u8), instrument: &Instrument, order: &Liquidation) -> String {
    let side = if order.side == Side::Bid { "BUY" } else { "SELL" };
    let (price, quantity) = (instrument.price(order.price), instrument.quantity(order.quantity));
    format!(
        concat!(
            r#"{{"e":"forceOrder","E":{},"st":{},"o":{{"s":"{}","ps":"{}","S":"{}","o":"LIMIT","f":"IOC","#,
            r#""q":"{}","p":"{}","ap":"{}","X":"FILLED","l":"{}","z":"{}","T":{}}}}}"#
        ),
        order.event_ms,
        names.2,
        names.0,
        names.1,
        side,
        quantity,
        price,
        price,
        quantity,
        quantity,
        order.trade_ms
    )
}
