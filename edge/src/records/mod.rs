//! From normalized events to records: subscription, order books, deduplication, event id, encoding.

mod backfilled;
mod builder;
mod deltas;
mod encoder;
mod ids;

pub use backfilled::PastTrade;
pub use builder::{InstrumentMemory, InvalidEvent, RecordBuilder, RecordOptions, Subscription, TradeHoles};
pub use encoder::{EventEncoder, EventOrigin};
pub use ids::{TradeIdRange, TradeIdReport, TradePosition};
