//! Background tasks beside the workers: consumer counts of the broker, reachability of ClickHouse, coverage of earlier runs.

use std::sync::Arc;

use async_nats::jetstream::consumer::PullConsumer;
use marketprism_schema::Table;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Stream;
use crate::context::CentralContext;
use crate::coverage::History;
use crate::status::CLICKHOUSE;
use crate::storage::{Storage, StorageError, bounded};
use crate::time::ticks;
use crate::{init, limits};

pub const NATS: &str = "nats";

pub async fn watch_consumers(shared: Arc<CentralContext>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(limits::POLL_INTERVAL);
    let mut was_away = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        if shared.broker.is_connected() {
            shared.status.clear(NATS);
            for stream in &shared.config.streams {
                consumer_counts(&shared, stream).await;
            }
        } else {
            shared.status.fail(NATS, format!("no connection to {}", shared.config.nats.shown_urls()));
        }
        // Only inserts clear a refusal of rows: a server that answers a query may still refuse rows.
        match shared.storage.execute("SELECT 1 FORMAT Null").await {
            Ok(()) if was_away => {
                was_away = false;
                shared.status.clear(CLICKHOUSE);
            }
            Ok(()) => {}
            Err(error) => {
                was_away = true;
                shared.status.fail(CLICKHOUSE, error.to_string());
            }
        }
    }
}

async fn consumer_counts(shared: &CentralContext, stream: &Stream) {
    let stream_name = stream.settings.name;
    let name = init::consumer_name(stream_name);
    let asked = shared.broker.jetstream.get_consumer_from_stream(&name, stream_name);
    let consumer: PullConsumer = match timeout(limits::BROKER_TIMEOUT, asked).await {
        Ok(Ok(consumer)) => consumer,
        // The worker of the stream reports this error itself.
        _ => return,
    };
    let info = consumer.cached_info();
    let labels = &[stream_name, name.as_str()];
    let gauges = &shared.metrics.consumers;
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    gauges.num_pending.with_label_values(labels).set(i64::try_from(info.num_pending).unwrap_or(i64::MAX));
    gauges.num_ack_pending.with_label_values(labels).set(whole(info.num_ack_pending));
    gauges.num_redelivered.with_label_values(labels).set(whole(info.num_redelivered));
}

pub async fn read_history(shared: Arc<CentralContext>, stop: CancellationToken) -> anyhow::Result<()> {
    for table in Table::ALL {
        let mut backoff = limits::BACKOFF;
        loop {
            let read = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                read = history(&shared.storage, table.name) => read,
            };
            match read {
                Ok(history) => break shared.coverage.add_history(table.data_type, history),
                Err(error) => {
                    tracing::debug!(table = table.name, %error, "cannot read the coverage history yet; retrying");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }
    // A task that returns stops the process, so this one waits.
    stop.cancelled().await;
    Ok(())
}

async fn history(storage: &Storage, table: &str) -> Result<Vec<History>, StorageError> {
    let sql = format!(
        "SELECT toString(exchange) AS exchange, toUnixTimestamp64Milli(max(created_at)) AS created_at_ms, \
         toUnixTimestamp64Micro(max(timestamp)) AS timestamp_us FROM {}.{table} GROUP BY exchange",
        storage.database
    );
    bounded(limits::QUERY_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await
}
