//! A running edge from socket to acknowledgement, relative to a bare publisher in the same run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use marketprism_schema::WireForm;
use marketprism_tests::broker::Broker;
use marketprism_tests::central::Central;
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use tokio::sync::oneshot;

use crate::bare;
use crate::goal::{Goal, Report};
use crate::sample::Sample;
use crate::venue::{Venue, frames};

/// Limit for the last acknowledgement.
const LIMIT: Duration = Duration::from_secs(120);

/// Measures the bare publisher, then the edge with the same number of trades on the same broker.
pub async fn measure(report: &mut Report, trades: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = Broker::start(folder.path()).await;
    // `init` creates the streams as in production; its engine is stopped before anything is measured.
    let mut clickhouse = ClickHouse::start(folder.path()).await;
    let mut central = Central::start(folder.path(), &broker.url(), &clickhouse.url()).await;
    central.kill();
    clickhouse.kill();

    let bare = rate(trades, bare::publish(&broker.url(), Sample::Trades, WireForm::Json, 1, trades).await?);
    let venue = Venue::bind(frames(trades)).await?;
    let mut feed = Feed::simulated("binance_spot", &venue.address()?, &["BTC-USDT"]);
    feed.data_types = vec!["trade".to_owned()];
    let (sender, receiver) = oneshot::channel();
    let serving = tokio::spawn(venue.serve(sender));
    let mut edge =
        Edge::start(folder.path(), &format!("urls = [{:?}]", broker.url()), std::slice::from_ref(&feed))
            .await;
    let started = receiver.await.context("the edge never subscribed")?;
    let socket_to_ack = until_acknowledged(&edge, trades, started).await?;
    let through = rate(trades, socket_to_ack);
    report.figure("bare async-nats publisher, trades, 4,096 acks in flight", bare, "msg/s");
    report.figure("edge, trades from socket to ack", through, "frames/s");
    report.goal("edge / bare publisher", through / bare, "times", Goal::AtLeast(0.5));
    let lost = edge.metric("marketprism_edge_lost_events_total", "").await;
    report.goal("edge, events lost meanwhile", lost as f64, "events", Goal::AtMost(0.0));
    let resident = edge.process().resident_bytes() as f64 / 1e6;
    report.goal("edge, resident memory after it", resident, "MB", Goal::AtMost(100.0));
    serving.abort();
    Ok(())
}

async fn until_acknowledged(edge: &Edge, trades: u64, started: Instant) -> Result<Duration> {
    loop {
        let acknowledged = edge.metric("marketprism_edge_acknowledged_total", "").await;
        if acknowledged >= trades {
            return Ok(started.elapsed());
        }
        ensure!(started.elapsed() < LIMIT, "only {acknowledged} of {trades} acknowledged within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Messages per second.
#[must_use]
pub fn rate(messages: u64, time: Duration) -> f64 {
    messages as f64 / time.as_secs_f64()
}
