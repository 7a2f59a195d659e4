//! What tests compare with: trades, books and sums as JSON and as Rust values.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::exchange::{Exchange, lock};
use crate::ledger::{LedgerStats, SendAttempt, TradeKind, TradeRecord};
use crate::market::{Book, Side};
use crate::server::CountersView;
use crate::venue::Listed;

/// One trade and its fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TradeView {
    /// Trade id (of the aggregate, for aggregated trades).
    pub id: u64,
    /// Id of the first match.
    pub first_match_id: u64,
    /// Id of the last match.
    pub last_match_id: u64,
    /// Price, text as sent.
    pub price: String,
    /// Quantity, text as sent.
    pub quantity: String,
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

pub(crate) fn trade(record: &TradeRecord) -> TradeView {
    TradeView {
        id: record.id,
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
    let text = |units, scale| crate::decimal::Decimal { units, scale }.to_string();
    let side = |side| {
        let levels = book.top(side, usize::MAX).into_iter();
        levels.map(|(p, q)| [text(p * i.tick, i.price_scale), text(q * i.step, i.quantity_scale)]).collect()
    };
    BookView { update_id, bids: side(Side::Bid), asks: side(Side::Ask) }
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
