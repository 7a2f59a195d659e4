//! Distribution of adapters: signed components in an Object Store bucket, the wanted version of each adapter for edges, regions and all in
//! a KV bucket, and promotions that go from edge to edge. What an edge makes of a wish is in its heartbeat; central runs no component.

mod bucket;
#[cfg(test)]
mod bucket_tests;
mod edges;
mod promotion;
mod rollback;
mod selection;
mod stage;
mod status;
mod usage;
mod wishes;

pub use bucket::{AdapterBucket, StoredAdapter, shown as adapter_text};
pub use edges::Heartbeats;
pub use promotion::{Promotion, PromotionEnd, PromotionTimes};
pub use rollback::{RollbackResult, roll_back};
pub use selection::EdgeSelection;
pub use status::{AdapterStatus, PromotedVersion, adapter_status, promoted_versions};
pub use usage::AdapterUsage;
pub use wishes::Wishes;
