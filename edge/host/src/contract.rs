//! The contract's types for the rest of the edge.
//! They are those of contract version 1, so lifting a result is the only conversion. Another version is one more implementation of the seam in
//! `exports.rs`, which converts to them; nothing outside this crate changes.

pub use crate::v1::marketprism::adapter::types::{
    Answer, Book, BookChange, Budget, Capability, Charge, ChecksumRule, Completeness, Connection, DataStream,
    DataType, Decimal, Delivery, Description, Endpoint, Event, Feed, Frames, FundingRate, Heartbeat, Ignored,
    Instrument, Liquidation, LongShortRatio, Malformed, MarketType, Method, Normalized, Note, OpenInterest,
    Payload, Plan, Poll, Ranked, RankingKey, Refusal, Remark, Request, Resubscription, Resync, ResyncAction,
    SequenceRule, Side, SnapshotSource, TextHeartbeat, TimeUnit, TimeWindow, Trade, TradeId, TradeRange,
    Venue, VenueClock, VenueError, VolatilityIndex,
};

/// Contract versions that this edge runs, for messages.
pub const SUPPORTED: &str = "1.x (written against 1.0.0)";

/// Largest scale of a decimal number.
pub const MAX_SCALE: u8 = 18;
