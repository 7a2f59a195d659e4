//! The contract's types as the rest of the edge sees them.
//!
//! They are those of contract version 1 themselves, so that lifting a result is the only conversion there is.
//! When a version 2 comes, these names become the host's own types, and both versions convert to them;
//! nothing outside this crate changes.

pub use crate::v1::marketprism::adapter::types::{
    Answer, Book, BookChange, Budget, Capability, Charge, ChecksumRule, Completeness, Connection, DataStream,
    DataType, Decimal, Delivery, Description, Endpoint, Event, Feed, Frames, FundingRate, Heartbeat, Ignored,
    Instrument, Liquidation, LongShortRatio, Malformed, MarketType, Method, Normalized, Note, OpenInterest,
    Payload, Plan, Poll, Refusal, Remark, Request, Resubscription, Resync, ResyncAction, SequenceRule, Side,
    SnapshotSource, TextHeartbeat, TimeWindow, Trade, TradeId, Venue, VenueError, VolatilityIndex,
};

/// The contract versions that this edge runs, for messages.
pub const SUPPORTED: &str = "1.x (written against 1.0.0)";

/// Decimal places that a number may have.
pub const MAX_SCALE: u8 = 18;
