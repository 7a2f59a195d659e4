//! What tests compare with: trades, books and sums as JSON and as Rust values.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::exchange::{Exchange, lock};
use crate::ledger::{DataType, EventRecord, LedgerStats, SendAttempt, TradeKind, TradeRecord};
use crate::market::{Book, Instrument, Side, Sizing};
use crate::server::CountersView;
use crate::venue::{Listed, Venue, trade_sizes};

/// One trade and its fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TradeView {
    /// Number of the trade (of the aggregate, for aggregated trades), consecutive per symbol.
    pub id: u64,
    /// Trade id as sent; the same as `id` on most venues.
    pub trade_id: String,
    /// Id of the first match.
    pub first_match_id: u64,
    /// Id of the last match.
    pub last_match_id: u64,
    /// Price, text as sent.
    pub price: String,
    /// Quantity, text as sent: in the instrument's units (see [`InstrumentView`]).
    pub quantity: String,
    /// Quantity in base units, where that is exact.
    pub base_quantity: Option<String>,
    /// Value in the quote asset, where contracts have one: base units are this divided by the price.
    pub quote_value: Option<String>,
    /// The taker's side, `buy` or `sell`.
    pub side: &'static str,
    /// Venue's trade time, ms.
    pub trade_time_ms: i64,
    /// Venue's event time, ms.
    pub event_time_ms: i64,
    /// How often it was queued for a connection.
    pub sent: usize,
    /// How often a socket took it.
    pub accepted: usize,
    /// How often a fault withheld or spoiled it.
    pub withheld: u32,
    /// Every attempt to send it.
    pub sends: Vec<SendAttempt>,
}

/// A whole book, texts as the venue prints them, best levels first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookView {
    /// Id of the last change in it.
    pub update_id: u64,
    /// Bids: price, quantity.
    pub bids: Vec<[String; 2]>,
    /// Asks: price, quantity.
    pub asks: Vec<[String; 2]>,
    /// Base units in one unit of quantity, where that is fixed.
    pub contract_size: Option<String>,
    /// Quote units in one unit of quantity, where that is fixed: base units are this times quantity divided by
    /// the level's price.
    pub contract_value: Option<String>,
}

/// One event that is neither a trade nor a book, and its fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// Consecutive per exchange, from 1.
    pub number: u64,
    /// Kind of data.
    pub data_type: DataType,
    /// The venue's symbol, or its name of a volatility index.
    pub symbol: String,
    /// The venue's time of it, ms.
    pub time_ms: i64,
    /// What was told: exact texts by name, named in [`crate::venue::told`].
    pub values: BTreeMap<&'static str, String>,
    /// How often it was queued for a connection or answered.
    pub sent: u32,
    /// How often a socket took it or an answer told it.
    pub accepted: u32,
    /// How often a fault withheld or spoiled it.
    pub withheld: u32,
}

/// What is traded, and the units of its sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstrumentView {
    /// The venue's symbol.
    pub venue_symbol: String,
    /// `BASE-QUOTE`, dated `BASE-QUOTE-YYMMDD`, options `BASE-QUOTE-YYMMDD-STRIKE-C|P`.
    pub symbol: String,
    /// `spot`, `perpetual`, `futures` or `options`.
    pub market_type: &'static str,
    /// Base asset.
    pub base: String,
    /// Quote asset.
    pub quote: String,
    /// Smallest price step.
    pub tick: String,
    /// Smallest quantity step.
    pub step: String,
    /// Base units in one unit of quantity: `1` where quantities are base units.
    pub contract_size: Option<String>,
    /// Quote units in one unit of quantity, where that is fixed.
    pub contract_value: Option<String>,
    /// Hours between fundings; absent without funding.
    pub funding_hours: Option<u32>,
}

/// Base addresses of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointsView {
    /// Websockets.
    pub ws: String,
    /// REST.
    pub rest: String,
}

/// One symbol's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SymbolView {
    /// Id of the newest book change; 0 when a recording is played.
    pub last_update_id: u64,
    /// First and last recorded ids of single matches.
    pub trades: Option<(u64, u64)>,
    /// First and last recorded ids of aggregated trades.
    pub aggregates: Option<(u64, u64)>,
}

/// How far a recording was played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordingView {
    /// Frames in it.
    pub frames: usize,
    /// Frames played.
    pub played: u64,
    /// Frames that name no stream.
    pub unroutable: u64,
    /// Whether all of it was played.
    pub done: bool,
}

/// One exchange's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExchangeView {
    /// By the venue's symbol.
    pub symbols: BTreeMap<String, SymbolView>,
    /// Live connections.
    pub connections: usize,
    /// Sums.
    pub counters: CountersView,
    /// Sums of the ledger.
    pub ledger: LedgerStats,
    /// The recording, if one is played.
    pub recording: Option<RecordingView>,
}

/// The simulator's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateView {
    /// Whether generation is stopped.
    pub paused: bool,
    /// Frames per second asked for.
    pub rate: u64,
    /// By exchange id.
    pub exchanges: BTreeMap<String, ExchangeView>,
}

pub(crate) fn trade(venue: &dyn Venue, listed: &Listed, record: &TradeRecord) -> TradeView {
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
        side: if record.taker == Side::Bid { "buy" } else { "sell" },
        trade_time_ms: record.trade_ms,
        event_time_ms: record.event_ms,
        sent: record.sends.len(),
        accepted: record.sends.iter().filter(|send| send.accepted).count(),
        withheld: record.withheld,
        sends: record.sends.clone(),
    }
}

pub(crate) fn book(listed: &Listed, update_id: u64, book: &Book) -> BookView {
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

pub(crate) fn event(record: EventRecord) -> EventView {
    EventView {
        number: record.number,
        data_type: record.told.data_type,
        symbol: record.told.symbol.to_string(),
        time_ms: record.told.time_ms,
        values: record.told.values,
        sent: record.sent,
        accepted: record.accepted,
        withheld: record.withheld,
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
            trades: ledger.bounds(listed.index, TradeKind::Trade),
            aggregates: ledger.bounds(listed.index, TradeKind::Aggregate),
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
