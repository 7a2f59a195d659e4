//! The configuration of an edge: read, validated as a whole, every error listed at once.

mod adapter;
mod clock;
mod difference;
mod edge;
mod feed;
mod http;
mod logging;
mod mirror;
mod network;
mod raw;
mod sandbox;
mod selfcare;
mod selftest;
mod swap;
mod symbols;

pub use adapter::{Adapters, CurrentAdapter, book_depth, collectable, offered};
pub use clock::ClockSettings;
pub use difference::{ChangedFeed, ConfigDifference, FeedsDifference, KeyChange};
pub use edge::{Audits, Config, ConfigFile, JournalSettings, PublisherLimits, read_http};
pub use feed::{FeedConfig, wants};
pub use http::Http;
pub use logging::Logging;
pub use mirror::MirrorSettings;
pub use network::{Egress, Network};
pub use raw::RawSettings;
pub use sandbox::Sandbox;
pub use selfcare::SelfCareLimits;
pub use selftest::SelfTestSettings;
pub use swap::SwapSettings;
pub use symbols::{RankingMeasure, SymbolSelection, TopMarkets};
