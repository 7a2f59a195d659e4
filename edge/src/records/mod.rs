//! From normalized events to records: subscription, deduplication, event id, encoding.

mod builder;
mod encoder;
mod recent_ids;
mod subscription;

pub use builder::{RecordBuilder, RecordOptions};
pub use encoder::{EventEncoder, Origin};
pub use recent_ids::{ForgottenHoles, TradeGap, TradeReport};
pub use subscription::Subscription;
