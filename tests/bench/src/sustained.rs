//! The whole way from socket to rows in hot and cold at a fixed rate: what is stored a second, how the backlog grows, and the CPU time of each part.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::stack::Stack;
use tokio::sync::oneshot;

use crate::edge::{Venue, frames_at};

const SECONDS: u64 = 20;
/// Time until the first frame is sent, about: a venue's times are those of its frames.
const PREPARED: Duration = Duration::from_secs(10);
/// Begin of what is counted: connections and the first inserts are over.
const SETTLED: u64 = 5;
/// Rows that the last batches may lack.
const STORED: f64 = 0.98;
/// Limit for the last row.
const LIMIT: Duration = Duration::from_secs(180);

/// Rows in hot at some time after the first frame.
struct Progress {
    at: Duration,
    rows: u64,
}

impl Progress {
    /// Events sent and not stored.
    fn backlog(&self, per_second: u64, events: u64) -> f64 {
        let sent = (self.at.as_secs_f64() * per_second as f64).min(events as f64);
        (sent - self.rows as f64).max(0.0)
    }
}

pub async fn measure(report: &mut Report, per_second: u64) -> Result<()> {
    let mut stack = Stack::plain().await;
    let events = per_second * SECONDS;
    let begin = SystemTime::now().duration_since(UNIX_EPOCH)? + PREPARED;
    let begin_ms = u64::try_from(begin.as_millis())?;
    let frames =
        tokio::task::block_in_place(|| frames_at(|id| begin_ms + id * 1_000 / per_second, 1, events));
    let venue = Venue::bind(frames).await?.paced(Duration::from_secs(SECONDS));
    let feed = venue.feed()?;
    let (sender, receiver) = oneshot::channel();
    let serving = tokio::spawn(venue.serve(sender));
    let mut edge = stack.edge(&[feed]).await;
    let started = receiver.await.context("the edge never subscribed")?;
    tokio::time::sleep_until((started + Duration::from_secs(SETTLED)).into()).await;
    let (first, before) = (progress(&stack, started).await?, used(&mut stack, &mut edge));
    tokio::time::sleep_until((started + Duration::from_secs(SECONDS)).into()).await;
    let (last, after) = (progress(&stack, started).await?, used(&mut stack, &mut edge));
    let name = format!("socket to hot at {per_second} events/s, {} s", SECONDS - SETTLED);
    let rows = last.rows.saturating_sub(first.rows) as f64;
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    report.goal(
        format!("{name}: stored in hot"),
        rows / seconds,
        "rows/s",
        Goal::AtLeast(STORED * per_second as f64),
    );
    let [first, last] = [first, last].map(|progress| progress.backlog(per_second, events));
    report.figure(format!("{name}: events not stored, at the begin"), first, "events");
    report.figure(format!("{name}: events not stored, at the end"), last, "events");
    let mut all = 0.0;
    for (part, (after, before)) in ["venue and bench", "edge", "broker", "central", "engine"]
        .into_iter()
        .zip(after.into_iter().zip(before))
    {
        let time = after.saturating_sub(before).as_secs_f64();
        all += time;
        report.figure(format!("{name}: CPU time of {part}"), time / rows * 1e6, "us an event");
    }
    report.figure(format!("{name}: processor time of all"), all / seconds, "cores");
    while progress(&stack, started).await?.rows < events {
        ensure!(started.elapsed() < LIMIT, "not all of {events} rows are in hot within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    report.figure(
        format!("{name}: all stored after the last frame"),
        started.elapsed().as_secs_f64() - SECONDS as f64,
        "s",
    );
    let lost = edge.metric("marketprism_edge_lost_events_total", "").await;
    report.goal(format!("{name}: events lost"), lost as f64, "events", Goal::AtMost(0.0));
    serving.abort();
    Ok(())
}

async fn progress(stack: &Stack, started: Instant) -> Result<Progress> {
    let query = "SELECT count() FROM marketprism_hot.trades";
    let rows = stack.clickhouse.number(query).await.map_err(|error| anyhow!(error))?;
    Ok(Progress { at: started.elapsed(), rows })
}

/// CPU time of this process, edge, broker, central and engine.
fn used(stack: &mut Stack, edge: &mut marketprism_tests::edge::Edge) -> [Duration; 5] {
    let Stack { central, clickhouse, broker, .. } = stack;
    [
        marketprism_tests::process::own_cpu_time(),
        edge.process().cpu_time(),
        broker.process().cpu_time(),
        central.process().cpu_time(),
        clickhouse.process().cpu_time(),
    ]
}
