//! The configuration of an edge: read, validated as a whole, every error listed at once.

mod adapter;
mod edge;
mod feed;
mod network;
mod symbols;

pub use adapter::{Adapters, book_depth, offered};
pub use edge::{Audits, Config, ConfigFile, Http, JournalSettings, PublisherLimits, Sandbox};
pub use feed::{FeedConfig, wants};
pub use network::{Egress, Network};
pub use symbols::SymbolSelection;
