//! Frames as the venue writes them: decimals as text without closing zeros, times as text.

use std::fmt::Write as _;
use std::sync::Arc;

use super::streams::{self, instrument_type};
use crate::decimal::Decimal;
use crate::ledger::{DataType, Told, TradeRecord, Values};
use crate::market::{
    BookTicker, DepthUpdate, Event, Instrument, LevelChange, Liquidation, Reference, Side, Sizing, Topic,
};
use crate::venue::{self, Encoded, Listed, Newest, Snapshot};

// Writing to a String cannot fail, so the results of `write!` are let go below.

/// `{"arg":{"channel":"..","instId":".."},`
fn head(channel: &str, instrument: &Instrument) -> String {
    let mut out = String::with_capacity(512);
    let _ = write!(out, r#"{{"arg":{{"channel":"{channel}","instId":"{}"}},"#, instrument.symbol);
    out
}

fn push_levels(out: &mut String, i: &Instrument, levels: impl Iterator<Item = (i64, i64)>) {
    out.push('[');
    for (n, (price, quantity)) in levels.enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let orders = if quantity == 0 { 0 } else { 1 + quantity % 7 };
        let _ = write!(out, r#"{comma}["{}","{}","0","{orders}"]"#, i.price(price), i.quantity(quantity));
    }
    out.push(']');
}

/// What stands around the levels of a book frame.
struct BookHead {
    action: &'static str,
    previous: i64,
    last: u64,
    ts: i64,
}

fn book(
    i: &Instrument,
    head_of: &BookHead,
    asks: impl Iterator<Item = (i64, i64)>,
    bids: impl Iterator<Item = (i64, i64)>,
) -> String {
    let mut out = head("books", i);
    let _ = write!(out, r#""action":"{}","data":[{{"asks":"#, head_of.action);
    push_levels(&mut out, i, asks);
    out.push_str(",\"bids\":");
    push_levels(&mut out, i, bids);
    let BookHead { previous, last, ts, .. } = head_of;
    // The checksum is dead: constant 0 in production.
    let _ = write!(out, r#","ts":"{ts}","checksum":0,"prevSeqId":{previous},"seqId":{last}}}]}}"#);
    out
}

pub(super) fn snapshot(i: &Instrument, s: &Snapshot) -> String {
    let head = BookHead { action: "snapshot", previous: -1, last: s.last_update_id, ts: s.engine_ms };
    book(i, &head, s.asks.iter().copied(), s.bids.iter().copied())
}

fn depth(i: &Instrument, d: &DepthUpdate) -> String {
    let plain = |level: &LevelChange| (level.price, level.quantity);
    let previous = i64::try_from(d.previous_id).unwrap_or(i64::MAX);
    let head = BookHead { action: "update", previous, last: d.last_id, ts: d.engine_ms };
    book(i, &head, d.asks.iter().map(plain), d.bids.iter().map(plain))
}

fn side(side: Side) -> &'static str {
    if side == Side::Bid { "buy" } else { "sell" }
}

pub(super) fn trades(i: &Instrument, records: &[TradeRecord]) -> String {
    let mut out = head("trades", i);
    out.push_str("\"data\":[");
    for (n, r) in records.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let (first, last) = r.matches;
        let _ = write!(
            out,
            concat!(
                r#"{}{{"instId":"{}","tradeId":"{}","px":"{}","sz":"{}","side":"{}","ts":"{}","#,
                r#""count":"{}","source":"0","seqId":{}}}"#
            ),
            comma,
            i.symbol,
            last,
            r.price,
            r.quantity,
            side(r.taker),
            r.trade_ms,
            last - first + 1,
            last
        );
    }
    out.push_str("]}");
    out
}

pub(super) fn event(listed: &Listed, event: &Event, wants: &dyn Fn(&str) -> bool) -> Vec<Encoded> {
    let i = &listed.instrument;
    let wanted = |channel: &str| streams::stream(listed, channel).filter(|name| wants(name)).cloned();
    let one = |stream, raw, told: Option<Told>| {
        vec![Encoded { told: told.into_iter().collect(), frames: vec![(stream, raw)] }]
    };
    let found = match event {
        Event::Depth(update) => wanted("books").map(|stream| one(stream, depth(i, update), None)),
        Event::Ticker(t) => wanted("tickers").map(|stream| one(stream, ticker(i, t), None)),
        Event::Reference(Topic::Funding, r) => {
            wanted("funding-rate").map(|stream| one(stream, funding(i, r), told_funding(i, r)))
        }
        Event::Reference(Topic::Interest, r) => wanted("open-interest").map(|stream| {
            let interest = Interest::of(i, r);
            let raw = head("open-interest", i) + r#""data":["# + &interest.row(i) + "]}";
            one(stream, raw, Some(interest.told(i)))
        }),
        Event::Reference(_, r) => wanted("mark-price").map(|stream| one(stream, mark(i, r), None)),
        Event::Liquidations(orders) => {
            let stream: Arc<str> = Arc::from(streams::liquidations(instrument_type(i)));
            wants(&stream).then(|| {
                let told = orders.iter().map(|order| venue::liquidation(i, order)).collect();
                vec![Encoded { told, frames: vec![(stream, liquidations(i, orders))] }]
            })
        }
        Event::Trade(_) | Event::Aggregate(_) => None,
    };
    found.unwrap_or_default()
}

fn ticker(i: &Instrument, t: &BookTicker) -> String {
    let (kind, symbol) = (instrument_type(i), &i.symbol);
    let (ask, asks) = (i.price(t.ask.0), i.quantity(t.ask.1));
    let (bid, bids) = (i.price(t.bid.0), i.quantity(t.bid.1));
    head("tickers", i)
        + &format!(
            concat!(
                r#""data":[{{"instType":"{}","instId":"{}","last":"{}","lastSz":"{}","askPx":"{}","#,
                r#""askSz":"{}","bidPx":"{}","bidSz":"{}","ts":"{}"}}]}}"#
            ),
            kind, symbol, bid, bids, ask, asks, bid, bids, t.event_ms
        )
}

fn mark(i: &Instrument, r: &Reference) -> String {
    let (kind, symbol, price, ts) = (instrument_type(i), &i.symbol, r.mark.trimmed(), r.time_ms);
    head("mark-price", i)
        + &format!(r#""data":[{{"instType":"{kind}","instId":"{symbol}","markPx":"{price}","ts":"{ts}"}}]}}"#)
}

/// The row of a funding rate; empty for an instrument without funding.
pub(super) fn funding_row(i: &Instrument, r: &Reference) -> Option<String> {
    let f = r.funding?;
    let hours = i64::from(f.hours) * 3_600_000;
    Some(format!(
        concat!(
            r#"{{"fundingRate":"{}","fundingTime":"{}","nextFundingRate":"","nextFundingTime":"{}","#,
            r#""method":"current_period","maxFundingRate":"0.00375","minFundingRate":"-0.00375","#,
            r#""settFundingRate":"-0.0001996513270201","settState":"settled","premium":"0.0001","#,
            r#""instType":"{}","instId":"{}","prevFundingTime":"{}","ts":"{}"}}"#
        ),
        f.rate,
        f.next_ms,
        f.next_ms + hours,
        instrument_type(i),
        i.symbol,
        f.next_ms - hours,
        r.time_ms
    ))
}

fn funding(i: &Instrument, r: &Reference) -> String {
    head("funding-rate", i) + r#""data":["# + &funding_row(i, r).unwrap_or_default() + "]}"
}

pub(super) fn told_funding(i: &Instrument, r: &Reference) -> Option<Told> {
    venue::funding(i, r, false, true)
}

/// Open interest in the venue's three units.
pub(super) struct Interest {
    contracts: Decimal,
    base: String,
    usd: String,
    time_ms: i64,
}

impl Interest {
    pub(super) fn of(i: &Instrument, r: &Reference) -> Interest {
        let contracts = r.open_interest.trimmed();
        // Options are priced in coins; what a coin is worth in dollars is only a round figure here.
        let price = if i.market_type() == "options" { Decimal { units: 95_000, scale: 0 } } else { r.mark };
        let (base, usd) = match i.sizing {
            Sizing::Base => (contracts.to_string(), contracts.times(price)),
            Sizing::Contracts(size) => {
                let base = contracts.times(size);
                let usd = Decimal::parse(&base).map(|base| base.times(price)).unwrap_or_default();
                (base, usd)
            }
            Sizing::Value(value) => {
                let usd = contracts.times(value);
                (quotient(&usd, price), usd)
            }
        };
        Interest { contracts, base, usd, time_ms: r.time_ms }
    }

    pub(super) fn row(&self, i: &Instrument) -> String {
        let Interest { contracts, base, usd, time_ms } = self;
        format!(
            concat!(
                r#"{{"instId":"{}","instType":"{}","oi":"{}","oiCcy":"{}","oiUsd":"{}","#,
                r#""ts":"{}"}}"#
            ),
            i.symbol,
            instrument_type(i),
            contracts,
            base,
            usd,
            time_ms
        )
    }

    pub(super) fn told(&self, i: &Instrument) -> Told {
        let values = Values::from([
            ("contracts", self.contracts.to_string()),
            ("base", self.base.clone()),
            ("value_usd", self.usd.clone()),
        ]);
        venue::open_interest(i, self.time_ms, values)
    }
}

/// A quotient with ten digits behind the point, cut.
fn quotient(dividend: &str, divisor: Decimal) -> String {
    let Some(n) = Decimal::parse(dividend).filter(|_| divisor.units > 0) else { return "0".to_owned() };
    let up = 10i128.pow(10 + u32::from(divisor.scale).saturating_sub(u32::from(n.scale)));
    let units = i128::from(n.units) * up / i128::from(divisor.units);
    let down = 10i128.pow(u32::from(n.scale).saturating_sub(u32::from(divisor.scale)));
    Decimal { units: i64::try_from(units / down).unwrap_or(i64::MAX), scale: 10 }.trimmed().to_string()
}

fn detail(side: &str, price: &str, quantity: &str, ts: i64) -> String {
    let position = if side == "buy" { "short" } else { "long" };
    format!(
        concat!(
            r#"{{"bkLoss":"0","bkPx":"{}","ccy":"","posSide":"{}","side":"{}","sz":"{}","#,
            r#""ts":"{}"}}"#
        ),
        price, position, side, quantity, ts
    )
}

fn row(i: &Instrument, details: &[String]) -> String {
    let (family, kind) = (super::instruments::family(i), instrument_type(i));
    format!(
        r#"{{"details":[{}],"instFamily":"{family}","instId":"{}","instType":"{kind}","uly":"{family}"}}"#,
        details.join(","),
        i.symbol
    )
}

fn liquidation_frame(kind: &str, rows: &[String]) -> String {
    let channel = streams::LIQUIDATIONS;
    format!(r#"{{"arg":{{"channel":"{channel}","instType":"{kind}"}},"data":[{}]}}"#, rows.join(","))
}

fn liquidations(i: &Instrument, orders: &[Liquidation]) -> String {
    let one = |o: &Liquidation| {
        let (price, quantity) = (i.price(o.price).to_string(), i.quantity(o.quantity).to_string());
        detail(side(o.side), &price, &quantity, o.trade_ms)
    };
    let details: Vec<String> = orders.iter().map(one).collect();
    liquidation_frame(instrument_type(i), &[row(i, &details)])
}

/// The first message after subscribing to forced orders repeats the newest ones.
pub(super) fn recent_liquidations(
    kind: &str,
    listed: &[Listed],
    newest: &Newest<'_>,
) -> Option<(String, Vec<u64>)> {
    let find = |symbol: &str| {
        let of = listed.iter().map(|l| &l.instrument);
        of.into_iter().find(|i| i.symbol == symbol && instrument_type(i) == kind)
    };
    let events = newest(DataType::Liquidation, &|symbol| find(symbol).is_some(), 3);
    let mut rows = Vec::new();
    for event in &events {
        let text = |name: &str| event.told.values.get(name).map(String::as_str).unwrap_or_default();
        if let Some(i) = find(&event.told.symbol) {
            let one = detail(text("side"), text("price"), text("quantity"), event.told.time_ms);
            rows.push(row(i, &[one]));
        }
    }
    let numbers = events.iter().map(|event| event.number).collect();
    (!rows.is_empty()).then(|| (liquidation_frame(kind, &rows), numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: coins of an inverse contract are its value divided by the price.
    #[test]
    fn quotients_have_ten_digits() {
        assert_eq!(quotient("1000000", Decimal { units: 95_000_123, scale: 3 }), "10.5263021606");
        assert_eq!(quotient("10.5", Decimal { units: 3, scale: 0 }), "3.5");
    }
}
