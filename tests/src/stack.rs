//! Broker, engine and central together.

use std::path::Path;

use tempfile::TempDir;

use crate::broker::Broker;
use crate::central::{Central, Settings};
use crate::clickhouse::ClickHouse;
use crate::edge::{Edge, Feed};
use crate::laid_out;

/// Broker, hot and cold on engines of their own, and a central with these settings except for the addresses.
pub async fn two_sides(folder: &Path, settings: Settings<'_>) -> (Broker, ClickHouse, ClickHouse, Central) {
    let engines = async {
        match laid_out::is_default(settings.clickhouse) && laid_out::is_default(settings.more) {
            true => tokio::join!(laid_out::hot_engine(folder), laid_out::cold_engine(folder, "cold")),
            false => tokio::join!(ClickHouse::start(folder), ClickHouse::named(folder, "cold")),
        }
    };
    let (broker, (hot, cold)) = tokio::join!(Broker::start(folder), engines);
    let (nats, hot_url, cold_url) = (broker.nats(), hot.url(), cold.url());
    let settings = Settings { nats: &nats, hot: &hot_url, cold: Some(&cold_url), ..settings };
    let central = Central::with_settings(folder, &settings).await;
    (broker, hot, cold, central)
}

#[derive(Debug)]
pub struct Stack {
    // Dropped in this order: central ends before what it is connected to.
    pub central: Central,
    pub clickhouse: ClickHouse,
    pub broker: Broker,
    pub folder: TempDir,
}

impl Stack {
    pub async fn start() -> Self {
        Self::with_central(Settings::impatient("", "")).await
    }

    pub async fn plain() -> Self {
        Self::plain_with("").await
    }

    /// `more`: further tables of central's configuration.
    pub async fn plain_with(more: &str) -> Self {
        Self::with_central(Settings { more, ..Settings::plain("", "") }).await
    }

    async fn with_central(settings: Settings<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = async {
            match laid_out::is_default(settings.clickhouse) && laid_out::is_default(settings.more) {
                true => laid_out::engine(folder.path()).await,
                false => ClickHouse::start(folder.path()).await,
            }
        };
        let (broker, clickhouse) = tokio::join!(Broker::start(folder.path()), engine);
        let (nats, hot) = (broker.nats(), clickhouse.url());
        let central =
            Central::with_settings(folder.path(), &Settings { nats: &nats, hot: &hot, ..settings }).await;
        Self { central, clickhouse, broker, folder }
    }

    /// An edge that publishes to this stack's broker.
    pub async fn edge(&self, feeds: &[Feed]) -> Edge {
        Edge::start(self.folder.path(), &self.broker.nats(), feeds).await
    }
}
