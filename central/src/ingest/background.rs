//! Background tasks beside the workers: consumer counts of the broker, reachability of ClickHouse, coverage of earlier runs.

use std::mem::{Discriminant, discriminant, replace};
use std::sync::Arc;

use async_nats::jetstream::{self, context::ConsumerInfoErrorKind};
use marketprism_schema::Table;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::broker::is_missing;
use crate::config::Stream;
use crate::context::CentralContext;
use crate::coverage::History;
use crate::init::ConsumerSpec;
use crate::lease::LeaseProblem;
use crate::limits;
use crate::server_clock::{ClockReading, ClocksApart};
use crate::status::{CLICKHOUSE, CLOCKS};
use crate::storage::{Storage, StorageError, bounded};
use crate::time::ticks;

pub const NATS: &str = "nats";
/// The part that fails while streams or consumers do not exist.
const MISSING: &str = "broker";
const LEASES: &str = "leases";

/// Watches broker, servers and clocks, for health and metrics.
pub async fn watch(shared: Arc<CentralContext>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(limits::POLL_INTERVAL);
    let (mut was_away, mut lease_problem) = (false, None);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        watch_broker(&shared, &mut lease_problem).await;
        let limit = limits::QUERY_TIMEOUT;
        let read_hot = shared.hot_clock.read(&shared.storage, limit);
        let (hot, cold) = if shared.config.clickhouse.is_cold_apart() {
            let (hot, cold) = tokio::join!(read_hot, shared.cold_clock.read(&shared.cold, limit));
            (hot, cold.ok())
        } else {
            let hot = read_hot.await;
            let same = hot.as_ref().ok().copied();
            (hot, same)
        };
        watch_clocks(&shared, hot.as_ref().ok(), cold.as_ref());
        // Only inserts clear a refusal of rows: a server that answers a query may still refuse rows.
        match hot {
            Ok(_) if was_away => {
                was_away = false;
                shared.status.clear(CLICKHOUSE);
            }
            Ok(_) => {}
            Err(error) => {
                was_away = true;
                shared.status.fail(CLICKHOUSE, error.to_string());
            }
        }
    }
}

async fn watch_broker(shared: &CentralContext, lease_problem: &mut Option<Discriminant<LeaseProblem>>) {
    if !shared.broker.is_connected() {
        shared.status.fail(NATS, format!("no connection to {}", shared.config.nats.shown_urls()));
        return;
    }
    shared.status.clear(NATS);
    let mut missing = Vec::new();
    for stream in &shared.config.streams {
        missing.extend(stream_counts(shared, stream).await);
    }
    let missing = Some(missing).filter(|missing| !missing.is_empty());
    shared.status.set(MISSING, missing.map(|missing| format!("about to be created: {}", missing.join(", "))));
    watch_leases(shared, lease_problem);
}

/// Logs a problem of another kind than `before`.
fn watch_leases(shared: &CentralContext, before: &mut Option<Discriminant<LeaseProblem>>) {
    let problem = shared.leases.problem();
    let kind = problem.as_ref().map(discriminant);
    let is_new = replace(before, kind) != kind;
    shared.status.set(LEASES, problem.as_ref().map(|problem| problem.reason().to_owned()));
    match problem {
        _ if !is_new => {}
        Some(LeaseProblem::Unreadable(reason)) => {
            tracing::warn!(reason, "leases cannot be read: tasks stop until the broker answers");
        }
        Some(LeaseProblem::Unwritable(reason)) => {
            tracing::error!(reason, "leases cannot be written: tasks stop until the broker stores");
        }
        None => tracing::info!("leases are read and written again"),
    }
}

/// Cold may be away for long while nothing is copied: then only hot counts.
fn watch_clocks(shared: &CentralContext, hot: Option<&ClockReading>, cold: Option<&ClockReading>) {
    let gauge = &shared.metrics.clock_ahead_seconds;
    for (side, reading) in [("hot", hot), ("cold", cold)] {
        if let Some(reading) = reading {
            gauge.with_label_values(&[side]).set(reading.ahead_ms / 1_000);
        }
    }
    let Some((hot, cold)) = hot.map(|hot| (*hot, cold.copied().unwrap_or(*hot))) else { return };
    match ClocksApart::common_now(hot, cold) {
        Ok(_) => {
            if shared.status.clear(CLOCKS) {
                tracing::info!("the clocks agree again");
            }
        }
        Err(apart) => {
            let reason = apart.to_string();
            if shared.status.fail(CLOCKS, reason.clone()) {
                tracing::error!(reason, "clocks differ");
            }
        }
    }
}

/// Returns the stream or its consumers that do not exist. Its worker creates them.
async fn stream_counts(shared: &CentralContext, stream: &Stream) -> Vec<String> {
    let stream_name = stream.settings.name;
    let asked = timeout(limits::BROKER_TIMEOUT, shared.broker.jetstream.get_stream(stream_name));
    let handle = match asked.await {
        Ok(Ok(handle)) => handle,
        Ok(Err(error)) if is_missing(&error) => return vec![format!("stream {stream_name}")],
        // The worker of the stream reports other errors itself.
        _ => return Vec::new(),
    };
    let mut missing = Vec::new();
    for ConsumerSpec { name, .. } in ConsumerSpec::all(stream) {
        missing.extend(consumer_counts(shared, &handle, (stream_name, name)).await);
    }
    missing
}

async fn consumer_counts(
    shared: &CentralContext,
    handle: &jetstream::stream::Stream,
    (stream_name, name): (&str, String),
) -> Option<String> {
    let asked = handle.consumer_info(&name);
    let info = match timeout(limits::BROKER_TIMEOUT, asked).await {
        Ok(Ok(info)) => info,
        Ok(Err(error)) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            return Some(format!("consumer {name}"));
        }
        _ => return None,
    };
    let labels = &[stream_name, name.as_str()];
    let gauges = &shared.metrics.consumers;
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    gauges.num_pending.with_label_values(labels).set(i64::try_from(info.num_pending).unwrap_or(i64::MAX));
    gauges.num_ack_pending.with_label_values(labels).set(whole(info.num_ack_pending));
    gauges.num_redelivered.with_label_values(labels).set(whole(info.num_redelivered));
    None
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
                Ok(history) => {
                    for row in &history {
                        shared.metrics.hops.to_hot(&row.exchange, table.data_type);
                    }
                    break shared.coverage.add_history(table.data_type, history);
                }
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
