//! The order in which everything is laid out.

use marketprism_schema::DatabaseKind;

use super::{Report, consumers, databases, streams};
use crate::broker::Broker;
use crate::config::Config;
use crate::lease::Leases;
use crate::storage::Storage;

/// Connects, lays everything out and tells what was found. Differences are changed only with `apply`.
pub async fn once(config: &Config, apply: bool) -> anyhow::Result<Report> {
    let broker = Broker::start(&config.nats).await?;
    broker.connected(&config.nats).await?;
    let name = format!("init-{}-{:016x}", std::process::id(), rand::random::<u64>());
    ensure(config, &broker, &Leases::new(&broker, config.replicas(), &name), apply).await
}

/// Lays everything out. An error means that the broker or the server could not be asked; what they hold and differs is in the report.
pub async fn ensure(
    config: &Config,
    broker: &Broker,
    leases: &Leases,
    apply: bool,
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    streams::check_room(&broker.jetstream, &config.streams).await?;
    for stream in &config.streams {
        report.add("stream", stream.settings.name, streams::ensure(&broker.jetstream, stream, apply).await?);
        let (name, outcome) = consumers::ensure(&broker.jetstream, stream, config.ack_wait).await?;
        report.add("consumer", &name, outcome);
    }
    for layout in databases::layouts(config) {
        let storage = match layout.kind {
            DatabaseKind::Hot => Storage::hot(&config.clickhouse),
            DatabaseKind::Cold => Storage::cold(&config.clickhouse),
        };
        databases::ensure(&storage, &layout, leases, apply, &mut report).await?;
    }
    Ok(report)
}
