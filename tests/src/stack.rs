//! The whole line on this machine: broker, engine, central.

use tempfile::TempDir;

use crate::broker::Broker;
use crate::central::{Central, Settings};
use crate::clickhouse::ClickHouse;
use crate::edge::{Edge, Feed};

/// Broker, engine and central of one test.
#[derive(Debug)]
pub struct Stack {
    /// The central; first, so that it ends first.
    pub central: Central,
    /// The engine.
    pub clickhouse: ClickHouse,
    /// The broker.
    pub broker: Broker,
    /// Everything's files, deleted with the test.
    pub folder: TempDir,
}

impl Stack {
    /// Starts all three.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (broker, clickhouse) =
            tokio::join!(Broker::start(folder.path()), ClickHouse::start(folder.path()));
        let central = Central::start(folder.path(), &broker.url(), &clickhouse.url()).await;
        Self { central, clickhouse, broker, folder }
    }

    /// The same with central as users have it: no wait is shortened.
    pub async fn plain() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (broker, clickhouse) =
            tokio::join!(Broker::start(folder.path()), ClickHouse::start(folder.path()));
        let (nats, hot) = (format!("urls = [{:?}]", broker.url()), clickhouse.url());
        let central = Central::with_settings(folder.path(), &Settings::plain(&nats, &hot)).await;
        Self { central, clickhouse, broker, folder }
    }

    /// Starts an edge that publishes to this stack's broker.
    pub async fn edge(&self, feeds: &[Feed]) -> Edge {
        Edge::start(self.folder.path(), &format!("urls = [{:?}]", self.broker.url()), feeds).await
    }
}
