//! What happens in the market. Prices are in ticks, quantities in steps, times in ms since 1970 UTC.

use super::book::Side;
use super::reference::Reference;

/// One match between a taker and one resting order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    /// Consecutive per instrument.
    pub id: u64,
    /// Price in ticks.
    pub price: i64,
    /// Quantity in steps.
    pub quantity: i64,
    /// The taker's side.
    pub taker: Side,
    /// When the match happened.
    pub trade_ms: i64,
    /// When the venue sent it.
    pub event_ms: i64,
}

/// All matches of one taker order at one price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateTrade {
    /// The summed trade; its id counts aggregates, not matches.
    pub trade: Trade,
    /// Id of the first match.
    pub first_id: u64,
    /// Id of the last match.
    pub last_id: u64,
}

/// A level of a book update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelChange {
    /// Price in ticks.
    pub price: i64,
    /// Absolute quantity in steps, zero for a removed level.
    pub quantity: i64,
    /// Quantity at the previous update, zero for a new level.
    pub before: i64,
}

/// The changes of a book since the previous update of the same cadence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepthUpdate {
    /// Which of the venue's cadences this update belongs to.
    pub cadence: usize,
    /// Id of the first change.
    pub first_id: u64,
    /// Id of the last change.
    pub last_id: u64,
    /// Id of the last change of the previous update.
    pub previous_id: u64,
    /// Changed bids, best first.
    pub bids: Vec<LevelChange>,
    /// Changed asks, best first.
    pub asks: Vec<LevelChange>,
    /// When the matching engine made the last change.
    pub engine_ms: i64,
    /// When the venue sent it.
    pub event_ms: i64,
}

/// Best bid and ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookTicker {
    /// Update id of the book.
    pub update_id: u64,
    /// Best bid: price, quantity.
    pub bid: (i64, i64),
    /// Best ask: price, quantity.
    pub ask: (i64, i64),
    /// When the venue sent it.
    pub event_ms: i64,
}

/// What a venue publishes by the clock. The order is that of the venue's own list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Mark price and funding; the number tells streams of different period apart.
    Mark(usize),
    /// Funding alone.
    Funding,
    /// Open interest.
    Interest,
    /// Mark price, funding and open interest in one message.
    Summary,
    /// Forced orders.
    Liquidation,
}

/// A forced order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liquidation {
    /// Side of the order.
    pub side: Side,
    /// Order price in ticks.
    pub price: i64,
    /// Filled quantity in steps.
    pub quantity: i64,
    /// When the order was filled.
    pub trade_ms: i64,
    /// When the venue sent it.
    pub event_ms: i64,
}

/// Anything a venue may publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One match.
    Trade(Trade),
    /// Matches of one order at one price.
    Aggregate(AggregateTrade),
    /// Book changes.
    Depth(DepthUpdate),
    /// Best prices.
    Ticker(BookTicker),
    /// Something by the clock.
    Reference(Topic, Reference),
    /// Forced orders of one moment.
    Liquidations(Vec<Liquidation>),
}
