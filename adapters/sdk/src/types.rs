//! The contract's types under plain names.

pub use crate::bindings::marketprism::adapter::types::{
    Answer, Book, BookChange, Budget, Capability, Charge, ChecksumRule, Completeness, Connection, DataStream,
    DataType, Decimal, Delivery, Description, Endpoint, Event, Feed, Frames, FundingRate, Heartbeat, Ignored,
    Instrument, Liquidation, LongShortRatio, Malformed, MarketType, Method, Normalized, Note, OpenInterest,
    Payload, Plan, Poll, Ranked, RankingKey, Refusal, Remark, Request, Resubscription, Resync, ResyncAction,
    SequenceRule, Side, SnapshotSource, TextHeartbeat, TimeUnit, TimeWindow, Trade, TradeId, TradeRange,
    Venue, VenueClock, VenueError, VolatilityIndex,
};
