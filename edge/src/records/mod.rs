//! From normalized events to records: subscription, order books, deduplication, event id, encoding.

mod builder;
mod encoder;
mod ids;

pub use builder::{InvalidEvent, RecordBuilder, RecordOptions, Subscription};
pub use encoder::{EventEncoder, EventOrigin};
pub use ids::TradeIdReport;
