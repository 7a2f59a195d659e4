//! One question, with its own time limit.

use std::time::Duration;

use clickhouse::{RowOwned, RowRead};

use crate::broker::Broker;
use crate::config::Config;
use crate::context::CentralContext;
use crate::lease::Leases;
use crate::storage::{Storage, bounded};

/// Everything that is asked for a report. Works while no central runs.
#[derive(Clone)]
pub struct Sources {
    /// The configuration.
    pub config: Config,
    /// The broker.
    pub broker: Broker,
    /// The hot server.
    pub hot: Storage,
    /// The cold server.
    pub cold: Storage,
    /// The leases.
    pub leases: Leases,
    /// Longest wait for any one answer.
    pub patience: Duration,
}

/// An answer, or why there is none, in words.
pub type Part<T> = Result<T, String>;

impl Sources {
    /// Those of a central that runs.
    pub fn of(shared: &CentralContext, patience: Duration) -> Self {
        Self {
            config: shared.config.clone(),
            broker: shared.broker.clone(),
            hot: shared.storage.clone(),
            cold: shared.cold.clone(),
            leases: shared.leases.clone(),
            patience,
        }
    }

    /// Sources of a command. Does not wait for the broker: what it does not answer is said in the report.
    pub async fn connect(config: &Config, patience: Duration) -> anyhow::Result<Self> {
        let broker = Broker::start(&config.nats).await?;
        let name = format!("cli-{}-{:08x}", std::process::id(), rand::random::<u32>());
        Ok(Self {
            leases: Leases::new(&broker, config, &name),
            broker,
            hot: Storage::hot(&config.clickhouse),
            cold: Storage::cold(&config.clickhouse),
            config: config.clone(),
            patience,
        })
    }

    /// Runs a query on one of the servers.
    pub async fn rows<T: RowOwned + RowRead>(&self, storage: &Storage, sql: &str) -> Part<Vec<T>> {
        // The server stops by itself, should the connection's end not reach it.
        let seconds = self.patience.as_secs().max(1).to_string();
        let client = storage.client.clone().with_setting("max_execution_time", seconds);
        let answer = bounded(self.patience, client.query_raw(sql).fetch_all::<T>()).await;
        answer.map_err(|error| error.to_string())
    }

    /// Asks the broker.
    pub async fn broker_answer<T, E: std::fmt::Display>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Part<T> {
        if !self.broker.is_connected() {
            let wait = self.patience.min(Duration::from_secs(2));
            let connected = tokio::time::timeout(wait, self.broker.connected(&self.config.nats)).await;
            if !matches!(connected, Ok(Ok(()))) {
                return Err(format!("no connection to {}", self.config.nats.shown_urls()));
            }
        }
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the broker did not answer within {} ms", self.patience.as_millis())),
        }
    }
}

/// A moment as ClickHouse reads it.
pub fn moment(ms: i64) -> String {
    format!("fromUnixTimestamp64Milli({ms}, 'UTC')")
}

/// `column` within a span of time, and of one data type where only one is asked for.
pub fn within(column: &str, from_ms: i64, to_ms: i64) -> String {
    format!("{column} >= {} AND {column} < {}", moment(from_ms), moment(to_ms))
}
