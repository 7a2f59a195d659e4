//! Frames as the venue writes them: its field order, decimals as text with trailing zeros.

use super::instruments::Binance;
use crate::decimal;
use crate::ledger::{EventData, TradeKind, TradeRecord};
use crate::market::{BookTicker, DepthUpdate, Event, Instrument, LevelChange, Liquidation, Reference, Side};
use crate::venue::{ListedInstrument, event_data as data};

/// Appends `[["price","quantity"],...]`.
pub(super) fn push_levels(out: &mut String, i: &Instrument, levels: impl Iterator<Item = (i64, i64)>) {
    out.push('[');
    for (n, (price, quantity)) in levels.enumerate() {
        out.push_str(if n == 0 { "[\"" } else { ",[\"" });
        decimal::push(out, price * i.tick, i.price_scale);
        out.push_str("\",\"");
        decimal::push(out, quantity * i.step, i.quantity_scale);
        out.push_str("\"]");
    }
    out.push(']');
}

pub(super) fn event_data(i: &Instrument, event: &Event) -> Vec<EventData> {
    match event {
        Event::Reference(_, reference) => data::funding(i, reference, true, true).into_iter().collect(),
        Event::Liquidations(orders) => orders.iter().map(|order| data::liquidation(i, order)).collect(),
        _ => Vec::new(),
    }
}

impl Binance {
    pub(super) fn trade(self, listed: &ListedInstrument, kind: TradeKind, r: &TradeRecord) -> String {
        let symbol = &listed.instrument.symbol;
        let TradeRecord { id, price, quantity, trade_ms, event_ms, matches: (first, last), .. } = r;
        let maker = r.taker == Side::Ask;
        match kind {
            TradeKind::Trade => format!(
                r#"{{"e":"trade","E":{event_ms},"s":"{symbol}","t":{id},"p":"{price}","q":"{quantity}","T":{trade_ms},"m":{maker},"M":true}}"#
            ),
            TradeKind::Aggregate if self.spot => format!(
                r#"{{"e":"aggTrade","E":{event_ms},"s":"{symbol}","a":{id},"p":"{price}","q":"{quantity}","f":{first},"l":{last},"T":{trade_ms},"m":{maker},"M":true}}"#
            ),
            TradeKind::Aggregate => format!(
                r#"{{"e":"aggTrade","E":{event_ms},"a":{id},"s":"{symbol}","p":"{price}","q":"{quantity}","nq":"{quantity}","f":{first},"l":{last},"T":{trade_ms},"m":{maker},"st":1}}"#
            ),
        }
    }

    pub(super) fn frame(self, i: &Instrument, event: &Event) -> String {
        match event {
            Event::Depth(update) => self.depth(i, update),
            Event::Ticker(ticker) => self.ticker(i, ticker),
            Event::Reference(_, reference) => mark_price(i, reference),
            Event::Liquidations(orders) => {
                orders.iter().map(|order| liquidation((&i.symbol, &i.pair, 1), i, order)).collect()
            }
            Event::Trade(_) | Event::Aggregate(_) => String::new(),
        }
    }

    fn depth(self, i: &Instrument, d: &DepthUpdate) -> String {
        let DepthUpdate { event_ms, engine_ms, first_id, last_id, previous_id, .. } = d;
        let Instrument { symbol, pair, .. } = i;
        let head = if self.spot {
            format!(r#"{{"e":"depthUpdate","E":{event_ms},"s":"{symbol}","U":{first_id},"u":{last_id},"b":"#)
        } else {
            format!(
                r#"{{"e":"depthUpdate","E":{event_ms},"T":{engine_ms},"s":"{symbol}","ps":"{pair}","st":1,"U":{first_id},"u":{last_id},"pu":{previous_id},"b":"#
            )
        };
        let mut out = String::with_capacity(160 + 40 * (d.bids.len() + d.asks.len()));
        out.push_str(&head);
        push_levels(&mut out, i, d.bids.iter().map(LevelChange::level));
        out.push_str(",\"a\":");
        push_levels(&mut out, i, d.asks.iter().map(LevelChange::level));
        out.push('}');
        out
    }

    fn ticker(self, i: &Instrument, t: &BookTicker) -> String {
        let (id, event_ms, Instrument { symbol, pair, .. }) = (t.update_id, t.event_ms, i);
        let (bid, bids) = (i.price(t.bid.0), i.quantity(t.bid.1));
        let (ask, asks) = (i.price(t.ask.0), i.quantity(t.ask.1));
        let levels = format!(r#""b":"{bid}","B":"{bids}","a":"{ask}","A":"{asks}""#);
        if self.spot {
            return format!(r#"{{"u":{id},"s":"{symbol}",{levels}}}"#);
        }
        format!(
            r#"{{"e":"bookTicker","u":{id},"s":"{symbol}","ps":"{pair}",{levels},"T":{event_ms},"E":{event_ms},"st":1}}"#
        )
    }
}

/// Funding rate, empty without funding, and the time of the next funding, 0 without.
pub(super) fn funding(r: &Reference) -> (String, i64) {
    r.funding.map_or((String::new(), 0), |funding| (funding.rate.to_string(), funding.next_ms))
}

fn mark_price(i: &Instrument, r: &Reference) -> String {
    let (Instrument { symbol, .. }, Reference { time_ms, mark, index, .. }, (rate, next)) =
        (i, r, funding(r));
    format!(
        r#"{{"e":"markPriceUpdate","E":{time_ms},"s":"{symbol}","p":"{mark}","ap":"{mark}","P":"{index}","i":"{index}","r":"{rate}","T":{next},"st":1}}"#
    )
}

/// `names`: symbol, pair, and the venue's number of the contract type.
fn liquidation((symbol, pair, st): (&str, &str, u8), i: &Instrument, order: &Liquidation) -> String {
    let side = if order.side == Side::Bid { "BUY" } else { "SELL" };
    let (price, quantity) = (i.price(order.price), i.quantity(order.quantity));
    let Liquidation { event_ms, trade_ms, .. } = order;
    format!(
        r#"{{"e":"forceOrder","E":{event_ms},"st":{st},"o":{{"s":"{symbol}","ps":"{pair}","S":"{side}","o":"LIMIT","f":"IOC","q":"{quantity}","p":"{price}","ap":"{price}","X":"FILLED","l":"{quantity}","z":"{quantity}","T":{trade_ms}}}}}"#
    )
}

/// The stream of all liquidations also has those of the coin-margined venue: another symbol, contracts instead of base units.
pub(super) fn foreign_liquidation(i: &Instrument, order: &Liquidation) -> String {
    let coin = i.base.clone() + "USD";
    liquidation((&format!("{coin}_PERP"), &coin, 2), i, order)
}
