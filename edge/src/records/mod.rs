//! From normalized events to records: subscription, order books, deduplication, event id, encoding.

mod backfilled;
mod book_records;
mod builder;
mod deltas;
mod encoder;
mod ids;
mod quotes;
mod recent_ids;
mod subscription;

pub use backfilled::PastTrade;
pub use builder::{InstrumentMemory, InvalidEvent, RecordBuilder, RecordOptions, TradeHoles};
pub use encoder::{EventEncoder, EventOrigin};
pub use ids::{TradeIdRange, TradeIdReport, TradePosition};
pub use subscription::Subscription;
