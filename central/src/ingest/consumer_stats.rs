//! Periodic checks beside the workers: consumer counts of the broker, and reachability of ClickHouse while nothing arrives.

use std::sync::Arc;

use async_nats::jetstream::consumer::PullConsumer;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Stream;
use crate::context::CentralContext;
use crate::status::CLICKHOUSE;
use crate::{init, limits};

pub const NATS: &str = "nats";

pub async fn watch_consumers(shared: Arc<CentralContext>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = interval(limits::POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
