//! Trades, books and counters for tests, as Rust values and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::delivery::CountersView;
use crate::exchange::{Exchange, lock};
use crate::ledger::{LedgerStats, TradeKind, TradeRecord};
use crate::market::{Book, Instrument, Side, Sizing};
use crate::venue::event_data::trade_sizes;
use crate::venue::{ListedInstrument, Venue};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TradeView {
    /// Number of the trade or aggregate, consecutive per symbol.
    pub id: u64,
    pub trade_id: String,
    pub first_match_id: u64,
    pub last_match_id: u64,
    pub price: String,
    pub quantity: String,
    pub base_quantity: Option<String>,
    /// Value in the quote asset of contracts with a fixed value: divided by the price it gives base units.
    pub quote_value: Option<String>,
    pub side: &'static str,
    pub trade_time_ms: i64,
    pub event_time_ms: i64,
    pub sent: u32,
    pub accepted: u32,
    pub withheld: u32,
}

/// A whole book, numbers as printed by the venue, best levels first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookView {
    pub update_id: u64,
    pub bids: Vec<[String; 2]>,
    pub asks: Vec<[String; 2]>,
    pub contract_size: Option<String>,
    /// Quote units per unit of quantity, where fixed: base units are quantity times this, divided by the level's price.
    pub contract_value: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstrumentView {
    pub venue_symbol: String,
    pub symbol: String,
    pub market_type: &'static str,
    pub base: String,
    pub quote: String,
    pub tick: String,
    pub step: String,
    /// Base units per unit of quantity, 1 for quantities in base units.
    pub contract_size: Option<String>,
    pub contract_value: Option<String>,
    pub funding_hours: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointsView {
    pub ws: String,
    pub rest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SymbolView {
    /// Id of the newest book change; 0 for a recording.
    pub last_update_id: u64,
    pub trades: Option<(u64, u64)>,
    pub aggregates: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordingView {
    pub frames: usize,
    pub played: u64,
    pub unroutable: u64,
    pub done: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExchangeView {
    pub symbols: BTreeMap<String, SymbolView>,
    pub connections: usize,
    pub counters: CountersView,
    pub ledger: LedgerStats,
    pub recording: Option<RecordingView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateView {
    pub paused: bool,
    pub rate: u64,
    pub exchanges: BTreeMap<String, ExchangeView>,
}

pub(crate) fn trade(venue: &dyn Venue, listed: &ListedInstrument, record: &TradeRecord) -> TradeView {
    let (base_quantity, quote_value) = trade_sizes(&listed.instrument, record.quantity);
    TradeView {
        id: record.id,
        trade_id: venue.trade_id(record),
        base_quantity,
        quote_value,
        first_match_id: record.matches.0,
        last_match_id: record.matches.1,
        price: record.price.to_string(),
        quantity: record.quantity.to_string(),
        side: record.taker.order(),
        trade_time_ms: record.trade_ms,
        event_time_ms: record.event_ms,
        sent: record.deliveries.sent,
        accepted: record.deliveries.accepted,
        withheld: record.deliveries.withheld,
    }
}

pub(crate) fn book(listed: &ListedInstrument, update_id: u64, book: &Book) -> BookView {
    let i = &listed.instrument;
    let side = |side| {
        let levels = book.top(side, usize::MAX).into_iter();
        levels.map(|(p, q)| [i.price(p).to_string(), i.quantity(q).to_string()]).collect()
    };
    let (contract_size, contract_value) = sizes(i);
    BookView { update_id, bids: side(Side::Bid), asks: side(Side::Ask), contract_size, contract_value }
}

fn sizes(i: &Instrument) -> (Option<String>, Option<String>) {
    match i.sizing {
        Sizing::Base => (Some("1".to_owned()), None),
        Sizing::Contracts(size) => (Some(size.to_string()), None),
        Sizing::Value(value) => (None, Some(value.to_string())),
    }
}

pub(crate) fn instrument(i: &Instrument) -> InstrumentView {
    let (contract_size, contract_value) = sizes(i);
    InstrumentView {
        venue_symbol: i.symbol.clone(),
        symbol: i.normalized(),
        market_type: i.market_type(),
        base: i.base.clone(),
        quote: i.quote.clone(),
        tick: i.price(1).to_string(),
        step: i.quantity(1).to_string(),
        contract_size,
        contract_value,
        funding_hours: i.funding_hours,
    }
}

pub(crate) fn exchange(exchange: &Exchange) -> ExchangeView {
    use std::sync::atomic::Ordering::Relaxed;
    let market = lock(&exchange.market);
    let (hub, ledger) = (lock(&exchange.hub), exchange.ledger());
    let symbols = exchange.listed.iter().map(|listed| {
        let view = SymbolView {
            last_update_id: market.symbols.get(listed.index).map_or(0, |symbol| symbol.last_update_id()),
            trades: ledger.trades.bounds(listed.index, TradeKind::Trade),
            aggregates: ledger.trades.bounds(listed.index, TradeKind::Aggregate),
        };
        (listed.instrument.symbol.clone(), view)
    });
    ExchangeView {
        symbols: symbols.collect(),
        connections: hub.connections().count(),
        counters: exchange.counters.view(),
        ledger: ledger.stats(),
        recording: exchange.recording.as_ref().map(|r| RecordingView {
            frames: r.frames.len(),
            played: r.played.load(Relaxed),
            unroutable: r.unroutable,
            done: r.done.load(Relaxed),
        }),
    }
}
