//! Events of the market. Prices in ticks, quantities in steps, times in ms since 1970 UTC.

use super::book::Side;
use super::reference::Reference;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    pub id: u64,
    pub price: i64,
    pub quantity: i64,
    pub taker: Side,
    pub trade_ms: i64,
    pub event_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateTrade {
    pub trade: Trade,
    pub first_id: u64,
    pub last_id: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelChange {
    pub price: i64,
    pub quantity: i64,
    pub before: i64,
}

impl LevelChange {
    /// Price and quantity.
    pub fn level(&self) -> (i64, i64) {
        (self.price, self.quantity)
    }
}

/// The changes of a book since the previous update of the same cadence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepthUpdate {
    pub cadence: usize,
    pub first_id: u64,
    pub last_id: u64,
    pub previous_id: u64,
    pub bids: Vec<LevelChange>,
    pub asks: Vec<LevelChange>,
    pub engine_ms: i64,
    pub event_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookTicker {
    pub update_id: u64,
    pub bid: (i64, i64),
    pub ask: (i64, i64),
    pub event_ms: i64,
}

/// Content published by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Mark price and funding; the number distinguishes streams of different period.
    Mark(usize),
    Funding,
    Interest,
    Summary,
    Liquidation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liquidation {
    pub side: Side,
    pub price: i64,
    pub quantity: i64,
    pub trade_ms: i64,
    pub event_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Trade(Trade),
    Aggregate(AggregateTrade),
    Depth(DepthUpdate),
    Ticker(BookTicker),
    Reference(Topic, Reference),
    Liquidations(Vec<Liquidation>),
}
