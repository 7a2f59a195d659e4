//! Frames as the venue writes them: decimals as text without trailing zeros, times as text.

use std::fmt::Write as _;

use super::instruments::{LIQUIDATIONS, family, instrument_type};
use crate::decimal::Decimal;
use crate::ledger::{DataType, EventData, TradeRecord, Values};
use crate::market::{
    BookTicker, DepthUpdate, Event, Instrument, LevelChange, Liquidation, Reference, Sizing, Topic,
};
use crate::venue::{ListedInstrument, Newest, Snapshot, event_data as data};

/// A frame without its data: `{"arg":{"channel":"..","instId":".."},`
fn head(channel: &str, i: &Instrument) -> String {
    format!(r#"{{"arg":{{"channel":"{channel}","instId":"{}"}},"#, i.symbol)
}

fn with_rows(channel: &str, i: &Instrument, rows: &[String]) -> String {
    format!(r#"{}"data":[{}]}}"#, head(channel, i), rows.join(","))
}

pub(super) fn event_data(i: &Instrument, event: &Event) -> Vec<EventData> {
    match event {
        Event::Reference(Topic::Funding, r) => funding_data(i, r).into_iter().collect(),
        Event::Reference(Topic::Interest, r) => vec![Interest::of(i, r).data(i)],
        Event::Liquidations(orders) => orders.iter().map(|order| data::liquidation(i, order)).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn frame(i: &Instrument, event: &Event) -> String {
    match event {
        Event::Depth(update) => depth(i, update),
        Event::Ticker(t) => with_rows("tickers", i, &[ticker(i, t)]),
        Event::Reference(Topic::Funding, r) => {
            with_rows("funding-rate", i, &[funding_row(i, r).unwrap_or_default()])
        }
        Event::Reference(Topic::Interest, r) => with_rows("open-interest", i, &[Interest::of(i, r).row(i)]),
        Event::Reference(_, r) => {
            let (kind, symbol, price, ts) = (instrument_type(i), &i.symbol, r.mark.trimmed(), r.time_ms);
            let row =
                format!(r#"{{"instType":"{kind}","instId":"{symbol}","markPx":"{price}","ts":"{ts}"}}"#);
            with_rows("mark-price", i, &[row])
        }
        Event::Liquidations(orders) => liquidations(i, orders),
        Event::Trade(_) | Event::Aggregate(_) => String::new(),
    }
}

/// Action, previous and last update id, and time of a book frame.
type BookHead = (&'static str, i64, u64, i64);

fn book(
    i: &Instrument,
    (action, previous, last, ts): BookHead,
    asks: impl Iterator<Item = (i64, i64)>,
    bids: impl Iterator<Item = (i64, i64)>,
) -> String {
    let mut out = head("books", i);
    let _ = write!(out, r#""action":"{action}","data":[{{"asks":"#);
    push_levels(&mut out, i, asks);
    out.push_str(",\"bids\":");
    push_levels(&mut out, i, bids);
    // The checksum is constantly 0 in production.
    let _ = write!(out, r#","ts":"{ts}","checksum":0,"prevSeqId":{previous},"seqId":{last}}}]}}"#);
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

pub(super) fn snapshot(i: &Instrument, s: &Snapshot) -> String {
    let head = ("snapshot", -1, s.last_update_id, s.engine_ms);
    book(i, head, s.asks.iter().copied(), s.bids.iter().copied())
}

fn depth(i: &Instrument, d: &DepthUpdate) -> String {
    let head = ("update", i64::try_from(d.previous_id).unwrap_or(i64::MAX), d.last_id, d.engine_ms);
    book(i, head, d.asks.iter().map(LevelChange::level), d.bids.iter().map(LevelChange::level))
}

pub(super) fn trades(i: &Instrument, records: &[TradeRecord]) -> String {
    let row = |record: &TradeRecord| {
        let TradeRecord { price, quantity, trade_ms, matches: (first, last), .. } = record;
        let (symbol, side, count) = (&i.symbol, record.taker.order(), last - first + 1);
        format!(
            r#"{{"instId":"{symbol}","tradeId":"{last}","px":"{price}","sz":"{quantity}","side":"{side}","ts":"{trade_ms}","count":"{count}","source":"0","seqId":{last}}}"#
        )
    };
    with_rows("trades", i, &records.iter().map(row).collect::<Vec<_>>())
}

fn ticker(i: &Instrument, t: &BookTicker) -> String {
    let (kind, symbol, ts) = (instrument_type(i), &i.symbol, t.event_ms);
    let (ask, asks) = (i.price(t.ask.0), i.quantity(t.ask.1));
    let (bid, bids) = (i.price(t.bid.0), i.quantity(t.bid.1));
    format!(
        r#"{{"instType":"{kind}","instId":"{symbol}","last":"{bid}","lastSz":"{bids}","askPx":"{ask}","askSz":"{asks}","bidPx":"{bid}","bidSz":"{bids}","ts":"{ts}"}}"#
    )
}

pub(super) fn funding_data(i: &Instrument, r: &Reference) -> Option<EventData> {
    data::funding(i, r, false, true)
}

/// `None` for an instrument without funding.
pub(super) fn funding_row(i: &Instrument, r: &Reference) -> Option<String> {
    let funding = r.funding?;
    let interval = i64::from(funding.hours) * 3_600_000;
    let (rate, time, kind, symbol, ts) =
        (funding.rate, funding.next_ms, instrument_type(i), &i.symbol, r.time_ms);
    let (next, previous) = (time + interval, time - interval);
    Some(format!(
        concat!(
            r#"{{"fundingRate":"{rate}","fundingTime":"{time}","nextFundingRate":"","nextFundingTime":"{next}","#,
            r#""method":"current_period","maxFundingRate":"0.00375","minFundingRate":"-0.00375","#,
            r#""settFundingRate":"-0.0001996513270201","settState":"settled","premium":"0.0001","#,
            r#""instType":"{kind}","instId":"{symbol}","prevFundingTime":"{previous}","ts":"{ts}"}}"#
        ),
        rate = rate,
        time = time,
        next = next,
        kind = kind,
        symbol = symbol,
        previous = previous,
        ts = ts
    ))
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
        // Options are priced in coins; a round dollar price serves for them.
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
        let (Interest { contracts, base, usd, time_ms }, symbol, kind) =
            (self, &i.symbol, instrument_type(i));
        format!(
            r#"{{"instId":"{symbol}","instType":"{kind}","oi":"{contracts}","oiCcy":"{base}","oiUsd":"{usd}","ts":"{time_ms}"}}"#
        )
    }

    pub(super) fn data(&self, i: &Instrument) -> EventData {
        let values = Values::from([
            ("contracts", self.contracts.to_string()),
            ("base", self.base.clone()),
            ("value_usd", self.usd.clone()),
        ]);
        data::open_interest(i, self.time_ms, values)
    }
}

/// A quotient with ten digits behind the point, truncated.
fn quotient(dividend: &str, divisor: Decimal) -> String {
    let Some(n) = Decimal::parse(dividend).filter(|_| divisor.units > 0) else { return "0".to_owned() };
    let up = 10i128.pow(10 + u32::from(divisor.scale).saturating_sub(u32::from(n.scale)));
    let units = i128::from(n.units) * up / i128::from(divisor.units);
    let down = 10i128.pow(u32::from(n.scale).saturating_sub(u32::from(divisor.scale)));
    Decimal { units: i64::try_from(units / down).unwrap_or(i64::MAX), scale: 10 }.trimmed().to_string()
}

fn liquidation_detail(side: &str, price: &str, quantity: &str, ts: i64) -> String {
    let position = if side == "buy" { "short" } else { "long" };
    format!(
        r#"{{"bkLoss":"0","bkPx":"{price}","ccy":"","posSide":"{position}","side":"{side}","sz":"{quantity}","ts":"{ts}"}}"#
    )
}

fn liquidation_row(i: &Instrument, details: &[String]) -> String {
    let (family, kind, symbol) = (family(i), instrument_type(i), &i.symbol);
    let details = details.join(",");
    format!(
        r#"{{"details":[{details}],"instFamily":"{family}","instId":"{symbol}","instType":"{kind}","uly":"{family}"}}"#
    )
}

fn liquidation_frame(kind: &str, rows: &[String]) -> String {
    let rows = rows.join(",");
    format!(r#"{{"arg":{{"channel":"{LIQUIDATIONS}","instType":"{kind}"}},"data":[{rows}]}}"#)
}

fn liquidations(i: &Instrument, orders: &[Liquidation]) -> String {
    let detail = |o: &Liquidation| {
        let (price, quantity) = (i.price(o.price).to_string(), i.quantity(o.quantity).to_string());
        liquidation_detail(o.side.order(), &price, &quantity, o.trade_ms)
    };
    let details: Vec<String> = orders.iter().map(detail).collect();
    liquidation_frame(instrument_type(i), &[liquidation_row(i, &details)])
}

/// The first message after subscribing to liquidations repeats the newest ones.
pub(super) fn recent_liquidations(
    kind: &str,
    listed: &[ListedInstrument],
    newest: &Newest<'_>,
) -> Option<(String, Vec<u64>)> {
    let find = |symbol: &str| {
        listed.iter().map(|l| &l.instrument).find(|i| i.symbol == symbol && instrument_type(i) == kind)
    };
    let events = newest(DataType::Liquidation, &|symbol| find(symbol).is_some(), 3);
    let rows: Vec<String> = events
        .iter()
        .filter_map(|event| {
            let text = |name: &str| event.values.get(name).map(String::as_str).unwrap_or_default();
            let detail = liquidation_detail(text("side"), text("price"), text("quantity"), event.time_ms);
            Some(liquidation_row(find(&event.symbol)?, &[detail]))
        })
        .collect();
    let numbers = events.iter().map(|event| event.number).collect();
    (!rows.is_empty()).then(|| (liquidation_frame(kind, &rows), numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_have_ten_digits() {
        assert_eq!(quotient("1000000", Decimal { units: 95_000_123, scale: 3 }), "10.5263021606");
        assert_eq!(quotient("10.5", Decimal { units: 3, scale: 0 }), "3.5");
    }
}
