//! From normalized events to records: subscription, order books, deduplication, event id, encoding.

mod builder;
mod encoder;
mod recent_ids;
mod subscription;
mod trade_ids;

pub use builder::{RecordBuilder, RecordOptions};
pub use encoder::{EventEncoder, EventOrigin};
pub use subscription::Subscription;
pub use trade_ids::TradeIdReport;
