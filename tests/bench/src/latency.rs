//! Latency of an edge from the receipt of a frame to its publication, at rates of a busy venue, and the CPU time that the broker and the
//! edge spend on an event then.

use std::time::Duration;

use anyhow::{Context, Result};
use marketprism_schema::{LATENCY_BOUNDS_US, latency_quantile_us};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::Edge;
use marketprism_tests::figures::{Goal, Report};
use tokio::sync::oneshot;

use crate::edge::{Venue, broker_with_streams, frames, until_acknowledged};

/// Of each rate.
const SECONDS: u64 = 10;

/// Events that are ready together travel in one message; nothing waits for others.
const WITHOUT_LINGER: &str = "[publisher]\nlinger_ms = 0\n";

struct PacedLoad {
    per_second: u64,
    tables: &'static str,
    name: &'static str,
    /// Milliseconds of the median and of the 99th percentile.
    goals: Option<[f64; 2]>,
    /// Microseconds of the broker's CPU time an event.
    broker_us: Option<f64>,
}

const LOADS: [PacedLoad; 3] = [
    PacedLoad {
        per_second: 20_000,
        tables: WITHOUT_LINGER,
        name: "without linger",
        goals: Some([0.1, 2.0]),
        broker_us: None,
    },
    PacedLoad { per_second: 20_000, tables: "", name: "default linger", goals: None, broker_us: None },
    PacedLoad { per_second: 50_000, tables: "", name: "default linger", goals: None, broker_us: Some(4.0) },
];

pub async fn measure(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = broker_with_streams(folder.path()).await;
    let mut first = 1;
    for (number, load) in LOADS.iter().enumerate() {
        let events = load.per_second * SECONDS;
        let venue = Venue::bind(frames(first, events)?).await?.paced(Duration::from_secs(SECONDS));
        first += events;
        one(report, (folder.path(), &mut broker), number, load, venue).await?;
    }
    Ok(())
}

async fn one(
    report: &mut Report,
    (folder, broker): (&std::path::Path, &mut Broker),
    number: usize,
    load: &PacedLoad,
    venue: Venue,
) -> Result<()> {
    let events = load.per_second * SECONDS;
    let feed = venue.feed()?;
    let (sender, receiver) = oneshot::channel();
    let serving = tokio::spawn(venue.serve(sender));
    let nats = format!("urls = [{:?}]\n{}", broker.url(), load.tables);
    let mut edge = Edge::start_as(&format!("edge-{number}"), folder, &nats, &[feed]).await;
    let started = receiver.await.context("the edge never subscribed")?;
    let before = [broker.process().cpu_time(), edge.process().cpu_time()];
    // Each look at the metrics is work of the edge.
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let time = until_acknowledged(&edge, events, started).await?;
    let used = [broker.process().cpu_time(), edge.process().cpu_time()];
    serving.abort();
    let name = format!("edge at {} frames/s, {}", load.per_second, load.name);
    report.figure(format!("{name}: taken"), events as f64 / time.as_secs_f64(), "frames/s");
    let counts = counts(&edge.get("/metrics").await.map_err(anyhow::Error::msg)?)?;
    for (at, (thousandths, text)) in [(500, "p50"), (990, "p99")].into_iter().enumerate() {
        let micros = latency_quantile_us(&counts, thousandths).context("no event was published")?;
        let name = format!("{name}: received to published, {text}");
        let milliseconds = micros as f64 / 1_000.0;
        match load.goals.and_then(|goals| goals.get(at).copied()) {
            Some(most) => report.goal(name, milliseconds, "ms", Goal::AtMost(most)),
            None => report.figure(name, milliseconds, "ms"),
        }
    }
    let each = |index: usize| -> f64 {
        let [used, before] = [used, before].map(|times| times.get(index).copied().unwrap_or(Duration::ZERO));
        used.saturating_sub(before).as_secs_f64() / events as f64 * 1e6
    };
    report.figure(format!("{name}: CPU time of the edge"), each(1), "us an event");
    let name = format!("{name}: CPU time of the broker");
    match load.broker_us {
        Some(most) => report.goal(name, each(0), "us an event", Goal::AtMost(most)),
        None => report.figure(name, each(0), "us an event"),
    }
    Ok(())
}

/// Counts of the buckets of all series of the histogram.
fn counts(metrics: &str) -> Result<Vec<u64>> {
    const SERIES: &str = "marketprism_edge_receive_to_publish_seconds_bucket";
    let mut upto = vec![0_u64; LATENCY_BOUNDS_US.len() + 1];
    for line in metrics.lines().filter(|line| line.starts_with(SERIES)) {
        let (labels, value) = line.rsplit_once(' ').context("a line without a value")?;
        let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
        let bound = bound.context("a bucket without a bound")?;
        let place = if bound == "+Inf" {
            LATENCY_BOUNDS_US.len()
        } else {
            let micros = (bound.parse::<f64>()? * 1e6).round();
            let place = LATENCY_BOUNDS_US.iter().position(|&known| known as f64 == micros);
            place.with_context(|| format!("the bucket {bound} is unknown"))?
        };
        if let Some(count) = upto.get_mut(place) {
            *count += value.parse::<u64>()?;
        }
    }
    let below = std::iter::once(0).chain(upto.iter().copied());
    Ok(upto.iter().zip(below).map(|(count, below)| count.saturating_sub(below)).collect())
}
