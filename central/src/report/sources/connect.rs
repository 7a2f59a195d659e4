//! Connections of a report, and queries over them with a timeout.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clickhouse::{RowOwned, RowRead};
use marketprism_service::error_text;

use crate::broker::Broker;
use crate::config::Config;
use crate::context::CentralContext;
use crate::fleet::EdgeFleet;
use crate::lease::Leases;
use crate::sql;
use crate::storage::{Storage, bounded};

/// Broker and servers that a report queries. Works while no central runs.
#[derive(Clone)]
pub struct Sources {
    pub config: Config,
    pub broker: Broker,
    pub hot: Storage,
    pub cold: Storage,
    pub leases: Leases,
    pub patience: Duration,
    /// `None`: the heartbeats are read when they are asked for.
    pub fleet: Option<Arc<EdgeFleet>>,
}

/// Result of a query, or the reason as text.
pub type Answer<T> = Result<T, String>;

impl Sources {
    pub fn of(shared: &CentralContext, patience: Duration) -> Self {
        Self {
            config: shared.config.clone(),
            broker: shared.broker.clone(),
            hot: shared.storage.clone(),
            cold: shared.cold.clone(),
            leases: shared.leases.clone(),
            patience,
            fleet: Some(Arc::clone(&shared.fleet)),
        }
    }

    /// For a command. Does not wait for the broker: a report names what did not answer.
    pub async fn connect(config: &Config, patience: Duration) -> anyhow::Result<Self> {
        let broker = Broker::start(&config.nats).await?;
        let name = format!("cli-{}-{:08x}", std::process::id(), rand::random::<u32>());
        Ok(Self {
            leases: Leases::new(&broker, config, &name),
            broker,
            hot: Storage::hot(&config.clickhouse)?,
            cold: Storage::cold(&config.clickhouse)?,
            config: config.clone(),
            patience,
            fleet: None,
        })
    }

    pub async fn rows<T: RowOwned + RowRead>(&self, storage: &Storage, query: &str) -> Answer<Vec<T>> {
        // The server stops by itself when it does not notice that the connection has ended.
        let seconds = self.patience.as_secs().max(1).to_string();
        let client = storage.client.clone().with_setting("max_execution_time", seconds);
        let answer = bounded(self.patience, client.query_raw(query).fetch_all::<T>()).await;
        answer.map_err(|error| error.to_string())
    }

    pub async fn broker_answer<T, E: Into<anyhow::Error>>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Answer<T> {
        if !self.broker.is_connected() {
            let wait = self.patience.min(Duration::from_secs(2));
            let connected = self.broker.connected(&self.config.nats, wait).await;
            connected.map_err(|error| error_text(error.as_ref()))?;
        }
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error_text(self.broker.explain(error.into()).as_ref())),
            Err(_) => {
                let late = anyhow!("the broker did not answer within {} ms", self.patience.as_millis());
                Err(error_text(self.broker.explain(late).as_ref()))
            }
        }
    }
}

/// SQL condition: a `DateTime64` column within a period.
pub fn within(column: &str, from_ms: i64, to_ms: i64) -> String {
    format!("{column} >= {} AND {column} < {}", sql::millis(from_ms), sql::millis(to_ms))
}
