//! Frames as the venue writes them: decimals as text, times as numbers of milliseconds.

use std::fmt::Write as _;

use crate::decimal::Decimal;
use crate::ledger::{EventData, TradeRecord, Values};
use crate::market::{DepthUpdate, Event, Instrument, LevelChange, Liquidation, Reference, Side, Topic};
use crate::venue::{Snapshot, event_data as data};

/// A text of the form of a UUID, different for each number.
pub(super) fn uuid(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (high, low) = (mixed >> 32, mixed & 0xffff_ffff);
    format!("{high:08x}-{:04x}-5b31-9112-{:04x}{low:08x}", low >> 16, low & 0xffff)
}

fn frame_of(topic: &str, kind: &str, ts: i64, data: &str) -> String {
    format!(r#"{{"topic":"{topic}","type":"{kind}","ts":{ts},"data":{data}}}"#)
}

pub(super) fn event_data(i: &Instrument, event: &Event) -> Vec<EventData> {
    match event {
        Event::Reference(topic, r) => {
            let funding = matches!(topic, Topic::Summary | Topic::Funding);
            let interest = matches!(topic, Topic::Summary | Topic::Interest);
            let funding = data::funding(i, r, true, true).filter(|_| funding);
            funding.into_iter().chain(interest.then(|| interest_data(i, r))).collect()
        }
        Event::Liquidations(orders) => orders.iter().map(|order| data::liquidation(i, order)).collect(),
        _ => Vec::new(),
    }
}

/// Counted on one side, as clients collect it.
fn interest_data(i: &Instrument, r: &Reference) -> EventData {
    let values =
        Values::from([("base", r.open_interest.to_string()), ("value_usd", r.open_interest.times(r.mark))]);
    data::open_interest(i, r.time_ms, values)
}

pub(super) fn frame(i: &Instrument, topic: &str, event: &Event) -> String {
    match event {
        Event::Depth(update) => depth(i, topic, update),
        Event::Reference(part, r) => ticker(i, topic, *part, r),
        Event::Liquidations(orders) => liquidations(i, topic, orders),
        Event::Trade(_) | Event::Aggregate(_) | Event::Ticker(_) => String::new(),
    }
}

/// Levels of a book, and its number, newest change, engine time and time of sending.
struct BookFrame {
    bids: Vec<(i64, i64)>,
    asks: Vec<(i64, i64)>,
    u: u64,
    seq: u64,
    engine_ms: i64,
    sent_ms: i64,
}

impl BookFrame {
    fn text(&self, i: &Instrument, topic: &str, kind: &str) -> String {
        let symbol = &i.symbol;
        let mut out = format!(r#"{{"topic":"{topic}","type":"{kind}","ts":{},"data":"#, self.sent_ms);
        let _ = write!(out, r#"{{"s":"{symbol}","b":"#);
        push_levels(&mut out, i, &self.bids);
        out.push_str(",\"a\":");
        push_levels(&mut out, i, &self.asks);
        let _ = write!(out, r#","u":{},"seq":{}}},"cts":{}}}"#, self.u, self.seq, self.engine_ms);
        out
    }
}

fn push_levels(out: &mut String, i: &Instrument, levels: &[(i64, i64)]) {
    out.push('[');
    for (n, (price, quantity)) in levels.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        // A removed level has a bare zero.
        let quantity = if *quantity == 0 { Decimal::default() } else { i.quantity(*quantity) };
        let _ = write!(out, r#"{comma}["{}","{quantity}"]"#, i.price(*price));
    }
    out.push(']');
}

pub(super) fn snapshot(i: &Instrument, topic: &str, s: &Snapshot) -> String {
    let book = BookFrame {
        bids: s.bids.clone(),
        asks: s.asks.clone(),
        u: s.last_update_id,
        seq: s.change_id,
        engine_ms: s.engine_ms,
        sent_ms: s.engine_ms,
    };
    book.text(i, topic, "snapshot")
}

fn depth(i: &Instrument, topic: &str, d: &DepthUpdate) -> String {
    let levels = |changes: &[LevelChange]| changes.iter().map(LevelChange::level).collect();
    let book = BookFrame {
        bids: levels(&d.bids),
        asks: levels(&d.asks),
        u: d.last_id,
        seq: d.change_id,
        engine_ms: d.engine_ms,
        sent_ms: d.event_ms,
    };
    // After a restart of the service.
    book.text(i, topic, if d.last_id == 1 { "snapshot" } else { "delta" })
}

pub(super) fn trades(
    i: &Instrument,
    topic: &str,
    records: &[TradeRecord],
    trade_id: impl Fn(&TradeRecord) -> String,
) -> String {
    let row = |record: &TradeRecord| {
        let TradeRecord { price, quantity, trade_ms, .. } = record;
        let (symbol, side, id, seq) = (&i.symbol, side(record.taker), trade_id(record), record.id);
        format!(
            r#"{{"T":{trade_ms},"s":"{symbol}","S":"{side}","v":"{quantity}","p":"{price}","L":"PlusTick","i":"{id}","BT":false,"RPI":false,"seq":{seq}}}"#
        )
    };
    let rows: Vec<String> = records.iter().map(row).collect();
    let sent_ms = records.last().map_or(0, |record| record.event_ms);
    frame_of(topic, "snapshot", sent_ms, &format!("[{}]", rows.join(",")))
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Bid => "Buy",
        Side::Ask => "Sell",
    }
}

/// `S` is the side of the position: an order to sell closes a long one.
fn liquidations(i: &Instrument, topic: &str, orders: &[Liquidation]) -> String {
    let row = |o: &Liquidation| {
        let (price, quantity) = (i.price(o.price), i.quantity(o.quantity));
        let (time, symbol, position) = (o.trade_ms, &i.symbol, side(o.side.opposite()));
        format!(r#"{{"T":{time},"s":"{symbol}","S":"{position}","v":"{quantity}","p":"{price}"}}"#)
    };
    let rows: Vec<String> = orders.iter().map(row).collect();
    let sent_ms = orders.last().map_or(0, |order| order.event_ms);
    frame_of(topic, "snapshot", sent_ms, &format!("[{}]", rows.join(",")))
}

/// All fields in the snapshot; in a change those that changed. The interval of funding is in the snapshot alone.
fn ticker(i: &Instrument, topic: &str, part: Topic, r: &Reference) -> String {
    let kind = if part == Topic::Summary { "snapshot" } else { "delta" };
    frame_of(topic, kind, r.time_ms, &object(&ticker_fields(i, part, r)))
}

pub(super) fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
    format!("{{{}}}", fields.join(","))
}

/// Fields of a message, or of a row in the list of tickers.
pub(super) fn ticker_fields(i: &Instrument, part: Topic, r: &Reference) -> Vec<(&'static str, String)> {
    let whole = part == Topic::Summary;
    let mut fields = vec![("symbol", i.symbol.clone())];
    if whole || part == Topic::Interest {
        let single = r.open_interest;
        let both = Decimal { units: single.units.saturating_mul(2), ..single };
        fields.extend([
            ("openInterest", both.to_string()),
            ("openInterestValue", both.times(r.mark)),
            ("singleOpenInterest", single.to_string()),
            ("singleOpenInterestValue", single.times(r.mark)),
        ]);
    }
    if whole || part == Topic::Funding {
        // Empty for contracts without funding.
        let of = |text: Option<String>| text.unwrap_or_default();
        fields.push(("fundingRate", of(r.funding.map(|funding| funding.rate.to_string()))));
        fields.push(("nextFundingTime", of(r.funding.map(|funding| funding.next_ms.to_string()))));
    }
    if whole {
        let hours = r.funding.map(|funding| funding.hours.to_string()).unwrap_or_default();
        fields.push(("fundingIntervalHour", hours));
    }
    if part != Topic::Interest {
        fields.extend([
            ("lastPrice", r.mark.to_string()),
            ("markPrice", r.mark.to_string()),
            ("indexPrice", r.index.to_string()),
        ]);
    }
    fields
}
